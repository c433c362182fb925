"""Description of a folder of photographs: a document, its figures and the sizes of the images.

It contains no photograph.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from resnetlab.data.summary import FolderSummary
from resnetlab.files import write_text
from resnetlab.reports.figures import to_standalone_svg
from resnetlab.reports.figures.canvas import CARD, SERIES, WIDE_PX, figure_style, new_figure, to_svg
from resnetlab.reports.figures.values import csv_text
from resnetlab.reports.render import markdown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HISTOGRAM_BINS = 40
MAX_NAMED_CLASSES = 40
"""Largest number of classes whose bars have names."""


def write(description: FolderSummary, folder: Path) -> Path:
    """Write images.csv, the figures and then describe.md into `folder`; return its path."""
    rows = [
        (row.path, row.label, row.split, row.size[1], row.size[0], row.sha256)
        for row in description.rows
    ]
    write_text(
        folder / "images.csv",
        csv_text(("path", "label", "split", "width", "height", "sha256"), rows),
    )
    parts = [f"# {markdown.escape(description.audit.name)}", "*resnetlab data describe*"]
    parts += [f"> **{markdown.escape(description.overlap)}.**"] if description.overlap else []
    for key, (caption, height, draw_axes) in _figures(description).items():
        write_text(
            folder / "figures" / f"{key}.svg",
            to_standalone_svg(_figure_svg(key, height, draw_axes)),
        )
        parts += [f"![{markdown.escape(caption)}](figures/{key}.svg)", markdown.escape(caption)]
    parts.append(
        "```text\n"
        + "\n".join(line.replace("```", "'''") for line in description.lines(None))
        + "\n```"
    )
    target = folder / "describe.md"
    write_text(target, "\n\n".join(parts) + "\n")
    return target


def _figures(description: FolderSummary) -> dict[str, tuple[str, int, Callable[[Axes], None]]]:
    """Return the figures by key: a caption, a height in pixels and a function that draws them."""
    classes = len(description.audit.classes)
    bars = 60 + (20 * classes if classes <= MAX_NAMED_CLASSES else 360)

    def sides(ax: Axes) -> None:
        edges = np.histogram_bin_edges(
            np.concatenate([description.widths, description.heights]), HISTOGRAM_BINS
        )
        for values, name, index in (
            (description.widths, "width", 0),
            (description.heights, "height", 1),
        ):
            ax.hist(values, edges.tolist(), color=SERIES[index], alpha=0.55, label=name, lw=0)
        ax.set(xlabel="pixels, as stored", ylabel="images")
        ax.legend()

    def aspect(ax: Axes) -> None:
        ax.hist(
            description.widths / description.heights,
            HISTOGRAM_BINS,
            color=SERIES[2],
            alpha=0.7,
            lw=0,
        )
        ax.set(xlabel="width / height", ylabel="images")

    return {
        "classes": (
            "Images by class and split.",
            bars,
            lambda ax: _draw_class_bars(ax, description),
        ),
        "sides": ("Widths and heights of the images.", 300, sides),
        "aspect": ("Width by height of the images.", 260, aspect),
    }


def _draw_class_bars(ax: Axes, description: FolderSummary) -> None:
    """Draw a bar for each class, with its splits one after another."""
    names = description.audit.classes
    begin = np.zeros(len(names))
    for index, (split, counts) in enumerate(description.audit.counts.items()):
        color = SERIES[(1, 3, 0)[index % 3]]
        ax.barh(
            range(len(names)),
            counts,
            left=begin,
            color=color,
            edgecolor=CARD,
            label=split,
            alpha=0.8,
        )
        begin += np.array(counts)
    ax.set(ylim=(len(names) - 0.5, -0.5), xlabel="images")
    named = len(names) <= MAX_NAMED_CLASSES
    ax.set_yticks(
        range(len(names)) if named else [], [name[:28] for name in names] if named else []
    )
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 1.0 + 26 / (20 * len(names) + 1)), ncols=3)


def _figure_svg(key: str, height: int, draw_axes: Callable[[Axes], None]) -> str:
    with figure_style():
        figure = new_figure(WIDE_PX, height)
        left = 0.28 if key == "classes" else 0.09
        draw_axes(figure.add_axes((left, 46 / height, 0.97 - left, 1 - 76 / height)))
        return to_svg(figure, key)
