"""Report of a table of train and test sizes: a page, a document, a table and figures from
`fixres.json`.

None of them contains a photograph.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnetlab.files import read_json, write_json, write_text
from resnetlab.finetune.results import Cell, Look, Sizes
from resnetlab.reports import format
from resnetlab.reports.document import Cell as Shown
from resnetlab.reports.document import Column, Table
from resnetlab.reports.figures import standalone, themed
from resnetlab.reports.figures.canvas import (
    CARD,
    DASHES,
    INK,
    MARKS,
    MUTED,
    NARROW,
    SERIES,
    WIDE,
    new,
    style,
    svg,
)
from resnetlab.reports.figures.values import csv_text
from resnetlab.reports.render import markdown
from resnetlab.schema import decode, encode
from resnetlab.stats.intervals import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes


FILE = "fixres.json"


@dataclass(frozen=True)
class Page:
    """Content of the report for both renderers, in words."""

    title: str
    answer: str
    limits: str
    table: Table
    rows: Table
    facts: tuple[tuple[str, str], ...]
    command: str


def write(sizes: Sizes, folder: Path) -> Path:
    """Write the report into `folder`, each file atomically and `report.html` last.

    Return the path of `report.html`.
    """
    content = page(sizes)
    drawings = {key: [_figure_svg(key, sizes, small) for small in (False, True)] for key in FIGURES}
    write_json(folder / FILE, encode(sizes))
    write_text(folder / "cells.csv", csv_text(COLUMNS, map(_values, sizes.cells)))
    for key, (wide, _) in drawings.items():
        write_text(folder / "figures" / f"{key}.svg", standalone(wide))
    write_text(folder / "report.md", _markdown(content))
    target = folder / "report.html"
    write_text(target, _html(content, drawings))
    return target


def rebuild(folder: Path, into: Path | None = None) -> Path:
    """Write the report again from the `fixres.json` of `folder`."""
    sizes: Sizes = decode(Sizes, read_json(folder / FILE), str(folder / FILE))
    return write(sizes, into or folder)


# Words
# --------------------------------------------------------------------------------------------------

COLUMNS = (
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
    "seconds",
    "peak_bytes",
)


def _values(cell: Cell) -> list[str | float | None]:
    values: list[str | float | None] = []
    for pair in (cell.one, cell.two):
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
        cell.seconds,
        cell.peak_bytes,
    ]


def page(sizes: Sizes) -> Page:
    """Return the content of the report in words; fixres.json has every number of it."""
    train, validation, test = sizes.images
    limits = (
        f"One seed: the intervals are over the {test:,} test images, and say nothing of what "
        "another seed would give. "
        "The p-values are McNemar's, exact, on the same test images, one a cell and not "
        "corrected for their number."
    )
    chosen = (
        "each cell is measured once on it, and it chooses nothing: validation chooses epochs and "
        "the best pair"
    )
    shared = (
        "as they were: rows of the frozen part are computed once a test size and shared by "
        "the cells that follow; "
        "memory is the peak of the whole process, or of the GPU"
    )
    data = (
        f"{sizes.data}: {train:,} train, {validation:,} validation, {test:,} test; "
        f"{sizes.classes} classes, the "
        f"largest {sizes.chance_pct:.1f} % of test"
    )
    facts = (
        (
            "Network",
            (
                f"{sizes.model}: {sizes.trainable:,} of {sizes.parameters:,} parameters learn in "
                "stage one"
            ),
        ),
        ("Licence of the weights", sizes.licence),
        ("Photographs", data),
        ("Recipe", f"{sizes.recipe}, seed {sizes.seed}, {sizes.precision}"),
        ("Machine", f"{sizes.machine}; {format.duration(sizes.seconds)} in all"),
        ("Test split", chosen),
        ("Time and memory", shared),
        *_code(sizes.provenance),
    )
    return Page(
        title=f"Train and test sizes on {sizes.data}",
        answer=" ".join((_answer(sizes), *_caveats(sizes))),
        limits=limits,
        table=_table(sizes),
        rows=_rows(sizes),
        facts=facts,
        command=sizes.command,
    )


def _code(line: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    packages = ", ".join(f"{name} {version}" for name, version in line["packages"].items())
    changed = ", with changes" if line["dirty"] else ""
    return (
        (
            "Code",
            (
                f"commit {line['commit'][:10] or 'unknown'}{changed}; Python {line['python']}, "
                f"{packages}"
            ),
        ),
        ("SHA-256 of the photographs", line["data_sha256"]),
    )


def _answer(sizes: Sizes) -> str:
    cell = next(
        (cell for cell in sizes.cells if (cell.train_size, cell.test_size) == sizes.best), None
    )
    if cell is None or cell.one is None:
        return "No cell has been measured."
    use_two = cell.two is not None and _merit(cell.two[0]) >= _merit(cell.one[0])
    estimate = (cell.two if use_two and cell.two else cell.one)[1]
    text = (
        f"By validation the best pair is train {cell.train_size}, test {cell.test_size}, "
        f"stage {'two' if use_two else 'one'}: {_share(estimate)} on test."
    )
    if sizes.best_paired is not None:
        best = sizes.best_paired
        word = "differs from" if best.p < 0.05 else "is not told apart from"
        text += (
            f" On the same images it {word} {best.baseline} "
            f"({format.pct(best.baseline_accuracy_pct)}): it alone is "
            f"right on {best.only_this}, that one alone on {best.only_baseline}, p = "
            f"{format.p_value(best.p)}."
        )
    return text


def _caveats(sizes: Sizes) -> tuple[str, ...]:
    return tuple(f"{format.capital(caveat)}." for caveat in sizes.caveats)


def _merit(look: Look) -> tuple[float, float]:
    return look.accuracy_pct, -look.loss_nats


def _share(look: Look) -> str:
    return f"{format.pct(look.accuracy_pct)} {format.span(Interval(look.low_pct, look.high_pct))}"


def _table(sizes: Sizes) -> Table:
    columns = tuple(
        Column(name, numeric)
        for name, numeric in (
            ("train → test", False),
            ("stage one, test", True),
            ("stage two, test", True),
            ("two against one", False),
            ("validation", True),
            ("time", True),
            ("peak memory", True),
        )
    )
    rows = []
    for cell in sizes.cells:
        best = (cell.train_size, cell.test_size) == sizes.best
        first = Shown(
            f"{cell.train_size} → {cell.test_size}", note="best by validation" if best else ""
        )
        if cell.one is None:
            state = Shown(cell.status, badge=cell.status)
            memory = _memory(cell.peak_bytes) if cell.status == "out of memory" else format.NOTHING
            blank = Shown(format.NOTHING)
            rows.append((first, state, blank, blank, blank, blank, Shown(memory)))
            continue
        validation = " / ".join(
            f"{pair[0].accuracy_pct:.1f}" for pair in (cell.one, cell.two) if pair
        )
        paired = format.NOTHING
        if cell.paired:
            paired = f"+{cell.paired.only_this} {format.MINUS}{cell.paired.only_baseline} images"
        note = f"p = {format.p_value(cell.paired.p)}" if cell.paired else ""
        rows.append(
            (
                first,
                _look(cell.one[1]),
                _look(cell.two[1]) if cell.two else Shown("–"),
                Shown(paired, note),
                Shown(f"{validation} %"),
                Shown(format.duration(cell.seconds)),
                Shown(_memory(cell.peak_bytes)),
            )
        )
    note = "Intervals: 95 %, exact, over the test images. Validation: stage one / stage two."
    return Table("cells", columns, tuple(rows), note)


def _look(look: Look) -> Shown:
    return Shown(format.pct(look.accuracy_pct), format.span(Interval(look.low_pct, look.high_pct)))


def _rows(sizes: Sizes) -> Table:
    columns = tuple(
        Column(name) for name in ("train size", "epochs", "best epoch", "time", "peak memory")
    )
    rows = tuple(
        (
            Shown(str(row.train_size), note="" if row.status == "done" else row.status),
            Shown(str(row.epochs)),
            Shown(str(row.best_epoch)),
            Shown(format.duration(row.seconds)),
            Shown(_memory(row.peak_bytes)),
        )
        for row in sizes.rows
    )
    return Table("stages", columns, rows)


def _memory(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB" if size < 10 * 2**30 else f"{size / 2**30:.1f} GiB"


# Figures
# --------------------------------------------------------------------------------------------------

FIGURES = {
    "heat": "Test accuracy by train and test size, stage two where there is one. A frame marks the "
    "best by validation.",
    "sizes": "Test accuracy by test size, a line a train size: solid stage two, faint stage one.",
    "cost": "Test accuracy by the pixels that the network is shown of a photograph, as a "
    "share of 224 "
    "x 224.",
}


def _figure_svg(key: str, sizes: Sizes, small: bool) -> str:
    with style():
        width = NARROW if small else WIDE
        figure = new(width, 300 if key == "heat" else 330)
        ax = figure.add_axes((0.16 if small else 0.09, 0.2, 0.8 if small else 0.87, 0.74))
        (_heat if key == "heat" else _lines)(ax, sizes, key, small)
        return svg(figure, f"{key}-{small:d}")


def _of(cell: Cell) -> Look | None:
    pair = cell.two or cell.one
    return pair[1] if pair else None


def _heat(ax: Axes, sizes: Sizes, _: str, small: bool) -> None:
    trains = sorted({cell.train_size for cell in sizes.cells})
    tests = sorted({cell.test_size for cell in sizes.cells})
    values = [look.accuracy_pct for cell in sizes.cells if (look := _of(cell))]
    low, high = min(values, default=0.0), max(values, default=1.0)
    for cell in sizes.cells:
        x, y = tests.index(cell.test_size), trains.index(cell.train_size)
        look = _of(cell)
        share = (look.accuracy_pct - low) / max(1e-9, high - low) if look else 0.0
        best = (cell.train_size, cell.test_size) == sizes.best
        box: dict[str, Any] = (
            {"facecolor": SERIES[1], "alpha": 0.08 + 0.5 * share} if look else {"facecolor": "none"}
        )
        ax.add_patch(_box(x, y, **box))
        if best:
            ax.add_patch(_box(x, y, facecolor="none", edgecolor=INK, linewidth=2.4, zorder=4))
        text = f"{look.accuracy_pct:.1f}" if look else cell.status.replace(" ", "\n")
        ax.text(
            x,
            y,
            text,
            ha="center",
            va="center",
            color=INK,
            fontsize=11 if small and not look else 13,
        )
    ax.set(
        xlim=(-0.5, len(tests) - 0.5),
        ylim=(-0.5, len(trains) - 0.5),
        xlabel="test size",
        ylabel="train size",
    )
    ax.set_xticks(range(len(tests)), map(str, tests))
    ax.set_yticks(range(len(trains)), map(str, trains))


def _box(x: float, y: float, **form: Any) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x - 0.48, y - 0.48), 0.96, 0.96, **({"linewidth": 0} | form))


def _lines(ax: Axes, sizes: Sizes, key: str, small: bool) -> None:
    for index, size in enumerate(sorted({cell.train_size for cell in sizes.cells})):
        cells = sorted(
            (cell for cell in sizes.cells if cell.train_size == size),
            key=lambda cell: cell.test_size,
        )
        color, mark = SERIES[index % len(SERIES)], MARKS[index % len(MARKS)]
        for stage, faint in (("one", True), ("two", False)):
            points = [
                (cell.test_size, pair[1].accuracy_pct)
                for cell in cells
                if (pair := getattr(cell, stage))
            ]
            if not points:
                continue
            x = [(edge / 224) ** 2 if key == "cost" else edge for edge, _ in points]
            label = (
                f"train {size}" if stage == "two" or not any(cell.two for cell in cells) else None
            )
            ax.plot(
                x,
                [value for _, value in points],
                color=color,
                marker=mark,
                ms=6,
                lw=1.2 if faint else 2.2,
                alpha=0.45 if faint and label is None else 1,
                ls=DASHES[index % len(DASHES)],
                mec=CARD,
                label=label,
            )
    if key == "sizes":
        sides = sorted({cell.test_size for cell in sizes.cells})
        ax.set_xticks(sides, map(str, sides))
    ax.grid(axis="y")
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g} %")
    ax.set_xlabel("pixels, 1 is 224 x 224" if key == "cost" else "test size")
    ax.legend(loc="lower right", fontsize=11 if small else 12, labelcolor=MUTED)


# Renderers
# --------------------------------------------------------------------------------------------------


def _html(content: Page, drawings: dict[str, list[str]]) -> str:
    from markupsafe import Markup, escape

    from resnetlab.reports.render.html import environment

    pictures = {
        key: Markup(
            f'<div class="wide">{themed(wide, str(escape(FIGURES[key])))}</div>'
            f'<div class="narrow">{themed(narrow, str(escape(FIGURES[key])))}</div>'
        )
        for key, (wide, narrow) in drawings.items()
    }
    return (
        environment()
        .get_template("sizes.html")
        .render(page=content, pictures=pictures, captions=FIGURES)
    )


def _markdown(content: Page) -> str:
    escape = markdown.escape
    parts = [f"# {escape(content.title)}", "*resnetlab fixres*", escape(content.answer)]
    parts += [f"![{escape(FIGURES['heat'])}](figures/heat.svg)", escape(FIGURES["heat"])]
    parts += [
        f"**What this does not show.** {escape(content.limits)}",
        "## Cells",
        *markdown.table(content.table),
    ]
    for key in ("sizes", "cost"):
        parts += [f"![{escape(FIGURES[key])}](figures/{key}.svg)", escape(FIGURES[key])]
    parts += [
        "## Stage one",
        *markdown.table(content.rows),
        "## How to repeat it",
        f"```sh\n{content.command}\n```",
    ]
    parts.append("\n".join(f"- {escape(term)}: {escape(fact)}" for term, fact in content.facts))
    return "\n\n".join(part for part in parts if part) + "\n"
