"""Tables of a report: conditions, claims, outcomes and settings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from resnetlab.analysis.study_data import RunRow
from resnetlab.nested import flatten_table
from resnetlab.reports.document import Cell, Column, Table, number_columns, text_columns
from resnetlab.reports.format import (
    DASH,
    FORECAST_NOTE,
    capitalize_first,
    decimals,
    format_duration,
    format_forecast,
    format_interval,
    format_number,
    format_p_value,
    format_rate_interval,
    format_signed,
    format_value,
    join_clauses,
    join_words,
)
from resnetlab.reports.study import estimands, finetune
from resnetlab.reports.study.references import citation_link, quantity_note
from resnetlab.reports.study.text import protocol_sentence, verdict_badge
from resnetlab.schema import encode
from resnetlab.stats.hypothesis_types import GREATER, Hypothesis, MeansHypothesis
from resnetlab.stats.intervals import ConditionSummary, Interval, mean
from resnetlab.stats.outcomes import OUTCOMES, OutcomeCounts
from resnetlab.stats.power import ALPHA
from resnetlab.stats.verdict_types import Verdict
from resnetlab.studies.claims import AnyClaim, Better
from resnetlab.studies.measure import Measure
from resnetlab.studies.parsing.conditions import CONDITION_PARTS
from resnetlab.studies.published.bibliography import format_citation
from resnetlab.studies.study import Condition
from resnetlab.translation import deferred, localize_number, tr, tr_count, tr_study, tr_word

if TYPE_CHECKING:
    from resnetlab.analysis.analyze import StudyAnalysis

_ALL_RUNS = {
    "t": deferred("by Student's t"),
    "hurdle": deferred("with failed runs"),
    "whole range": deferred("(fewer than 2 trained)"),
}
"""Methods of the interval over all runs, in words."""

SINGLE_LOOK_CONFIDENCE = 1 - ALPHA
"""Confidence of the intervals of a study with a single look."""


def conditions(analysis: StudyAnalysis) -> Table:
    """Return the table of accuracies of each condition, over trained runs and over all runs."""
    columns = (
        *text_columns("Condition"),
        *number_columns("Trained", "Mean of trained", "sd", "95 % CI"),
        *number_columns("Mean of all runs", "Training time per run"),
    )
    rows = tuple(
        _condition_row(label, summary, analysis.rows(label), analysis.study.measure)
        for label, summary in analysis.summaries.items()
    )
    note = tr(
        "Test accuracy. Below the number of trained runs: the 95 % Wilson interval of their "
        "share. 95 % CI: Student's t-interval of the mean of the trained runs, cut at 0 and "
        "100 %. Mean of all runs: a diverged run counts with the accuracy of a constant guess. "
        "Its interval is Student's t if all runs had the same outcome. Otherwise it combines "
        "an exact interval of the share of trained runs with a t-interval of their mean; with "
        "fewer than 2 trained runs it is 0 to 100 %. sd: standard deviation of the trained "
        "runs. Training time: mean of the finished runs by the clock, which other work on the "
        "machine lengthens; below it, that of their evaluations, which is additional."
    )
    note += "".join(
        " "
        + tr(
            "{label}: the runs of {other}, trained once and evaluated in two modes.",
            label=capitalize_first(label),
            other=other,
        )
        for label, other in analysis.study.shared_runs.items()
    )
    return Table("conditions", columns, rows, note)


def _condition_row(
    label: str, summary: ConditionSummary, runs: Sequence[RunRow], measure: Measure
) -> tuple[Cell, ...]:
    seconds = [row.train_seconds for row in runs if row.train_seconds > 0]
    evaluation = [row.evaluation_seconds for row in runs if row.evaluation_seconds > 0]
    parameters = runs[0].parameters
    digits, unit = decimals(summary.interval_pct, measure.unit), measure.unit
    counts = summary.counts
    rate = Cell(DASH)
    if counts.ended:
        share = format_rate_interval(summary.success_wilson)
        rate = Cell(
            tr("{trained} of {finished}", trained=counts.trained, finished=counts.ended), share
        )
    parts = []
    if summary.all_interval_pct:
        text = format_interval(summary.all_interval_pct, digits)
        parts.append(f"{text} {tr(_ALL_RUNS[summary.all_rule])}")
    if summary.all_range_pct:
        low, high = summary.all_range_pct
        parts.append(
            tr(
                "runs {low} to {high}",
                low=format_number(low, digits),
                high=format_number(high, digits),
            )
        )
    everything = Cell(format_value(summary.all_mean_pct, digits, unit), join_clauses(parts))
    time = Cell(DASH)
    if seconds:
        note = (
            tr("evaluation: {evaluation}", evaluation=format_duration(mean(evaluation)))
            if evaluation
            else ""
        )
        time = Cell(format_duration(mean(seconds)), note)
    return (
        Cell(label, tr_count(parameters, "parameter") if parameters else ""),
        rate,
        Cell(format_value(summary.mean_pct, digits, unit)),
        Cell(DASH if summary.sd_pct is None else format_number(summary.sd_pct, max(2, digits))),
        Cell(
            format_interval(summary.interval_pct, digits),
            _cut_text(summary.interval_pct, measure.value_range, "%"),
        ),
        everything,
        time,
    )


def _cut_text(interval: Interval | None, possible: Interval, unit: str) -> str:
    """Say where an interval was cut; empty if it was not."""
    if interval is None or interval.low == interval.high:
        return ""
    ends = sorted({*interval} & {*possible})
    return (
        tr(
            "cut at {ends} {unit}",
            ends=join_words([localize_number(f"{end:g}") for end in ends]),
            unit=unit,
        )
        if ends
        else ""
    )


def outcomes(analysis: StudyAnalysis) -> Table:
    """Return the table of run outcomes. The outcomes of a row add up to the planned runs."""
    partial = not analysis.counts.is_complete
    names = [name for name in OUTCOMES if partial or name not in ("running", "waiting")]
    columns = (
        *text_columns("Condition"),
        *number_columns("Planned"),
        *(Column(capitalize_first(tr_word(name))) for name in names),
    )

    def row(label: str, counts: OutcomeCounts) -> tuple[Cell, ...]:
        values = (counts.planned, *(getattr(counts, name.replace(" ", "_")) for name in names))
        return (Cell(label), *(Cell(localize_number(f"{value:,}")) for value in values))

    rows = [row(label, summary.counts) for label, summary in analysis.summaries.items()]
    note = tr(
        "Trained: above chance by a binomial test. The best accuracy of the run is higher than "
        "always guessing the most frequent class reaches by luck, with a probability of error "
        "of 1 in 10,000 over all evaluations of the run. A trained run may still have a low "
        "accuracy. At chance: never above this level. Diverged: the loss was not a finite "
        "number. Out of memory: the network did not fit. Missing: three attempts were "
        "interrupted. No seed is replaced, and every planned run counts."
    )
    if analysis.study.shared_runs:
        note += " " + tr(
            "All: a run that two conditions evaluate in two modes counts once, with its status in "
            "evaluation mode."
        )
    return Table("outcomes", columns, (*rows, row(tr("all"), analysis.counts)), note, "scroll")


VERDICT_NOTE = deferred(
    "A verdict is on the sentence of the claim, for the data, networks and recipe of this report; "
    "it is on the claim of the source only where these are the source's."
)
"""Explanation of verdicts in the note of the table of claims."""


def claims(analysis: StudyAnalysis) -> Table | None:
    """Return the table of claims and verdicts, or None if the study declares no claim."""
    if not analysis.study.claims:
        return None
    measure = analysis.study.measure
    one_unit = all(
        estimands.unit(claim, measure) == tr("points") for claim in analysis.study.claims
    )
    has_several_looks = any(
        verdict.look > 1 or verdict.confidence != SINGLE_LOOK_CONFIDENCE
        for verdict in analysis.verdicts
    )
    columns = (
        *text_columns("Claim"),
        *number_columns(
            "Difference, points" if one_unit else "Difference",
            "CI" if has_several_looks else "95 % CI",
            "ν",
            "p",
            "p, Holm",
        ),
        *text_columns("Verdict"),
    )
    rows: list[tuple[Cell, ...]] = []
    for claim, hypothesis, verdict in zip(
        analysis.study.claims, analysis.hypotheses, analysis.verdicts, strict=True
    ):
        link = citation_link(analysis, claim.source)
        rows += _claim_rows(claim, hypothesis, verdict, one_unit, link, measure)
    return Table("claims", columns, tuple(rows), _claims_note(analysis, len(rows)))


def _claims_note(analysis: StudyAnalysis, number_of_tests: int) -> str:
    """Return the note of the table of claims: tests, corrections, and claims that are left out."""
    study = analysis.study
    family = tr("not corrected because there is one claim")
    if number_of_tests > len(study.claims):
        family = tr(
            "corrected over the study's {count} tests, directions included (Holm 1979)",
            count=number_of_tests,
        )
    elif number_of_tests > 1:
        family = tr("corrected over the study's {count} claims (Holm 1979)", count=number_of_tests)
    if all(map(_is_simple, study.claims)):
        tests = tr(
            "Difference: left minus right over trained runs, by Welch's t with ν degrees of "
            "freedom. If p, {family}, is below 0.05, a difference above 0 reproduces the claim "
            "that left is greater, and one below 0 contradicts it. Otherwise the claim is "
            "inconclusive.",
            family=family,
        )
    else:
        tests = estimands.claims_note(study.claims, family)
    sentences = [tests]
    if number_of_tests > 1:
        sentences.append(tr("Intervals are not corrected for the number of claims."))
    sentences.append(tr(VERDICT_NOTE))
    if any(verdict.forecast for verdict in analysis.verdicts):
        sentences.append(tr(FORECAST_NOTE))
    sentences += [quantity_note(analysis), protocol_sentence(analysis)]
    if study.left_out:
        skipped = " ".join(tr_study(statement) for statement in study.left_out)
        sentences.append(
            tr(
                "Claims without a verdict, as their conditions are left out: {skipped}",
                skipped=skipped,
            )
        )
    return " ".join(filter(None, sentences))


def _is_simple(claim: AnyClaim) -> bool:
    """Return True if a claim says only that one test accuracy is above another one."""
    if not isinstance(claim, Better):
        return False
    is_test_accuracy = claim.metric == "top1" and claim.split == "test"
    return is_test_accuracy and not claim.paired and claim.by_more_than == 0.0


def _claim_rows(
    claim: AnyClaim,
    hypothesis: Hypothesis,
    verdict: Verdict,
    one_unit: bool,
    link: tuple[str, str],
    measure: Measure,
) -> Iterable[tuple[Cell, ...]]:
    """Yield the row of a claim, and a second row for the direction of a claim about a size."""
    compared = estimands.describe_estimand(claim, measure)
    note = " · ".join(filter(None, (compared, format_citation(claim.source))))
    statement = Cell(tr_study(claim.statement), note, "", *link)
    digits = decimals(verdict.effect.interval(), measure.unit) if verdict.effect else 1
    unit = estimands.unit(claim, measure)
    numbers = _effect_cells(
        verdict, 3 if unit == "nats" else digits, "" if one_unit else f" {unit}"
    )
    if verdict.label != "waiting" and not isinstance(hypothesis, MeansHypothesis):
        numbers[0] = estimands.counts_cell(hypothesis)
    numbers[-2] = replace(numbers[-2], note=estimands.test_name(claim, verdict))
    yield (statement, *numbers, _verdict_cell(verdict))
    if verdict.direction is not None and isinstance(hypothesis, MeansHypothesis):
        above = hypothesis.direction == GREATER
        _, _, nu, p, p_holm = _effect_cells(verdict.direction, digits, "")
        direction = Cell(
            tr("Direction of this claim"),
            tr("above 0, tested separately") if above else tr("below 0, tested separately"),
        )
        yield (direction, Cell(DASH), Cell(DASH), nu, p, p_holm, _verdict_cell(verdict.direction))


def _verdict_cell(verdict: Verdict) -> Cell:
    why = tr(verdict.reason.message) if verdict.reason else ""
    if not why and verdict.forecast:
        why = format_forecast(verdict.forecast)
    if verdict.effect is not None and verdict.effect.is_deterministic:
        equal = tr("deterministic difference: all runs of a condition are equal")
        why = join_clauses([why, equal]) if why else equal
    if verdict.is_decided_by_trained_runs:
        why = tr("trained runs only; {why}", why=why) if why else tr("trained runs only")
    return Cell(capitalize_first(tr(verdict.phrase)), why, verdict_badge(verdict))


def _effect_cells(verdict: Verdict, digits: int, unit: str) -> list[Cell]:
    """Return cells for difference, interval, degrees of freedom and both p-values, or dashes."""
    effect = verdict.effect
    p_values = [Cell(format_p_value(verdict.p)), Cell(format_p_value(verdict.p_holm))]
    if effect is None:
        return [Cell(DASH), Cell(DASH), Cell(DASH), *p_values]
    interval = None if effect.is_deterministic else effect.interval(verdict.confidence)
    nu = DASH if effect.df is None else format_number(effect.df)
    remarks = [
        ""
        if verdict.confidence == SINGLE_LOOK_CONFIDENCE
        else tr(
            "{confidence:g} %, look {look}", confidence=100 * verdict.confidence, look=verdict.look
        ),
        _cut_text(interval, effect.value_range, tr("points")),
    ]
    return [
        Cell(format_signed(effect.estimate, digits) + unit),
        Cell(format_interval(interval, digits), join_clauses(filter(None, remarks))),
        Cell(nu),
        *p_values,
    ]


def settings(analysis: StudyAnalysis) -> tuple[Table, Table | None]:
    """Return the table of shared settings, and that of differing ones (None if none differs)."""
    conditions = analysis.study.conditions
    flat = {c.label: condition_settings(c) for c in conditions}
    if any(c.evaluation_mode != "eval" for c in conditions):
        flat = {c.label: flat[c.label] | {"evaluation_mode": c.evaluation_mode} for c in conditions}
    names = list(dict.fromkeys(name for fields in flat.values() for name in fields))
    values = {name: {fields.get(name, DASH) for fields in flat.values()} for name in names}
    rows = tuple((Cell(name), Cell(*values[name])) for name in names if len(values[name]) == 1)
    columns = text_columns("Field", "All conditions")
    common = Table("common", columns, rows, narrow_layout="scroll")
    differing = [name for name in names if len(values[name]) > 1]
    if not differing:
        return common, None
    columns = (*text_columns("Condition"), *(Column(name, numeric=False) for name in differing))
    cells = tuple(
        (Cell(label), *(Cell(fields.get(name, DASH)) for name in differing))
        for label, fields in flat.items()
    )
    return common, Table("differing", columns, cells, narrow_layout="scroll")


def condition_settings(condition: Condition) -> dict[str, str]:
    """Return the settings of a condition by dotted name; fine-tuning lists only those it uses."""
    tables = {part: encode(getattr(condition, part)) for part in CONDITION_PARTS}
    fields = flatten_table(tables | finetune.settings(condition))
    return {name: _format_value(value) for name, value in fields.items() if value is not None}


def _format_value(value: object) -> str:
    if isinstance(value, bool):
        return tr("yes") if value else tr("no")
    if isinstance(value, list | tuple):
        return ", ".join(map(_format_value, value))
    return f"{value}"
