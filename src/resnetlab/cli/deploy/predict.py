"""Command `predict`: parse, predict the classes of photographs, print and sort.

Heavy imports stay inside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from resnetlab.cli.common import (
    BAD_INPUT,
    DONE,
    UNFINISHED,
    AcceptLicense,
    Device,
    FollowLinksOption,
    check_device,
    notify,
    stop_signal,
)
from resnetlab.cli.deploy.options import Batch, Coverage, Model, Threads, TtaOption, announce_model
from resnetlab.cli.deploy.output import (
    CSV_HEADER,
    csv_lines,
    json_lines,
    prediction_summary,
    text_lines,
)
from resnetlab.cli.deploy.predict_sorting import (
    Sorting,
    check_sorting,
    sort_predictions,
    undo_sorted,
)
from resnetlab.cli.output_paths import check_output_file
from resnetlab.data.class_names import class_titles
from resnetlab.errors import InputError, Problem, input_error
from resnetlab.messages import format_count

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from resnetlab.data.config import FollowLinks
    from resnetlab.data.photo_loader import LazyImage, Tta
    from resnetlab.deploy.predict import Classifier, Prediction
    from resnetlab.model_folder.model_file import ModelFile

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
SortModeOption = Annotated[
    Literal["copy", "link"],
    typer.Option(help="Way to sort a photograph: copy or link.", metavar="HOW"),
]
MinProbability = Annotated[
    float,
    typer.Option(help="Photographs below it are sorted into the folder _unsure.", min=0, max=1),
]
Write = Annotated[
    bool, typer.Option("--write", help="Sort; without it the plan is printed (a dry run).")
]
Undo = Annotated[bool, typer.Option("--undo", help="Remove what --sort-into DIR wrote.")]
Sheet = Annotated[
    Path | None,
    typer.Option(
        "--sheet",
        help="Page to write with a thumbnail of each photograph, by predicted class, the least "
        "sure first.",
        metavar="FILE.html",
    ),
]
Watch = Annotated[
    bool,
    typer.Option(
        "--watch", help="Predict the photographs of the folders as they come, until Ctrl-C."
    ),
]


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
    sort_mode: SortModeOption = "copy",
    min_probability: MinProbability = 0.0,
    write: Write = False,
    undo: Undo = False,
    sheet: Sheet = None,
    watch: Watch = False,
) -> None:
    """Predict the classes of photographs.

    The text for several photographs ends with the number of photographs of each class. A photograph
    unlike the training photographs is called none of these. Files that are not images are listed
    and skipped; the exit code is then 3 (2 if no image remains).

    Example:  resnetlab predict pets photo.jpg --coverage 0.9
    """
    if undo:
        undo_sorted(sort_into)
        return
    check_device(device)
    if json and csv:
        raise input_error("--json, --csv", "two output formats", "give one of them")
    if not files:
        raise input_error(
            "FILES", "no photograph is named", "give photographs, or a folder of them"
        )
    sorting = Sorting(sort_into, sort_mode, min_probability, write)
    check_sorting(sorting, files)
    _check_sheet_and_watch(files, sheet, watch, sorting)
    from resnetlab.deploy.checks import read_accepted_model

    file = read_accepted_model(model, accept_license, tta)
    if coverage is not None:
        _check_coverage(model, file, coverage, tta)
    if sort_into is not None:
        _check_class_folders(sort_into, file)
    images = [] if watch else _find_images(files, follow_links)
    announce_model(file, quiet=json)
    from resnetlab.deploy.predict import load_model

    loaded = load_model(model, device=device, accept_license=accept_license, threads=threads)
    if not json:  # JSON has null for unknown
        for note in _confidence_notes(loaded, tta):
            notify(f"note: {note}")
    as_text = not (json or csv)
    has_short_text = as_text and (watch or len(images) > 1)
    count = top or (1 if has_short_text else 5)
    title = class_titles(loaded.classes)  # of all classes: two of them may have one title
    printer = Printer(
        model=loaded,
        top=count,
        thresholds=loaded.set_thresholds(coverage) if coverage is not None else None,
        title=title,
        tta=tta,
        batch_size=batch_size,
        lines=_choose_format(json, csv, partial(text_lines, title, one_line=count == 1)),
    )
    if csv:
        typer.echo(CSV_HEADER)
    if watch:
        exit_code = _watch(printer, files, follow_links, sorting)
    else:
        exit_code = _predict_once(printer, images, sorting, sheet, with_summary=as_text)
    if exit_code:
        raise typer.Exit(exit_code)


Format = Callable[[str, "Prediction | None", str], Iterator[str]]


def _choose_format(json: bool, csv: bool, text: Format) -> Format:
    """Return the function that formats a prediction as JSON, CSV or text."""
    if json:
        return json_lines
    return csv_lines if csv else text


@dataclass(frozen=True)
class Printer:
    """Printer of predictions in one format."""

    model: Classifier
    top: int
    """Number of classes per image."""
    thresholds: NDArray[np.float64] | None
    """Thresholds of the prediction sets, or None without a coverage."""
    title: Mapping[str, str]
    """Title of each class of the model."""
    tta: Tta
    batch_size: int
    lines: Format
    """Function from a name, a prediction and the reason why there is none, to lines."""

    def print_each(self, images: Iterable[LazyImage]) -> Iterator[Prediction | None]:
        """Predict each image, print its lines, and yield the prediction, or None without one."""
        for result in self.model.predict_images(images, tta=self.tta, batch_size=self.batch_size):
            if result.reason:
                typer.echo(f"resnetlab: {result.image.name}: {result.reason}", err=True)
            prediction = (
                None if result.reason else self.model.top_k(result, self.top, self.thresholds)
            )
            for line in self.lines(result.image.name, prediction, result.reason):
                typer.echo(line)
            yield prediction


def _predict_once(
    printer: Printer,
    images: Sequence[LazyImage],
    sorting: Sorting,
    sheet: Path | None,
    *,
    with_summary: bool,
) -> int:
    """Print the predictions of images, sort the images and write the contact sheet.

    Args:
        printer: Model and format of the predictions.
        images: Images of all files and folders.
        sorting: Folders to sort the images into; without a folder they stay where they are.
        sheet: File of the contact sheet, or None for none.
        with_summary: True to print the number of images of each class.

    Returns:
        The exit code.
    """
    thumbnails: dict[str, bytes] = {}
    if sheet is not None:
        from resnetlab.reports.prediction_sheet import with_thumbnail

        images = [with_thumbnail(image, thumbnails) for image in images]
    paths = {image.name: image.path for image in images if image.path is not None}
    predictions = [item for item in printer.print_each(images) if item is not None]
    if with_summary and len(predictions) > 1:
        typer.echo(prediction_summary(printer.title, predictions))
    missing = 0
    if sorting.folder is not None:
        missing = sort_predictions(predictions, paths, printer.model.classes, sorting)
    if sheet is not None:
        _write_sheet(sheet, printer.model, predictions, thumbnails)
    failed = len(images) - len(predictions)
    if not failed:
        return UNFINISHED if missing else DONE
    typer.echo(f"not an image: {failed:,} of {format_count(len(images), 'file')}", err=True)
    return UNFINISHED if predictions else BAD_INPUT


def _write_sheet(
    path: Path, model: Classifier, predictions: Sequence[Prediction], thumbnails: dict[str, bytes]
) -> None:
    """Write the contact sheet, unless there is no prediction."""
    from resnetlab.reports.prediction_sheet import write_prediction_sheet
    from resnetlab.runs.provenance import made_by

    if not predictions:
        return
    file = model.file
    write_prediction_sheet(
        predictions,
        thumbnails,
        path,
        model=file.name,
        license=str(file.license),
        made_by=str(made_by()),
    )
    notify(f"Page: {path}")


def _watch(
    printer: Printer, folders: Sequence[Path], follow_links: FollowLinks, sorting: Sorting
) -> int:
    """Print the predictions of the photographs of folders as they come; return the exit code."""
    from resnetlab.deploy.watch_folders import watch_folders

    done = 0
    failed: set[str] = set()
    with stop_signal("Stopping.").installed() as stopped:
        notify(f"watching {', '.join(map(str, folders))}; Ctrl-C ends it")
        for images in watch_folders(folders, follow_links, stopped.is_set):
            predictions: list[Prediction] = []
            for image, prediction in zip(images, printer.print_each(images), strict=True):
                if prediction is None:
                    failed.add(image.name)
                else:
                    failed.discard(image.name)  # it was complete only now
                    predictions.append(prediction)
                if stopped.is_set():
                    break
            done += len(predictions)
            if sorting.folder is not None:
                paths = {image.name: image.path for image in images if image.path is not None}
                sort_predictions(predictions, paths, printer.model.classes, sorting)
    errors = f", {len(failed):,} not an image" if failed else ""
    notify(f"{format_count(done, 'photograph')} predicted{errors}")
    return UNFINISHED if failed else DONE


def _check_coverage(model: Path, file: ModelFile, coverage: float, tta: Tta) -> None:
    """Raise InputError if the model cannot give the coverage, before torch is imported."""
    from resnetlab.deploy.checks import check_coverage
    from resnetlab.model_folder.confidence import describe_missing, read_confidence

    check_coverage(read_confidence(model, file), describe_missing(model), coverage, tta)


def _check_class_folders(folder: Path, file: ModelFile) -> None:
    """Raise InputError for a file in place of the folder of a class, before torch is imported."""
    from resnetlab.deploy.sorting import check_class_folders

    check_class_folders(folder, file.classes)


def _confidence_notes(model: Classifier, tta: Tta) -> Iterator[str]:
    """Yield a sentence if no photograph can be called none of these."""
    if model.confidence is None:
        yield model.confidence_note
    elif tta != "none":
        yield (
            "no photograph is called none of these: the distance to the training photographs was "
            "fitted without --tta"
        )


def _check_sheet_and_watch(
    files: Sequence[Path], sheet: Path | None, watch: bool, sorting: Sorting
) -> None:
    """Raise InputError for what cannot be watched, and for options that do not go together."""
    if sheet is not None and sheet.suffix.lower() not in (".html", ".htm"):
        message = "not a name that ends in .html"
        raise input_error("--sheet", message, "--sheet sheet.html", got=sheet)
    check_output_file("--sheet", sheet)
    if not watch:
        return
    from resnetlab.deploy.watch_folders import check_watched_folders

    if sheet is not None:
        message = "a sheet is written when all photographs were predicted"
        raise input_error("--watch, --sheet", message, "leave one of them out")
    if sorting.folder is not None and not sorting.write:
        message = "there is no dry run while photographs come"
        raise input_error("--watch, --sort-into", message, "add --write")
    check_watched_folders(files)


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
