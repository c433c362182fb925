"""Options `--sort-into`, `--write` and `--undo` of `predict`: sort photographs, or undo that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from resnetlab.cli.common import UNFINISHED, notify
from resnetlab.errors import input_error
from resnetlab.messages import format_count

if TYPE_CHECKING:
    from resnetlab.deploy.predict import Prediction
    from resnetlab.deploy.sorting import SortMode


@dataclass(frozen=True)
class Sorting:
    """Options of sorting photographs into folders; without a folder nothing is sorted."""

    folder: Path | None
    mode: SortMode
    min_probability: float
    write: bool


def check_sorting(sorting: Sorting, files: Sequence[Path]) -> None:
    """Raise InputError for options of sorting that do not go together, or with the inputs."""
    if sorting.folder is None:
        if sorting.write or sorting.min_probability:
            message = "are for sorting"
            raise input_error("--write, --min-probability", message, "add --sort-into DIR")
        return
    from resnetlab.deploy.sorting import check_sort_folder

    check_sort_folder(sorting.folder, files)


def sort_predictions(
    predictions: Sequence[Prediction],
    paths: Mapping[str, Path],
    classes: tuple[str, ...],
    sorting: Sorting,
) -> int:
    """Sort the photographs into folders, or print what would be done.

    Args:
        predictions: Predictions of the photographs.
        paths: File of each photograph by its printed name, in which control characters are escaped.
        classes: Classes of the model.
        sorting: Options of the sorting.

    Returns:
        The number of photographs that do not exist any more, and were skipped.
    """
    from resnetlab.deploy.answer_texts import answer_kind
    from resnetlab.deploy.sorting import PhotoAnswer, plan_sorting, summarize, write_sorted

    folder = sorting.folder
    assert folder is not None
    answers = [
        PhotoAnswer(
            paths[item.name],
            item.answer.label,
            item.answer.probability,
            answer_kind(item.prediction_set, item.none_of_these),
        )
        for item in predictions
    ]
    planned = plan_sorting(answers, classes, folder, sorting.min_probability)
    for name, count in summarize(planned):
        notify(f"{folder / name}: {format_count(count, 'photograph')}")
    if not sorting.write:
        notify("dry run: nothing was written; add --write to do it")
        return 0
    result = write_sorted(planned, folder, sorting.mode)
    present = f", {result.present:,} there already" if result.present else ""
    notify(
        f"written: {format_count(result.written, 'file')}{present}; --sort-into {folder} --undo "
        "removes them"
    )
    for path in result.missing:
        typer.echo(f"resnetlab: {path}: does not exist any more, and is not sorted", err=True)
    return len(result.missing)


def undo_sorted(folder: Path | None) -> None:
    """Remove what a sorting wrote, and name the files that changed since."""
    from resnetlab.deploy.sorting import undo_sorting

    if folder is None:
        raise input_error("--undo", "no folder is named", "add --sort-into DIR")
    removed, changed = undo_sorting(folder)
    for path in changed:
        typer.echo(f"resnetlab: {path}: changed since, and stays", err=True)
    typer.echo(f"{folder}: {format_count(removed, 'file')} removed")
    if changed:
        raise typer.Exit(UNFINISHED)
