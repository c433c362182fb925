"""Page of a cross-validation: the accuracy of each fold, and the photographs of all folds together.

It contains photographs of the user, so it stays on the user's machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resnetlab.files import write_text
from resnetlab.finetuning.results import CrossValidation
from resnetlab.reports import evaluation
from resnetlab.reports.document import Cell, Detail, Table, number_columns, text_columns
from resnetlab.reports.finetuning import (
    caveat_details,
    describe_calibration,
    doubtful_table,
    training_details,
)
from resnetlab.reports.finetuning_trials import accuracy_cell
from resnetlab.reports.format import format_duration, format_interval, format_pct
from resnetlab.stats.intervals import Interval
from resnetlab.translation import (
    Language,
    Message,
    localize_number,
    tr,
    tr_count,
    tr_recorded,
    use_language,
)

if TYPE_CHECKING:
    from resnetlab.deploy.results import ModelEvaluation

FOLDS_FILE = "folds.json"


@dataclass(frozen=True)
class FoldsSurroundings:
    """Details about a cross-validation that its records do not have."""

    command: str
    """Command that repeats the cross-validation."""
    final_command: str
    """Command that trains one model with the same settings, without folds."""
    licenses: tuple[str, ...]
    """Different licenses of the weights of the models."""
    notes: tuple[str, ...]
    """Notes on how the photographs were read and split."""
    made_by: Message


@dataclass(frozen=True)
class FoldsPage:
    """Content of the page, in words."""

    title: str
    kicker: str
    answer: str
    warnings: tuple[Detail, ...]
    folds: Table
    final_command: str
    calibration: str
    doubtful: Table
    details: tuple[Detail, ...]
    made_by: str


def write_folds_page(
    result: CrossValidation,
    scores: ModelEvaluation,
    images: Mapping[str, evaluation.MistakeImages],
    surroundings: FoldsSurroundings,
    folder: Path,
    language: Language = "en",
) -> Path:
    """Write the tables of the evaluation, their checksums and report.html; return its path.

    Args:
        result: Record of the cross-validation, which is in folds.json already.
        scores: Evaluation of the test photographs of all folds, each by the model of its fold.
        images: Images of the mistakes to show, by name.
        surroundings: Other details.
        folder: Folder of the report.
        language: Language of the page; the tables are English.
    """
    from resnetlab.reports.render.html import jinja_environment

    evaluation.write_tables(scores, folder, (FOLDS_FILE,))
    path = folder / "report.html"
    with use_language(language):
        values = evaluation.page_values(scores, images)
        page = build_folds_page(result, scores, surroundings)
        text = jinja_environment().get_template("folds.html").render(page=page, **values)
        write_text(path, text)
    return path


def build_folds_page(
    result: CrossValidation, scores: ModelEvaluation, surroundings: FoldsSurroundings
) -> FoldsPage:
    """Return the content of the page in words."""
    first = result.folds[0]
    folds = tr_count(len(result.folds), "fold")
    return FoldsPage(
        title=tr(
            "{accuracy} of the photographs of a fold are correctly classified, on average",
            accuracy=format_pct(result.mean_pct),
        ),
        kicker=tr(
            "{model} · {data} · {folds} · recipe {recipe}",
            model=_networks(result),
            data=first.data,
            folds=folds,
            recipe=first.recipe,
        ),
        answer=" ".join(_answer(result)),
        warnings=caveat_details(line for fold in result.folds for line in fold.caveats),
        folds=_fold_table(result),
        final_command=surroundings.final_command,
        calibration=describe_calibration(scores),
        doubtful=doubtful_table(scores),
        details=tuple(_details(result, scores, surroundings)),
        made_by=tr(surroundings.made_by),
    )


def _answer(result: CrossValidation) -> list[str]:
    interval = format_interval(Interval(result.low_pct, result.high_pct))
    sentences = [tr("Each photograph was classified by a model that was not trained on it.")]
    if len(result.folds) > 1:
        sentences.append(
            tr(
                "The 95 % interval of the mean is {interval}: it is corrected for the train images "
                "that folds share (Nadeau and Bengio 2003).",
                interval=interval,
            )
        )
    sentences.append(
        tr(
            "Always answering the most frequent class would be correct for {chance}.",
            chance=format_pct(result.folds[0].chance_pct),
        )
    )
    if len(result.folds) < result.planned_folds:
        sentences.append(
            tr(
                "Only {trained} of {planned} folds were trained, so the photographs of the others "
                "are missing here.",
                trained=len(result.folds),
                planned=result.planned_folds,
            )
        )
    return sentences


def _networks(result: CrossValidation) -> str:
    """Return the networks of the folds, each of which may have selected another one."""
    return ", ".join(dict.fromkeys(fold.model for fold in result.folds))


def _fold_table(result: CrossValidation) -> Table:
    columns = (
        *text_columns("Fold"),
        *number_columns("Test accuracy", "Test images", "Train images", "Time"),
        *text_columns("Model folder"),
    )
    rows = tuple(
        (
            Cell(str(number), "" if fold.is_complete else tr("stopped before its end")),
            accuracy_cell(fold.test),
            Cell(localize_number(f"{fold.test.images:,}")),
            Cell(localize_number(f"{fold.train_images:,}")),
            Cell(format_duration(fold.seconds)),
            Cell(f"models/{fold.folder}"),
        )
        for number, fold in enumerate(result.folds)
    )
    note = tr("In brackets: the exact 95 % interval over the images, for the model of the fold.")
    return Table("folds", columns, rows, note, narrow_layout="cards")


def _details(
    result: CrossValidation, scores: ModelEvaluation, surroundings: FoldsSurroundings
) -> list[Detail]:
    first = result.folds[0]
    seconds = sum(fold.seconds for fold in result.folds)
    details = [
        Detail(tr("Network"), _networks(result)),
        Detail(tr("License of the weights"), "; ".join(surroundings.licenses)),
        Detail(
            tr("Photographs"),
            tr(
                "{data}: {photographs} in {classes}",
                data=first.data,
                photographs=tr_count(scores.top1.images, "photograph"),
                classes=tr_count(first.classes, "class"),
            ),
        ),
        *training_details(first),
        Detail(tr("Time"), format_duration(seconds)),
        Detail(tr("Command"), surroundings.command),
    ]
    return [*details, *(Detail(tr("Note"), tr_recorded(note)) for note in surroundings.notes)]
