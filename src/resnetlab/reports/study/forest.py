"""Forest plot of a report: the effect of each claim with its interval and its verdict."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from resnetlab.reports.format import (
    decimals,
    format_interval,
    format_signed,
    join_clauses,
    join_words,
)
from resnetlab.reports.plot_data import ForestPlot, ForestRow
from resnetlab.reports.study import estimands, reference_plots
from resnetlab.stats.hypothesis_types import Hypothesis, MeansHypothesis
from resnetlab.stats.outcomes import OutcomeCounts
from resnetlab.stats.verdict_types import Verdict
from resnetlab.studies.claims import AnyClaim
from resnetlab.studies.measure import Measure
from resnetlab.translation import tr, tr_study, tr_word

if TYPE_CHECKING:
    from resnetlab.analysis.analyze import StudyAnalysis


def forest_plot(analysis: StudyAnalysis) -> ForestPlot | None:
    """Return the forest plot of all claims.

    It is None if there are fewer than two claims (the answer then contains all of it) or the study
    is not finished.
    """
    claims = analysis.study.claims
    if not analysis.counts.is_complete or len(claims) < 2:
        return None
    tested = zip(claims, analysis.hypotheses, analysis.verdicts, analysis.shares, strict=True)
    rows = []
    for claim, hypothesis, verdict, share in tested:
        published = reference_plots.reference_effects(analysis, claim) if verdict.effect else ()
        trained_share = (share.low, share.high) if share else (None, None)
        row = _forest_row(claim, hypothesis, verdict, analysis.study.measure)
        rows.append(replace(row, reference_effects=published, training_share=trained_share))
    caption = tr(
        "Shaded: the region in which a claim is true. Dot: how much better the first condition "
        "of the comparison (left) is; line: its interval as in the table, cut at the edge of "
        "the scale. Open dot: only trained runs are compared, because others failed or are "
        "missing."
    )
    effects = [effect for row in rows for effect in row.reference_effects]
    if sources := list(dict.fromkeys(title for effect in effects for title in effect.sources)):
        caption += " " + tr(
            "Diamond: the effect in published numbers ({sources}).", sources=join_words(sources)
        )
    alt = f"{tr('Effect of each claim.')} {join_clauses([_forest_alt(row) for row in rows])}."
    return ForestPlot("claims", tr("Claims"), caption, alt, tuple(rows))


def _forest_alt(row: ForestRow) -> str:
    """Describe a row for the text alternative."""
    published = [
        tr(
            ", published {effect} ({sources})",
            effect=format_signed(reference.effect, 2),
            sources=join_words(reference.sources),
        )
        for reference in row.reference_effects
    ]
    effect = row.texts[0] or tr("(no estimate)")
    described = tr(
        "{label} {effect}: {verdict}", label=row.label, effect=effect, verdict=row.verdict
    )
    return described + "".join(published)


def _forest_row(
    claim: AnyClaim, hypothesis: Hypothesis, verdict: Verdict, measure: Measure
) -> ForestRow:
    effect = verdict.effect
    region = (math.nan, math.nan)
    text, unit = "", ""
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    if isinstance(hypothesis, MeansHypothesis):
        region = (hypothesis.region.low, hypothesis.region.high)
    elif effect is None:
        text = estimands.counts_cell(hypothesis).text
    if effect is not None:
        unit, estimate = estimands.unit(claim, measure), effect.estimate
        interval = effect.interval(verdict.confidence)
        low, high = interval
        digits = 3 if unit == "nats" else decimals(interval, measure.unit)
        text = f"{format_signed(estimate, digits)} {format_interval(interval, digits)} {unit}"
    return ForestRow(
        label=tr_study(claim.statement),
        unit=unit,
        region=region,
        effect=estimate,
        low=low,
        high=high,
        verdict=tr(verdict.phrase),
        trained_runs_only=effect is not None and verdict.trained_runs_only,
        texts=(text, *_run_texts([arm.counts for arm in hypothesis.arms])),
    )


def _run_texts(counts: list[OutcomeCounts]) -> tuple[str, str]:
    """Return texts of the runs of a claim: `5/5 and 3/5 trained`, `2 at chance`."""
    rates = join_words([f"{arm.trained}/{arm.ended}" for arm in counts])
    if len(counts) > 2:
        rates = f"{sum(arm.trained for arm in counts)}/{sum(arm.ended for arm in counts)}"
    names = ("at chance", "diverged", "out of memory", "missing")
    failed = {name: sum(getattr(arm, name.replace(" ", "_")) for arm in counts) for name in names}
    return tr("{rates} trained", rates=rates), ", ".join(
        tr("{number} {status}", number=n, status=tr_word(name)) for name, n in failed.items() if n
    )
