"""Commands that use a trained network: parse, call one function, print.

Heavy imports stay inside them.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resnetlab.cli.deploy_options import Batch, Model, Threads, TtaOption, announce_model
from resnetlab.cli.deploy_output import (
    csv_lines,
    json_lines,
    prediction_summary,
    text_lines,
)
from resnetlab.cli.manners import (
    BAD_INPUT,
    UNFINISHED,
    AcceptLicense,
    Device,
    FollowLinksOption,
    Json,
    Open,
    check_device,
    folder_reading,
    notify,
    open_page,
    print_json,
)
from resnetlab.errors import InputError, Problem, input_error
from resnetlab.messages import format_count

if TYPE_CHECKING:
    from resnetlab.data.config import FollowLinks
    from resnetlab.data.photo_loader import LazyImage

Top = Annotated[
    int | None,
    typer.Option(
        help="Number of classes per image; the default is 5, and 1 in the text for several images.",
        min=1,
    ),
]


def predict(
    model: Model,
    files: Annotated[
        list[Path],
        typer.Argument(help="Photographs or folders of photographs.", metavar="FILES|DIR"),
    ],
    top: Top = None,
    follow_links: FollowLinksOption = "no",
    tta: TtaOption = "none",
    batch_size: Batch = 32,
    device: Device = "auto",
    threads: Threads = 0,
    accept_license: AcceptLicense = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
    csv: Annotated[
        bool,
        typer.Option(
            "--csv", help="Print one CSV line per class: path,rank,class,probability,error."
        ),
    ] = False,
) -> None:
    """Predict the classes of photographs.

    The text for several photographs ends with the number of photographs of each class. Files that
    are not images are listed and skipped; the exit code is then 3 (2 if no image remains).

    Example:  resnetlab predict pets photo.jpg --top 2
    """
    check_device(device)
    if json and csv:
        raise input_error("--json, --csv", "two output formats", "give one of them")
    from resnetlab.deploy.request import check_model

    file = check_model(model, accept_license, tta)
    images = _find_images(files, folder_reading(follow_links).follow_links)
    announce_model(file, quiet=json)
    from resnetlab.deploy.predict import ClassProbability, load_model

    loaded = load_model(model, device=device, accept_license=accept_license, threads=threads)
    lines = json_lines if json else csv_lines if csv else text_lines
    if csv:
        typer.echo("path,rank,class,probability,error")
    as_text = not (json or csv)
    count = top or (1 if as_text and len(images) > 1 else 5)
    failed, firsts = 0, list[ClassProbability]()
    for result in loaded.predict_images(images, tta=tta, batch_size=batch_size):  # type: ignore[arg-type]
        if result.reason:
            failed += 1
            typer.echo(f"resnetlab: {result.image.name}: {result.reason}", err=True)
        prediction = None if result.reason else loaded.top_k(result, count)
        firsts += prediction.top_classes[:1] if prediction else ()
        for line in lines(result.image.name, prediction, result.reason):
            typer.echo(line)
    if as_text and len(firsts) > 1:
        typer.echo(prediction_summary(firsts))
    if failed:
        typer.echo(f"not an image: {failed:,} of {format_count(len(images), 'file')}", err=True)
        raise typer.Exit(UNFINISHED if firsts else BAD_INPUT)


def _find_images(files: list[Path], follow_links: FollowLinks) -> list[LazyImage]:
    """List the photographs in files and folders. Raises InputError if there are none."""
    from resnetlab.deploy.inputs import find_images, summarize_skipped

    images, skipped = find_images(files, follow_links)
    if skipped:
        notify(f"skipped: {summarize_skipped(skipped)}")
    missing = [path for path in files if not path.exists()]
    if len(missing) == len(files):
        raise InputError(
            *(Problem(str(path), "no such file", "give photographs") for path in missing)
        )
    if not images:
        raise input_error(
            str(files[0]), "contains no photographs", "give photographs, or a folder of them"
        )
    return images


def explain(
    model: Model,
    image: Annotated[Path, typer.Argument(help="Photograph.", metavar="IMAGE")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="PNG file to write; the default is <name>-explained-<hash>.png.", metavar="PNG"
        ),
    ] = None,
    label: Annotated[
        str,
        typer.Option(
            "--class", help="Class to explain; the default is the predicted one.", metavar="NAME"
        ),
    ] = "",
    device: Device = "auto",
    accept_license: AcceptLicense = False,
    json: Json = False,
) -> None:
    """Show the parts of a photograph that are evidence for a class (Grad-CAM).

    Example:  resnetlab explain pets photo.jpg --out why.png
    """
    check_device(device)
    from resnetlab.data.photo_loader import image_from_file
    from resnetlab.data.sources.image_decoder import BadImageError, suppress_pillow_warnings
    from resnetlab.deploy.request import check_model, match_label
    from resnetlab.files import atomic_write, sha256, short_hash

    if out is not None and out.suffix.lower() != ".png":
        raise input_error("--out", "not a name that ends in .png", "--out why.png", got=out)
    file = check_model(model, accept_license)
    label = match_label(label, file.classes)
    try:
        with suppress_pillow_warnings():
            photograph = image_from_file(image).load()
    except BadImageError as error:
        raise input_error(str(image), str(error), "give a photograph") from None
    announce_model(file, quiet=json)
    from resnetlab.deploy.explain import explain as explained
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
        facts = {"model": loaded.file.name, "image": image, "class": explanation.label}
        facts |= {
            "probability": explanation.probability,
            "layer": explanation.layer,
            "heatmap": path,
        }
        print_json(facts)
        return
    probability = f"{100 * explanation.probability:.1f} %"
    typer.echo(f"{explanation.label} {probability}, by the features of {explanation.layer}: {path}")


def export(
    model: Model,
    to: Annotated[str, typer.Option(help="Format: onnx or torch-export.", metavar="FORMAT")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="File to write; the default is the model's name with .onnx or .pt2.",
            metavar="FILE",
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
    accept_license: AcceptLicense = False,
    json: Json = False,
) -> None:
    """Export a model to ONNX or torch.export.

    The outputs of the exported model are compared with PyTorch before the file is written.

    Example:  resnetlab export pets --to onnx --out pets.onnx
    """
    from resnetlab.deploy.request import check_export_format, check_export_images, check_model

    file = check_model(model, accept_license)
    check_export_format(file, to)
    out = out or _default_export_file(model, to)
    if check is not None:
        check_export_images(check)
    announce_model(file)
    from resnetlab.deploy.export import export as exported
    from resnetlab.deploy.predict import load_model

    parity = exported(
        load_model(model, device="cpu", accept_license=accept_license), to, out, check, notify
    )
    if json:
        facts = {
            "file": out,
            "format": to,
            "images": parity.num_images,
            "kind": parity.image_kind,
            "batches": parity.batch_sizes,
        }
        print_json(facts | {"largest_difference": parity.max_difference})
        return
    images = f"{parity.num_images} {parity.image_kind} in batches of {parity.batch_sizes}"
    typer.echo(f"{out}: {images}, largest difference {parity.max_difference:.1e}")
    if to == "onnx":
        typer.echo(
            "load it: import onnxruntime; "
            f"onnxruntime.InferenceSession({str(out)!r}).run(None, {{'images': images}}) "
            "gives logits; its metadata have the preprocessing and the classes"
        )


def _default_export_file(model: Path, export_format: str) -> Path:
    """Return the default file of an export, in the current folder. Raises InputError if it exists.

    A file that the user names may be replaced; one that a default names may not.
    """
    suffix = {"torch-export": ".pt2"}.get(export_format, f".{export_format}")
    path = Path(f"{model.resolve().name}{suffix}")
    if path.exists():
        raise input_error(str(path), "exists", f"--out {path} replaces it, or another name")
    return path


def serve(
    model: Model,
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 8000,
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen on; 0.0.0.0 admits the other devices of your network."
        ),
    ] = "127.0.0.1",
    device: Device = "auto",
    accept_license: AcceptLicense = False,
    open_report: Open = False,
) -> None:
    """Serve predictions for photographs as a web page and as JSON.

    Example:  resnetlab serve pets --port 8000
    """
    check_device(device)
    from resnetlab.deploy.optional_imports import optional_import
    from resnetlab.deploy.request import check_model

    file = check_model(model, accept_license)
    for package in ("fastapi", "uvicorn", "multipart"):
        optional_import(package, "serve")
    announce_model(file)
    from resnetlab.deploy.predict import load_model
    from resnetlab.deploy.serve import run_server

    loaded = load_model(model, device=device, accept_license=accept_license)
    on_ready = open_page if open_report else lambda _: None
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    run_server(loaded, host, port, typer.echo, on_ready)
