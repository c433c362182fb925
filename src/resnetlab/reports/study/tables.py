"""Tables of a report: conditions, claims, outcomes, ledger and settings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from resnetlab.analysis.study_data import Machine, RunRow
from resnetlab.recipes.numerics import Numerics
from resnetlab.reports.document import Cell, Column, Fact, Table
from resnetlab.reports.format import (
    DASH,
    capitalize_first,
    decimals,
    format_count,
    format_duration,
    format_forecast,
    format_interval,
    format_number,
    format_p_value,
    format_pct,
    format_rate_interval,
    format_signed,
    join_words,
)
from resnetlab.reports.study import estimands, finetune
from resnetlab.reports.study.references import citation_link
from resnetlab.reports.study.text import protocol_sentence
from resnetlab.schema import encode
from resnetlab.stats.intervals import ACCURACY_RANGE_PCT, Interval, Summary, mean
from resnetlab.stats.outcomes import OUTCOMES, OutcomeCounts
from resnetlab.stats.power import ALPHA
from resnetlab.stats.verdict import GREATER, Hypothesis, MeansHypothesis, Verdict
from resnetlab.studies.bibliography import format_citation
from resnetlab.studies.claims import AnyClaim, Greater
from resnetlab.studies.parsing.study_file import CONDITION_PARTS

if TYPE_CHECKING:
    from resnetlab.analysis.analyze import StudyAnalysis

_ALL_RUNS = {
    "t": "by Student's t",
    "hurdle": "with failed runs",
    "whole range": "(fewer than 2 trained)",
}
"""Methods of the interval over all runs, in words."""

SINGLE_LOOK_CONFIDENCE = 1 - ALPHA
"""Confidence of the intervals of a study with a single look."""


def conditions(analysis: StudyAnalysis) -> Table:
    """Return the table of accuracies of each condition, over trained runs and over all runs."""
    columns = (
        Column("Condition", numeric=False),
        Column("Trained"),
        Column("Mean of trained"),
        Column("sd"),
        Column("95 % CI"),
        Column("Mean of all runs"),
        Column("Training time per run"),
    )
    rows = tuple(
        _condition_row(label, summary, analysis.rows(label))
        for label, summary in analysis.summaries.items()
    )
    note = (
        "Test accuracy. Below the number of trained runs: the 95 % Wilson interval of their "
        "share. 95 % CI: Student's t-interval of the mean of the trained runs, cut at 0 and 100 "
        "%. Mean of all runs: a diverged run counts with the accuracy of a constant guess. Its "
        "interval is Student's t if all runs had the same outcome. Otherwise it combines an "
        "exact interval of the share of trained runs with a t-interval of their mean; with "
        "fewer than 2 trained runs it is 0 to 100 %. Training time: mean of the finished runs; "
        "below it, that of their evaluations, which is additional."
    )
    return Table("conditions", columns, rows, note)


def _condition_row(label: str, summary: Summary, runs: Sequence[RunRow]) -> tuple[Cell, ...]:
    seconds = [row.train_seconds for row in runs if row.train_seconds > 0]
    evaluation = [row.evaluation_seconds for row in runs if row.evaluation_seconds > 0]
    parameters = runs[0].parameters
    digits = decimals(summary.interval_pct)
    counts = summary.counts
    rate = Cell(
        f"{counts.trained} of {counts.finished}", format_rate_interval(summary.success_wilson)
    )
    if not counts.finished:
        rate = Cell(DASH)
    parts = []
    if summary.all_interval_pct:
        parts.append(
            f"{format_interval(summary.all_interval_pct, digits)} {_ALL_RUNS[summary.all_rule]}"
        )
    if summary.all_range_pct:
        low, high = summary.all_range_pct
        parts.append(f"runs {format_number(low, digits)} to {format_number(high, digits)}")
    everything = Cell(format_pct(summary.all_mean_pct, digits), "; ".join(parts))
    return (
        Cell(label, format_count(parameters, "parameter") if parameters else ""),
        rate,
        Cell(format_pct(summary.mean_pct, digits)),
        Cell(DASH if summary.sd_pct is None else format_number(summary.sd_pct, 2)),
        Cell(
            format_interval(summary.interval_pct, digits),
            _cut_text(summary.interval_pct, ACCURACY_RANGE_PCT, "%"),
        ),
        everything,
        Cell(
            format_duration(mean(seconds)) if seconds else DASH,
            f"evaluation: {format_duration(mean(evaluation))}" if seconds and evaluation else "",
        ),
    )


def _cut_text(interval: Interval | None, possible: Interval, unit: str) -> str:
    """Say where an interval was cut; empty if it was not."""
    if interval is None or interval.low == interval.high:
        return ""
    ends = sorted({*interval} & {*possible})
    return f"cut at {join_words([f'{end:g}' for end in ends])} {unit}" if ends else ""


def outcomes(analysis: StudyAnalysis) -> Table:
    """Return the table of run outcomes. The outcomes of a row add up to the planned runs."""
    partial = not analysis.counts.complete
    names = [name for name in OUTCOMES if partial or name not in ("running", "waiting")]
    columns = (
        Column("Condition", numeric=False),
        Column("Planned"),
        *(Column(capitalize_first(name)) for name in names),
    )

    def row(label: str, counts: OutcomeCounts) -> tuple[Cell, ...]:
        values = (counts.planned, *(getattr(counts, name.replace(" ", "_")) for name in names))
        return (Cell(label), *(Cell(f"{value:,}") for value in values))

    rows = [row(label, summary.counts) for label, summary in analysis.summaries.items()]
    note = (
        "Trained: above chance by a binomial test. The best accuracy of the run is higher than "
        "always guessing the most frequent class reaches by luck, with a probability of error of 1 "
        "in 10,000 over all evaluations of the run. A trained run may still have a low accuracy. "
        "At chance: never above this level. Diverged: the loss was not a finite number. Out of "
        "memory: the network did not fit. Missing: three attempts were interrupted. No seed is "
        "replaced, and every planned run counts."
    )
    return Table("outcomes", columns, (*rows, row("all", analysis.counts)), note, "scroll")


def claims(analysis: StudyAnalysis) -> Table | None:
    """Return the table of claims and verdicts, or None if the study declares no claim."""
    if not analysis.study.claims:
        return None
    only_simple = all(
        isinstance(c, Greater) and (c.metric, c.split, c.paired) == ("top1", "test", False)
        for c in analysis.study.claims
    )
    one_unit = all(estimands.unit(claim) == "points" for claim in analysis.study.claims)
    looked = any(
        verdict.look > 1 or verdict.confidence != SINGLE_LOOK_CONFIDENCE
        for verdict in analysis.verdicts
    )
    columns = (
        Column("Claim", numeric=False),
        Column("Difference, points" if one_unit else "Difference"),
        Column("CI" if looked else "95 % CI"),
        Column("ν"),
        Column("p"),
        Column("p, Holm"),
        Column("Verdict", numeric=False),
    )
    judged_claims = zip(analysis.study.claims, analysis.hypotheses, analysis.verdicts, strict=True)
    rows = tuple(
        row
        for triple in judged_claims
        for row in _claim_rows(*triple, one_unit, citation_link(analysis, triple[0].source))
    )
    lines = "claims" if len(rows) == len(analysis.study.claims) else "tests, directions included"
    family = (
        f"corrected over the study's {len(rows)} {lines} (Holm 1979)"
        if len(rows) > 1
        else "not corrected because there is one claim"
    )
    note = (
        "Difference: left minus right over trained runs, by Welch's t with ν degrees of freedom. "
        f"If p, {family}, is below 0.05, a difference above 0 reproduces the claim that left is "
        "greater, and one below 0 contradicts it. Otherwise the claim is inconclusive."
    )
    note = note if only_simple else estimands.claims_note(analysis.study.claims, family)
    skipped = " ".join(analysis.study.left_out)
    left_out = f"Claims without a verdict, as their conditions are left out: {skipped}"
    parts = (note, protocol_sentence(analysis), left_out if skipped else "")
    return Table("claims", columns, rows, " ".join(filter(None, parts)))


def _claim_rows(
    claim: AnyClaim, hypothesis: Hypothesis, verdict: Verdict, one_unit: bool, link: tuple[str, str]
) -> Iterable[tuple[Cell, ...]]:
    """Yield the row of a claim, and a second row for the direction of a claim about a size."""
    compared = estimands.describe_estimand(claim)
    note = " · ".join(filter(None, (compared, format_citation(claim.source))))
    says = Cell(claim.statement, note, "", *link)
    digits = decimals(verdict.effect.interval()) if verdict.effect else 1
    unit = estimands.unit(claim)
    numbers = _effect_cells(
        verdict, 3 if unit == "nats" else digits, "" if one_unit else f" {unit}"
    )
    if verdict.label != "waiting" and not isinstance(hypothesis, MeansHypothesis):
        numbers[0] = estimands.counts_cell(hypothesis)
    numbers[-2] = replace(numbers[-2], note=estimands.test_name(claim, verdict))
    yield (says, *numbers, _verdict_cell(verdict))
    if verdict.direction is not None and isinstance(hypothesis, MeansHypothesis):
        side = "above" if hypothesis.direction == GREATER else "below"
        _, _, nu, p, p_holm = _effect_cells(verdict.direction, digits, "")
        direction = Cell("Direction of this claim", f"{side} 0, tested separately")
        yield (direction, Cell(DASH), Cell(DASH), nu, p, p_holm, _verdict_cell(verdict.direction))


def _verdict_cell(verdict: Verdict) -> Cell:
    why = verdict.reason or (format_forecast(verdict.forecast) if verdict.forecast else "")
    if verdict.effect is not None and verdict.effect.deterministic:
        why = "; ".join(
            part
            for part in (why, "deterministic difference: all runs of a condition are equal")
            if part
        )
    word = Cell(
        capitalize_first(verdict.phrase),
        why or verdict.qualified_phrase[len(verdict.phrase) :].strip(" ()"),
        verdict.badge,
    )
    if (
        verdict.conditional
        and verdict.label in ("reproduced", "partly reproduced", "contradicted")
        and why
    ):
        word = Cell(word.text, f"trained runs only; {why}", word.badge)
    return word


def _effect_cells(verdict: Verdict, digits: int, unit: str) -> list[Cell]:
    """Return cells for difference, interval, degrees of freedom and both p-values; a dash if there
    is no value.
    """
    effect = verdict.effect
    p_values = [Cell(format_p_value(verdict.p)), Cell(format_p_value(verdict.p_holm))]
    if effect is None:
        return [Cell(DASH), Cell(DASH), Cell(DASH), *p_values]
    interval = None if effect.deterministic else effect.interval(verdict.confidence)
    nu = DASH if effect.df is None else format_number(effect.df)
    remarks = [
        ""
        if verdict.confidence == SINGLE_LOOK_CONFIDENCE
        else f"{100 * verdict.confidence:g} %, look {verdict.look}",
        _cut_text(interval, effect.value_range, "points"),
    ]
    return [
        Cell(format_signed(effect.estimate, digits) + unit),
        Cell(format_interval(interval, digits), "; ".join(filter(None, remarks))),
        Cell(nu),
        *p_values,
    ]


def run_table(analysis: StudyAnalysis) -> Table:
    """Return the table of every planned run."""
    columns = (
        Column("Condition", numeric=False),
        Column("Seed"),
        Column("Status", numeric=False),
        Column("Test accuracy"),
        Column("Train loss, nats"),
        Column("Epochs"),
        Column("Training"),
        Column("Attempts"),
        Column("Run", numeric=False),
    )
    rows = tuple(
        _run_row(row, analysis.summaries[label].chance_pct)
        for label in analysis.summaries
        for row in analysis.rows(label)
    )
    note = "An attempt is a start or a resumption. results.csv has all columns of all runs."
    return Table("ledger", columns, rows, note, "scroll")


def _run_row(row: RunRow, chance_pct: float) -> tuple[Cell, ...]:
    if row.status == "diverged":
        accuracy = Cell(format_pct(chance_pct), "counted as a guess")
    else:
        accuracy = Cell(
            DASH if row.test_error_pct is None else format_pct(100 - row.test_error_pct)
        )
    return (
        Cell(row.condition),
        Cell(str(row.seed)),
        Cell(row.status, row.reason, row.status),
        accuracy,
        Cell(DASH if row.train_loss_nats is None else format_number(row.train_loss_nats, 3)),
        Cell(f"{row.epochs:,.1f}".removesuffix(".0")),
        Cell(format_duration(row.train_seconds) if row.train_seconds else DASH),
        Cell(f"{row.attempts:,}"),
        Cell(row.run),
    )


def facts(analysis: StudyAnalysis) -> tuple[Fact, ...]:
    """Return facts about data, software, hardware and numerics, one for each different value."""
    evidence = analysis.study_data
    facts = []
    for data in evidence.data:
        where = f" ({join_words(data.conditions)})" if len(evidence.data) > 1 else ""
        counts = [
            (data.train_images, "train"),
            (data.validation_images, "validation"),
            (data.test_images, "test"),
        ]
        images = join_words([f"{n:,} {split}" for n, split in counts if n])
        names = ", ".join(data.classes[:12]) + (", …" if len(data.classes) > 12 else "")
        facts += [
            Fact(
                f"Data{where}",
                f"{data.name}; {images} images; {len(data.classes):,} classes ({names})",
            ),
            Fact("SHA-256 of the data", data.sha256),
        ]
    facts += finetune.facts(analysis)
    for machine in evidence.machines:
        where = f", {format_count(machine.runs, 'run')}" if len(evidence.machines) > 1 else ""
        facts += _machine_facts(machine, where)
    for numerics in evidence.numerics:
        defaults = encode(Numerics())
        changed = {
            name: value for name, value in encode(numerics).items() if value != defaults[name]
        }
        text = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in changed.items())
        facts.append(Fact("Numerics", text))
    if evidence.began:
        facts.append(
            Fact("Run", f"{_format_time(evidence.began)} to {_format_time(evidence.ended)} UTC")
        )
    return tuple(facts)


def _machine_facts(machine: Machine, suffix: str) -> list[Fact]:
    commit = f", commit {machine.commit}" if machine.commit else ""
    dirty = " with uncommitted changes" if machine.dirty else ""
    device = machine.device if machine.device != "cpu" else ""
    hardware = join_words(
        [
            part
            for part in dict.fromkeys((machine.processor, machine.instruction_set, device))
            if part
        ]
    )
    packages = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    lines = [
        (f"Software{suffix}", f"resnetlab {machine.version}{commit}{dirty}"),
        (f"Packages{suffix}", packages),
        (f"Machine{suffix}", ", ".join(part for part in (hardware, machine.platform) if part)),
        (f"Python{suffix}", machine.python),
    ]
    return [Fact(term, text) for term, text in lines if text]


def _format_time(iso: str) -> str:
    return iso[:16].replace("T", " ")


def settings(analysis: StudyAnalysis) -> tuple[Table, Table | None]:
    """Return the table of settings that all conditions share, and that of settings that differ
    (None if none does).
    """
    flat = {
        condition.label: {
            f"{part}.{name}": value
            for part in CONDITION_PARTS
            if getattr(condition, part) is not None
            for name, value in _flatten(
                finetune.settings(condition).get(part) or encode(getattr(condition, part))
            ).items()
        }
        for condition in analysis.study.conditions
    }
    names = list(dict.fromkeys(name for fields in flat.values() for name in fields))
    same = [
        name for name in names if len({fields.get(name, DASH) for fields in flat.values()}) == 1
    ]
    first = next(iter(flat.values()))
    common = Table(
        "common",
        (Column("Field", numeric=False), Column("All conditions", numeric=False)),
        tuple((Cell(name), Cell(first[name])) for name in same),
        narrow_layout="scroll",
    )
    differing = [name for name in names if name not in same]
    if not differing:
        return common, None
    columns = (
        Column("Condition", numeric=False),
        *(Column(name, numeric=False) for name in differing),
    )
    rows = tuple(
        (Cell(label), *(Cell(fields.get(name, DASH)) for name in differing))
        for label, fields in flat.items()
    )
    return common, Table("differing", columns, rows, narrow_layout="scroll")


def _flatten(table: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Flatten nested tables to dotted names, without fields that are None."""
    flat: dict[str, str] = {}
    for name, value in table.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{name}.")
        elif value is not None:
            flat[f"{prefix}{name}"] = _format_value(value)
    return flat


def _format_value(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return (
        ", ".join(_format_value(item) for item in value)
        if isinstance(value, list | tuple)
        else f"{value}"
    )
