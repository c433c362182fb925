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
    format_value,
    join_clauses,
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
from resnetlab.studies.imported import TEST_ACCURACY, Measure
from resnetlab.translation import localize_number, tr, tr_finished

if TYPE_CHECKING:
    from resnetlab.analysis.analyze import StudyAnalysis


def banner(analysis: StudyAnalysis) -> str:
    """Return a note that the study is not finished; empty once it is."""
    counts = analysis.counts
    if counts.complete:
        return ""
    pairs = ((counts.running, "running"), (counts.waiting, "waiting"))
    remaining = join_words(
        [
            tr("{number:,} {status}", number=number, status=tr_finished(name))
            for number, name in pairs
            if number
        ]
    )
    total = format_count(counts.planned, "run")
    return tr(
        "Partial report: {finished:,} of {total} finished, {remaining}",
        finished=counts.finished,
        total=total,
        remaining=remaining,
    )


def answer(analysis: StudyAnalysis) -> str:
    """Return the answer of the study in one sentence."""
    claims, verdicts = analysis.study.claims, analysis.verdicts
    if not analysis.counts.complete:
        progress = tr(
            "{finished:,} of {planned}",
            finished=analysis.counts.finished,
            planned=format_count(analysis.counts.planned, "run"),
        )
        reason = (
            tr("claims are tested after the last run")
            if claims
            else tr("the means may still change")
        )
        if analysis.counts.finished == 1:
            return tr("{progress} is finished: {reason}.", progress=progress, reason=reason)
        return tr("{progress} are finished: {reason}.", progress=progress, reason=reason)
    if not claims:
        return _without_claims(analysis)
    first = _comparison(analysis, claims[0], verdicts[0])
    protocol = protocol_sentence(analysis)
    if len(claims) == 1:
        return " ".join(filter(None, (f"{_sentence_start(analysis, first)}.", protocol)))
    words = Counter(_quoted(verdict) for verdict in verdicts)
    summary = tr(
        "All {claims} claims are {verdict}", claims=len(claims), verdict=_quoted(verdicts[0])
    )
    if len(words) > 1:
        numbers = [
            tr("{n} is {verdict}", n=n, verdict=word)
            if n == 1
            else tr("{n} are {verdict}", n=n, verdict=word)
            for word, n in words.items()
        ]
        summary = tr(
            "Of {claims} claims, {numbers}", claims=len(claims), numbers=join_words(numbers)
        )
    return " ".join(
        filter(None, (tr("{summary}; the first: {first}.", summary=summary, first=first), protocol))
    )


def _sentence_start(analysis: StudyAnalysis, sentence: str) -> str:
    """Return a sentence with a capital, unless it begins with the name of imported runs."""
    return sentence if analysis.study.imported else capitalize_first(sentence)


def _quoted(verdict: Verdict) -> str:
    """Return the phrase of a verdict, in quotes if it names a protocol."""
    phrase = tr_finished(verdict.phrase)
    return phrase if verdict.phrase == verdict.label else tr("“{phrase}”", phrase=phrase)


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
    seen = tr("its runs saw fewer images than the study file or its source asks for")
    if len(images) == 1 and full is not None:
        longest = max(source_images_seen(analysis.study, *pair) or 0.0 for pair in facts)
        goals = [tr("the study file asks for {full:,.0f}", full=full)] if here < full else []
        if longest > full:
            goals.append(
                tr(
                    "a source of its published numbers for {images}",
                    images=_format_length(longest),
                )
            )
        seen = tr("a run saw {here:,.0f} images, and {goals}", here=here, goals=join_words(goals))
    return tr(
        "A verdict at a share of the training is one on the claim at this protocol, not on the "
        "claim of its source: {seen} (an image counts as often as it is seen).",
        seen=seen,
    )


def _format_length(images: float) -> str:
    """Format a number of images, rounded if it follows from steps: `about 8,180,000`."""
    if images == int(images):
        return localize_number(f"{images:,.0f}")
    return tr("about {images:,.0f}", images=float(f"{images:.3g}"))


def _comparison(analysis: StudyAnalysis, claim: AnyClaim, verdict: Verdict) -> str:
    word = tr_finished(verdict.qualified_phrase).replace(" (", ", ").removesuffix(")")
    why = f" ({tr_finished(verdict.reason)})" if verdict.reason else ""
    if not isinstance(claim, Greater | About | Equal | FailsAndTrains):
        statement = claim.statement.strip().rstrip(".")
        return tr("{statement}: {verdict}", statement=statement, verdict=word + why)
    if not isinstance(claim, FailsAndTrains) and (claim.metric == "loss" or claim.split == "train"):
        compared = _loss_or_train_comparison(analysis, claim)
        return tr("{statement}: {verdict}", statement=compared, verdict=word + why)
    left, right = analysis.summaries[claim.left], analysis.summaries[claim.right]
    measure = analysis.study.measure
    first = describe_accuracy(claim.left, left, measure)
    text = f"{first}, {describe_accuracy(claim.right, right, measure)}"
    if left.interval_pct and right.interval_pct:
        digits = decimals(right.interval_pct, measure.unit)
        reached = format_value(right.mean_pct, digits, measure.unit)
        rate = tr(
            "({trained} of {finished})",
            trained=right.counts.trained,
            finished=right.counts.finished,
        )
        text = tr(
            "{left}, against {other} for {right} {rate}",
            left=first,
            other=f"{reached} {format_interval(right.interval_pct, digits)}",
            right=claim.right,
            rate=rate,
        )
    return tr("{statement}: {verdict}", statement=text, verdict=word + why)


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
            reached = tr("{values} nats", values=format_number(mean(values), digits))
        sides.append(f"{reached} {format_interval(interval, digits)}" if interval else reached)
    counts = [analysis.summaries[label].counts for label in (claim.left, claim.right)]
    left_rate, right_rate = (
        tr("{trained} of {finished}", trained=side.trained, finished=side.finished)
        for side in counts
    )
    return tr(
        "{left} reached {left_value} {metric} ({left_rate} trained), against {right_value} for "
        "{right} ({right_rate})",
        left=claim.left,
        left_value=sides[0],
        metric=tr_finished(f"{claim.split} {'loss' if loss else 'accuracy'}"),
        left_rate=left_rate,
        right_value=sides[1],
        right=claim.right,
        right_rate=right_rate,
    )


def describe_accuracy(label: str, summary: Summary, measure: Measure = TEST_ACCURACY) -> str:
    """Describe an accuracy: `plain 56 reached 23.4 % [18.2, 28.6] ... (4 of 5 trained)`."""
    counts = summary.counts
    rate = tr("{trained} of {finished} trained", trained=counts.trained, finished=counts.finished)
    if counts.out_of_memory:
        return tr("{label} ran out of memory", label=label)
    if summary.mean_pct is None:
        return tr("{label} has no trained run ({rate})", label=label, rate=rate)
    if summary.interval_pct is None:
        digits = decimals(None, measure.unit)
        return tr(
            "{label} reached {mean} in its one trained run ({rate})",
            label=label,
            mean=format_value(summary.mean_pct, digits, measure.unit),
            rate=rate,
        )
    digits = decimals(summary.interval_pct, measure.unit)
    return tr(
        "{label} reached {mean} {interval} {measure} ({rate})",
        label=label,
        mean=format_value(summary.mean_pct, digits, measure.unit),
        interval=format_interval(summary.interval_pct, digits),
        measure=tr_finished(measure.name),
        rate=rate,
    )


def _without_claims(analysis: StudyAnalysis) -> str:
    labels = list(analysis.summaries)
    measure = analysis.study.measure
    described = [
        describe_accuracy(label, analysis.summaries[label], measure) for label in labels[:4]
    ]
    accuracies = join_words(described)
    hidden = len(labels) - 4
    more = (
        tr(", and {hidden} more below", hidden=format_count(hidden, "condition"))
        if hidden > 0
        else ""
    )
    together = ensembles.ensemble_sentence(analysis)
    why = tr("the study declares no claim")
    if analysis.study.imported:
        why = tr("no claim is given")
    elif analysis.study.left_out:
        why = tr("its claims need conditions that were left out")
    share = None
    if not analysis.study.imported:
        share = training_share(analysis.study, analysis.data_by_label, labels)
    start = _sentence_start(
        analysis, f"{tr_finished(share.text)}, {accuracies}" if share else accuracies
    )
    return tr("{start}{more}; {why}, so there is no verdict.", start=start, more=more, why=why) + (
        together and f" {together}"
    )


def about(analysis: StudyAnalysis) -> str:
    """Return the description of the study, which its file gives for the full training."""
    description = analysis.study.about
    if description and is_shortened(analysis.study):
        return tr(
            "By the study file, for its full training: {description}", description=description
        )
    return description


def limits(analysis: StudyAnalysis) -> str:
    """Return the limitations of the report, with the changes to its protocol."""
    sentences = [analysis.study.limits.strip()] if analysis.study.limits.strip() else []
    if sentences and is_shortened(analysis.study):
        sentences = [
            tr("By the study file, for its full training: {description}", description=sentences[0])
        ]
    parts = [item for item in analysis.study.overrides if item.startswith("grid.")]
    changed = [item for item in analysis.study.overrides if item not in parts]
    if changed:
        sentences.append(
            tr("Not the protocol of the study file: {changes}.", changes=join_clauses(changed))
        )
    if parts:
        count = format_count(len(analysis.study.conditions), "condition")
        sentences.append(
            tr("Not all conditions of the study file, only {count} of it.", count=count)
        )
    if analysis.study.left_out and not analysis.study.claims:
        skipped = " ".join(analysis.study.left_out)
        sentences.append(
            tr(
                "Claims without a verdict, as their conditions are left out: {skipped}",
                skipped=skipped,
            )
        )
    elif analysis.study.left_out:
        count = format_count(len(analysis.study.left_out), "claim")
        sentences.append(
            tr("{count} without a verdict, listed below the table of claims.", count=count)
        )
    undecided = [row for row in analysis.study_data.rows if UNDECIDED in row.reason]
    if undecided:
        count = format_count(sum(row.status == "trained" for row in undecided), "trained run")
        sentences.append(
            tr(
                "No proof of learning in {count}: {reason}.",
                count=count,
                reason=tr_finished(UNDECIDED),
            )
        )
    sentences += [
        tr("About {name}: {about}.", name=data.name, about=data.about.strip().rstrip("."))
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
            tr(
                "Reduced protocol: trained on only {count} images.",
                count=join_words([tr("{count:,}", count=n) for n in sorted(train_images)]),
            )
        )
    late = _runs_without_train_mode_curve(analysis)
    if late:
        sentences.append(
            tr(
                "{runs} had ended before the evaluation in training mode was requested: its final "
                "values exist, and no learning curve of them.",
                runs=capitalize_first(format_count(late, "run")),
            )
        )
    processors = dict.fromkeys(
        f"{machine.processor} ({machine.instruction_set})"
        for machine in analysis.study_data.machines
        if machine.processor
    )
    if len(processors) > 1:
        sentences.append(
            tr(
                "The runs come from {count} different processors: {processors}. On another "
                "processor the same seed may give other digits.",
                count=len(processors),
                processors=join_words(list(processors)),
            )
        )
    if not sentences:
        sentences.append(
            tr("These results do not cover other data, other recipes or longer training.")
        )
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
        return tr(
            "No weights were selected on the test images: the validation images selected the "
            "epoch, the learning rate if several are tried, and the stage. The test images are "
            "evaluated once, at the end; a run counts as at chance only if they agree."
        )
    best = any(condition.recipe.select == "best" for condition in conditions)
    selection = tr("the last weights are used")
    if best:
        selection = tr("the weights with the lowest validation error are used")
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
    return tr(
        "Written by {author} from results.csv, curves.csv and report.json beside it.", author=author
    )


def dot_plot_caption(analysis: StudyAnalysis, chance_hidden: bool) -> str:
    """Return the caption of the first figure; `chance_hidden`: chance is outside its scale."""
    text = tr("Each planned run. Bar: mean of the trained runs; line: its 95 % t-interval")
    if imported := analysis.study.imported:
        corrected = tr(", corrected for folds") if imported.folds else ""
        return f"{text}{corrected}{_edge_note(analysis)}."
    chances = sorted({round(summary.chance_pct, 1) for summary in analysis.summaries.values()})
    chance_text = tr(
        "chance, the share of the most frequent class, is {chance}",
        chance=join_words([format_pct(chance) for chance in chances]),
    )
    chance_text += tr(", outside the scale") if chance_hidden else ""
    extra = tr("; a diverged run is drawn at chance") if analysis.counts.diverged else ""
    extra += _edge_note(analysis)
    return tr("{runs}; {chance}{more}.", runs=text, chance=chance_text, more=extra)


def _edge_note(analysis: StudyAnalysis) -> str:
    edge = analysis.counts.out_of_memory + analysis.counts.missing
    if analysis.study.measure.chance is None and analysis.study.imported:
        edge += analysis.counts.diverged
    return tr("; runs without a value are drawn at the left edge") if edge else ""


def dot_plot_alt(analysis: StudyAnalysis) -> str:
    """Describe the first figure for its text alternative."""
    parts, measure = [], analysis.study.measure
    for label, summary in analysis.summaries.items():
        digits = decimals(summary.interval_pct, measure.unit)
        reached = tr("no mean")
        if summary.mean_pct is not None:
            mean = format_value(summary.mean_pct, digits, measure.unit)
            reached = tr("mean {mean}", mean=mean)
            if summary.interval_pct:
                reached += f" {format_interval(summary.interval_pct, digits)}"
        counts = summary.counts
        parts.append(
            tr(
                "{label}: {reached}, {trained} of {planned} trained",
                label=label,
                reached=reached,
                trained=counts.trained,
                planned=counts.planned,
            )
        )
    name = capitalize_first(tr_finished(measure.name))
    return tr("{name} of every run by condition. ", name=name) + join_clauses(parts) + "."
