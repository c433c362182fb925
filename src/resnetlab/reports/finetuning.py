"""Page of a fine-tuning: accuracy, stages, classes, mistakes, and the commands that use the model.

It contains photographs of the user, so it stays on the user's machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resnetlab.data.class_names import class_titles
from resnetlab.files import write_text
from resnetlab.finetuning.results import FinetuneResult, StageRecord, TimeLimitCut
from resnetlab.reports import evaluation
from resnetlab.reports.document import Cell, Detail, Table, number_columns, text_columns
from resnetlab.reports.finetuning_trials import (
    TrialSection,
    accuracy_cell,
    backbone_section,
    balance_section,
)
from resnetlab.reports.format import (
    DASH,
    capitalize_first,
    format_duration,
    format_p_relation,
    format_pct,
    join_clauses,
)
from resnetlab.translation import (
    Language,
    Message,
    localize_number,
    tr,
    tr_count,
    tr_recorded,
    tr_word,
    use_language,
)

if TYPE_CHECKING:
    from resnetlab.deploy.results import ModelEvaluation

FINETUNE_FILE = "finetune.json"
MAX_NAMED_CLASSES = 20

DOUBTFUL_MARGIN = 0.8
"""Difference of the probabilities of the predicted class and of the label above which a label is
called doubtful."""

MAX_DOUBTFUL = 20


@dataclass(frozen=True)
class Surroundings:
    """Details about a fine-tuning that its records do not have."""

    train_images: Mapping[str, int]
    """Number of train images of each class, in the order of the classes."""
    num_validation: int
    model_folder: Path
    commands: tuple[Detail, ...]
    """Commands that use the model, each with its purpose."""
    command: str
    """Command that repeats the fine-tuning."""
    suspects_command: str
    """Command that judges the labels of all photographs."""
    notes: tuple[str, ...]
    """Notes on how the photographs were read and split."""
    made_by: Message


@dataclass(frozen=True)
class FinetunePage:
    """Content of the page, in words."""

    title: str
    kicker: str
    answer: str
    warnings: tuple[Detail, ...]
    commands: tuple[Detail, ...]
    backbones: TrialSection | None
    balance: TrialSection | None
    stages: Table
    cuts: tuple[Detail, ...]
    """Each change by the time limit, with the command that trains the stage in full."""
    untested: str
    calibration: str
    doubtful: Table
    """Evaluated photographs whose label may be wrong."""
    suspects_command: str
    """Command that judges the labels of all photographs."""
    details: tuple[Detail, ...]
    made_by: str


def write_finetuning_page(
    result: FinetuneResult,
    scores: ModelEvaluation,
    images: Mapping[str, evaluation.MistakeImages],
    surroundings: Surroundings,
    folder: Path,
    full_command: Mapping[str, str],
    language: Language = "en",
) -> Path:
    """Write the tables of the evaluation, their checksums and report.html; return its path.

    Args:
        result: Record of the fine-tuning, which is in finetune.json already.
        scores: Evaluation on the test images; without a test split, on validation.
        images: Images of the mistakes to show, by name.
        surroundings: Other details.
        folder: Folder of the report.
        full_command: Command with a larger time limit, by that limit.
        language: Language of the page; the tables are English.
    """
    evaluation.write_tables(scores, folder, (FINETUNE_FILE,))
    path = folder / "report.html"
    with use_language(language):
        write_text(path, render_finetuning_page(result, scores, images, surroundings, full_command))
    return path


def render_finetuning_page(
    result: FinetuneResult,
    scores: ModelEvaluation,
    images: Mapping[str, evaluation.MistakeImages],
    surroundings: Surroundings,
    full_command: Mapping[str, str],
) -> str:
    """Return the page as HTML; see `write_finetuning_page`."""
    from resnetlab.reports.render.html import jinja_environment

    content = build_page(result, scores, surroundings, full_command)
    values = evaluation.page_values(scores, images, surroundings.train_images)
    return jinja_environment().get_template("finetuning.html").render(page=content, **values)


def build_page(
    result: FinetuneResult,
    scores: ModelEvaluation,
    surroundings: Surroundings,
    full_command: Mapping[str, str],
) -> FinetunePage:
    """Return the content of the page in words."""
    kind = "test" if result.has_test else "validation"
    images = tr_count(result.test.images, f"{kind} photograph")
    return FinetunePage(
        title=tr(
            "{accuracy} of {images} are correctly classified",
            accuracy=format_pct(result.test.accuracy_pct),
            images=images,
        ),
        kicker=tr(
            "{model} · {data} · recipe {recipe}",
            model=result.model,
            data=result.data,
            recipe=result.recipe,
        ),
        answer=" ".join(_answer(result)),
        warnings=_warnings(result),
        commands=tuple(Detail(tr(use.term), use.text) for use in surroundings.commands),
        backbones=backbone_section(result),
        balance=balance_section(result),
        stages=_stage_table(result),
        cuts=tuple(_describe_cut(cut, full_command) for cut in result.time_limit_cuts),
        untested=_untested(result),
        calibration=describe_calibration(scores),
        doubtful=doubtful_table(scores),
        suspects_command=surroundings.suspects_command,
        details=tuple(_details(result, scores, surroundings)),
        made_by=tr(surroundings.made_by),
    )


def _answer(result: FinetuneResult) -> list[str]:
    """Return the sentences below the headline."""
    test = result.test
    expected = tr(
        "between {low} and {high}",
        low=format_pct(test.low_pct),
        high=format_pct(test.high_pct),
    )
    interval = tr(
        "the exact 95 % interval over the {photographs}, for this one model",
        photographs=tr("test photographs" if result.has_test else "validation photographs"),
    )
    chance = format_pct(result.chance_pct)
    sentences = [
        tr(
            "For other photographs of the same kind, expect {expected}: this is {interval}.",
            expected=expected,
            interval=interval,
        ),
        tr(
            "Always answering the most frequent class would be correct for {chance}.", chance=chance
        ),
    ]
    if result.has_test:
        sentences.append(tr("The test photographs were not used for any choice."))
    if other := result.comparison:
        compared = tr("does not differ significantly")
        if other.p < 0.05:
            compared = tr("differs significantly")
        sentences.append(
            tr(
                "{baseline} classifies {accuracy} of the same photographs correctly; this model "
                "{compared} from it ({only_this} are correct only here, {only_baseline} only "
                "there, p {p}).",
                baseline=other.baseline,
                accuracy=format_pct(other.baseline_accuracy_pct),
                compared=compared,
                only_this=other.only_this,
                only_baseline=other.only_baseline,
                p=format_p_relation(other.p),
            )
        )
    return sentences


def _warnings(result: FinetuneResult) -> tuple[Detail, ...]:
    """Return the caveats that no other part of the page states."""
    cuts = {str(cut) for cut in result.time_limit_cuts}
    return caveat_details(line for line in result.caveats if line not in cuts)


def caveat_details(caveats: Iterable[str]) -> tuple[Detail, ...]:
    """Return different caveats as details of a page, in the order of the first of each."""
    return tuple(
        Detail(tr("Caveat"), f"{capitalize_first(tr_recorded(line))}.")
        for line in dict.fromkeys(caveats)
    )


def _untested(result: FinetuneResult) -> str:
    names = list(class_titles(result.untested_classes).values())
    if not names:
        return ""
    listed = ", ".join(names[:MAX_NAMED_CLASSES])
    more = (
        tr(" and {more:,} more", more=len(names) - MAX_NAMED_CLASSES)
        if names[MAX_NAMED_CLASSES:]
        else ""
    )
    return tr(
        "Classes without a test photograph, whose accuracy is unknown: {listed}{more}.",
        listed=listed,
        more=more,
    )


def describe_calibration(scores: ModelEvaluation) -> str:
    """Compare the mean confidence with the accuracy, in a sentence."""
    total = sum(item.images for item in scores.bins)
    confidence = sum(item.images * item.confidence_pct for item in scores.bins) / total
    top1 = scores.top1
    if confidence > top1.high:
        verdict = tr("the model is too sure of its answers")
    elif confidence < top1.low:
        verdict = tr("the model is less sure of its answers than it could be")
    else:
        verdict = tr("the two agree within the interval of the accuracy")
    return tr(
        "On average the model gives its answer a probability of {confidence}, and {accuracy} of "
        "the answers are correct: {verdict}.",
        confidence=format_pct(confidence),
        accuracy=format_pct(top1.pct),
        verdict=verdict,
    )


def doubtful_table(scores: ModelEvaluation) -> Table:
    """Return the evaluated photographs whose label is probably wrong, as a table.

    The network gives their predicted class a probability that is at least `DOUBTFUL_MARGIN` above
    that of the label. The largest difference comes first; there are at most `MAX_DOUBTFUL` rows.
    """
    margins = {item.name: item.probability - item.label_probability for item in scores.mistakes}
    doubtful = sorted(
        (item for item in scores.mistakes if margins[item.name] >= DOUBTFUL_MARGIN),
        key=lambda item: (-margins[item.name], item.name),
    )
    columns = (*text_columns("Photograph"), *text_columns("Label", "Suggested class"))
    rows = tuple(
        (
            Cell(item.name),
            Cell(item.label, format_pct(100 * item.label_probability)),
            Cell(item.predicted, format_pct(100 * item.probability)),
        )
        for item in doubtful[:MAX_DOUBTFUL]
    )
    note = ""
    if len(doubtful) > MAX_DOUBTFUL:
        note = tr(
            "The first {count} of {total:,}; mistakes.csv lists all mistakes.",
            count=MAX_DOUBTFUL,
            total=len(doubtful),
        )
    return Table("doubtful", columns, rows, note)


def _stage_table(result: FinetuneResult) -> Table:
    columns = (
        *text_columns("Stage"),
        *number_columns("Validation", "Epochs", "Learning rate", "Trained parameters", "Time"),
    )
    rows = [_stage_row(stage) for stage in result.stages]
    trained = {stage.name for stage in result.stages}
    for cut in result.time_limit_cuts:
        if cut.stage not in trained:
            rows.append((Cell(cut.stage, tr_word(cut.kind)), *[Cell(DASH)] * 5))
    images = tr_count(result.validation.images, "validation photograph")
    note = tr(
        "Validation: accuracy on {images}, which select the epoch, learning rate and stage.",
        images=images,
    )
    return Table("stages", columns, tuple(rows), note)


def _stage_row(stage: StageRecord) -> tuple[Cell, ...]:
    state = tr("used in the model") if stage.selected else tr("not better, so not used")
    if stage.diverged and stage.epochs:
        state = join_clauses([state, tr("diverged after its best epoch")])
    elif stage.diverged:
        state = tr("diverged; the weights from before are kept")
    elif not stage.complete:
        state = join_clauses([state, tr("stopped before its end")])
    return (
        Cell(stage.name, state),
        accuracy_cell(stage.validation),
        Cell(str(stage.epochs), tr("best: {best_epoch}", best_epoch=stage.best_epoch)),
        Cell(localize_number(f"{stage.lr:g}")),
        Cell(localize_number(f"{stage.trainable_parameters:,}")),
        Cell(format_duration(stage.seconds)),
    )


def _describe_cut(cut: TimeLimitCut, full_command: Mapping[str, str]) -> Detail:
    return Detail(
        tr("{sentence}:", sentence=capitalize_first(tr_recorded(str(cut)))),
        full_command.get(cut.needed, ""),
    )


def _details(
    result: FinetuneResult, scores: ModelEvaluation, surroundings: Surroundings
) -> Sequence[Detail]:
    train, validation = result.train_images, surroundings.num_validation
    test = tr("{images:,} test", images=result.test.images) if result.has_test else tr("no test")
    details = [
        Detail(tr("Model folder"), str(surroundings.model_folder)),
        Detail(tr("Network"), result.model),
        Detail(tr("License of the weights"), str(scores.license)),
        Detail(
            tr("Photographs"),
            tr(
                "{data}: {train:,} train, {validation:,} validation, {test}; {classes}",
                data=result.data,
                train=train,
                validation=validation,
                test=test,
                classes=tr_count(result.classes, "class"),
            ),
        ),
        *training_details(result),
        Detail(tr("Time"), _time(result)),
        Detail(tr("Command"), surroundings.command),
    ]
    return [*details, *(Detail(tr("Note"), tr_recorded(note)) for note in surroundings.notes)]


def training_details(result: FinetuneResult) -> list[Detail]:
    """Return the size of the images, and the recipe with its seed."""
    sizes = tr(
        "{train_size} pixels in training, {test_size} in tests",
        train_size=result.train_size,
        test_size=result.test_size,
    )
    recipe = tr("{recipe}, seed {seed}", recipe=result.recipe, seed=result.seed)
    return [Detail(tr("Image size"), sizes), Detail(tr("Recipe"), recipe)]


def _time(result: FinetuneResult) -> str:
    limit = result.time_limit_seconds
    used = format_duration(result.seconds)
    if limit:
        return tr("{used} of {limit}", used=used, limit=format_duration(limit))
    return tr("{used}, without a limit", used=used)
