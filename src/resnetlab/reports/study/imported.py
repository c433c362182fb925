"""Report of imported runs: the parts of a study's report that need no knowledge of the training.

Tables, figures and sentences are those of a study. This module has what differs: the notes of the
tables, the list of the runs, the published numbers, and the declaration of the design.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from resnetlab.analysis.study_data import RunRow
from resnetlab.reports.document import Cell, Detail, Report, Table, number_columns, text_columns
from resnetlab.reports.format import (
    DASH,
    FORECAST_NOTE,
    capitalize_first,
    decimals,
    format_interval,
    format_p_relation,
    format_value,
    join_words,
)
from resnetlab.reports.plot_data import DotPlot, ReferenceMark
from resnetlab.reports.study import (
    curve_plots,
    dot_plot,
    exploratory,
    forest,
    run_table,
    tables,
    text,
)
from resnetlab.reports.study.headline import headline
from resnetlab.reports.study.reference_plots import marks_caption
from resnetlab.stats.intervals import Interval, mean, within_range
from resnetlab.stats.prediction import ReportedResult, compare_with_reported
from resnetlab.studies.imported_design import ImportedRuns, PublishedValue
from resnetlab.studies.measure import Measure

if TYPE_CHECKING:
    from resnetlab.analysis.analyze import StudyAnalysis
    from resnetlab.analysis.study_data import ClaimVerdict

KICKER = "resnetlab judge"


def build_imported_report(
    analysis: StudyAnalysis, verdicts: tuple[Cell, ...], claim_verdicts: tuple[ClaimVerdict, ...]
) -> Report:
    """Build the report of imported runs.

    Args:
        analysis: Analysis of the runs.
        verdicts: Sentence and verdict of each claim.
        claim_verdicts: Verdicts for other programs.

    Raises:
        ValueError: The study has no imported runs.
    """
    imported, study = analysis.study.imported, analysis.study
    if imported is None:
        raise ValueError("a study whose runs are its own")
    comparisons = [_compare(analysis, imported, value) for value in imported.published]
    return Report(
        name=study.name,
        question=study.question,
        about=" ".join(filter(None, (study.about, _design(imported)))),
        banner=text.banner(analysis),
        verdicts=verdicts,
        claim_verdicts=claim_verdicts,
        answer=" ".join(filter(None, (headline(analysis), _untested_sentence(imported)))),
        dot_plot=_with_marks(dot_plot.dot_plot(analysis), comparisons),
        limits=_limits(analysis, imported),
        conditions=_conditions(analysis, imported),
        claims=_claims(analysis, imported),
        forest=forest.forest_plot(analysis),
        outcomes=replace(tables.outcomes(analysis), note=_OUTCOMES_NOTE),
        curves=curve_plots.learning_curves(analysis),
        run_table=_run_table(analysis, imported),
        test_split=(
            "The runs were trained elsewhere. Their values are those of the table; resnetlab "
            "trained and evaluated nothing, and knows no setting of their training."
        ),
        command=analysis.study_data.command,
        details=_details(imported),
        common=None,
        differing=None,
        made_by="Written by resnetlab from results.csv, curves.csv and report.json beside it.",
        kicker=KICKER,
        references=_reference_table(imported, comparisons),
        exploratory=exploratory.exploratory_table(analysis),
    )


_OUTCOMES_NOTE = (
    "Planned: the runs of the table. The status is that of the table. Without one, a run with a "
    "value is trained, one whose value is not a finite number diverged, and one without a value is "
    "missing. No run is left out, and every planned run counts."
)


def _design(imported: ImportedRuns) -> str:
    """Describe the declared design in sentences; empty for independent runs."""
    sentences = []
    if imported.paired_by:
        sentences.append(
            f"Paired by {imported.paired_by}, as declared: two runs with the same "
            f"{imported.paired_by} are compared with each other. A pair with a run that "
            "failed is left out of the test. A pair that lacks a run is tested in two ways: left "
            "out, and with the mean of the trained runs of the condition in its place."
        )
    if imported.folds:
        sentences.append(
            f"The runs are folds of a cross-validation with {imported.folds} folds, as declared. "
            "The models of two folds share most of their train images, so their values vary "
            "together, and a plain t-test takes them for independent: its interval is too narrow, "
            "and it finds differences that are not there. The corrected resampled t-test (Nadeau "
            "and Bengio 2003) multiplies the variance of the mean, s² / n, by 1 + n / "
            f"{imported.folds - 1}, where n is the number of values."
        )
    if imported.best_of > 1:
        sentences.append(
            f"Each value is the best of {imported.best_of} runs, as declared. Such a value grows "
            "with the spread of the runs, so a difference may be one of spread and not of the mean."
        )
    return " ".join(sentences)


def _untested_sentence(imported: ImportedRuns) -> str:
    """Return the claims that no run can decide because no condition has two runs."""
    if not imported.untested:
        return ""
    claims = join_words([f"“{claim}”" for claim in imported.untested])
    return (
        "One run of a condition does not show how much its runs differ, so there is a description "
        f"and no verdict on {claims}. Two runs of each condition give an interval, and five are a "
        "usual number."
    )


def _limits(analysis: StudyAnalysis, imported: ImportedRuns) -> str:
    """Return the limitations of verdicts on a table."""
    sentences = [analysis.study.limits.strip()] if analysis.study.limits.strip() else []
    sentences.append(
        "The verdicts are only as good as the table: resnetlab cannot see runs that were left out "
        "of it, choices that were made by these values, or differences in the training."
    )
    failed = analysis.counts.failed - analysis.counts.out_of_memory
    if failed and imported.measure.chance is None:
        sentences.append(
            "The value of a constant guess was not declared, so no mean over all runs is given, "
            "and claims about means compare the trained runs alone."
        )
    if imported.best_of > 1:
        sentences.append(f"The values are the best of {imported.best_of} runs, and no means.")
    return " ".join(sentences)


def _conditions(analysis: StudyAnalysis, imported: ImportedRuns) -> Table:
    """Return the table of conditions without the training time, which is not recorded."""
    table, measure = tables.conditions(analysis), imported.measure
    method = "Student's t-interval of the mean of the trained runs"
    if imported.folds:
        method = "interval of the corrected resampled t-test, of the mean of the trained runs"
    note = (
        f"{capitalize_first(measure.name)}. Below the number of trained runs: the 95 % Wilson "
        f"interval of their share. 95 % CI: {method}"
        f"{', cut at 0 and 100 %' if measure.unit == '%' else ''}. sd: standard deviation of the "
        "trained runs."
    )
    count = 5 if imported.folds else 6  # a mean of all folds adds nothing
    if not imported.folds:
        note += (
            " Mean of all runs: known if all runs are trained, or if the value of a constant guess "
            "is declared, with which a diverged run then counts."
        )
    rows = tuple(row[:count] for row in table.rows)
    return replace(table, columns=table.columns[:count], rows=rows, note=note)


def missing_run_sentences(analysis: StudyAnalysis) -> tuple[str, ...]:
    """Return a sentence for each claim whose runs are missing, with p in both cases of them."""
    sentences = []
    for claim, verdict in zip(analysis.study.claims, analysis.verdicts, strict=True):
        if verdict.p_of_cases:
            first, last = verdict.p_of_cases[0], verdict.p_of_cases[-1]
            sentences.append(
                f"Missing runs, {claim.statement.rstrip('.')}: {format_p_relation(first)} if they "
                f"failed, {format_p_relation(last)} if they reached the mean of their condition; a "
                "verdict needs both."
            )
    return tuple(sentences)


def _claims(analysis: StudyAnalysis, imported: ImportedRuns) -> Table | None:
    """Return the table of claims with a note on the declared design."""
    table = tables.claims(analysis)
    if table is None:
        return None
    test = "Welch's t"
    if imported.folds:
        test = "the corrected resampled t-test"
    elif imported.paired_by:
        test = f"the t-test of the differences of pairs (paired by {imported.paired_by})"
    family = "not corrected because there is one claim"
    if len(table.rows) > 1:
        family = f"corrected over the {len(table.rows)} tests (Holm 1979)"
    note = (
        "Difference: how much better left is, over trained runs. Claims about means are tested by "
        f"{test} with ν degrees of freedom, claims about failing runs by exact tests. If p, "
        f"{family}, is below 0.05, the runs reproduce or contradict the claim; otherwise it is "
        "inconclusive. Intervals are not corrected."
    )
    note += "".join(f" {sentence}" for sentence in missing_run_sentences(analysis))
    if any(verdict.forecast for verdict in analysis.verdicts):
        note += f" {FORECAST_NOTE}"
    if imported.folds:
        note += (
            " No number of seeds is forecast: more folds of the same images are no new evidence."
        )
    return replace(table, note=note)


def _run_table(analysis: StudyAnalysis, imported: ImportedRuns) -> Table:
    """Return the table of every run with its row in the file."""
    measure = imported.measure
    columns = (
        *text_columns("Condition"),
        *number_columns("Run"),
        *text_columns("Status"),
        *number_columns(capitalize_first(measure.name)),
        *text_columns("Origin"),
    )
    listed, left_out = run_table.listed_runs(analysis)
    rows = tuple(
        (
            Cell(row.condition),
            Cell(str(row.seed)),
            Cell(row.status, row.reason, row.status),
            Cell(_value_text(row, measure)),
            Cell(row.run),
        )
        for row in listed
    )
    note = "Run: the seed or fold of the table, or else its number. results.csv has all runs."
    return Table("ledger", columns, rows, note + left_out, "scroll", run_table.run_keys(listed))


def _value_text(row: RunRow, measure: Measure) -> str:
    if row.value is None:
        return DASH
    return f"{row.value:.10g}{' %' if measure.unit == '%' else ''}"


_Comparison = tuple[PublishedValue, tuple[float, ...], str, Interval | None]
"""Published number, values here, badge or reason that there is none, and prediction interval."""


def _compare(analysis: StudyAnalysis, imported: ImportedRuns, value: PublishedValue) -> _Comparison:
    values, sign = analysis.summaries[value.condition].trained_pct, imported.measure.sign
    reason = ""
    if not analysis.counts.is_complete:
        reason = "waiting for the last run"
    elif len(values) < 2:
        reason = "fewer than 2 trained runs: no interval"
    elif imported.best_of > 1:
        reason = f"each value here is the best of {imported.best_of} runs"
    elif imported.folds:
        reason = "folds of one data set are no independent runs"
    if reason:
        return value, values, reason, None
    reported = ReportedResult(
        value=sign * value.value,
        runs=value.num_runs,
        is_best=value.statistic == "best" and value.num_runs > 1,
        half_width=value.half_width or 0.0,
    )
    badge, interval, _ = compare_with_reported([sign * one for one in values], reported)
    low, high = sorted(sign * end for end in interval)
    return value, values, badge, within_range(Interval(low, high), imported.measure.value_range)


def _reference_table(imported: ImportedRuns, comparisons: list[_Comparison]) -> Table | None:
    """Return the table of published and measured numbers, or None if none was declared."""
    if not comparisons:
        return None
    unit = imported.measure.unit
    rows = []
    for value, measured, badge, interval in comparisons:
        digits = decimals(interval, unit)
        origin = f"{value.statistic} of {value.num_runs}" if value.num_runs > 1 else "m = 1"
        center = format_value(mean(measured), digits, unit) if measured else DASH
        rows.append(
            (
                Cell(value.condition),
                Cell(value.source or "not named"),
                Cell(f"{value.value:.10g}{' %' if unit == '%' else ''}", origin),
                Cell(center, f"n = {len(measured)}"),
                Cell(format_interval(interval, digits)),
                Cell(capitalize_first(badge), badge=badge) if interval else Cell("None", badge),
            )
        )
    columns = (
        *text_columns("Condition", "Source"),
        *number_columns("Published", "Measured", "95 % prediction interval"),
        *text_columns("Badge"),
    )
    note = (
        f"{capitalize_first(imported.measure.name)}. A published number is compatible if it lies "
        "in the 95 % prediction interval: the interval for such a number if nothing differed, from "
        "n trained runs here and m published runs, rounding included (Spence and Stanley 2016). A "
        "badge is not a verdict. How the two were trained is not known here, so it is not compared."
    )
    return Table("beside", columns, tuple(rows), note, "scroll")


def _with_marks(plot: DotPlot, comparisons: list[_Comparison]) -> DotPlot:
    """Return the first figure with diamonds at the published numbers."""
    if not comparisons:
        return plot
    marks: dict[str, list[ReferenceMark]] = {}
    for value, _, _, interval in comparisons:
        low, high = interval or (None, None)
        marks.setdefault(value.condition, []).append(ReferenceMark(value.value, low, high))
    rows = tuple(replace(row, reference_marks=tuple(marks.get(row.label, ()))) for row in plot.rows)
    low, high = dot_plot.value_scale(rows, plot.unit)
    caption = plot.caption + marks_caption(rows)
    return replace(plot, rows=rows, low_pct=low, high_pct=high, caption=caption)


def _details(imported: ImportedRuns) -> tuple[Detail, ...]:
    """Return details about the table and its reading."""
    measure = imported.measure
    unit = "percent" if measure.unit == "%" else "plain numbers"
    better = "higher is better" if measure.higher_is_better else "lower is better"
    details = [Detail("Measure", f"{measure.name}; {unit}; {better}")]
    if measure.chance is not None and not math.isnan(measure.chance):
        details.append(Detail("Constant guess", f"{measure.chance:g}"))
    details += [Detail("Reading", sentence) for sentence in imported.reading]
    details += [Detail(f"SHA-256 of {name}", digest) for name, digest in imported.files.items()]
    return tuple(details)
