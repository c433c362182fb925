"""The filters of a network's first convolution, and what each gives for chosen images: a table and a picture."""

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

from resnetlab.errors import mistake
from resnetlab.training.preserve import unchanged

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DRAWN, ACROSS = 64, 16
"""Filters in the picture, and in a line of it."""
Array = NDArray[np.float32]


@dataclass(frozen=True)
class Filters:
    """The first convolution and its responses, before normalisation, in evaluation mode."""

    layer: str
    weights: Tensor  # (F, C, K, K)
    responses: Tensor  # (N, F, H, W)


@dataclass(frozen=True)
class Shown:
    """An image as it came, (H, W, C) uint8, and the words beside it."""

    pixels: NDArray[np.uint8]
    words: str


def first_filters(model: nn.Module, images: Tensor, name: str) -> Filters:
    """The first convolution that `images` (N, C, H, W) meet. Raises InputError where there is none."""
    found: list[tuple[str, nn.Conv2d, Tensor]] = []

    def noting(layer: str) -> Any:
        return lambda module, _, out: found.append((layer, module, out)) if not found else None

    layers = [(layer, module) for layer, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    handles = [module.register_forward_hook(noting(layer)) for layer, module in layers]
    try:
        with unchanged(model), torch.no_grad():
            model.eval()(images)
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        raise mistake(name, "its network has no convolution", "give the run of a convolutional network")
    layer, module, out = found[0]
    return Filters(layer, module.weight.detach().float().cpu(), out.float().cpu())


def rows(filters: Filters) -> list[dict[str, Any]]:
    """A row a filter: its weights, and its responses over all places of all the images."""
    return [
        {
            "filter": number, "weight_norm": float(weight.norm()), "weight_mean": float(weight.mean()),
            "response_mean": float(held.mean()), "response_sd": float(held.std()),
            "positive_pct": 100 * float((held > 0).float().mean()),
        }
        for number, (weight, held) in enumerate(zip(filters.weights, filters.responses.unbind(1), strict=True), 1)
    ]  # fmt: skip


def picture(filters: Filters, images: Sequence[Shown], title: str) -> bytes:
    """A PNG: the filters, then a line of maps for each image. Filters of three maps are colours, grey for 0."""
    import matplotlib as mpl

    count = min(DRAWN, len(filters.weights))
    across = min(ACROSS, count)
    lines = -(-count // across)
    wide, tall = 1.6 + 0.62 * across, 0.62 * lines
    heights = [tall + 0.75] * (1 + len(images))
    with mpl.rc_context({"font.size": 9, "font.family": "DejaVu Sans", "text.parse_math": False}):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(wide, sum(heights) + 0.45), dpi=144)
        FigureCanvasAgg(figure)
        high = sum(heights) + 0.45
        figure.text(0.15 / wide, 1 - 0.28 / high, title, fontsize=11, fontweight="bold")
        top = high - 0.45
        place = (1.45 / wide, 0.62 * across / wide)
        _filters(figure, filters, across, [place[0], (top - tall - 0.32) / high, place[1], tall / high])
        for shown, maps in zip(images, filters.responses, strict=True):
            top -= tall + 0.75
            y, side = (top - tall - 0.32) / high, min(1.1, max(tall, 0.62))
            ax = figure.add_axes((0.12 / wide, y + (tall - side) / high, side / wide, side / high))
            ax.imshow(shown.pixels.squeeze(), cmap="gray", vmin=0, vmax=255)
            ax.set_axis_off()
            _grid(figure, maps[:count], across, [place[0], y, place[1], tall / high], shown.words)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _filters(figure: Figure, filters: Filters, across: int, box: list[float]) -> None:
    weights = filters.weights[:DRAWN]
    _, channels, down, right = weights.shape
    largest = float(weights.abs().max()) or 1.0
    more = f", the first {len(weights)}" if len(weights) < len(filters.weights) else ""
    said = f"{filters.layer}: {len(filters.weights)} filters of {channels}x{down}x{right}{more}"
    if channels == 3:
        colours = (0.5 + weights / (2 * largest)).permute(0, 2, 3, 1).numpy()
        _mosaic(figure, colours, across, box, f"{said}; grey is 0, full colour ±{largest:.2g}", 1.0)
    else:
        _grid(figure, weights.mean(1), across, box, said + (", mean of their channels" if channels > 1 else ""))


def _grid(figure: Figure, maps: Tensor, across: int, box: list[float], said: str) -> None:
    """Maps (F, H, W) on one scale about 0."""
    largest = float(maps.abs().max())
    largest = largest if math.isfinite(largest) and largest else 1.0
    _mosaic(figure, maps.numpy(), across, box, f"{said}; blue below 0, red above, ±{largest:.2g}", largest)


def _mosaic(figure: Figure, tiles: Array, across: int, box: list[float], said: str, largest: float) -> None:
    """Tiles (F, H, W[, 3]) in lines of `across`, numbered from 1."""
    count, down, right = tiles.shape[:3]
    lines, gap = -(-count // across), max(1, round(0.06 * max(down, right)))
    sheet = np.full((lines * (down + gap), across * (right + gap), *tiles.shape[3:]), np.nan, np.float32)
    for number, tile in enumerate(tiles):
        y, x = (number // across) * (down + gap), (number % across) * (right + gap)
        sheet[y : y + down, x : x + right] = tile
    if tiles.ndim == 4:
        sheet = np.nan_to_num(sheet, nan=1.0)
    ax = figure.add_axes((box[0], box[1], box[2], box[3]))
    ax.imshow(sheet, cmap="RdBu_r", vmin=-largest, vmax=largest, interpolation="nearest", aspect="auto")
    ax.set_xticks([n * (right + gap) + (right - 1) / 2 for n in range(across)], [str(n + 1) for n in range(across)])
    ax.set_yticks([n * (down + gap) + (down - 1) / 2 for n in range(lines)], [f"+{n * across}" for n in range(lines)])
    ax.tick_params(length=0, labelsize=7, labelleft=lines > 1)
    ax.spines[:].set_visible(False)
    ax.set_title(said, loc="left", fontsize=9)
