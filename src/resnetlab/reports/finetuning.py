"""Page of a fine-tuning: accuracy, stages, classes, mistakes, and the commands that use the model.

It contains photographs of the user, so it stays on the user's machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resnetlab.data.class_names import class_titles
from resnetlab.files import write_text
from resnetlab.finetune.results import BudgetCut, FinetuneResult, StageRecord
from resnetlab.reports import evaluation
from resnetlab.reports.document import Cell, Fact, Table, number_columns, text_columns
from resnetlab.reports.finetuning_trials import (
    TrialSection,
    backbone_section,
    balance_section,
)
from resnetlab.reports.format import (
    DASH,
    capitalize_first,
    format_count,
    format_duration,
    format_interval,
    format_p_relation,
    format_pct,
)
from resnetlab.stats.intervals import Interval

if TYPE_CHECKING:
    from resnetlab.deploy.results import EvaluationResult
    from resnetlab.finetune.results import AccuracyEstimate

FINETUNE_FILE = "finetune.json"
MAX_NAMED_CLASSES = 20

DOUBTFUL_MARGIN = 0.8
"""Difference of the probabilities of the predicted class and of the label above which a label is
called doubtful."""

MAX_DOUBTFUL = 20


@dataclass(frozen=True)
class Surroundings:
    """Facts about a fine-tuning that its records do not have."""

    train_images: Mapping[str, int]
    """Number of train images of each class, in the order of the classes."""
    num_validation: int
    model_folder: Path
    commands: tuple[Fact, ...]
    """Commands that use the model, each with its purpose."""
    command: str
    """Command that repeats the fine-tuning."""
    suspects_command: str
    """Command that judges the labels of all photographs."""
    notes: tuple[str, ...]
    """Notes on how the photographs were read and split."""
    made_by: str


@dataclass(frozen=True)
class FinetunePage:
    """Content of the page, in words."""

    title: str
    kicker: str
    answer: str
    warnings: tuple[Fact, ...]
    commands: tuple[Fact, ...]
    backbones: TrialSection | None
    balance: TrialSection | None
    stages: Table
    cuts: tuple[Fact, ...]
    """Each change by the time limit, with the command that trains the stage in full."""
    untested: str
    calibration: str
    doubtful: Table
    """Evaluated photographs whose label may be wrong."""
    suspects_command: str
    """Command that judges the labels of all photographs."""
    facts: tuple[Fact, ...]
    made_by: str


def write(
    result: FinetuneResult,
    scores: EvaluationResult,
    images: Mapping[str, evaluation.MistakeImages],
    surroundings: Surroundings,
    folder: Path,
    full_command: Mapping[str, str],
) -> Path:
    """Write the tables of the evaluation, their checksums and report.html; return its path.

    Args:
        result: Record of the fine-tuning, which is in finetune.json already.
        scores: Evaluation on the test images; without a test split, on validation.
        images: Images of the mistakes to show, by name.
        surroundings: Other facts.
        folder: Folder of the report.
        full_command: Command with a larger time limit, by that limit.
    """
    evaluation.write_tables(scores, folder, (FINETUNE_FILE,))
    path = folder / "report.html"
    write_text(path, render(result, scores, images, surroundings, full_command))
    return path


def render(
    result: FinetuneResult,
    scores: EvaluationResult,
    images: Mapping[str, evaluation.MistakeImages],
    surroundings: Surroundings,
    full_command: Mapping[str, str],
) -> str:
    """Return the page as HTML; see `write`."""
    from resnetlab.reports.render.html import jinja_environment

    content = page(result, scores, surroundings, full_command)
    values = evaluation.page_values(scores, images, surroundings.train_images)
    return jinja_environment().get_template("finetuning.html").render(page=content, **values)


def page(
    result: FinetuneResult,
    scores: EvaluationResult,
    surroundings: Surroundings,
    full_command: Mapping[str, str],
) -> FinetunePage:
    """Return the content of the page in words."""
    kind = "test" if result.has_test else "validation"
    images = format_count(result.test.images, f"{kind} photograph")
    return FinetunePage(
        title=f"{format_pct(result.test.accuracy_pct)} of {images} are correctly classified",
        kicker=f"{result.model} · {result.data} · recipe {result.recipe}",
        answer=" ".join(_answer(result, kind)),
        warnings=_warnings(result),
        commands=surroundings.commands,
        backbones=backbone_section(result),
        balance=balance_section(result),
        stages=_stage_table(result),
        cuts=tuple(_describe_cut(cut, full_command) for cut in result.budget_cuts),
        untested=_untested(result),
        calibration=describe_calibration(scores),
        doubtful=_doubtful_table(scores),
        suspects_command=surroundings.suspects_command,
        facts=tuple(_facts(result, scores, surroundings)),
        made_by=surroundings.made_by,
    )


def _answer(result: FinetuneResult, kind: str) -> list[str]:
    """Return the sentences below the headline."""
    test = result.test
    expected = f"between {format_pct(test.low_pct)} and {format_pct(test.high_pct)}"
    interval = f"the exact 95 % interval over the {kind} photographs, for this one model"
    chance = format_pct(result.chance_pct)
    sentences = [
        f"For other photographs of the same kind, expect {expected}: this is {interval}.",
        f"Always answering the most frequent class would be correct for {chance}.",
    ]
    if result.has_test:
        sentences.append("The test photographs were not used for any choice.")
    if other := result.comparison:
        verb = "differs" if other.p < 0.05 else "does not differ"
        sentences.append(
            f"{other.baseline} classifies {format_pct(other.baseline_accuracy_pct)} of the same "
            f"photographs correctly; this model {verb} significantly from it "
            f"({other.only_this} are correct only here, {other.only_baseline} only there, p "
            f"{format_p_relation(other.p)})."
        )
    return sentences


def _warnings(result: FinetuneResult) -> tuple[Fact, ...]:
    """Return the caveats that no other part of the page states."""
    cuts = {str(cut) for cut in result.budget_cuts}
    return tuple(
        Fact("Caveat", f"{capitalize_first(line)}.") for line in result.caveats if line not in cuts
    )


def _untested(result: FinetuneResult) -> str:
    names = list(class_titles(result.untested_classes).values())
    if not names:
        return ""
    listed = ", ".join(names[:MAX_NAMED_CLASSES])
    more = f" and {len(names) - MAX_NAMED_CLASSES:,} more" if names[MAX_NAMED_CLASSES:] else ""
    return f"Classes without a test photograph, whose accuracy is unknown: {listed}{more}."


def describe_calibration(scores: EvaluationResult) -> str:
    """Compare the mean confidence with the accuracy, in a sentence."""
    total = sum(item.images for item in scores.bins)
    confidence = sum(item.images * item.confidence_pct for item in scores.bins) / total
    top1 = scores.top1
    if confidence > top1.high:
        verdict = "the model is too sure of its answers"
    elif confidence < top1.low:
        verdict = "the model is less sure of its answers than it could be"
    else:
        verdict = "the two agree within the interval of the accuracy"
    return (
        f"On average the model gives its answer a probability of {format_pct(confidence)}, and "
        f"{format_pct(top1.pct)} of the answers are correct: {verdict}."
    )


def _doubtful_table(scores: EvaluationResult) -> Table:
    """Return the evaluated photographs of whose label the network is very unsure."""
    margins = {item.name: item.probability - item.true_probability for item in scores.mistakes}
    doubtful = sorted(
        (item for item in scores.mistakes if margins[item.name] >= DOUBTFUL_MARGIN),
        key=lambda item: (-margins[item.name], item.name),
    )
    columns = (*text_columns("Photograph"), *text_columns("Label", "Suggested class"))
    rows = tuple(
        (
            Cell(item.name),
            Cell(item.true, format_pct(100 * item.true_probability)),
            Cell(item.predicted, format_pct(100 * item.probability)),
        )
        for item in doubtful[:MAX_DOUBTFUL]
    )
    note = ""
    if len(doubtful) > MAX_DOUBTFUL:
        note = f"The first {MAX_DOUBTFUL} of {len(doubtful):,}; mistakes.csv lists all mistakes."
    return Table("doubtful", columns, rows, note)


def _stage_table(result: FinetuneResult) -> Table:
    columns = (
        *text_columns("Stage"),
        *number_columns("Validation", "Epochs", "Learning rate", "Trained parameters", "Time"),
    )
    rows = [_stage_row(stage) for stage in result.stages]
    trained = {stage.name for stage in result.stages}
    for cut in result.budget_cuts:
        if cut.stage not in trained:
            rows.append((Cell(cut.stage, cut.kind), *[Cell(DASH)] * 5))
    images = format_count(result.validation.images, "validation photograph")
    note = f"Validation: accuracy on {images}, which select the epoch, learning rate and stage."
    return Table("stages", columns, tuple(rows), note)


def _stage_row(stage: StageRecord) -> tuple[Cell, ...]:
    state = "used in the model" if stage.selected else "not better, so not used"
    if stage.diverged:
        state = "diverged; the weights from before are kept"
    elif not stage.complete:
        state += "; stopped before its end"
    return (
        Cell(stage.name, state),
        _accuracy(stage.validation),
        Cell(str(stage.epochs), f"best: {stage.best_epoch}"),
        Cell(f"{stage.lr:g}"),
        Cell(f"{stage.trainable_parameters:,}"),
        Cell(format_duration(stage.seconds)),
    )


def _accuracy(estimate: AccuracyEstimate) -> Cell:
    interval = format_interval(Interval(estimate.low_pct, estimate.high_pct))
    return Cell(format_pct(estimate.accuracy_pct), interval)


def _describe_cut(cut: BudgetCut, full_command: Mapping[str, str]) -> Fact:
    return Fact(f"{capitalize_first(str(cut))}:", full_command.get(cut.needed, ""))


def _facts(
    result: FinetuneResult, scores: EvaluationResult, surroundings: Surroundings
) -> Sequence[Fact]:
    train, validation = result.train_images, surroundings.num_validation
    test = f"{result.test.images:,} test" if result.has_test else "no test"
    facts = [
        Fact("Model folder", str(surroundings.model_folder)),
        Fact("Network", result.model),
        Fact("License of the weights", str(scores.license)),
        Fact(
            "Photographs",
            f"{result.data}: {train:,} train, {validation:,} validation, {test}; "
            f"{format_count(result.classes, 'class')}",
        ),
        Fact("Image size", f"{result.train_size} pixels in training, {result.test_size} in tests"),
        Fact("Recipe", f"{result.recipe}, seed {result.seed}"),
        Fact("Time", _time(result)),
        Fact("Command", surroundings.command),
    ]
    return [*facts, *(Fact("Note", note) for note in surroundings.notes)]


def _time(result: FinetuneResult) -> str:
    limit = result.budget_seconds
    allowed = f" of {format_duration(limit)}" if limit else ", without a limit"
    return f"{format_duration(result.seconds)}{allowed}"
