"""Filters of a network's first convolution and their responses: a table and a figure."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from resnetlab.errors import input_error
from resnetlab.messages import format_count
from resnetlab.models.preserve_model import preserve_buffers_and_mode

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_DRAWN_FILTERS, MAX_COLUMNS = 64, 16
"""Maximum numbers of filters in the figure and in one line of it."""
Array = NDArray[np.float32]


@dataclass(frozen=True)
class Filters:
    """First convolution of a network with its responses before normalization (eval mode)."""

    layer: str
    weights: Tensor  # (F, C, K, K)
    responses: Tensor  # (B, F, H, W)


@dataclass(frozen=True)
class CaptionedImage:
    """Image (H, W, C) uint8 with the text beside it."""

    pixels: NDArray[np.uint8]
    caption: str


def first_filters(model: nn.Module, images: Tensor, name: str) -> Filters:
    """Return the first convolution of `images` (B, C, H, W). Raises InputError without one."""
    calls: list[tuple[str, nn.Conv2d, Tensor]] = []

    def make_hook(layer: str) -> Any:
        return lambda module, _, out: calls.append((layer, module, out)) if not calls else None

    layers = [
        (layer, module) for layer, module in model.named_modules() if isinstance(module, nn.Conv2d)
    ]
    handles = [module.register_forward_hook(make_hook(layer)) for layer, module in layers]
    try:
        with preserve_buffers_and_mode(model), torch.no_grad():
            model.eval()(images)
    finally:
        for handle in handles:
            handle.remove()
    if not calls:
        raise input_error(
            name, "its network has no convolution", "give the run of a convolutional network"
        )
    layer, module, out = calls[0]
    return Filters(layer, module.weight.detach().float().cpu(), out.float().cpu())


def filter_rows(filters: Filters) -> list[dict[str, Any]]:
    """Return one row per filter: its weights and its responses at all positions of all images."""
    return [
        {
            "filter": number,
            "weight_norm": float(weight.norm()),
            "weight_mean": float(weight.mean()),
            "response_mean": float(response.mean()),
            "response_sd": float(response.std()),
            "positive_pct": 100 * float((response > 0).float().mean()),
        }
        for number, (weight, response) in enumerate(
            zip(filters.weights, filters.responses.unbind(1), strict=True), 1
        )
    ]


def render_figure(filters: Filters, images: Sequence[CaptionedImage], title: str) -> bytes:
    """Return a PNG with the filters, then one line of maps for each image.

    Filters with three channels are shown in color, with gray for 0.
    """
    import matplotlib as mpl

    count = min(MAX_DRAWN_FILTERS, len(filters.weights))
    columns = min(MAX_COLUMNS, count)
    lines = -(-count // columns)
    width, tiles_height = 1.6 + 0.62 * columns, 0.62 * lines
    heights = [tiles_height + 0.75] * (1 + len(images))
    with mpl.rc_context({"font.size": 9, "font.family": "DejaVu Sans", "text.parse_math": False}):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(width, sum(heights) + 0.45), dpi=144)
        FigureCanvasAgg(figure)
        height = sum(heights) + 0.45
        figure.text(0.15 / width, 1 - 0.28 / height, title, fontsize=11, fontweight="bold")
        top = height - 0.45
        tiles_x = (1.45 / width, 0.62 * columns / width)
        _draw_filters(
            figure,
            filters,
            columns,
            [tiles_x[0], (top - tiles_height - 0.32) / height, tiles_x[1], tiles_height / height],
        )
        for image, maps in zip(images, filters.responses, strict=True):
            top -= tiles_height + 0.75
            y, side = (top - tiles_height - 0.32) / height, min(1.1, max(tiles_height, 0.62))
            ax = figure.add_axes(
                (0.12 / width, y + (tiles_height - side) / height, side / width, side / height)
            )
            ax.imshow(image.pixels.squeeze(), cmap="gray", vmin=0, vmax=255)
            ax.set_axis_off()
            _draw_maps(
                figure,
                maps[:count],
                columns,
                [tiles_x[0], y, tiles_x[1], tiles_height / height],
                image.caption,
            )
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _draw_filters(figure: Figure, filters: Filters, columns: int, box: list[float]) -> None:
    weights = filters.weights[:MAX_DRAWN_FILTERS]
    _, channels, kernel_height, kernel_width = weights.shape
    largest = float(weights.abs().max()) or 1.0
    suffix = f", the first {len(weights)}" if len(weights) < len(filters.weights) else ""
    title = (
        f"{filters.layer}: {format_count(len(filters.weights), 'filter')} of "
        f"{channels}x{kernel_height}x{kernel_width}{suffix}"
    )
    if channels == 3:
        colors = (0.5 + weights / (2 * largest)).permute(0, 2, 3, 1).numpy()
        _draw_tiles(
            figure, colors, columns, box, f"{title}; gray is 0, full color ±{largest:.2g}", 1.0
        )
    else:
        _draw_maps(
            figure,
            weights.mean(1),
            columns,
            box,
            title + (", mean of their channels" if channels > 1 else ""),
        )


def _draw_maps(figure: Figure, maps: Tensor, columns: int, box: list[float], title: str) -> None:
    """Draw maps (F, H, W) on one color scale around 0."""
    largest = float(maps.abs().max())
    largest = largest if math.isfinite(largest) and largest else 1.0
    _draw_tiles(
        figure,
        maps.numpy(),
        columns,
        box,
        f"{title}; blue below 0, red above, ±{largest:.2g}",
        largest,
    )


def _draw_tiles(
    figure: Figure, tiles: Array, columns: int, box: list[float], title: str, largest: float
) -> None:
    """Draw tiles (F, H, W[, 3]) in lines of `columns`, numbered from 1."""
    count, tile_height, tile_width = tiles.shape[:3]
    lines, gap = -(-count // columns), max(1, round(0.06 * max(tile_height, tile_width)))
    sheet = np.full(
        (lines * (tile_height + gap), columns * (tile_width + gap), *tiles.shape[3:]),
        np.nan,
        np.float32,
    )
    for number, tile in enumerate(tiles):
        y, x = (number // columns) * (tile_height + gap), (number % columns) * (tile_width + gap)
        sheet[y : y + tile_height, x : x + tile_width] = tile
    if tiles.ndim == 4:
        sheet = np.nan_to_num(sheet, nan=1.0)
    ax = figure.add_axes((box[0], box[1], box[2], box[3]))
    ax.imshow(
        sheet, cmap="RdBu_r", vmin=-largest, vmax=largest, interpolation="nearest", aspect="auto"
    )
    ax.set_xticks(
        [n * (tile_width + gap) + (tile_width - 1) / 2 for n in range(columns)],
        [str(n + 1) for n in range(columns)],
    )
    ax.set_yticks(
        [n * (tile_height + gap) + (tile_height - 1) / 2 for n in range(lines)],
        [f"+{n * columns}" for n in range(lines)],
    )
    ax.tick_params(length=0, labelsize=7, labelleft=lines > 1)
    ax.spines[:].set_visible(False)
    ax.set_title(title, loc="left", fontsize=9)
