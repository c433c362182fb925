"""Small examples that show by number what a convolution and a pooling compute. Free of torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

PoolMode = Literal["max", "average"]

Array = NDArray[np.float64]

Map = Sequence[Sequence[float]]
"""Rows of numbers: one feature map."""

MAX_EXAMPLE_KERNEL = 3
"""Side of the largest kernel in the example of a flipped kernel."""

RANDOM_SIDE = 32
"""Side of the random map in the example of a shift, in addition to a window."""


def cross_correlate(image: Map, kernel: Map) -> list[list[float]]:
    """Return the output of a convolutional layer: S(i, j) = sum of I(i + m, j + n) K(m, n)."""
    down, across = len(kernel), len(kernel[0])
    return [
        [
            sum(image[i + m][j + n] * kernel[m][n] for m in range(down) for n in range(across))
            for j in range(len(image[0]) - across + 1)
        ]
        for i in range(len(image) - down + 1)
    ]


def flip(kernel: Map) -> list[list[float]]:
    """Return the kernel turned by 180 degrees."""
    return [list(row[::-1]) for row in kernel[::-1]]


def convolve(image: Map, kernel: Map) -> list[list[float]]:
    """Return the mathematical convolution: a cross-correlation with the flipped kernel."""
    return cross_correlate(image, flip(kernel))


def flipped_kernel_details(kernel_side: int) -> dict[str, Any]:
    """Return an example of cross-correlation and convolution of consecutive numbers."""
    side = min(kernel_side, MAX_EXAMPLE_KERNEL)
    image = [
        [row * (side + 1) + column + 1 for column in range(side + 1)] for row in range(side + 1)
    ]
    kernel = [[row * side + column + 1 for column in range(side)] for row in range(side)]
    layer, convolution = cross_correlate(image, kernel), convolve(image, kernel)
    pairs = [
        pair for rows in zip(layer, convolution, strict=True) for pair in zip(*rows, strict=True)
    ]
    different = sum(a != b for a, b in pairs)
    return {
        "example_image": _format_map(image),
        "example_kernel": _format_map(kernel),
        "example_flipped_kernel": _format_map(flip(kernel)),
        "cross_correlation": f"{_format_map(layer)} (a layer computes this)",
        "convolution": f"{_format_map(convolution)} (the same with the flipped kernel)",
        "difference": f"{different} of {len(pairs)} values differ; the layer with the flipped "
        "kernel gives the convolution, so a network that learns its kernels loses nothing",
    }


def pool_map(values: Array, kernel: int, stride: int, padding: int, mode: PoolMode) -> Array:
    """Return a map (H, W) pooled as in torch: an average counts padding, a maximum does not."""
    filler = 0.0 if mode == "average" else -np.inf
    padded = np.pad(values, padding, constant_values=filler)
    windows = sliding_window_view(padded, (kernel, kernel))[::stride, ::stride]
    pooled: Array = windows.mean((2, 3)) if mode == "average" else windows.max((2, 3))
    return pooled


def pooling_details(kernel: int, stride: int, padding: int, mode: PoolMode) -> dict[str, Any]:
    """Return the effects of a pooling in numbers: its rule, and its answer to a shift by one pixel.

    The examples are one bright pixel at each column of one period of the windows, and a map of
    normal random numbers with a fixed seed.
    """
    rule = "largest value" if mode == "max" else "mean"
    unchanged = unchanged_by_shift(kernel, stride, padding)
    before, after = changes_by_shift(kernel, stride, padding, mode)
    steadier = "less" if after < before else "no less"
    return {
        "mode": mode,
        "rule": f"an output is the {rule} of a {kernel}x{kernel} window of one map",
        "bright_pixel_moved_by_one": f"the pooled map stays the same from {unchanged} of {stride} "
        f"positions ({100 * unchanged / stride:.0f} %); without pooling from none",
        "random_map_moved_by_one": f"values change by {before:.2f} standard deviations before "
        f"pooling, by {after:.2f} after it",
        "purpose": f"fewer values for later layers: 1 of {stride**2} positions stays; and a "
        f"shift by one pixel changes the result {steadier} than it changes the map",
        "distance_between_neighbors": f"{stride} times as large, so that a later window covers "
        f"{stride} times as many pixels along a side",
    }


def unchanged_by_shift(kernel: int, stride: int, padding: int) -> int:
    """Return the number of columns of one period from which a bright pixel moves to the next column
    without a change of the pooled map: both lie in the same windows.
    """

    def windows(column: int) -> range:
        first = -(-(column + padding - kernel + 1) // stride)
        return range(first, (column + padding) // stride + 1)

    return sum(windows(column) == windows(column + 1) for column in range(stride))


def changes_by_shift(kernel: int, stride: int, padding: int, mode: PoolMode) -> tuple[float, float]:
    """Return the mean change of a random map's values when it moves by one column, in standard
    deviations of the values, without and with pooling.
    """
    side = RANDOM_SIDE + kernel
    wide = np.random.default_rng(0).normal(size=(side, side + 1))
    maps = wide[:, :-1], wide[:, 1:]
    one, other = (pool_map(values, kernel, stride, padding, mode) for values in maps)
    return _relative_change(*maps), _relative_change(one, other)


def _relative_change(one: Array, other: Array) -> float:
    return float(np.abs(one - other).mean() / (one.std() or 1.0))


def _format_map(values: Map) -> str:
    return " / ".join(" ".join(f"{value:g}" for value in row) for row in values)
