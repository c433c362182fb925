"""Command `export`: parse, call one function, print. Heavy imports stay inside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from resnetlab.cli.common import AcceptLicense, Json, notify, print_json
from resnetlab.cli.deploy.options import Model, announce_model
from resnetlab.cli.deploy.output import export_as_dict, export_lines
from resnetlab.cli.output_paths import check_output_file
from resnetlab.errors import input_error

if TYPE_CHECKING:
    from resnetlab.deploy.checks import ExportFormat


def export(
    model: Model,
    to: Annotated[
        Literal["onnx", "torch-export", "openvino", "html"],
        typer.Option(help="Format: onnx, torch-export, openvino or html.", metavar="FORMAT"),
    ] = "onnx",
    out: Annotated[
        Path | None,
        typer.Option(
            help="File to write; the default is <model>.onnx, .pt2, .xml or .html.", metavar="FILE"
        ),
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(
            "--check-on",
            help="Folder of photographs for the comparison; the default is generated images.",
            metavar="DIR",
        ),
    ] = None,
    with_preprocessing: Annotated[
        bool,
        typer.Option(
            "--with-preprocessing",
            help="Write an ONNX file from a photograph of any size to probabilities.",
        ),
    ] = False,
    onnxruntime_web: Annotated[
        Path | None,
        typer.Option(
            help="Copy of the npm package onnxruntime-web for a page; the default is a download.",
            metavar="DIR",
        ),
    ] = None,
    accept_license: AcceptLicense = False,
    json: Json = False,
) -> None:
    """Export a model to ONNX, OpenVINO, torch.export or a page that works without a network.

    The outputs of the exported model are compared with PyTorch before the file is written.

    Example:  resnetlab export pets --to onnx --with-preprocessing
    """
    check_output_file("--out", out)
    from resnetlab.deploy.checks import (
        check_export_images,
        check_export_options,
        check_exportable,
        read_accepted_model,
    )

    file = read_accepted_model(model, accept_license)
    check_exportable(file)
    check_export_options(to, out, with_preprocessing, onnxruntime_web is not None)
    path = out or _default_export_file(model, to)
    if check is not None:
        check_export_images(check)
    runtime = None
    if to == "html":
        from resnetlab.deploy.export.web_runtime import load_web_runtime

        runtime = load_web_runtime(onnxruntime_web, notify)
    announce_model(file)
    from resnetlab.deploy.export.network import export as export_network
    from resnetlab.deploy.export.photos import export_photo_model
    from resnetlab.deploy.predict import load_model

    loaded = load_model(model, device="cpu", accept_license=accept_license)
    if runtime or with_preprocessing:
        parity = export_photo_model(loaded, path, check, notify, runtime)
    else:
        parity = export_network(loaded, to, path, check, notify)
    if json:
        print_json(export_as_dict(path, to, parity))
        return
    for line in export_lines(path, to, file, parity):
        typer.echo(line)


def _default_export_file(model: Path, export_format: ExportFormat) -> Path:
    """Return the default file of an export, in the current folder. Raises InputError if it exists.

    A file that the user names may be replaced; one that a default names may not.
    """
    from resnetlab.deploy.checks import EXPORT_SUFFIXES

    path = Path(model.resolve().name + EXPORT_SUFFIXES[export_format])
    more = [path.with_suffix(".bin")] if export_format == "openvino" else []
    for written in (path, *more):
        if written.exists():
            fix = f"--out {path} replaces it, or another name"
            raise input_error(str(written), "exists", fix)
    return path
