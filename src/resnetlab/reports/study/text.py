"""Sentences of a report: the answer, the limitations, and the way that it was made."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from resnetlab.analysis.training_share import (
    file_images_seen,
    images_seen,
    is_shortened,
    source_images_seen,
    training_share,
)
from resnetlab.reports.format import (
    capitalize_first,
    decimals,
    format_count,
    format_interval,
    format_number,
    format_pct,
    join_words,
)
from resnetlab.reports.study import ensembles
from resnetlab.reports.study.finetune import has_finetuning
from resnetlab.shell import command_line
from resnetlab.stats.chance import UNDECIDED
from resnetlab.stats.intervals import (
    ACCURACY_RANGE_PCT,
    Interval,
    Summary,
    mean,
    t_interval,
    within_range,
)
from resnetlab.stats.verdict import Verdict
from resnetlab.studies.claims import (
    About,
    AnyClaim,
    Equal,
    FailsAndTrains,
    Greater,
    condition_labels,
)

if TYPE_CHECKING:
    from resnetlab.analysis.analyze import StudyAnalysis


def banner(analysis: StudyAnalysis) -> str:
    """Return a note that the study is not finished; empty once it is."""
    counts = analysis.counts
    if counts.complete:
        return ""
    pairs = ((counts.running, "running"), (counts.waiting, "waiting"))
    remaining = join_words([f"{number:,} {name}" for number, name in pairs if number])
    total = format_count(counts.planned, "run")
    return f"Partial report: {counts.finished:,} of {total} finished, {remaining}"


def answer(analysis: StudyAnalysis) -> str:
    """Return the answer of the study in one sentence."""
    claims, verdicts = analysis.study.claims, analysis.verdicts
    if not analysis.counts.complete:
        progress = f"{analysis.counts.finished:,} of {format_count(analysis.counts.planned, 'run')}"
        reason = "claims are tested after the last run" if claims else "the means may still change"
        return f"{progress} {'is' if analysis.counts.finished == 1 else 'are'} finished: {reason}."
    if not claims:
        return _without_claims(analysis)
    first = _comparison(analysis, claims[0], verdicts[0])
    protocol = protocol_sentence(analysis)
    if len(claims) == 1:
        return " ".join(filter(None, (f"{capitalize_first(first)}.", protocol)))
    words = Counter(_quoted(verdict) for verdict in verdicts)
    summary = f"All {len(claims)} claims are {_quoted(verdicts[0])}"
    if len(words) > 1:
        numbers = [f"{n} {'is' if n == 1 else 'are'} {word}" for word, n in words.items()]
        summary = f"Of {len(claims)} claims, {join_words(numbers)}"
    return " ".join(filter(None, (f"{summary}; the first: {first}.", protocol)))


def _quoted(verdict: Verdict) -> str:
    """Return the phrase of a verdict, in quotes if it names a protocol."""
    return verdict.label if verdict.phrase == verdict.label else f"“{verdict.phrase}”"


def protocol_sentence(analysis: StudyAnalysis) -> str:
    """Explain verdicts at a reduced training; empty if no claim has one."""
    limited = [
        claim
        for claim, share in zip(analysis.study.claims, analysis.shares, strict=True)
        if share is not None
    ]
    if not limited:
        return ""
    labels = dict.fromkeys(label for claim in limited for label in condition_labels(claim))
    facts = [(analysis.study.condition(label), analysis.data(label)) for label in labels]
    images = {
        (images_seen(condition.recipe, data.train_images), file_images_seen(condition, data))
        for condition, data in facts
    }
    here, full = next(iter(images))
    seen = "its runs saw fewer images than the study file or its source asks for"
    if len(images) == 1 and full is not None:
        longest = max(source_images_seen(analysis.study, *pair) or 0.0 for pair in facts)
        goals = [f"the study file asks for {full:,.0f}"] if here < full else []
        if longest > full:
            goals.append(f"a source of its published numbers for {_format_length(longest)}")
        seen = f"a run saw {here:,.0f} images, and {' and '.join(goals)}"
    return (
        "A verdict at a share of the training is one on the claim at this protocol, not on the "
        f"claim of its source: {seen} (an image counts as often as it is seen)."
    )


def _format_length(images: float) -> str:
    """Format a number of images, rounded if it follows from steps: `about 8,180,000`."""
    if images == int(images):
        return f"{images:,.0f}"
    return f"about {float(f'{images:.3g}'):,.0f}"


def _comparison(analysis: StudyAnalysis, claim: AnyClaim, verdict: Verdict) -> str:
    word = verdict.qualified_phrase.replace(" (", ", ").removesuffix(")")
    why = f" ({verdict.reason})" if verdict.reason else ""
    if not isinstance(claim, Greater | About | Equal | FailsAndTrains):
        return f"{claim.statement.strip().rstrip('.')}: {word}{why}"
    if not isinstance(claim, FailsAndTrains) and (claim.metric == "loss" or claim.split == "train"):
        return f"{_loss_or_train_comparison(analysis, claim)}: {word}{why}"
    left, right = analysis.summaries[claim.left], analysis.summaries[claim.right]
    text = f"{describe_accuracy(claim.left, left)}, {describe_accuracy(claim.right, right)}"
    if left.interval_pct and right.interval_pct:
        digits = decimals(right.interval_pct)
        other = (
            f"{format_pct(right.mean_pct, digits)} {format_interval(right.interval_pct, digits)}"
        )
        rate = f"({right.counts.trained} of {right.counts.finished})"
        text = f"{describe_accuracy(claim.left, left)}, against {other} for {claim.right} {rate}"
    return f"{text}: {word}{why}"


def _loss_or_train_comparison(analysis: StudyAnalysis, claim: Greater | About | Equal) -> str:
    """Compare both sides of a claim about loss or train images in words.

    The result is the claim's own sentence if a side has no trained run.
    """
    loss = claim.metric == "loss"
    sides = []
    for label in (claim.left, claim.right):
        rows = [row for row in analysis.rows(label) if row.status == "trained"]
        field = f"{claim.split}_{'loss_nats' if loss else 'error_pct'}"
        recorded = [getattr(row, field) for row in rows]
        values = [value if loss else 100 - value for value in recorded if value is not None]
        if not values:
            return claim.statement.strip().rstrip(".")
        possible = Interval(0.0, math.inf) if loss else ACCURACY_RANGE_PCT
        interval = within_range(t_interval(values), possible)
        digits = 3 if loss else decimals(interval)
        reached = format_pct(mean(values), digits)
        if loss:
            reached = f"{format_number(mean(values), digits)} nats"
        sides.append(f"{reached} {format_interval(interval, digits)}" if interval else reached)
    counts = [analysis.summaries[label].counts for label in (claim.left, claim.right)]
    left_rate, right_rate = (f"{side.trained} of {side.finished}" for side in counts)
    metric = f"{claim.split} {'loss' if loss else 'accuracy'} ({left_rate} trained)"
    return (
        f"{claim.left} reached {sides[0]} {metric}, against {sides[1]} for {claim.right} "
        f"({right_rate})"
    )


def describe_accuracy(label: str, summary: Summary) -> str:
    """Describe an accuracy: `plain 56 reached 23.4 % [18.2, 28.6] ... (4 of 5 trained)`."""
    counts = summary.counts
    rate = f"{counts.trained} of {counts.finished} trained"
    if counts.out_of_memory:
        return f"{label} ran out of memory"
    if summary.mean_pct is None:
        return f"{label} has no trained run ({rate})"
    if summary.interval_pct is None:
        return f"{label} reached {format_pct(summary.mean_pct)} in its one trained run ({rate})"
    digits = decimals(summary.interval_pct)
    return (
        f"{label} reached {format_pct(summary.mean_pct, digits)} "
        f"{format_interval(summary.interval_pct, digits)} "
        f"test accuracy ({rate})"
    )


def _without_claims(analysis: StudyAnalysis) -> str:
    labels = list(analysis.summaries)
    described = [describe_accuracy(label, analysis.summaries[label]) for label in labels[:4]]
    accuracies = join_words(described)
    hidden = len(labels) - 4
    more = f", and {format_count(hidden, 'condition')} more below" if hidden > 0 else ""
    together = ensembles.ensemble_sentence(analysis)
    why = "the study declares no claim"
    if analysis.study.left_out:
        why = "its claims need conditions that were left out"
    share = training_share(analysis.study, analysis.data_by_label, labels)
    start = capitalize_first(f"{share.text}, {accuracies}" if share else accuracies)
    return f"{start}{more}; {why}, so there is no verdict." + (together and f" {together}")


def about(analysis: StudyAnalysis) -> str:
    """Return the description of the study, which its file gives for the full training."""
    description = analysis.study.about
    if description and is_shortened(analysis.study):
        return f"By the study file, for its full training: {description}"
    return description


def limits(analysis: StudyAnalysis) -> str:
    """Return the limitations of the report, with the changes to its protocol."""
    sentences = [analysis.study.limits.strip()] if analysis.study.limits.strip() else []
    if sentences and is_shortened(analysis.study):
        sentences = [f"By the study file, for its full training: {sentences[0]}"]
    parts = [item for item in analysis.study.overrides if item.startswith("grid.")]
    changed = [item for item in analysis.study.overrides if item not in parts]
    if changed:
        sentences.append(f"Not the protocol of the study file: {'; '.join(changed)}.")
    if parts:
        count = format_count(len(analysis.study.conditions), "condition")
        sentences.append(f"Not all conditions of the study file, only {count} of it.")
    if analysis.study.left_out and not analysis.study.claims:
        skipped = " ".join(analysis.study.left_out)
        sentences.append(f"Claims without a verdict, as their conditions are left out: {skipped}")
    elif analysis.study.left_out:
        count = format_count(len(analysis.study.left_out), "claim")
        sentences.append(f"{count} without a verdict, listed below the table of claims.")
    undecided = [row for row in analysis.study_data.rows if UNDECIDED in row.reason]
    if undecided:
        count = format_count(sum(row.status == "trained" for row in undecided), "trained run")
        sentences.append(f"No proof of learning in {count}: {UNDECIDED}.")
    sentences += [
        f"About {data.name}: {data.about.strip().rstrip('.')}."
        for data in analysis.study_data.data
        if data.about
    ]
    train_images = {
        condition.data.train_images
        for condition in analysis.study.conditions
        if condition.data.train_images
    }
    if train_images and not any(item.startswith("data.train_images") for item in changed):
        sentences.append(
            "Reduced protocol: trained on only "
            f"{join_words([f'{n:,}' for n in sorted(train_images)])} images."
        )
    late = _runs_without_train_mode_curve(analysis)
    if late:
        sentences.append(
            f"{capitalize_first(format_count(late, 'run'))} had ended before the evaluation in "
            "training mode was requested: its final values exist, and no learning curve of them."
        )
    processors = dict.fromkeys(
        f"{machine.processor} ({machine.instruction_set})"
        for machine in analysis.study_data.machines
        if machine.processor
    )
    if len(processors) > 1:
        sentences.append(
            f"The runs come from {len(processors)} different processors: "
            f"{join_words(list(processors))}. On another processor the same seed may give other "
            "digits."
        )
    if not sentences:
        sentences.append("These results do not cover other data, other recipes or longer training.")
    return " ".join(sentences)


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
        return (
            "No weights were selected on the test images: the validation images selected the "
            "epoch, the learning rate if several are tried, and the stage. The test images are "
            "evaluated once, at the end; a run counts as at chance only if they agree."
        )
    best = any(condition.recipe.select == "best" for condition in conditions)
    selection = "the last weights are used"
    if best:
        selection = "the weights with the lowest validation error are used"
    sentences = [f"No weights were selected on the test images: {selection}."]
    if any(condition.data.test_curve for condition in conditions):
        sentences.append("Their curve was recorded because the study asks for it.")
    else:
        sentences.append("They are evaluated once, at the end.")
    without_validation = [
        condition
        for condition in conditions
        if not analysis.data(condition.label).validation_images
    ]
    if without_validation:
        sentences.append(
            "As there are no validation images, the test images also decide which runs count as "
            "trained; an accuracy of trained runs alone is selected by them in this way."
        )
    return " ".join(sentences)


def command(analysis: StudyAnalysis) -> str:
    """Return the command that repeats the study."""
    if analysis.study_data.command:
        return analysis.study_data.command
    words = ["resnetlab", "study", "run", analysis.study.name]
    for override in analysis.study.overrides:
        key, _, value = override.partition(" = ")
        value = value.split(" (was ")[0]
        if key == "seeds":
            seeds = value.strip("[]").replace(" ", "")
            count = len(seeds.split(","))
            plain = seeds == ",".join(str(seed) for seed in range(count))
            words += ["--seeds", str(count) if plain else seeds]
        else:
            words += ["--data", value] if key == "data" else ["--set", f"{key}={value}"]
    return command_line(words)


def made_by(analysis: StudyAnalysis) -> str:
    """Return the last line of the report."""
    versions = dict.fromkeys(m.version for m in analysis.study_data.machines if m.version)
    author = f"resnetlab {join_words(list(versions))}".strip()
    return f"Written by {author} from results.csv, curves.csv and report.json beside it."


def dot_plot_caption(analysis: StudyAnalysis, chance_hidden: bool) -> str:
    """Return the caption of the first figure; `chance_hidden`: chance is outside its scale."""
    text = "Each planned run. Bar: mean of the trained runs; line: its 95 % t-interval"
    chances = sorted({round(summary.chance_pct, 1) for summary in analysis.summaries.values()})
    chance_text = (
        "chance, the share of the most frequent class, is "
        f"{join_words([format_pct(chance) for chance in chances])}"
    )
    chance_text += ", outside the scale" if chance_hidden else ""
    extra = "; a diverged run is drawn at chance" if analysis.counts.diverged else ""
    edge = analysis.counts.out_of_memory + analysis.counts.missing
    extra += "; runs without an accuracy are drawn at the left edge" if edge else ""
    return f"{text}; {chance_text}{extra}."


def dot_plot_alt(analysis: StudyAnalysis) -> str:
    """Describe the first figure for its text alternative."""
    parts = []
    for label, summary in analysis.summaries.items():
        digits = decimals(summary.interval_pct)
        reached = "no mean"
        if summary.mean_pct is not None:
            reached = f"mean {format_pct(summary.mean_pct, digits)}"
            if summary.interval_pct:
                reached += f" {format_interval(summary.interval_pct, digits)}"
        counts = summary.counts
        parts.append(f"{label}: {reached}, {counts.trained} of {counts.planned} trained")
    return "Test accuracy of every run by condition. " + "; ".join(parts) + "."
