"""What the figures of a report draw, as plain values: dots, curves, means, bands and captions. Draws nothing."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from resnetlab.analysis.study_data import Point
from resnetlab.reports.document import Curves, Dot, DotRow, Dots, Forest, ForestRow, Known, Line, Panel
from resnetlab.reports.format import listed, pct, places, signed, span
from resnetlab.reports.study import estimands, references, text
from resnetlab.reports.study.finetune import any_tuned
from resnetlab.stats.intervals import Summary, mean, t_interval
from resnetlab.stats.verdict import Means, Question, Verdict
from resnetlab.studies.claims import AnyClaim

if TYPE_CHECKING:
    from resnetlab.analysis.analyze import StudyAnalysis

MOST_PANELS = 20
"""Beyond it a figure is no longer looked at, and drawing it takes longer than all else of a report."""

BAND_RUNS = 5
"""Runs from which on a t-band says more than the envelope of all."""


def dots(judged: StudyAnalysis) -> Dots:
    """Every planned run by condition."""
    rows = tuple(_dot_row(judged, label, summary) for label, summary in judged.summaries.items())
    low, high = _scale(rows)
    hidden = all(row.chance_pct < low for row in rows)
    caption, alt = text.dots_caption(judged, hidden) + references.caption(rows), text.dots_alt(judged)
    return Dots("accuracy", "Test accuracy", caption, alt, rows, low, high)


def _scale(rows: tuple[DotRow, ...]) -> tuple[float, float]:
    """From below the lowest run to above the highest; chance is in sight unless it is far away."""
    values = [dot.value_pct for row in rows for dot in row.dots if dot.value_pct is not None]
    if not values:
        return 0.0, 100.0
    values += [mark.value_pct for row in rows for mark in row.published]
    low, high = min(values), max(values)
    spread = max(high - low, 1.0)
    # Intervals of few runs may be far wider than the runs: they are cut, and stand in the text.
    low = max([low - spread, min([low, *(row.low_pct for row in rows if row.low_pct is not None)])])
    high = min([high + spread, max([high, *(row.high_pct for row in rows if row.high_pct is not None)])])
    chance = min(row.chance_pct for row in rows)
    low = min(low, chance) if low - chance < 3 * spread else low
    pad = 0.05 * (high - low) + 0.1
    return max(-1.0, low - pad), min(101.0, high + pad)


def _dot_row(judged: StudyAnalysis, label: str, summary: Summary) -> DotRow:
    held = []
    for row in judged.rows(label):
        accuracy = None if row.test_error_pct is None else 100 - row.test_error_pct
        held.append(Dot(row.seed, row.status, summary.chance_pct if row.status == "diverged" else accuracy))
    counts, digits = summary.counts, places(summary.interval_pct)
    left = f", {counts.running + counts.waiting} to come" if not counts.complete else ""
    mean_said = "" if summary.mean_pct is None else pct(summary.mean_pct, digits)
    if summary.interval_pct:
        mean_said += f" {span(summary.interval_pct, digits)}"
    low, high = summary.interval_pct or (None, None)
    return DotRow(
        label=label, style=judged.style(label), chance_pct=summary.chance_pct, dots=tuple(held),
        mean_pct=summary.mean_pct, low_pct=low, high_pct=high,
        said=(f"{counts.converged}/{counts.finished} converged{left}", mean_said),
        published=references.marks(judged, label),
    )  # fmt: skip


def forest(judged: StudyAnalysis) -> Forest | None:
    """Region, effect and verdict of each claim; None where there is but one, which the answer tells whole."""
    claims = judged.study.claims
    if not judged.counts.complete or len(claims) < 2:
        return None
    held = zip(claims, judged.questions, judged.verdicts, strict=True)
    rows = tuple(_forest_row(claim, asked, found, references.effects(judged, claim)) for claim, asked, found in held)
    caption = (
        "Shaded: the region in which a claim holds. Dot: the effect, how much better left is; line: its interval as in "
        "the table, cut where it leaves the scale. An open dot compares converged runs alone, where others failed or "
        "are missing."
    )
    if sources := list(dict.fromkeys(title for row in rows for known in row.published for title in known.sources)):
        caption += f" Diamond: the effect in published numbers ({listed(sources)})."
    alt = "Effect of each claim. " + "; ".join(map(_forest_words, rows)) + "."
    return Forest("claims", "Claims", caption, alt, rows)


def _forest_words(row: ForestRow) -> str:
    """A row for those who cannot see it."""
    known = [f", published {signed(known.d, 2)} ({listed(known.sources)})" for known in row.published]
    return f"{row.label} {row.said[0]}: {row.word}" + "".join(known)


def _forest_row(claim: AnyClaim, question: Question, verdict: Verdict, published: tuple[Known, ...]) -> ForestRow:
    effect, unit = verdict.effect, estimands.unit(claim)
    region = (question.region.low, question.region.high) if isinstance(question, Means) else (math.nan, math.nan)
    counts = [arm.counts for arm in question.arms]
    failed = {
        name: sum(getattr(held, name.replace(" ", "_")) for held in counts)
        for name in ("dead", "diverged", "out of memory", "missing")
    }
    lost = ", ".join(f"{number} {name}" for name, number in failed.items() if number)
    rates = " and ".join(f"{held.converged}/{held.finished}" for held in counts)
    if len(counts) > 2:
        rates = f"{sum(held.converged for held in counts)}/{sum(held.finished for held in counts)}"
    said = (f"{rates} converged", lost)
    if effect is None:
        told = "" if isinstance(question, Means) else estimands.counted(question).text
        return ForestRow(claim.says, "", region, None, None, None, verdict.word, False, (told, *said))
    interval = effect.interval(verdict.confidence)
    digits = 3 if unit == "nats" else places(interval)
    told = f"{signed(effect.d, digits)} {span(interval, digits)} {unit}"
    return ForestRow(
        claim.says, unit, region, effect.d, *interval, verdict.word, verdict.conditional, (told, *said), published
    )


def curves(judged: StudyAnalysis) -> tuple[Curves, ...]:
    """Loss of the train subset, and the error of the split that the study followed."""
    points = judged.evidence.points
    found = []
    if any(point.split == "train" for point in points):
        found.append(_curves(judged, "train", "loss"))
    recorded = {point.split for point in points}
    for split in ("test", "validation", "train"):
        if split in recorded:
            found.append(_curves(judged, split, "error"))
            break
    return tuple(found)


def _curves(judged: StudyAnalysis, split: str, quantity: str) -> Curves:
    shown, left_out = list(judged.summaries)[:MOST_PANELS], max(0, len(judged.summaries) - MOST_PANELS)
    panels = tuple(_panel(judged, label, split, quantity) for label in shown)
    if judged.study.ladder and (split, quantity) == ("test", "error"):
        train = [_panel(judged, label, "train", quantity).mean for label in shown]
        panels = tuple(replace(panel, beside=line) for panel, line in zip(panels, train, strict=True))
    values = [y for panel in panels for line in panel.runs for y in line.y]
    classes = {len(facts.classes) for facts in judged.evidence.data}
    reference = math.log(max(classes)) if quantity == "loss" and len(classes) == 1 else None
    top = max(values, default=1.0) * 1.05
    cut = False
    if reference:
        top = max(1.15 * reference, min(top, 3 * reference))
        cut = max(values, default=0.0) > top
    elif quantity == "error":
        top = min(100.0, top)
    unit = "nats" if quantity == "loss" else "%"
    title = {
        "loss": "Loss on the train subset",
        "error": f"{'Train subset' if split == 'train' else split.capitalize()} error",
    }[quantity]
    caption = _caption(judged, panels, left_out, split, quantity, reference, cut)
    finals = [f"{p.label} {p.mean.y[-1]:.2f}" for p in panels if p.mean]
    alt = f"{title} by epoch, a panel a condition. Last value of the mean: {'; '.join(finals) or 'none yet'}."
    label = f"ln {max(classes)}" if reference else ""
    return Curves(f"{split}-{quantity}", title, caption, alt, unit, panels, reference, label, top, left_out)


def _caption(
    judged: StudyAnalysis, panels: tuple[Panel, ...], left_out: int, split: str, quantity: str, reference: float | None,
    cut: bool,
) -> str:  # fmt: skip
    drawn = [sum(line.outcome == "converged" for line in panel.runs) for panel in panels if panel.band]
    kinds = []
    if any(n >= BAND_RUNS for n in drawn):
        kinds.append("a pointwise 95 % t-interval of the mean")
    if any(n < BAND_RUNS for n in drawn):
        kinds.append(f"the range of the runs where fewer than {BAND_RUNS} converged")
    said = ["Thin lines: runs, dashed where they did not converge. Bold: mean of the converged runs."]
    said += [f"Band: {', and '.join(kinds)}."] if kinds else []
    if any(panel.beside for panel in panels):
        said.append("Dashed: mean error on the fixed train images, whose way to the bold line is what was overfitted.")
    if left_out:
        said.append(f"The first {len(panels)} of {len(panels) + left_out} conditions; curves.csv holds all.")
    elif sum(panel.mean is not None for panel in panels) > 1:
        said.append("Grey: the means of the other conditions.")
    if split == "train":
        images = {facts.train_subset_images for facts in judged.evidence.data} - {None}
        of = f" of {max(n for n in images if n):,} images" if len(images) == 1 else ""
        said.append(f"A fixed train subset{of}, in evaluation mode; step 0 is the network before training.")
    if split == "validation" and any_tuned(judged):
        said.append("The stages of a fine-tuning stand one after another, each judged at the size at which it learns.")
    if reference:
        said.append(f"Dotted: {reference:.2f} nats, the loss of a uniform guess.")
    if quantity == "error" and split == "test":
        said.append("Nothing was chosen by this curve.")
    return " ".join([*said, *(["A triangle at the top stands for a mean above the scale."] if cut else [])])


def _panel(judged: StudyAnalysis, label: str, split: str, quantity: str) -> Panel:
    by_seed: dict[int, list[Point]] = {}
    for point in judged.points(label):
        if point.split == split:
            by_seed.setdefault(point.seed, []).append(point)
    runs, converged = [], []
    for row in judged.rows(label):
        held = {p.epoch: p.loss_nats if quantity == "loss" else p.top1_error_pct for p in by_seed.get(row.seed, [])}
        xy = {x: y for x, y in sorted(held.items()) if y is not None}
        if xy:
            runs.append(Line(row.status, tuple(xy), tuple(xy.values())))
            converged += [xy] if row.status == "converged" else []
    style = judged.style(label)
    shared = [x for x in converged[0] if all(x in run for run in converged)] if converged else []
    if not shared:
        return Panel(label, style, tuple(runs), None, None)
    columns = [[run[x] for run in converged] for x in shared]
    average = Line("converged", tuple(shared), tuple(mean(column) for column in columns))
    band = None
    if len(converged) >= 2:
        use_t = len(converged) >= BAND_RUNS
        edges = [t_interval(column) if use_t else (min(column), max(column)) for column in columns]
        pairs = [edge for edge in edges if edge is not None]
        band = (tuple(max(0.0, low) for low, _ in pairs), tuple(high for _, high in pairs))
    return Panel(label, style, tuple(runs), average, band)
