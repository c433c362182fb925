"""Command `predict`: parse, predict the classes of photographs, print and sort.

Heavy imports stay inside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resnetlab.cli.deploy_options import (
    Batch,
    Coverage,
    Model,
    Threads,
    TtaOption,
    announce_model,
)
from resnetlab.cli.deploy_output import (
    CSV_HEADER,
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
    check_device,
    folder_reading,
    notify,
)
from resnetlab.errors import InputError, Problem, input_error
from resnetlab.messages import format_count

if TYPE_CHECKING:
    from resnetlab.bundle.spec import ModelFile
    from resnetlab.data.config import FollowLinks
    from resnetlab.data.photo_loader import LazyImage
    from resnetlab.deploy.predict import Classifier, Prediction

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
    coverage: Coverage = None,
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
            "--csv",
            help="Print one CSV line per class: path,rank,class,probability,error,in_set,"
            "none_of_these.",
        ),
    ] = False,
    sort_into: SortInto = None,
    sort_by: SortBy = "copy",
    min_probability: MinProbability = 0.0,
    write: Write = False,
    undo: Undo = False,
) -> None:
    """Predict the classes of photographs.

    The text for several photographs ends with the number of photographs of each class. A photograph
    unlike the training photographs is called none of these. Files that are not images are listed
    and skipped; the exit code is then 3 (2 if no image remains).

    Example:  resnetlab predict pets photo.jpg --coverage 0.9
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
    if coverage is not None:
        _check_coverage(model, file, coverage, tta)
    images = _find_images(files, folder_reading(follow_links).follow_links)
    announce_model(file, quiet=json)
    from resnetlab.deploy.predict import load_model

    loaded = load_model(model, device=device, accept_license=accept_license, threads=threads)
    for note in () if json else _confidence_notes(loaded, tta):  # JSON has null for unknown
        notify(f"note: {note}")
    thresholds = loaded.set_thresholds(coverage) if coverage is not None else None
    as_text = not (json or csv)
    count = top or (1 if as_text and len(images) > 1 else 5)
    as_lines = partial(text_lines, one_line=count == 1)
    lines = json_lines if json else csv_lines if csv else as_lines
    if csv:
        typer.echo(CSV_HEADER)
    predictions: list[Prediction] = []
    for result in loaded.predict_images(images, tta=tta, batch_size=batch_size):  # type: ignore[arg-type]
        if result.reason:
            typer.echo(f"resnetlab: {result.image.name}: {result.reason}", err=True)
        prediction = None if result.reason else loaded.top_k(result, count, thresholds)
        predictions += [prediction] if prediction else []
        for line in lines(result.image.name, prediction, result.reason):
            typer.echo(line)
    if as_text and len(predictions) > 1:
        typer.echo(prediction_summary(predictions))
    if sort_into is not None:
        _sort(predictions, loaded.classes, sort_into, sort_by, min_probability, write)
    if failed := len(images) - len(predictions):
        typer.echo(f"not an image: {failed:,} of {format_count(len(images), 'file')}", err=True)
        raise typer.Exit(UNFINISHED if predictions else BAD_INPUT)


def _check_coverage(model: Path, file: ModelFile, coverage: float, tta: str) -> None:
    """Raise InputError if the model cannot give the coverage, before torch is imported."""
    from resnetlab.bundle.confidence import describe_missing, read_confidence
    from resnetlab.deploy.request import check_coverage

    check_coverage(read_confidence(model, file), describe_missing(model), coverage, tta)


def _confidence_notes(model: Classifier, tta: str) -> Iterator[str]:
    """Yield a sentence if no photograph can be called none of these."""
    if model.confidence is None:
        yield model.confidence_note
    elif tta != "none":
        yield (
            "no photograph is called none of these: the distance to the training photographs was "
            "fitted without --tta"
        )


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
    predictions: Sequence[Prediction],
    classes: tuple[str, ...],
    folder: Path,
    mode: str,
    min_probability: float,
    write: bool,
) -> None:
    """Sort the photographs into folders, or print what would be done."""
    from resnetlab.deploy.confidence import answer_kind
    from resnetlab.deploy.sorting import PhotoAnswer, plan_sorting, summarize, write_sorted

    # A name with control characters is printed with escapes, and is no path.
    paths = [Path(item.name) for item in predictions]
    for path in [path for path in paths if not path.is_file()]:
        typer.echo(
            f"resnetlab: {path}: not sorted, since its name has control characters", err=True
        )
    answers = [
        PhotoAnswer(
            path,
            item.answer.label,
            item.answer.probability,
            answer_kind(item.prediction_set, item.none_of_these),
        )
        for path, item in zip(paths, predictions, strict=True)
        if path.is_file()
    ]
    planned = plan_sorting(answers, classes, folder, min_probability)
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
