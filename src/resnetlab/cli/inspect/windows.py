"""Commands of `resnetlab inspect` about one layer: a convolution or a pooling."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from resnetlab.cli.common import Json
from resnetlab.cli.inspect.options import parse_image_shape
from resnetlab.cli.pictures import write_picture
from resnetlab.cli.tables import Csv, Markdown, output_format
from resnetlab.errors import input_error

if TYPE_CHECKING:
    from resnetlab.inspection.sliding_window import SlidingWindow
    from resnetlab.inspection.table_format import TableFormat
    from resnetlab.inspection.window_examples import PoolMode

Kernel = Annotated[int, typer.Option(help="Side of the window in pixels.")]
Draw = Annotated[
    Path | None, typer.Option("--draw", help="Write the sliding window as SVG.", metavar="FILE")
]


def conv(
    image: Annotated[
        str,
        typer.Option(
            "--input", help="Height x width x maps of the input: 32x32x3.", metavar="HxWxD"
        ),
    ],
    kernel: Kernel,
    filters: Annotated[int, typer.Option(help="Number of output maps.")] = 1,
    stride: Annotated[int, typer.Option(help="Stride in pixels.")] = 1,
    padding: Annotated[int, typer.Option(help="Number of rows of zeros on each side.")] = 0,
    keep_size: Annotated[
        bool, typer.Option("--keep-size", help="Compute the padding that keeps height and width.")
    ] = False,
    bias: Annotated[bool, typer.Option(help="Count one more weight per filter.")] = True,
    flip_kernel: Annotated[
        bool,
        typer.Option(
            "--flip-kernel",
            help="Compare the layer's cross-correlation with a convolution, on a small example.",
        ),
    ] = False,
    draw: Draw = None,
    json: Json = False,
    csv: Csv = False,
    markdown: Markdown = False,
) -> None:
    """Compute the output and the weights of a convolution, against a dense layer."""
    table_format = output_format(json, csv, markdown)
    from resnetlab.inspection.window_examples import flipped_kernel_details

    window = _window(image, kernel, stride, padding, filters, keep_size, bias)
    more = flipped_kernel_details(kernel) if flip_kernel else {}
    _print_window(window, more, draw, table_format)


def pool(
    image: Annotated[
        str,
        typer.Option(
            "--input", help="Height x width x maps of the input: 32x32x32.", metavar="HxWxD"
        ),
    ],
    kernel: Kernel = 2,
    stride: Annotated[
        int, typer.Option(help="Stride in pixels; 0 for the size of the kernel.")
    ] = 0,
    padding: Annotated[int, typer.Option(help="Number of rows on each side.")] = 0,
    mode: Annotated[
        str, typer.Option(help="Value of a window: max, its largest, or average, its mean.")
    ] = "max",
    draw: Draw = None,
    json: Json = False,
    csv: Csv = False,
    markdown: Markdown = False,
) -> None:
    """Compute the output size of a pooling, and what it changes."""
    table_format = output_format(json, csv, markdown)
    from resnetlab.inspection.window_examples import pooling_details

    window = _window(image, kernel, stride or kernel, padding, None, False, True)
    if mode not in ("max", "average"):
        raise input_error("--mode", "unknown", "--mode max", got=mode, allowed="max, average")
    more = pooling_details(kernel, stride or kernel, padding, cast("PoolMode", mode))
    _print_window(window, more, draw, table_format)


def _window(
    image: str,
    kernel: int,
    stride: int,
    padding: int,
    filters: int | None,
    solve_padding: bool,
    bias: bool,
) -> SlidingWindow:
    from resnetlab.inspection.sliding_window import SlidingWindow, pad_to_same_size

    height, width, depth = parse_image_shape(image, "--input", "--input 32x32x3")
    if not solve_padding:
        return SlidingWindow(height, width, depth, kernel, stride, padding, filters, bias)
    fits = max(padding, kernel)  # solve for the padding, starting from one with which it fits
    return pad_to_same_size(
        SlidingWindow(height, width, depth, kernel, stride, fits, filters, bias)
    )


def _print_window(
    window: SlidingWindow, more: dict[str, Any], svg_path: Path | None, table_format: TableFormat
) -> None:
    from resnetlab.inspection.sliding_window import draw_window, window_details
    from resnetlab.inspection.table_format import format_size, render_table

    svg = draw_window(window) if svg_path else ""
    details = window_details(window) | more
    if table_format == "text" or table_format == "json":
        typer.echo(render_table([], table_format, details=details))
    else:
        rows = [
            {"what": name, "value": format_size(v) if isinstance(v, tuple) else v}
            for name, v in details.items()
        ]
        typer.echo(render_table(rows, table_format))
    if svg_path:
        write_picture(svg_path, svg)
