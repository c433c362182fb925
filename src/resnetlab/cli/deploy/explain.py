"""Command `explain`: the heat map of a photograph, or the check of heat maps on many.

Heavy imports stay inside it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resnetlab.cli.common import (
    UNFINISHED,
    AcceptLicense,
    Device,
    Json,
    check_device,
    notify,
    print_json,
)
from resnetlab.cli.deploy.options import Model, announce_model
from resnetlab.cli.loading import ProgressLine
from resnetlab.cli.output_paths import check_output_file, check_output_folder
from resnetlab.errors import escape_controls, input_error
from resnetlab.shell import command_line

if TYPE_CHECKING:
    from resnetlab.deploy.explain.heat_map_check import CheckedPhoto
    from resnetlab.deploy.explain.heat_map_scores import HeatMapCheck

SHOWN_PHOTOGRAPHS = 12
"""Number of photographs on the page of a check."""


def explain(
    model: Model,
    image: Annotated[
        Path,
        typer.Argument(
            help="Photograph; with --check a folder of photographs.", metavar="IMAGE|DIR"
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="PNG file to write; the default is <name>-explained-<hash>.png. With --check a "
            "folder for a page and tables; the default writes none.",
            metavar="PATH",
        ),
    ] = None,
    label: Annotated[
        str,
        typer.Option(
            "--class", help="Class to explain; the default is the predicted one.", metavar="NAME"
        ),
    ] = "",
    check: Annotated[
        bool,
        typer.Option("--check", help="Check the heat maps of the photographs against random maps."),
    ] = False,
    photos: Annotated[
        int,
        typer.Option(help="Largest number of photographs for --check.", min=5, max=1000),
    ] = 100,
    device: Device = "auto",
    accept_license: AcceptLicense = False,
    json: Json = False,
) -> None:
    """Show the parts of a photograph that are evidence for a class (Grad-CAM).

    --check removes the pixels with the most heat, and compares how much the probability falls with
    the removal of as many pixels by random maps.

    Example:  resnetlab explain pets photo.jpg --out why.png
    """
    check_device(device)
    if not check:
        _explain_photograph(model, image, out, label, device, accept_license, json)
        return
    if label:
        message = "the check explains the predicted class of each photograph"
        raise input_error("--class, --check", message, "leave --class out")
    result, page = _check(model, image, out, photos, device, accept_license, json)
    if json:
        from resnetlab.schema import encode

        print_json(encode(result) | {"page": page})
    else:
        typer.echo("\n".join([*check_lines(result), *([f"Page: {page}"] if page else [])]))
    if result.bad_files:
        raise typer.Exit(UNFINISHED)


def _explain_photograph(
    model: Path,
    image: Path,
    out: Path | None,
    label: str,
    device: str,
    accept_license: bool,
    json: bool,
) -> None:
    """Write the heat map of one photograph as a PNG file, and print the class."""
    from resnetlab.data.paths import is_folder
    from resnetlab.data.photo_loader import image_from_file
    from resnetlab.data.sources.image_decoder import BadImageError, suppress_pillow_warnings
    from resnetlab.deploy.checks import match_label, read_accepted_model
    from resnetlab.files import atomic_write, sha256, short_hash

    if is_folder(image):
        raise input_error(str(image), "is a folder", "give a photograph, or add --check")
    if out is not None and out.suffix.lower() != ".png":
        raise input_error("--out", "not a name that ends in .png", "--out why.png", got=out)
    check_output_file("--out", out)
    file = read_accepted_model(model, accept_license)
    label = match_label(label, file.classes)
    try:
        with suppress_pillow_warnings():
            photograph = image_from_file(image).load()
    except BadImageError as error:
        raise input_error(str(image), str(error), "give a photograph") from None
    announce_model(file, quiet=json)
    from resnetlab.deploy.explain.explainer import explain as explained
    from resnetlab.deploy.predict import load_model

    loaded = load_model(model, device=device, accept_license=accept_license)
    explanation = explained(loaded, photograph, label)
    # The default name depends on photograph, model and class, so that no other picture is replaced.
    path = out or Path(
        f"{image.stem}-explained-"
        f"{short_hash(sha256(image), file.weights_sha256, explanation.label)}.png"
    )
    with atomic_write(path, "wb") as written:
        drawn = explanation.on_photograph(photograph, file.eval_transform)
        drawn.save(written, "PNG")
    if json:
        details = {"model": loaded.file.name, "image": image, "class": explanation.label}
        details |= {
            "probability": explanation.probability,
            "layer": explanation.layer,
            "heat_map": path,
        }
        print_json(details)
        return
    probability = f"{100 * explanation.probability:.1f} %"
    typer.echo(f"{explanation.label} {probability}, by the features of {explanation.layer}: {path}")


def _check(
    model: Path,
    folder: Path,
    out: Path | None,
    count: int,
    device: str,
    accept_license: bool,
    quiet: bool,
) -> tuple[HeatMapCheck, Path | None]:
    """Check the heat maps on the photographs of a folder, and write the page."""
    from resnetlab.data.paths import is_folder
    from resnetlab.data.photo_loader import LazyImage, image_from_file
    from resnetlab.deploy.checks import read_accepted_model
    from resnetlab.deploy.inputs import find_image_paths

    if not is_folder(folder):
        raise input_error(str(folder), "not a folder", "give a folder of photographs, for --check")
    check_output_folder("--out", out)
    file = read_accepted_model(model, accept_license)
    images = [
        LazyImage(escape_controls(path.relative_to(folder).as_posix()), image_from_file(path).load)
        for path in find_image_paths([folder])[0]
    ]
    announce_model(file, quiet=quiet)
    from resnetlab.deploy.explain.heat_map_check import check_heat_maps, choose_photographs
    from resnetlab.deploy.predict import load_model

    loaded = load_model(model, device=device, accept_license=accept_license)
    chosen = choose_photographs(images, count)
    if len(chosen) < len(images):
        notify(f"{len(chosen):,} of {len(images):,} photographs are checked (--photos)")
    name = escape_controls(folder.resolve().name)
    result, checked = check_heat_maps(loaded, chosen, name, ProgressLine())
    return result, None if out is None else _write_page(result, checked, out)


def _write_page(result: HeatMapCheck, checked: list[CheckedPhoto], out: Path) -> Path:
    from PIL import Image

    from resnetlab.reports.heat_maps import border_photos, write_heat_map_page
    from resnetlab.runs.provenance import made_by

    explanation = {photo.name: photo.explanation for photo in checked}
    images = {
        score.path: (
            Image.fromarray(explanation[score.path].input_pixels.squeeze()),
            explanation[score.path].overlay(),
        )
        for score in border_photos(result, SHOWN_PHOTOGRAPHS)
    }
    command = escape_controls(command_line(["resnetlab", *sys.argv[1:]]))
    return write_heat_map_page(result, images, out, command=command, made_by=str(made_by()))


def check_lines(check: HeatMapCheck) -> Iterator[str]:
    """Yield the result of a check as text."""
    from resnetlab.deploy.explain.heat_map_scores import (
        BORDER_CAVEAT,
        describe_border,
        describe_other,
        describe_rating,
        describe_removal,
    )

    yield f"{describe_rating(check)}."
    yield describe_removal(check)
    yield describe_other(check)
    for row in check.removal:
        yield (
            f"  without {row.removed_pct:g} % of the pixels: {row.drop.mean:.1f} points lower by "
            f"the heat map, {row.random_drop.mean:.1f} by a random map, {row.other_drop.mean:.1f} "
            "by the map of another photograph"
        )
    yield describe_border(check)
    yield f"note: {BORDER_CAVEAT}"
    for name in check.without_evidence:
        yield f"without evidence, and not counted: {name}"
    for name, reason in check.bad_files:
        yield f"skipped: {name}: {reason}"
