"""Command `predict`: parse, predict the classes of photographs, print and sort.

Heavy imports stay inside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resnetlab.cli.deploy_options import Batch, Model, Threads, TtaOption, announce_model
from resnetlab.cli.deploy_output import csv_lines, json_lines, prediction_summary, text_lines
from resnetlab.cli.manners import (
    BAD_INPUT,
    UNFINISHED,
    AcceptLicense,
    Device,
    FollowLinksOption,
    check_device,
    folder_reading,
    notify,
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
