"""Report of a table of train and test sizes: pages, table and figures from `fixres.json`.

None of them contains a photograph.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnetlab.checksums import CHECKSUMS, check_files, write_checksums
from resnetlab.files import read_json, write_json, write_text
from resnetlab.finetuning.results import AccuracyEstimate, ResolutionCell, ResolutionTable
from resnetlab.reports import format
from resnetlab.reports.document import Cell as TableCell
from resnetlab.reports.document import Table, number_columns, text_columns
from resnetlab.reports.figures import themed_picture, to_standalone_svg
from resnetlab.reports.figures.resolution import CAPTIONS, draw_svg
from resnetlab.reports.figures.values import csv_text
from resnetlab.reports.render import markdown
from resnetlab.schema import decode, encode
from resnetlab.stats.intervals import Interval
from resnetlab.translation import Language, tr, tr_recorded, tr_word, use_language

FIXRES_FILE = "fixres.json"


@dataclass(frozen=True)
class FixresPage:
    """Content of the report for both renderers, in words."""

    title: str
    answer: str
    limits: str
    table: Table
    stage_table: Table
    details: tuple[tuple[str, str], ...]
    command: str


def write_resolution_page(
    resolution_table: ResolutionTable, folder: Path, language: Language = "en"
) -> Path:
    """Write the report into `folder`, atomically, `report.html` last; return its path."""
    with use_language(language):
        content = build_page(resolution_table)
        drawings = {
            key: [draw_svg(key, resolution_table, small) for small in (False, True)]
            for key in CAPTIONS
        }
    (folder / CHECKSUMS).unlink(missing_ok=True)  # a kill leaves files without checksums
    write_json(folder / FIXRES_FILE, encode(resolution_table))
    write_text(folder / "cells.csv", csv_text(CSV_COLUMNS, map(_csv_row, resolution_table.cells)))
    write_checksums(folder, (FIXRES_FILE, "cells.csv"))
    for key, (wide, _) in drawings.items():
        write_text(folder / "figures" / f"{key}.svg", to_standalone_svg(wide))
    target = folder / "report.html"
    with use_language(language):
        write_text(folder / "report.md", _markdown(content))
        write_text(target, _html(content, drawings))
    return target


def rebuild(folder: Path, destination: Path | None = None) -> Path:
    """Write the report again from the `fixres.json` of `folder`.

    Raises InputError that names a file which changed since.
    """
    check_files(folder)
    path = folder / FIXRES_FILE
    sizes: ResolutionTable = decode(ResolutionTable, read_json(path), str(path))
    return write_resolution_page(sizes, destination or folder)


# Words
# --------------------------------------------------------------------------------------------------

_STAGE_COLUMNS = ("validation_pct", "test_pct", "low", "high")
CSV_COLUMNS = (
    *("train_size", "test_size", "status"),
    *(f"{stage}_{name}" for stage in ("one", "two") for name in _STAGE_COLUMNS),
    *("only_two", "only_one", "p"),
)


def _csv_row(cell: ResolutionCell) -> list[str | float | None]:
    values: list[str | float | None] = [cell.train_size, cell.test_size, cell.status]
    for pair in (cell.stage_one, cell.stage_two):
        if pair:
            validation, test = pair
            values += [validation.accuracy_pct, test.accuracy_pct, test.low_pct, test.high_pct]
        else:
            values += [None] * 4
    paired = cell.paired
    if paired:
        values += [paired.only_this, paired.only_baseline, paired.p]
    else:
        values += [None] * 3
    return values


def build_page(resolution_table: ResolutionTable) -> FixresPage:
    """Return the content of the report in words; fixres.json has every number of it."""
    _, _, test_images = resolution_table.images
    limits = tr(
        "One seed: the intervals are over the {test:,} test images and do not cover other "
        "seeds. The p-values are those of McNemar's exact test on the same test images, one "
        "per cell and not corrected for their number.",
        test=test_images,
    )
    return FixresPage(
        title=tr("Train and test sizes on {data}", data=resolution_table.data),
        answer=" ".join((_answer(resolution_table), *_caveats(resolution_table))),
        limits=limits,
        table=_cell_table(resolution_table),
        stage_table=_stage_table(resolution_table),
        details=_details(resolution_table),
        command=resolution_table.command,
    )


def _details(resolution_table: ResolutionTable) -> tuple[tuple[str, str], ...]:
    """Return the terms and texts of the section on reproduction."""
    train, validation, test = resolution_table.images
    trained = tr(
        "{trained:,} of {all_parameters:,} parameters",
        trained=resolution_table.trainable_parameters,
        all_parameters=resolution_table.parameters,
    )
    network = tr(
        "{model}: {trained} are trained in stage one",
        model=resolution_table.model,
        trained=trained,
    )
    images = tr(
        "{data}: {train:,} train, {validation:,} validation, {test:,} test; {classes} classes; "
        "always guessing the most frequent class is correct for {chance_pct:.1f} % of the test "
        "images",
        data=resolution_table.data,
        train=train,
        validation=validation,
        test=test,
        classes=resolution_table.classes,
        chance_pct=resolution_table.chance_pct,
    )
    seed = tr(
        "seed {seed}, {precision}", seed=resolution_table.seed, precision=resolution_table.precision
    )
    duration = format.format_duration(resolution_table.seconds)
    machine = tr(
        "{machine}; {duration} in all", machine=resolution_table.machine, duration=duration
    )
    test_split = tr(
        "each cell is evaluated once on it, and it selects nothing: the validation images "
        "select the epochs and the best pair"
    )
    time_and_memory = tr(
        "no time and no memory are given per pair of sizes: features of the frozen layers are "
        "computed once per test size and shared by the pairs that follow; stage one is timed "
        "alone"
    )
    return (
        (tr("Network"), network),
        (tr("License of the weights"), resolution_table.license),
        (tr("Images"), images),
        (tr("Recipe"), f"{resolution_table.recipe}, {seed}"),
        (tr("Machine"), machine),
        (tr("Test split"), test_split),
        (tr("Time and memory"), time_and_memory),
        *_code_details(resolution_table.provenance),
    )


def _code_details(provenance: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    packages = ", ".join(f"{name} {version}" for name, version in provenance["packages"].items())
    changed = tr(", with changes") if provenance["dirty"] else ""
    commit = tr(
        "commit {commit}{changed}",
        commit=provenance["commit"][:10] or tr("unknown"),
        changed=changed,
    )
    code = tr(
        "{commit}; Python {version}, {packages}",
        commit=commit,
        version=provenance["python"],
        packages=packages,
    )
    return ((tr("Code"), code), (tr("SHA-256 of the images"), provenance["data_sha256"]))


def _answer(resolution_table: ResolutionTable) -> str:
    cells = {(cell.train_size, cell.test_size): cell for cell in resolution_table.cells}
    cell = cells.get(resolution_table.best) if resolution_table.best else None
    if cell is None or cell.stage_one is None:
        return tr("No cell has been measured.")
    stage, (validation, estimate) = tr("one"), cell.stage_one
    if cell.stage_two and cell.stage_two[0].selection_key >= validation.selection_key:
        stage, (validation, estimate) = tr("two"), cell.stage_two
    sizes = tr(
        "train {train_size}, test {test_size}, stage {stage}",
        train_size=cell.train_size,
        test_size=cell.test_size,
        stage=stage,
    )
    text = tr("The pair with the highest validation accuracy is {sizes}:", sizes=sizes)
    tied = sum(
        pair[0].accuracy_pct == validation.accuracy_pct
        for other in resolution_table.cells
        for pair in (other.stage_one, other.stage_two)
        if pair
    )
    if tied > 1:
        text = tr(
            "{tied} entries of the table share the highest validation accuracy, {accuracy} "
            "of {images:,} images; the one with the lowest validation loss is {sizes}:",
            tied=tied,
            accuracy=format.format_pct(validation.accuracy_pct),
            images=resolution_table.images[1],
            sizes=sizes,
        )
    text += " " + tr("{accuracy} on test.", accuracy=_format_accuracy(estimate))
    if resolution_table.best_paired is not None:
        best = resolution_table.best_paired
        word = tr("does not differ significantly from")
        if best.p < 0.05:
            word = tr("differs significantly from")
        text += " " + tr(
            "On the same images it {differs} {baseline} ({accuracy}): {only_this} images are "
            "correct only here, {only_baseline} only there, p {p}.",
            differs=word,
            baseline=tr_recorded(best.baseline),
            accuracy=format.format_pct(best.baseline_accuracy_pct),
            only_this=best.only_this,
            only_baseline=best.only_baseline,
            p=format.format_p_relation(best.p),
        )
    return text


def _caveats(resolution_table: ResolutionTable) -> tuple[str, ...]:
    return tuple(
        f"{format.capitalize_first(tr_recorded(caveat))}." for caveat in resolution_table.caveats
    )


def _format_accuracy(estimate: AccuracyEstimate) -> str:
    cell = _accuracy_cell(estimate)
    return f"{cell.text} {cell.note}"


def _cell_table(resolution_table: ResolutionTable) -> Table:
    columns = (
        *text_columns("train → test size"),
        *number_columns("stage one, test", "stage two, test"),
        *text_columns("stage two against one"),
        *number_columns("validation"),
    )
    rows = []
    for cell in resolution_table.cells:
        best = (cell.train_size, cell.test_size) == resolution_table.best
        note = tr("selected by the validation images") if best else ""
        sizes = TableCell(f"{cell.train_size} → {cell.test_size}", note)
        rows.append((sizes, *_measured(cell)))
    note = tr("Intervals: 95 %, exact, over the test images. Validation: stage one / stage two.")
    return Table("cells", columns, tuple(rows), note)


def _measured(cell: ResolutionCell) -> tuple[TableCell, ...]:
    """Return the table's cells of a measured pair of sizes, or its status and dashes."""
    blank = TableCell(format.DASH)
    if cell.stage_one is None:
        state = TableCell(tr_word(cell.status), badge=cell.status)
        return (state, *[blank] * 3)
    stages = [pair for pair in (cell.stage_one, cell.stage_two) if pair]
    validation = " / ".join(format.format_number(pair[0].accuracy_pct) for pair in stages)
    paired = blank
    if cell.paired:
        images = tr(
            "+{only_this} −{only_baseline} images",
            only_this=cell.paired.only_this,
            only_baseline=cell.paired.only_baseline,
        )
        paired = TableCell(images, f"p {format.format_p_relation(cell.paired.p)}")
    return (
        _accuracy_cell(cell.stage_one[1]),
        _accuracy_cell(cell.stage_two[1]) if cell.stage_two else blank,
        paired,
        TableCell(tr("{number} %", number=validation)),
    )


def _accuracy_cell(estimate: AccuracyEstimate) -> TableCell:
    return TableCell(
        format.format_pct(estimate.accuracy_pct),
        format.format_interval(Interval(estimate.low_pct, estimate.high_pct)),
    )


def _stage_table(resolution_table: ResolutionTable) -> Table:
    columns = number_columns("train size", "epochs", "best epoch", "time")
    rows = tuple(
        (
            TableCell(
                str(row.train_size), note="" if row.status == "done" else tr_word(row.status)
            ),
            TableCell(str(row.epochs)),
            TableCell(str(row.best_epoch)),
            TableCell(format.format_duration(row.seconds)),
        )
        for row in resolution_table.rows
    )
    return Table("stages", columns, rows)


# Renderers
# --------------------------------------------------------------------------------------------------


def _html(content: FixresPage, drawings: dict[str, list[str]]) -> str:

    from resnetlab.reports.render.html import jinja_environment

    captions = {key: tr(text) for key, text in CAPTIONS.items()}
    pictures = {}
    for key, (wide, narrow) in drawings.items():
        pictures[key] = themed_picture(wide, narrow, captions[key])
    template = jinja_environment().get_template("fixres.html")
    return template.render(page=content, pictures=pictures, captions=captions)


def _markdown(content: FixresPage) -> str:
    escape = markdown.escape

    def picture(key: str) -> list[str]:
        caption = escape(tr(CAPTIONS[key]))
        return [f"![{caption}](figures/{key}.svg)", caption]

    parts = [f"# {escape(content.title)}", "*resnetlab fixres*", escape(content.answer)]
    parts += picture("heat")
    parts += [
        f"**{tr('Limitations.')}** {escape(content.limits)}",
        f"## {tr('Accuracy by train and test size')}",
        *markdown.markdown_table(content.table),
        *picture("sizes"),
        *picture("cost"),
        f"## {tr('Stage one')}",
        *markdown.markdown_table(content.stage_table),
        f"## {tr('Reproduction')}",
        f"```sh\n{content.command}\n```",
    ]
    parts.append(
        "\n".join(
            "- " + tr("{term}: {text}", term=escape(term), text=escape(detail))
            for term, detail in content.details
        )
    )
    return "\n\n".join(part for part in parts if part) + "\n"
