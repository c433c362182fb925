"""Report of a table of train and test sizes: a page, a document, a table and figures from
`fixres.json`.

None of them contains a photograph.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnetlab.files import read_json, write_json, write_text
from resnetlab.finetune.results import AccuracyEstimate, ResolutionCell, ResolutionTable
from resnetlab.reports import format
from resnetlab.reports.document import Cell as TableCell
from resnetlab.reports.document import Column, Table
from resnetlab.reports.figures import to_standalone_svg, to_themed_svg
from resnetlab.reports.figures.resolution import CAPTIONS, draw_svg
from resnetlab.reports.figures.values import csv_text
from resnetlab.reports.render import markdown
from resnetlab.schema import decode, encode
from resnetlab.stats.intervals import Interval

FIXRES_FILE = "fixres.json"


@dataclass(frozen=True)
class Page:
    """Content of the report for both renderers, in words."""

    title: str
    answer: str
    limits: str
    table: Table
    stage_table: Table
    facts: tuple[tuple[str, str], ...]
    command: str


def write(resolution_table: ResolutionTable, folder: Path) -> Path:
    """Write the report into `folder`, each file atomically and `report.html` last.

    Return the path of `report.html`.
    """
    content = page(resolution_table)
    drawings = {
        key: [draw_svg(key, resolution_table, small) for small in (False, True)] for key in CAPTIONS
    }
    write_json(folder / FIXRES_FILE, encode(resolution_table))
    write_text(folder / "cells.csv", csv_text(CSV_COLUMNS, map(_csv_row, resolution_table.cells)))
    for key, (wide, _) in drawings.items():
        write_text(folder / "figures" / f"{key}.svg", to_standalone_svg(wide))
    write_text(folder / "report.md", _markdown(content))
    target = folder / "report.html"
    write_text(target, _html(content, drawings))
    return target


def rebuild(folder: Path, destination: Path | None = None) -> Path:
    """Write the report again from the `fixres.json` of `folder`."""
    sizes: ResolutionTable = decode(
        ResolutionTable, read_json(folder / FIXRES_FILE), str(folder / FIXRES_FILE)
    )
    return write(sizes, destination or folder)


# Words
# --------------------------------------------------------------------------------------------------

CSV_COLUMNS = (
    "train_size",
    "test_size",
    "status",
    "one_validation_pct",
    "one_test_pct",
    "one_low",
    "one_high",
    "two_validation_pct",
    "two_test_pct",
    "two_low",
    "two_high",
    "only_two",
    "only_one",
    "p",
)


def _csv_row(cell: ResolutionCell) -> list[str | float | None]:
    values: list[str | float | None] = []
    for pair in (cell.stage_one, cell.stage_two):
        values += (
            [pair[0].accuracy_pct, pair[1].accuracy_pct, pair[1].low_pct, pair[1].high_pct]
            if pair
            else [None] * 4
        )
    paired = (
        [cell.paired.only_this, cell.paired.only_baseline, cell.paired.p]
        if cell.paired
        else [None] * 3
    )
    return [
        cell.train_size,
        cell.test_size,
        cell.status,
        *values,
        *paired,
    ]


def page(resolution_table: ResolutionTable) -> Page:
    """Return the content of the report in words; fixres.json has every number of it."""
    train, validation, test = resolution_table.images
    limits = (
        f"One seed: the intervals are over the {test:,} test images and do not cover other seeds. "
        "The p-values are those of McNemar's exact test on the same test images, one per cell and "
        "not corrected for their number."
    )
    chosen = (
        "each cell is evaluated once on it, and it selects nothing: the validation images select "
        "the epochs and the best pair"
    )
    shared = (
        "no time and no memory are given per pair of sizes: features of the frozen layers are "
        "computed once per test size and shared by the pairs that follow; stage one is timed alone"
    )
    data = (
        f"{resolution_table.data}: {train:,} train, {validation:,} validation, {test:,} test; "
        f"{resolution_table.classes} classes; always guessing the most frequent class is correct "
        f"for {resolution_table.chance_pct:.1f} % of the test images"
    )
    facts = (
        (
            "Network",
            (
                f"{resolution_table.model}: {resolution_table.trainable_parameters:,} of "
                f"{resolution_table.parameters:,} parameters are "
                "trained in stage one"
            ),
        ),
        ("License of the weights", resolution_table.license),
        ("Images", data),
        (
            "Recipe",
            (
                f"{resolution_table.recipe}, seed {resolution_table.seed}, "
                f"{resolution_table.precision}"
            ),
        ),
        (
            "Machine",
            (
                f"{resolution_table.machine}; "
                f"{format.format_duration(resolution_table.seconds)} in all"
            ),
        ),
        ("Test split", chosen),
        ("Time and memory", shared),
        *_code_facts(resolution_table.provenance),
    )
    return Page(
        title=f"Train and test sizes on {resolution_table.data}",
        answer=" ".join((_answer(resolution_table), *_caveats(resolution_table))),
        limits=limits,
        table=_cell_table(resolution_table),
        stage_table=_stage_table(resolution_table),
        facts=facts,
        command=resolution_table.command,
    )


def _code_facts(provenance: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    packages = ", ".join(f"{name} {version}" for name, version in provenance["packages"].items())
    changed = ", with changes" if provenance["dirty"] else ""
    return (
        (
            "Code",
            (
                f"commit {provenance['commit'][:10] or 'unknown'}{changed}; Python "
                f"{provenance['python']}, "
                f"{packages}"
            ),
        ),
        ("SHA-256 of the images", provenance["data_sha256"]),
    )


def _answer(resolution_table: ResolutionTable) -> str:
    cell = next(
        (
            cell
            for cell in resolution_table.cells
            if (cell.train_size, cell.test_size) == resolution_table.best
        ),
        None,
    )
    if cell is None or cell.stage_one is None:
        return "No cell has been measured."
    use_two = cell.stage_two is not None and _selection_key(cell.stage_two[0]) >= _selection_key(
        cell.stage_one[0]
    )
    estimate = (cell.stage_two if use_two and cell.stage_two else cell.stage_one)[1]
    text = (
        f"The pair with the highest validation accuracy is train {cell.train_size}, test "
        f"{cell.test_size}, "
        f"stage {'two' if use_two else 'one'}: {_format_accuracy(estimate)} on test."
    )
    if resolution_table.best_paired is not None:
        best = resolution_table.best_paired
        word = (
            "differs significantly from" if best.p < 0.05 else "does not differ significantly from"
        )
        text += (
            f" On the same images it {word} {best.baseline} "
            f"({format.format_pct(best.baseline_accuracy_pct)}): {best.only_this} images are "
            f"correct only here, {best.only_baseline} only there, p "
            f"{format.format_p_relation(best.p)}."
        )
    return text


def _caveats(resolution_table: ResolutionTable) -> tuple[str, ...]:
    return tuple(f"{format.capitalize_first(caveat)}." for caveat in resolution_table.caveats)


def _selection_key(estimate: AccuracyEstimate) -> tuple[float, float]:
    return estimate.accuracy_pct, -estimate.loss_nats


def _format_accuracy(estimate: AccuracyEstimate) -> str:
    return (
        f"{format.format_pct(estimate.accuracy_pct)} "
        f"{format.format_interval(Interval(estimate.low_pct, estimate.high_pct))}"
    )


def _cell_table(resolution_table: ResolutionTable) -> Table:
    columns = tuple(
        Column(name, numeric)
        for name, numeric in (
            ("train → test size", False),
            ("stage one, test", True),
            ("stage two, test", True),
            ("stage two against one", False),
            ("validation", True),
        )
    )
    rows = []
    for cell in resolution_table.cells:
        best = (cell.train_size, cell.test_size) == resolution_table.best
        first = TableCell(
            f"{cell.train_size} → {cell.test_size}",
            note="highest validation accuracy" if best else "",
        )
        if cell.stage_one is None:
            state = TableCell(cell.status, badge=cell.status)
            blank = TableCell(format.DASH)
            rows.append((first, state, blank, blank, blank))
            continue
        validation = " / ".join(
            f"{pair[0].accuracy_pct:.1f}" for pair in (cell.stage_one, cell.stage_two) if pair
        )
        paired = format.DASH
        if cell.paired:
            paired = f"+{cell.paired.only_this} {format.MINUS}{cell.paired.only_baseline} images"
        note = f"p {format.format_p_relation(cell.paired.p)}" if cell.paired else ""
        rows.append(
            (
                first,
                _accuracy_cell(cell.stage_one[1]),
                _accuracy_cell(cell.stage_two[1]) if cell.stage_two else TableCell("–"),
                TableCell(paired, note),
                TableCell(f"{validation} %"),
            )
        )
    note = "Intervals: 95 %, exact, over the test images. Validation: stage one / stage two."
    return Table("cells", columns, tuple(rows), note)


def _accuracy_cell(estimate: AccuracyEstimate) -> TableCell:
    return TableCell(
        format.format_pct(estimate.accuracy_pct),
        format.format_interval(Interval(estimate.low_pct, estimate.high_pct)),
    )


def _stage_table(resolution_table: ResolutionTable) -> Table:
    columns = tuple(Column(name) for name in ("train size", "epochs", "best epoch", "time"))
    rows = tuple(
        (
            TableCell(str(row.train_size), note="" if row.status == "done" else row.status),
            TableCell(str(row.epochs)),
            TableCell(str(row.best_epoch)),
            TableCell(format.format_duration(row.seconds)),
        )
        for row in resolution_table.rows
    )
    return Table("stages", columns, rows)


# Renderers
# --------------------------------------------------------------------------------------------------


def _html(content: Page, drawings: dict[str, list[str]]) -> str:
    from markupsafe import Markup, escape

    from resnetlab.reports.render.html import jinja_environment

    pictures = {
        key: Markup(
            f'<div class="wide">{to_themed_svg(wide, str(escape(CAPTIONS[key])))}</div>'
            f'<div class="narrow">{to_themed_svg(narrow, str(escape(CAPTIONS[key])))}</div>'
        )
        for key, (wide, narrow) in drawings.items()
    }
    return (
        jinja_environment()
        .get_template("fixres.html")
        .render(page=content, pictures=pictures, captions=CAPTIONS)
    )


def _markdown(content: Page) -> str:
    escape = markdown.escape
    parts = [f"# {escape(content.title)}", "*resnetlab fixres*", escape(content.answer)]
    parts += [f"![{escape(CAPTIONS['heat'])}](figures/heat.svg)", escape(CAPTIONS["heat"])]
    parts += [
        f"**Limitations.** {escape(content.limits)}",
        "## Accuracy by train and test size",
        *markdown.table(content.table),
    ]
    for key in ("sizes", "cost"):
        parts += [f"![{escape(CAPTIONS[key])}](figures/{key}.svg)", escape(CAPTIONS[key])]
    parts += [
        "## Stage one",
        *markdown.table(content.stage_table),
        "## Reproduction",
        f"```sh\n{content.command}\n```",
    ]
    parts.append("\n".join(f"- {escape(term)}: {escape(fact)}" for term, fact in content.facts))
    return "\n\n".join(part for part in parts if part) + "\n"
