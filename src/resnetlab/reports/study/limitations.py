"""Limitations of a study, and what its test images decided."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from resnetlab.analysis.training_share import is_shortened
from resnetlab.reports.format import capitalize_first, join_clauses, join_words
from resnetlab.reports.study.finetune import has_finetuning
from resnetlab.reports.study.text import grid_changes, override_text
from resnetlab.stats.chance import UNDECIDED, is_undecided
from resnetlab.translation import tr, tr_count, tr_study

if TYPE_CHECKING:
    from resnetlab.analysis.analyze import StudyAnalysis
    from resnetlab.studies.study import Override, Study


def limitations(analysis: StudyAnalysis) -> str:
    """Return the limitations of the report, with the changes to its protocol."""
    sentences = [
        *_protocol_sentences(analysis),
        *_left_out_sentences(analysis),
        *_data_sentences(analysis),
        *_run_sentences(analysis),
    ]
    general = tr("These results do not cover other data, other recipes or longer training.")
    return " ".join(sentences or [general])


def _protocol_sentences(analysis: StudyAnalysis) -> Iterator[str]:
    """Yield the limits that the study file states, and the changes of the command to it."""
    study = analysis.study
    if limits := study.limits.strip():
        text = tr_study(limits)
        if is_shortened(study):
            text = tr("By the study file, for its full training: {description}", description=text)
        yield text
    if changed := _changes_of_training(study):
        changes = join_clauses([override_text(item) for item in changed])
        yield tr("Not the protocol of the study file: {changes}.", changes=changes)
    if grid := grid_changes(study):
        yield tr(
            "Not the conditions of the study file, but {count}: {changes}.",
            count=tr_count(len(study.conditions), "condition"),
            changes=join_clauses([override_text(item) for item in grid]),
        )


def _changes_of_training(study: Study) -> list[Override]:
    """Return the changes of the command that are no choice of conditions."""
    return [item for item in study.overrides if not item.key.startswith("grid.")]


def _left_out_sentences(analysis: StudyAnalysis) -> Iterator[str]:
    """Yield a sentence if claims have no verdict because their conditions are left out."""
    left_out = analysis.study.left_out
    if left_out and not analysis.study.claims:
        yield tr(
            "Claims without a verdict, as their conditions are left out: {skipped}",
            skipped=" ".join(tr_study(statement) for statement in left_out),
        )
    elif left_out:
        count = tr_count(len(left_out), "claim")
        yield tr("{count} without a verdict, listed below the table of claims.", count=count)


def _data_sentences(analysis: StudyAnalysis) -> Iterator[str]:
    """Yield sentences about runs that the data cannot tell from chance, and about the data."""
    undecided = [row for row in analysis.study_data.rows if is_undecided(row.reason)]
    if undecided:
        count = tr_count(sum(row.status == "trained" for row in undecided), "trained run")
        yield tr("No proof of learning in {count}: {reason}.", count=count, reason=tr(UNDECIDED))
    for data in analysis.study_data.data:
        if data.about:
            yield tr("About {name}: {about}.", name=data.name, about=data.about.strip().rstrip("."))
    limits = {condition.data.train_images for condition in analysis.study.conditions}
    numbers = sorted(limit for limit in limits if limit)
    changed = {item.key for item in analysis.study.overrides}
    if numbers and "data.train_images" not in changed:  # else it is among the changes
        count = join_words([tr("{count:,}", count=n) for n in numbers])
        yield tr("Reduced protocol: trained on only {count} images.", count=count)


def _run_sentences(analysis: StudyAnalysis) -> Iterator[str]:
    """Yield sentences about runs without a curve in training mode, and about their processors."""
    if late := _runs_without_train_mode_curve(analysis):
        yield tr(
            "{runs} had ended before the evaluation in training mode was requested: its final "
            "values exist, and no learning curve of them.",
            runs=capitalize_first(tr_count(late, "run")),
        )
    processors = dict.fromkeys(
        f"{machine.processor} ({machine.instruction_set})"
        for machine in analysis.study_data.machines
        if machine.processor
    )
    if len(processors) > 1:
        yield tr(
            "The runs come from {count} different processors: {processors}. On another "
            "processor the same seed may give other digits.",
            count=len(processors),
            processors=join_words(list(processors)),
        )


def _runs_without_train_mode_curve(analysis: StudyAnalysis) -> int:
    """Return the number of runs that were evaluated in training mode only after their end."""
    labels = [c.label for c in analysis.study.conditions if c.evaluation_mode == "train"]
    drawn = {
        (point.condition, point.seed)
        for label in labels
        for point in analysis.points(label)
        if point.split != "train epoch"
    }
    rows = [row for label in labels for row in analysis.rows(label)]
    return sum(
        row.test_error_pct is not None and (row.condition, row.seed) not in drawn for row in rows
    )


def test_split_note(analysis: StudyAnalysis) -> str:
    """Explain that no weights were selected on the test images, and what they do decide."""
    conditions = analysis.study.conditions
    if has_finetuning(analysis):
        return tr(
            "No weights were selected on the test images: the validation images selected the "
            "epoch, the learning rate if several are tried, and the stage. The test images are "
            "evaluated once, at the end; a run counts as at chance only if they agree."
        )
    best = [condition.recipe.select == "best" for condition in conditions]
    selection = tr("the last weights are used")
    if all(best):
        selection = tr("the weights with the lowest validation error are used")
    elif any(best):
        selection = tr(
            "the weights with the lowest validation error are used in {number} of {total} "
            "conditions, and the last weights in the others",
            number=sum(best),
            total=len(best),
        )
    sentences = [
        tr("No weights were selected on the test images: {selection}.", selection=selection)
    ]
    if any(condition.data.test_curve for condition in conditions):
        sentences.append(tr("Their curve was recorded because the study asks for it."))
    else:
        sentences.append(tr("They are evaluated once, at the end."))
    without_validation = [
        condition
        for condition in conditions
        if not analysis.data(condition.label).validation_images
    ]
    if without_validation:
        sentences.append(
            tr(
                "As there are no validation images, the test images also decide which runs count "
                "as trained; an accuracy of trained runs alone is selected by them in this way."
            )
        )
    return " ".join(sentences)
