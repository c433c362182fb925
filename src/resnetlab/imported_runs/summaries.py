"""Verdicts on published rows `mean ± sd, n`, whose single runs are not known."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from resnetlab.analysis.hypotheses import ConditionRuns, ScoreScale, to_hypothesis
from resnetlab.analysis.study_data import ClaimVerdict
from resnetlab.errors import input_error, suggest
from resnetlab.imported_runs.columns import CONDITION_NAMES, Columns
from resnetlab.imported_runs.declaration import MAX_RUNS, Declaration
from resnetlab.imported_runs.detect_measure import detect_measure
from resnetlab.imported_runs.imported_study import parse_claim_texts
from resnetlab.imported_runs.raw_table import RawTable, Row, cell_text, parse_number
from resnetlab.imported_runs.run_values import MAX_SIZE, ImportedRun
from resnetlab.imported_runs.sentences import ClaimSentences, describe_claims
from resnetlab.messages import format_count
from resnetlab.stats.intervals import Interval, Moments, t_interval, within_range
from resnetlab.stats.verdict import compute_verdicts
from resnetlab.stats.verdict_types import Verdict
from resnetlab.studies.claims import FailsAndTrains, Faster
from resnetlab.studies.measure import Measure

OPTION = "--summary"
EXAMPLE = f'{OPTION} "A: 93.5 ± 0.2, n=5"'
LIMITS = (
    "Each condition is known by its mean, sd and n alone: runs that failed or were left out cannot "
    "be seen, and pairs of runs cannot be used."
)
"""Limitations of verdicts on means."""

_NUMBER = r"([+-]?(?:\d+(?:[.,]\d+)?|\.\d+)(?:e[+-]?\d+)?(?![.,]?\d)\s*%?)"
_SUMMARY = re.compile(
    rf"(.+?)\s*[:;\t]\s*{_NUMBER}\s*(?:±|\+/?-|;|\t)\s*{_NUMBER}(?:\s*[,;(\t]\s*|\s+|(?=n))"
    r"(?:n\s*=\s*)?(\d+)\)?",
    re.IGNORECASE,
)
"""Text of a summary. Something must stand between the sd and n: 0.25 is no sd of 0.2 with n = 5."""

_SD_NAMES, _N_NAMES = ("sd", "std", "stdev", "std_dev"), ("n", "runs", "seeds", "n_runs")
_ALLOWED = (
    *("claims", "claim", "measure", "unit", "higher_is", "condition", "where", "ignore"),
    *("name", "question", "about", "limits"),
)
"""Fields of a declaration that have a meaning for means."""


@dataclass(frozen=True)
class SummaryReport:
    """Verdicts on claims about conditions of which only mean, sd and n are known."""

    measure: Measure
    conditions: dict[str, Moments]
    """Number of runs, mean and sd of each condition, in the unit of the measure."""
    statistics: tuple[Verdict, ...]
    """Statistics of each claim, in the order of the claims."""
    sentences: tuple[ClaimSentences, ...]
    """Sentences about each claim, in the order of the claims."""
    reading: tuple[str, ...]
    """Sentences about how the values were read."""

    @property
    def verdicts(self) -> tuple[ClaimVerdict, ...]:
        """Verdict on each claim, in the order of the claims."""
        return tuple(
            ClaimVerdict(claim=claim.claim, verdict=claim.verdict) for claim in self.sentences
        )

    @property
    def answer(self) -> str:
        """Sentence for a paper about each claim."""
        return " ".join(claim.sentence for claim in self.sentences)

    def write(self, folder: str | Path) -> Path:
        """Raise InputError: a report shows every run, and the runs are not known."""
        fix = "leave it out; the verdicts are printed"
        raise input_error(str(folder), "means have no runs that a report could show", fix)

    def interval(self, condition: str) -> Interval | None:
        """Return the 95 % t-interval of the mean of a condition, within the range of values."""
        return within_range(t_interval(self.conditions[condition]), self.measure.value_range)


def parse_summaries(texts: Sequence[str]) -> RawTable:
    """Return the table of texts such as `A: 93.5 ± 0.2, n=5`.

    Raises InputError if a text has another form.
    """
    rows = []
    for number, text in enumerate(texts, 1):
        match = _SUMMARY.fullmatch(text.strip())
        if match is None:
            raise input_error(OPTION, "not NAME: MEAN ± SD, n=N", EXAMPLE, got=text)
        name, *values = match.groups()
        mean, sd, n = ("".join(value.split()).replace(",", ".") for value in values)
        cells = {"condition": name.strip(), "mean": mean, "sd": sd, "n": n}
        rows.append(Row(f"summary {number}", cells))
    return RawTable(OPTION, ("condition", "mean", "sd", "n"), tuple(rows))


def has_summaries(table: RawTable, declaration: Declaration) -> bool:
    """Return True if a table has columns of means, standard deviations and numbers of runs."""
    by_form = {name.lower() for name in table.columns}
    parts = ({"mean"}, set(_SD_NAMES), set(_N_NAMES))
    return not declaration.value and all(by_form & names for names in parts)


def judge_summaries(table: RawTable, declaration: Declaration) -> SummaryReport:
    """Judge claims on a table with a row `mean, sd, n` for each condition, by Welch's test.

    Args:
        table: Table with columns for the condition, mean, sd (divisor n - 1) and n.
        declaration: Claims, measure and unit. A design or published numbers need the runs.

    Raises:
        InputError: The table or the declaration is invalid.
    """
    _check_declaration(declaration)
    rows = _read_rows(table, declaration)
    conditions = tuple(rows)
    declaration = replace(declaration, measure=declaration.measure or "accuracy")
    mean_column = next(name for name in table.columns if name.lower() == "mean")
    columns = Columns((), "", "", mean_column, "", "")
    means = [
        ImportedRun(label, "0", "trained", row.mean, (), f"condition {label}")
        for label, row in rows.items()
    ]
    measure, factor, reading = detect_measure(table, means, columns, declaration)
    moments = {
        label: Moments(row.n, round(row.mean * factor, 12), round(row.sd * factor, 12))
        for label, row in rows.items()
    }
    claims = parse_claim_texts(declaration, conditions, measure)
    for claim in claims:
        if isinstance(claim, FailsAndTrains | Faster):
            message = f"a claim of kind {claim.kind} needs the runs"
            raise input_error(table.where, message, f'"{conditions[0]} > {conditions[-1]}"')
    low, high = sorted(measure.sign * end for end in measure.value_range)
    scale = ScoreScale(float("nan"), Interval(low, high))
    runs = {
        label: ConditionRuns((), 0.0, 1, 0.0, scale, moments=_signed(row, measure))
        for label, row in moments.items()
    }
    hypotheses = [to_hypothesis(claim, runs) for claim in claims]
    verdicts = tuple(compute_verdicts(hypotheses))
    counts = {label: format_count(row.n, "run") for label, row in moments.items()}
    sentences = describe_claims(claims, hypotheses, verdicts, measure, counts)
    count = f"{format_count(len(rows), 'condition')}, each by mean, sd and n."
    return SummaryReport(measure, moments, verdicts, sentences, (count, *reading, LIMITS))


def _signed(moments: Moments, measure: Measure) -> Moments:
    return Moments(moments.n, measure.sign * moments.mean, moments.sd)


def _check_declaration(declaration: Declaration) -> None:
    """Raise InputError for a field that only runs give a meaning."""
    defaults = Declaration()
    for field in fields(Declaration):
        given = getattr(declaration, field.name)
        if field.name not in _ALLOWED and given != getattr(defaults, field.name):
            option = "--" + field.name.replace("_", "-")
            message = "needs the single runs, and a mean with its sd does not show them"
            raise input_error(option, message, "give a table with a row for each run, or leave out")


def _read_rows(table: RawTable, declaration: Declaration) -> dict[str, Moments]:
    """Return mean, sd and n of each condition. Raises InputError if a cell has no number."""
    by_form = {name.lower(): name for name in table.columns}
    names = (
        declaration.condition or [by_form[name] for name in CONDITION_NAMES if name in by_form][:1]
    )
    for name in names:
        if name not in table.columns:
            fix = suggest(name, table.columns) or "name a column of the table"
            raise input_error("--condition", "no such column", fix, got=name)
    if not names:
        fix = "name the column of the conditions: --condition COLUMN"
        raise input_error(table.where, "no column of conditions", fix)
    sd = next(by_form[name] for name in _SD_NAMES if name in by_form)
    n = next(by_form[name] for name in _N_NAMES if name in by_form)
    rows: dict[str, Moments] = {}
    for row in table.rows:
        label = " / ".join(cell_text(row.cells.get(name)) for name in names)
        if not label or label in rows:
            message = "two rows of one condition" if label else "empty: no condition"
            raise table.error(row, names[0], message, "give each condition one row", got=label)
        count = _number(table, row, n, 1)
        if count != int(count) or count > MAX_RUNS:
            message = "more runs than are allowed" if count > MAX_RUNS else "not a whole number"
            raise table.error(
                row, n, message, "the number of runs", got=count, allowed=f"1 to {MAX_RUNS:,}"
            )
        mean = _number(table, row, by_form["mean"], -MAX_SIZE)
        rows[label] = Moments(int(count), mean, _number(table, row, sd, 0))
    if not rows:
        raise input_error(table.where, "no rows", f"a row for each condition, or {EXAMPLE}")
    return rows


def _number(table: RawTable, row: Row, column: str, least: float) -> float:
    """Return the number of a cell from `least` to the largest that is allowed.

    Raises InputError if it has none.
    """
    cell = row.cells.get(column)
    number = parse_number(cell)
    if number is None or not least <= number <= MAX_SIZE:
        allowed = f"a number from {least:g} to {MAX_SIZE:g}"
        raise table.error(row, column, "not allowed", allowed, got=cell_text(cell), allowed=allowed)
    return number
