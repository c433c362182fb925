"""Figures of a table of train and test sizes: a heat map, and accuracy by size and by cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resnetlab.finetuning.results import AccuracyEstimate, ResolutionCell, ResolutionTable
from resnetlab.reports.figures.canvas import (
    CARD,
    INK,
    LINE_STYLES,
    MARKERS,
    MUTED,
    NARROW_PX,
    SERIES,
    WIDE_PX,
    figure_style,
    format_tick_pct,
    localize_ticks,
    new_figure,
    to_svg,
)
from resnetlab.translation import deferred, localize_number, tr, tr_word

if TYPE_CHECKING:
    from matplotlib.axes import Axes


CAPTIONS = {
    "heat": deferred(
        "Test accuracy in percent by train and test size, after stage two if there is one. The "
        "frame marks the pair that the validation images selected."
    ),
    "sizes": deferred(
        "Test accuracy by test size, with one color per train size. Thick lines: after stage "
        "two; thin pale lines: after stage one."
    ),
    "cost": deferred(
        "Test accuracy by the number of pixels of the network's input, in multiples of 224 x 224."
    ),
}


def draw_svg(key: str, resolution_table: ResolutionTable, narrow: bool) -> str:
    """Draw a figure and return its SVG. `key` is a key of `CAPTIONS`."""
    with figure_style():
        width = NARROW_PX if narrow else WIDE_PX
        figure = new_figure(width, 300 if key == "heat" else 330)
        ax = figure.add_axes((0.16 if narrow else 0.09, 0.2, 0.8 if narrow else 0.87, 0.74))
        (_draw_grid if key == "heat" else _draw_lines)(ax, resolution_table, key, narrow)
        localize_ticks(figure)
        return to_svg(figure, f"{key}-{narrow:d}")


def _test_estimate(cell: ResolutionCell) -> AccuracyEstimate | None:
    pair = cell.stage_two or cell.stage_one
    return pair[1] if pair else None


def _draw_grid(ax: Axes, resolution_table: ResolutionTable, _: str, narrow: bool) -> None:
    trains = sorted({cell.train_size for cell in resolution_table.cells})
    tests = sorted({cell.test_size for cell in resolution_table.cells})
    values = [
        estimate.accuracy_pct
        for cell in resolution_table.cells
        if (estimate := _test_estimate(cell))
    ]
    low, high = min(values, default=0.0), max(values, default=1.0)
    for cell in resolution_table.cells:
        x, y = tests.index(cell.test_size), trains.index(cell.train_size)
        estimate = _test_estimate(cell)
        share = (estimate.accuracy_pct - low) / max(1e-9, high - low) if estimate else 0.0
        best = (cell.train_size, cell.test_size) == resolution_table.best
        box: dict[str, Any] = (
            {"facecolor": SERIES[1], "alpha": 0.08 + 0.5 * share}
            if estimate
            else {"facecolor": "none"}
        )
        ax.add_patch(_cell_patch(x, y, **box))
        if best:
            ax.add_patch(
                _cell_patch(x, y, facecolor="none", edgecolor=INK, linewidth=2.4, zorder=4)
            )
        text = tr_word(cell.status).replace(" ", "\n")
        if estimate:
            text = localize_number(f"{estimate.accuracy_pct:.1f}")
        ax.text(
            x,
            y,
            text,
            ha="center",
            va="center",
            color=INK,
            fontsize=11 if narrow and not estimate else 13,
        )
    ax.set(
        xlim=(-0.5, len(tests) - 0.5),
        ylim=(-0.5, len(trains) - 0.5),
        xlabel=tr("test size"),
        ylabel=tr("train size"),
    )
    ax.set_xticks(range(len(tests)), map(str, tests))
    ax.set_yticks(range(len(trains)), map(str, trains))


def _cell_patch(x: float, y: float, **form: Any) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x - 0.48, y - 0.48), 0.96, 0.96, **({"linewidth": 0} | form))


def _draw_lines(ax: Axes, resolution_table: ResolutionTable, key: str, narrow: bool) -> None:
    for index, size in enumerate(sorted({cell.train_size for cell in resolution_table.cells})):
        cells = sorted(
            (cell for cell in resolution_table.cells if cell.train_size == size),
            key=lambda cell: cell.test_size,
        )
        color, mark = SERIES[index % len(SERIES)], MARKERS[index % len(MARKERS)]
        for stage, faint in (("stage_one", True), ("stage_two", False)):
            points = [
                (cell.test_size, pair[1].accuracy_pct)
                for cell in cells
                if (pair := getattr(cell, stage))
            ]
            if not points:
                continue
            x = [(edge / 224) ** 2 if key == "cost" else edge for edge, _ in points]
            label = (
                tr("train {size}", size=size)
                if stage == "stage_two" or not any(cell.stage_two for cell in cells)
                else None
            )
            ax.plot(
                x,
                [value for _, value in points],
                color=color,
                marker=mark,
                ms=6,
                lw=1.2 if faint else 2.2,
                alpha=0.45 if faint and label is None else 1,
                ls=LINE_STYLES[index % len(LINE_STYLES)],
                mec=CARD,
                label=label,
            )
    if key == "sizes":
        sides = sorted({cell.test_size for cell in resolution_table.cells})
        ax.set_xticks(sides, map(str, sides))
    ax.grid(axis="y")
    ax.yaxis.set_major_formatter(format_tick_pct)
    ax.set_xlabel(tr("pixels, 1 is 224 x 224") if key == "cost" else tr("test size"))
    ax.legend(loc="lower right", fontsize=11 if narrow else 12, labelcolor=MUTED)
