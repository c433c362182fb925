"""Commands `data suspects`, `data enough` and `extend`: labels, learning curves, more photographs.

Heavy imports stay inside them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resnetlab.cli.common import (
    AcceptLicense,
    Device,
    Json,
    Open,
    SkipBad,
    check_device,
    open_page,
    print_json,
)
from resnetlab.cli.common import OutputDir as Output
from resnetlab.cli.curation.output import applied_lines, apply_command, extend_lines, suspect_lines
from resnetlab.cli.data.commands import Folder, SplitOption, data
from resnetlab.cli.deploy.options import Model
from resnetlab.cli.finetune.output import notify_line
from resnetlab.cli.folder_options import DEFAULT_FOLDER_OPTIONS, FolderOptions, with_folder_options
from resnetlab.cli.loading import ProgressLine, announce_loading
from resnetlab.cli.output_paths import check_output_folder
from resnetlab.errors import escape_controls, input_error
from resnetlab.shell import command_line

if TYPE_CHECKING:
    from resnetlab.curation.features import FeatureNetwork
    from resnetlab.curation.labeled_photos import LabeledPhotos
    from resnetlab.curation.results import SuspectReport
    from resnetlab.reports.document import Detail

FeatureModel = Annotated[
    str,
    typer.Option(
        "--model",
        help="Network that computes the features: folder of a model, timm/NAME, torchvision/NAME, "
        "local-dir:FOLDER or a TOML file; the default is a downloaded one.",
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option("--weights", help="Safetensors file of pre-trained weights.", metavar="FILE"),
]
FeatureSize = Annotated[
    int | None,
    typer.Option("--img-size", help="Image size of the network, in pixels.", min=8),
]
PageFolder = Annotated[
    Path | None,
    typer.Option(
        "--out", help="Folder of the page; the default is in reports/ of --output.", metavar="DIR"
    ),
]

THUMBNAIL_PIXELS = 320
"""Longest side in pixels of a photograph on the page."""


@data.command("suspects")
@with_folder_options
def data_suspects(
    folder: Folder,
    model: FeatureModel = "",
    weights: Weights = None,
    img_size: FeatureSize = None,
    top: Annotated[
        int, typer.Option(help="Number of photographs on the page.", min=1, max=1000)
    ] = 50,
    apply: Annotated[
        Path | None,
        typer.Option(
            help="Apply the decisions of this file, which the page writes: write new labels.",
            metavar="FILE",
        ),
    ] = None,
    skip_bad: SkipBad = False,
    folder_options: FolderOptions = DEFAULT_FOLDER_OPTIONS,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the page, in reports/ of --output by default; with --apply the new "
            "table of labels.",
            metavar="PATH",
        ),
    ] = None,
    accept_license: AcceptLicense = False,
    device: Device = "",
    output: Output = Path(),
    json: Json = False,
    open_report: Open = False,
) -> None:
    """Find labels that are probably wrong, and write a page to judge them.

    The page has buttons that accept or reject each suggestion. --apply writes a new table of labels
    from these decisions; no photograph is changed.

    Example:  resnetlab data suspects photos
    """
    check_device(device)
    if open_report and apply is not None:
        raise input_error("--open", "no page is written with --apply", "leave --open out")
    _check_out(apply, out)
    from resnetlab.curation.labeled_photos import open_labeled_photos
    from resnetlab.schema import encode

    labeled = open_labeled_photos(
        folder,
        cache=output / "cache",
        folder_choices=folder_options.folder_choices(),
        skip_bad=skip_bad,
        notify=notify_line,
    )
    if apply is not None:
        _apply(labeled, apply, out, json)
        return
    network, details = _open_network(model, weights, img_size, device, accept_license)
    report, page = _write_suspects(labeled, network, details, top, out, output)
    if json:
        print_json(encode(report) | {"page": page})
    else:
        for line in (*suspect_lines(report), f"Page: {page}"):
            typer.echo(escape_controls(line))
    if open_report:
        open_page(page)


@data.command("enough")
@with_folder_options
def data_enough(
    folder: Folder,
    model: FeatureModel = "",
    weights: Weights = None,
    img_size: FeatureSize = None,
    skip_bad: SkipBad = False,
    folder_options: FolderOptions = DEFAULT_FOLDER_OPTIONS,
    out: PageFolder = None,
    accept_license: AcceptLicense = False,
    device: Device = "",
    output: Output = Path(),
    json: Json = False,
    open_report: Open = False,
) -> None:
    """Estimate what 50 more photographs of a class are worth.

    Learning curves by class are measured on frozen features and extrapolated with an interval. A
    curve that is flat or too noisy is not extrapolated.

    Example:  resnetlab data enough photos
    """
    check_device(device)
    check_output_folder("--out", out)
    from resnetlab.curation.labeled_photos import open_labeled_photos

    labeled = open_labeled_photos(
        folder,
        cache=output / "cache",
        folder_choices=folder_options.folder_choices(),
        skip_bad=skip_bad,
        notify=notify_line,
    )
    network, details = _open_network(model, weights, img_size, device, accept_license)
    from dataclasses import replace

    from resnetlab.curation.features import compute_features
    from resnetlab.curation.learning_curves import estimate_gains
    from resnetlab.reports.learning_curves import write_learning_curves_page
    from resnetlab.runs.provenance import made_by
    from resnetlab.schema import encode

    features = compute_features(network, labeled.photos, output / "cache", ProgressLine())
    report = estimate_gains(labeled, features, network.name, on_item=ProgressLine())
    report = replace(report, notes=network.notes)
    page = write_learning_curves_page(
        report,
        out or _report_folder(labeled, network, "enough", output),
        details=details,
        made_by=str(made_by()),
    )
    if json:
        print_json(encode(report) | {"page": page})
    else:
        for row in (report.overall, *report.classes):
            typer.echo(escape_controls(row.answer))
        typer.echo(escape_controls(report.answer))
        typer.echo(f"Page: {page}")
    if open_report:
        open_page(page)


@with_folder_options
def extend(
    model: Model,
    add: Annotated[
        Path,
        typer.Option(
            help="Folder of the photographs to add, with a folder for each class.", metavar="DIR"
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder that the model was fine-tuned on, if it is not recorded in --output.",
            metavar="DIR",
        ),
    ] = None,
    split: SplitOption = "",
    skip_bad: SkipBad = False,
    folder_options: FolderOptions = DEFAULT_FOLDER_OPTIONS,
    accept_license: AcceptLicense = False,
    device: Device = "",
    output: Output = Path(),
    name: Annotated[
        str, typer.Option(help="Name of the new model's folder; the default has a hash.")
    ] = "",
    json: Json = False,
) -> None:
    """Add photographs or classes to a fine-tuned model.

    Only the classifier is fitted again, on frozen features. The old test photographs measure what
    the model forgets. The model itself is not changed: the extended one has a folder of its own.

    Example:  resnetlab extend models/pets --add more-photos
    """
    check_device(device)
    if split and data is None:
        raise input_error("--split", "given without --data", "--data DIR")
    from resnetlab.data.sources.folder.manifest import parse_split
    from resnetlab.deploy.checks import read_accepted_model

    announce_loading(read_accepted_model(model, accept_license).model, quiet=json)
    from resnetlab.curation.extend import ExtendRequest
    from resnetlab.curation.extend import extend as extend_model
    from resnetlab.schema import encode

    request = ExtendRequest(
        model=model,
        add=add,
        data=data,
        split_spec=parse_split(split),
        folder_choices=folder_options.folder_choices(),
        skip_bad=skip_bad,
        accept_license=accept_license,
        device=device or "auto",
        output=output,
        name=name,
    )
    result, folder = extend_model(request, notify=notify_line, on_item=ProgressLine())
    if json:
        print_json(encode(result) | {"model_folder": folder})
        return
    for line in extend_lines(result, folder):
        typer.echo(escape_controls(line))


def _check_out(apply: Path | None, out: Path | None) -> None:
    """Raise InputError if the page, or with --apply the table of labels, cannot be at `out`."""
    if apply is None:
        check_output_folder("--out", out)
    elif out is not None:
        from resnetlab.curation.decisions import check_labels_path

        check_labels_path(out)


def _open_network(
    model: str, weights: Path | None, size: int | None, device: str, accept_license: bool
) -> tuple[FeatureNetwork, tuple[Detail, ...]]:
    """Open the network whose features are used, and return it with details for a page."""
    from resnetlab.models.configs.external import allow_typed

    allow_typed(model)
    announce_loading()
    from resnetlab.curation.features import open_network
    from resnetlab.reports.document import Detail

    network = open_network(
        model, weights, size=size, device=device or "auto", accept_license=accept_license
    )
    for note in network.notes:
        notify_line(f"note: {note}")
    details = (
        Detail("Image size", f"{network.transform.size} pixels"),
        Detail("License of the weights", str(network.license)),
        Detail("Command", escape_controls(command_line(["resnetlab", *sys.argv[1:]]))),
    )
    return network, details


def _report_folder(
    labeled: LabeledPhotos, network: FeatureNetwork, kind: str, output: Path
) -> Path:
    """Return the default folder of a page: other data or another network have another one."""
    from resnetlab.data.sources.folder.scan import folder_sha256
    from resnetlab.files import short_hash

    digest = short_hash(folder_sha256(labeled.scan), network.identity)
    return output / "reports" / f"{labeled.name}-{kind}-{digest}"


def _write_suspects(
    labeled: LabeledPhotos,
    network: FeatureNetwork,
    details: Sequence[Detail],
    top: int,
    out: Path | None,
    output: Path,
) -> tuple[SuspectReport, Path]:
    """Find the suspects, write their page, and return both."""
    from dataclasses import replace

    from resnetlab.curation.features import compute_features
    from resnetlab.curation.suspects import find_suspects
    from resnetlab.reports.suspects import write_suspects_page
    from resnetlab.runs.provenance import made_by

    features = compute_features(network, labeled.photos, output / "cache", ProgressLine())
    report = find_suspects(labeled, features, network.name, on_item=ProgressLine())
    report = replace(report, notes=network.notes)
    number = {row.path: k for k, row in enumerate(labeled.photos.rows)}
    images = {}
    for item in report.suspects[:top]:
        image = labeled.photos.load(number[item.path])
        image.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
        images[item.path] = image
    page = write_suspects_page(
        report,
        images,
        out or _report_folder(labeled, network, "suspects", output),
        details=details,
        apply_command=apply_command(labeled),
        made_by=str(made_by()),
    )
    return report, page


def _apply(labeled: LabeledPhotos, decisions: Path, out: Path | None, as_json: bool) -> None:
    """Write new labels from decisions, and print the precision that they measure."""
    from resnetlab.curation.decisions import read_decisions, write_labels
    from resnetlab.schema import encode

    target = out or Path(f"{labeled.name}-labels.csv")
    result = write_labels(labeled, read_decisions(decisions, labeled), target)
    if as_json:
        print_json(encode(result))
        return
    for line in applied_lines(result, labeled.photos.root):
        typer.echo(escape_controls(line))
