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
    export_lines,
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
SortInto = Annotated[
    Path | None,
    typer.Option(help="Folder to sort the photographs into, by predicted class.", metavar="DIR"),
]
SortBy = Annotated[str, typer.Option(help="Way to sort a photograph: copy or link.", metavar="HOW")]
MinProbability = Annotated[
    float,
    typer.Option(help="Photographs below it are sorted into the folder _unsure.", min=0, max=1),
]
Write = Annotated[
    bool, typer.Option("--write", help="Sort; without it the plan is printed (a dry run).")
]
Undo = Annotated[bool, typer.Option("--undo", help="Remove what --sort-into DIR wrote.")]


def predict(
    model: Model,
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Photographs or folders of photographs.", metavar="FILES|DIR"),
    ] = None,
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
    sort_into: SortInto = None,
    sort_by: SortBy = "copy",
    min_probability: MinProbability = 0.0,
    write: Write = False,
    undo: Undo = False,
) -> None:
    """Predict the classes of photographs.

    The text for several photographs ends with the number of photographs of each class. Files that
    are not images are listed and skipped; the exit code is then 3 (2 if no image remains).

    Example:  resnetlab predict pets photo.jpg --top 2
    """
    if undo:
        _undo_sorting(sort_into)
        return
    check_device(device)
    if json and csv:
        raise input_error("--json, --csv", "two output formats", "give one of them")
    if not files:
        raise input_error(
            "FILES", "no photograph is named", "give photographs, or a folder of them"
        )
    _check_sort_options(sort_into, sort_by, min_probability, write, files)
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
    best: list[tuple[Path, str, float]] = []
    for result in loaded.predict_images(images, tta=tta, batch_size=batch_size):  # type: ignore[arg-type]
        if result.reason:
            failed += 1
            typer.echo(f"resnetlab: {result.image.name}: {result.reason}", err=True)
        prediction = None if result.reason else loaded.top_k(result, count)
        if prediction is not None:
            first = prediction.top_classes[0]
            firsts.append(first)
            best.append((Path(result.image.name), first.label, first.probability))
        for line in lines(result.image.name, prediction, result.reason):
            typer.echo(line)
    if as_text and len(firsts) > 1:
        typer.echo(prediction_summary(firsts))
    if sort_into is not None:
        _sort(best, loaded.classes, sort_into, sort_by, min_probability, write)
    if failed:
        typer.echo(f"not an image: {failed:,} of {format_count(len(images), 'file')}", err=True)
        raise typer.Exit(UNFINISHED if best else BAD_INPUT)


def _check_sort_options(
    folder: Path | None, mode: str, min_probability: float, write: bool, files: list[Path]
) -> None:
    if folder is None:
        if write or min_probability:
            message = "are for sorting"
            raise input_error("--write, --min-probability", message, "add --sort-into DIR")
        return
    from resnetlab.deploy.sorting import check_sort_options

    check_sort_options(mode, folder, files)


def _sort(
    best: list[tuple[Path, str, float]],
    classes: tuple[str, ...],
    folder: Path,
    mode: str,
    min_probability: float,
    write: bool,
) -> None:
    """Sort the photographs into folders, or print what would be done."""
    from resnetlab.deploy.sorting import plan_sorting, summarize, write_sorted

    # A name with control characters is printed with escapes, and is no path.
    for path in [path for path, _, _ in best if not path.is_file()]:
        typer.echo(
            f"resnetlab: {path}: not sorted, since its name has control characters", err=True
        )
    best = [item for item in best if item[0].is_file()]
    planned = plan_sorting(best, classes, folder, min_probability)
    for name, count in summarize(planned):
        notify(f"{folder / name}: {format_count(count, 'photograph')}")
    if not write:
        notify("dry run: nothing was written; add --write to do it")
        return
    written = write_sorted(planned, folder, mode)  # type: ignore[arg-type]
    notify(f"written: {format_count(written, 'file')}; --sort-into {folder} --undo removes them")


def _undo_sorting(folder: Path | None) -> None:
    from resnetlab.deploy.sorting import undo_sorting

    if folder is None:
        raise input_error("--undo", "no folder is named", "add --sort-into DIR")
    removed, changed = undo_sorting(folder)
    for path in changed:
        typer.echo(f"resnetlab: {path}: changed since, and stays", err=True)
    typer.echo(f"{folder}: {format_count(removed, 'file')} removed")
    if changed:
        raise typer.Exit(UNFINISHED)


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
    to: Annotated[
        str, typer.Option(help="Format: onnx, torch-export or html.", metavar="FORMAT")
    ] = "onnx",
    out: Annotated[
        Path | None,
        typer.Option(
            help="File to write; the default is <model>.onnx, .pt2 or .html.", metavar="FILE"
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
    """Export a model to ONNX, to torch.export or to a page that works without a network.

    The outputs of the exported model are compared with PyTorch before the file is written.

    Example:  resnetlab export pets --to onnx --with-preprocessing
    """
    from resnetlab.deploy.request import (
        check_export_format,
        check_export_images,
        check_export_options,
        check_model,
    )

    file = check_model(model, accept_license)
    check_export_format(file, to)
    check_export_options(to, with_preprocessing, onnxruntime_web is not None)
    path = out or _default_export_file(model, to)
    if check is not None:
        check_export_images(check)
    runtime = None
    if to == "html":
        from resnetlab.deploy.web_runtime import load_web_runtime

        runtime = load_web_runtime(onnxruntime_web, notify)
    announce_model(file)
    from resnetlab.deploy.export import export as export_network
    from resnetlab.deploy.export_photos import export_photo_model
    from resnetlab.deploy.predict import load_model

    loaded = load_model(model, device="cpu", accept_license=accept_license)
    if runtime or with_preprocessing:
        parity = export_photo_model(loaded, path, check, notify, runtime)
    else:
        parity = export_network(loaded, to, path, check, notify)
    if json:
        facts = {
            "file": path,
            "format": to,
            "images": parity.num_images,
            "kind": parity.image_kind,
            "batches": parity.batch_sizes,
            "largest_difference": parity.max_difference,
            "largest_probability_difference": parity.max_probability_difference,
        }
        print_json(facts)
        return
    for line in export_lines(path, to, file, parity):
        typer.echo(line)


def _default_export_file(model: Path, export_format: str) -> Path:
    """Return the default file of an export, in the current folder. Raises InputError if it exists.

    A file that the user names may be replaced; one that a default names may not.
    """
    from resnetlab.deploy.request import EXPORT_SUFFIXES

    path = Path(model.resolve().name + EXPORT_SUFFIXES[export_format])
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
