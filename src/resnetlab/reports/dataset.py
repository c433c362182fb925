"""Description of a folder of photographs: a page, a document, figures and the sizes of the images.

It contains no photograph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from resnetlab.data.paths import escape_undecodable
from resnetlab.data.summary import FolderSummary
from resnetlab.errors import escape_controls
from resnetlab.files import write_text
from resnetlab.reports.document import Cell, Detail, Table, number_columns, text_columns
from resnetlab.reports.figures import themed_picture, to_standalone_svg
from resnetlab.reports.figures.canvas import (
    CARD,
    INK,
    NARROW_PX,
    SERIES,
    WIDE_PX,
    figure_style,
    new_figure,
    to_svg,
)
from resnetlab.reports.figures.values import write_path_table
from resnetlab.reports.format import capitalize_first
from resnetlab.reports.render import markdown
from resnetlab.translation import tr_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

HISTOGRAM_BINS = 40
MAX_DRAWN_CLASSES = 60
"""Largest number of classes that the figure draws; the table has all of them."""

MAX_LISTED_ITEMS = 100
"""Number of files or groups that a list of the page has; describe.md has all."""

ROW_PX, BAR_PX = 38, 13
"""Height of a class in its figure, and of the bar below its name."""


@dataclass(frozen=True)
class Listing:
    """List of findings on the page."""

    title: str
    lines: tuple[str, ...]
    total: int


def write_dataset_page(description: FolderSummary, folder: Path) -> Path:
    """Write images.csv, the figures, describe.md and then report.html into `folder`.

    Returns the path of report.html.
    """
    rows = [
        (row.path, row.label, row.split, row.size[1], row.size[0], row.sha256)
        for row in description.rows
    ]
    names = ("path", "label", "split", "width", "height", "sha256")
    write_path_table(folder / "images.csv", names, rows)
    drawings = {figure.key: _draw(figure) for figure in _figures(description)}
    for key, (wide, _) in drawings.items():
        write_text(folder / "figures" / f"{key}.svg", to_standalone_svg(wide))
    write_text(folder / "describe.md", escape_undecodable(_markdown(description)))
    target = folder / "report.html"
    write_text(target, escape_undecodable(_html(description, drawings)))
    return target


# Words
# --------------------------------------------------------------------------------------------------


def _title(description: FolderSummary) -> str:
    audit = description.audit
    images, classes = tr_count(audit.num_images, "photograph"), len(audit.classes)
    return f"{images} of {tr_count(classes, 'class')}"


def _warnings(description: FolderSummary) -> Iterator[str]:
    """Yield sentences about what makes an accuracy on this data unreliable."""
    audit = description.audit
    if description.overlap:
        yield description.overlap
    if audit.duplicates:
        groups = tr_count(len(audit.duplicates), "photograph")
        yield f"{groups} with the same pixels in more than one split: the test is too easy"
    across = [pair for pair in description.near_copies if not pair.same_split]
    if across:
        pairs = tr_count(len(across), "pair")
        yield f"{pairs} of near copies in different splits: the test is too easy"
    if audit.contradictions:
        groups = tr_count(len(audit.contradictions), "photograph")
        yield f"{groups} with the same pixels under two classes: one of the labels is wrong"
    untested = [
        name for name, count in zip(audit.classes, audit.counts["test"], strict=True) if not count
    ]
    if untested:
        listed = ", ".join(untested[:20]) + (", ..." if untested[20:] else "")
        yield f"no test photograph of {tr_count(len(untested), 'class')}: {listed}"


def _class_table(description: FolderSummary) -> Table:
    audit = description.audit
    columns = (*text_columns("Class"), *number_columns(*map(capitalize_first, audit.counts)))
    rows = tuple(
        (Cell(name), *(Cell(f"{counts[k]:,}") for counts in audit.counts.values()))
        for k, name in enumerate(audit.classes)
    )
    return Table("classes", columns, rows)


def _listings(description: FolderSummary) -> Iterator[Listing]:
    """Yield the lists of findings that are not empty."""
    audit = description.audit
    groups: dict[str, Sequence[str]] = {
        "Files that cannot be read": [f"{item.path}: {item.reason}" for item in audit.bad],
        "Skipped files": [f"{item.path}: {item.reason}" for item in audit.skipped],
        "Same pixels in more than one split": [" = ".join(group) for group in audit.duplicates],
        "Same pixels within one split": [" = ".join(group) for group in audit.copies_within_split],
        "Same pixels under more than one class": [
            " = ".join(group) for group in audit.contradictions
        ],
        "Near copies in more than one split": [
            pair.text() for pair in description.near_copies if not pair.same_split
        ],
        "Near copies within one split": [
            pair.text() for pair in description.near_copies if pair.same_split
        ],
    }
    for title, items in groups.items():
        if items:
            listed = tuple(map(escape_controls, items[:MAX_LISTED_ITEMS]))
            yield Listing(title, listed, len(items))


def _details(description: FolderSummary) -> Iterator[Detail]:
    audit = description.audit
    for term, values in (
        ("Shorter side", audit.sizes.shorter),
        ("Longer side", audit.sizes.longer),
    ):
        low, median, high = values
        yield Detail(term, f"{low:,} to {high:,} pixels, median {median:,}")
    yield Detail("SHA-256 of the data", audit.sha256)
    for note in audit.notes:
        yield Detail("Note", note)


# Renderers
# --------------------------------------------------------------------------------------------------


def _markdown(description: FolderSummary) -> str:
    parts = [f"# {markdown.escape(description.audit.name)}", "*resnetlab data describe*"]
    parts += [f"> **{markdown.escape(description.overlap)}.**"] if description.overlap else []
    for figure in _figures(description):
        caption = markdown.escape(figure.caption)
        parts += [f"![{caption}](figures/{figure.key}.svg)", caption]
    parts.append(
        "```text\n"
        + "\n".join(line.replace("```", "'''") for line in description.lines(None))
        + "\n```"
    )
    return "\n\n".join(parts) + "\n"


def _html(description: FolderSummary, drawings: dict[str, tuple[str, str]]) -> str:

    from resnetlab.reports.render.html import jinja_environment

    figures = []
    for figure in _figures(description):
        wide, narrow = drawings[figure.key]
        figures.append((themed_picture(wide, narrow, figure.caption), figure.caption))
    template = jinja_environment().get_template("dataset.html")
    return template.render(
        name=description.audit.name,
        title=_title(description),
        answer=f"{description.audit.file_counts}.",
        warnings=[capitalize_first(line) for line in _warnings(description)],
        figures=figures,
        classes=_class_table(description),
        listings=list(_listings(description)),
        details=list(_details(description)),
    )


# Figures
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _DatasetFigure:
    """Figure: its key, its caption and the function that draws it, wide or narrow."""

    key: str
    caption: str
    draw: Callable[[bool], Figure]


def _figures(description: FolderSummary) -> list[_DatasetFigure]:
    figures = [
        _DatasetFigure(
            "sides",
            "Widths and heights of the images.",
            lambda narrow: _draw_sides(description, narrow),
        ),
        _DatasetFigure(
            "aspect",
            "Width by height of the images.",
            lambda narrow: _draw_aspect(description, narrow),
        ),
    ]
    if len(description.audit.classes) > MAX_DRAWN_CLASSES:
        return figures
    bars = _DatasetFigure(
        "classes",
        "Images by class and split.",
        lambda narrow: _draw_class_bars(description, narrow),
    )
    return [bars, *figures]


def _draw(figure: _DatasetFigure) -> tuple[str, str]:
    """Draw a figure as SVG, wide and narrow."""
    with figure_style():
        wide, narrow = (
            to_svg(figure.draw(small), f"{figure.key}-{small:d}") for small in (False, True)
        )
    return wide, narrow


def _canvas(narrow: bool, height: int, left: int, top: int = 12) -> tuple[Figure, Axes]:
    """Return a figure and its axes, with `left` and `top` pixels beside and above them."""
    width = NARROW_PX if narrow else WIDE_PX
    figure = new_figure(width, height)
    bottom, right = 56, 14
    axes = figure.add_axes(
        (left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + top) / height)
    )
    axes.tick_params(pad=7)
    axes.locator_params(axis="x", nbins=5 if narrow else 9)
    return figure, axes


def _use_whole_numbers(axis: Axis) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(5, integer=True))


def _draw_sides(description: FolderSummary, narrow: bool) -> Figure:
    figure, ax = _canvas(narrow, 320, 58, top=40)
    edges = np.histogram_bin_edges(
        np.concatenate([description.widths, description.heights]), HISTOGRAM_BINS
    )
    for values, name, index in (
        (description.widths, "width", 0),
        (description.heights, "height", 1),
    ):
        ax.hist(values, edges.tolist(), color=SERIES[index], alpha=0.55, label=name, lw=0)
    ax.set(xlabel="pixels, as stored", ylabel="images")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1.02), ncols=2, borderaxespad=0)
    _use_whole_numbers(ax.yaxis)
    return figure


def _draw_aspect(description: FolderSummary, narrow: bool) -> Figure:
    figure, ax = _canvas(narrow, 280, 58)
    ratios = description.widths / description.heights
    ax.hist(ratios, HISTOGRAM_BINS, color=SERIES[2], alpha=0.7, lw=0)
    ax.set(xlabel="width / height", ylabel="images")
    _use_whole_numbers(ax.yaxis)
    return figure


def _draw_class_bars(description: FolderSummary, narrow: bool) -> Figure:
    """Draw a bar for each class, below its name, with its splits one after another."""
    names, counts = description.audit.classes, description.audit.counts
    figure, ax = _canvas(narrow, ROW_PX * len(names) + 110, 14, top=40)
    begin = np.zeros(len(names))
    for index, (split, numbers) in enumerate(counts.items()):
        ax.barh(
            np.arange(len(names)) + 0.36,
            numbers,
            BAR_PX / ROW_PX,
            left=begin,
            color=SERIES[(1, 3, 0)[index % 3]],
            edgecolor=CARD,
            label=split,
            alpha=0.85,
        )
        begin += np.array(numbers)
    limit = 44 if narrow else 110
    for position, name in enumerate(names):
        label = name if len(name) <= limit else f"{name[: limit - 1]}…"
        ax.text(0, position + 0.02, label, color=INK, fontsize=12, va="center", ha="left")
    ax.set(ylim=(len(names) - 0.2, -0.4), xlabel="images", yticks=[])
    _use_whole_numbers(ax.xaxis)
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="upper left", bbox_to_anchor=(0.005, 1), ncols=3, borderaxespad=0.3
    )
    return figure
