"""Arithmetic and drawing of one layer whose window slides over an image. Free of torch.

After Dumoulin and Visin 2016, and questions 1, 8 and 9 of the Deep Learning practical 5-6.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from resnetlab.errors import InputError, input_error

MAX_DRAWN_PIXELS = 32
"""Maximum number of pixels down or across, with the padding; more would be too small to see."""
_CELL, _MARGIN, _GAP = 22, 16, 40
"""Sizes of a drawing: a square, the margin, and the space between output and input."""


@dataclass(frozen=True)
class SlidingWindow:
    """Convolution with `filters`, or a pooling, for an image of `height` x `width` x `depth`."""

    height: int
    width: int
    depth: int
    kernel: int
    stride: int = 1
    padding: int = 0
    filters: int | None = None
    """Number of filters; None means a pooling, map by map."""
    bias: bool = True

    def __post_init__(self) -> None:
        sizes = {
            "--input": min(self.height, self.width, self.depth),
            "--kernel": self.kernel,
            "--stride": self.stride,
            "--filters": 1 if self.filters is None else self.filters,
        }
        for option, size in sizes.items():
            if size < 1:
                raise input_error(option, "less than 1", "1 or more", got=size)
        if self.padding < 0:
            raise input_error("--padding", "less than 0", "0 or more", got=self.padding)
        if self.filters is None and self.padding > self.kernel // 2:
            problem = f"a window of {self.kernel} could lie in the padding alone"
            raise input_error("--padding", problem, f"at most {self.kernel // 2}", got=self.padding)
        if self.kernel > min(self.height, self.width) + 2 * self.padding:
            side = min(self.height, self.width)
            needed = self.kernel - 2 * self.padding
            problem = (
                f"a window of {self.kernel} does not fit into {side} pixels with padding "
                f"{self.padding}"
            )
            raise input_error(
                "--input", problem, f"the smallest side that works is {needed}, or pad by more"
            )

    @property
    def output(self) -> tuple[int, int, int]:
        """Output height, width and depth: (n + 2p - k) // s + 1 per side."""
        down, across = (
            (side + 2 * self.padding - self.kernel) // self.stride + 1
            for side in (self.height, self.width)
        )
        return down, across, self.depth if self.filters is None else self.filters

    @property
    def weights(self) -> int:
        """Number of learned weights: k x k x depth per filter, and a bias; a pooling has none."""
        return (
            0 if self.filters is None else (self.kernel**2 * self.depth + self.bias) * self.filters
        )

    @property
    def macs(self) -> int:
        """Number of multiply-adds for one image."""
        down, across, _ = self.output
        if self.filters is None:
            return 0
        return self.kernel**2 * self.depth * self.filters * down * across

    @property
    def fully_connected_weights(self) -> int:
        """Number of weights of a fully connected layer with the same output."""
        down, across, depth = self.output
        return (self.height * self.width * self.depth + self.bias) * down * across * depth


def pad_to_same_size(window: SlidingWindow) -> SlidingWindow:
    """Return the window with the padding that keeps height and width: p = ((n - 1) s + k - n) / 2.

    Raises InputError if no padding, equal on all sides, does.
    """
    largest = (max(window.height, window.width) * window.stride + window.kernel) // 2
    for padding in range(largest + 1):
        try:
            padded = replace(window, padding=padding)
        except InputError:  # a window that does not fit yet
            continue
        if padded.output[:2] == (window.height, window.width):
            return padded
    fix = "--stride 1, and an odd kernel"
    if window.kernel % 2 == 0 and window.stride == 1:
        fix = f"an odd kernel, such as {window.kernel + 1}"
    size, moves = f"{window.height}x{window.width}", f"stride {window.stride}"
    problem = f"no padding keeps {size} with kernel {window.kernel} and {moves}"
    raise input_error("--keep-size", problem, fix)


def window_details(window: SlidingWindow) -> dict[str, Any]:
    """Return a layer's numbers: output size, weights, weights of a fully connected layer.

    In the formulas an input has x rows, y columns and z maps; the window has side k, stride s and
    padding p.
    """
    down, across, depth = window.output
    k, s, p = window.kernel, window.stride, window.padding
    unused = [(side + 2 * p - k) % s for side in (window.height, window.width)]
    values: dict[str, Any] = {
        "input": (window.height, window.width, window.depth),
        "kernel": k,
        "stride": s,
        "padding": p,
        "output": (down, across, depth),
        "formula": "x' = (x + 2p - k) // s + 1, y' = (y + 2p - k) // s + 1; // rounds down",
        "how": f"({window.height} + 2x{p} - {k}) // {s} + 1 = {down}"
        + (
            f", ({window.width} + 2x{p} - {k}) // {s} + 1 = {across}"
            if window.width != window.height
            else ""
        ),
        "rows_and_columns_not_seen": f"{unused[0]}, {unused[1]}",
    }
    if window.filters is None:
        return values | {
            "weights": 0,
            "values_before": window.height * window.width * window.depth,
            "values": down * across * depth,
            "share_kept": down * across * depth / (window.height * window.width * window.depth),
        }
    times = window.fully_connected_weights / window.weights
    times_text = f"{times:,.0f}" if times >= 10 else f"{times:.2g}"
    seen, all_inputs = k * k * window.depth, window.height * window.width * window.depth
    bias = " + 1" if window.bias else ""
    share = 100 * min(1.0, seen / all_inputs)
    return values | {
        "weights": window.weights,
        "weights_formula": f"(k k z{bias}) x filters = ({k}x{k}x{window.depth}{bias}) x {depth}",
        "macs": window.macs,
        "flops": 2 * window.macs,
        "fully_connected_weights": window.fully_connected_weights,
        "fully_connected_formula": f"(x y z{bias}) x' y' filters = ({window.height}x{window.width}"
        f"x{window.depth}{bias}) x {down}x{across}x{depth}",
        "comparison": f"a fully connected layer has {times_text} times as many weights as the "
        "convolution",
        "reach": f"an output depends on {seen:,} of {all_inputs:,} inputs ({share:.2g} %), with "
        f"the same weights at each of {down * across:,} positions",
    }


def draw_window(window: SlidingWindow) -> str:
    """Return an SVG of the sliding window: the padded input below, the output above.

    The highlighted window is one step from the corner if there is room. One map of each is drawn.
    """
    down, across, _ = window.output
    k, s, p = window.kernel, window.stride, window.padding
    height, width = window.height + 2 * p, window.width + 2 * p
    if max(height, width) > MAX_DRAWN_PIXELS:
        fix = f"--input of at most {MAX_DRAWN_PIXELS} pixels per side, padding included"
        raise input_error("--draw", f"{height}x{width} squares are too many to draw", fix)
    span = max(width, across) * _CELL
    row, column = min(1, down - 1), min(1, across - 1)
    output = (_MARGIN + (span - across * _CELL) // 2, _MARGIN + 18)
    below = (_MARGIN + (span - width * _CELL) // 2, output[1] + down * _CELL + _GAP)
    foot_y = below[1] + height * _CELL + 20
    kind = "pooling" if window.filters is None else "convolution"
    form = f"kernel {k}, stride {s}, padding {p}"
    shapes = f"{window.height}x{window.width} to {down}x{across}"
    x, y = span + 2 * _MARGIN, foot_y + 4 + _MARGIN
    style = f'width="{x}" height="{y}" role="img" font-family="sans-serif" font-size="12"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {x} {y}" {style}>',
        f"<title>{kind}: {form}; {shapes}</title>",
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="{_MARGIN}" y="{_MARGIN + 8}">output {down}x{across}</text>',
        *_output_squares(window, output, (row, column)),
        *_input_squares(window, below, (row * s, column * s)),
    ]
    for right, down_ in ((0, 0), (1, 0), (0, 1), (1, 1)):  # the corners of window and output
        x1, y1 = output[0] + (column + right) * _CELL, output[1] + (row + down_) * _CELL
        x2 = below[0] + (column * s + right * k) * _CELL
        y2 = below[1] + (row * s + down_ * k) * _CELL
        line = f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"'
        parts.append(f'{line} stroke="#1b9e77" stroke-width="1" opacity=".6"/>')
    parts.append(f'<text x="{_MARGIN}" y="{foot_y}">{form}</text></svg>')
    return "\n".join(parts) + "\n"


def _output_squares(
    window: SlidingWindow, corner: tuple[int, int], highlighted: tuple[int, int]
) -> Iterator[str]:
    """Yield a square for each output; `highlighted` (row, column) belongs to the window."""
    for y, x in itertools.product(*map(range, window.output[:2])):
        if (y, x) == highlighted:
            yield _square(corner, x, y, "#1b9e77", "given")
        else:
            yield _square(corner, x, y, "#c7e9dc", "output")


def _input_squares(
    window: SlidingWindow, corner: tuple[int, int], start: tuple[int, int]
) -> Iterator[str]:
    """Yield a square for each pixel of the padded input; the window begins at `start`."""
    k, p = window.kernel, window.padding
    for y, x in itertools.product(range(window.height + 2 * p), range(window.width + 2 * p)):
        inside = p <= y < p + window.height and p <= x < p + window.width
        seen = start[0] <= y < start[0] + k and start[1] <= x < start[1] + k
        shades = ("#9ecae1", "#3182bd") if inside else ("#fff", "#deebf7")
        name = ("input" if inside else "padding") + (" seen" if seen else "")
        yield _square(corner, x, y, shades[seen], name, dashed=not inside)


def _square(
    corner: tuple[int, int], x: int, y: int, fill: str, name: str, dashed: bool = False
) -> str:
    corner_text = f'x="{corner[0] + x * _CELL}" y="{corner[1] + y * _CELL}"'
    dash = ' stroke-dasharray="3 2"' if dashed else ""
    size = f'width="{_CELL}" height="{_CELL}"'
    return f'<rect class="{name}" {corner_text} {size} fill="{fill}" stroke="#555"{dash}/>'
