"""Values of the figures of a report: dots, curves, means, bands and captions. It draws nothing."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from resnetlab.analysis.study_data import CurvePoint
from resnetlab.reports.format import capitalize_first, join_clauses, join_words, name_some
from resnetlab.reports.plot_data import MAX_GRAY_PANELS, LearningCurves, Line, Panel
from resnetlab.reports.study import references
from resnetlab.reports.study.finetune import has_finetuning
from resnetlab.reports.thinning import MAX_LINES, part_of
from resnetlab.stats.intervals import ACCURACY_RANGE_PCT, Interval, mean, t_interval, within_range
from resnetlab.studies.claims import Best, Monotone, condition_labels
from resnetlab.translation import deferred, localize_number, tr

if TYPE_CHECKING:
    from resnetlab.analysis.analyze import StudyAnalysis

MAX_PANELS = 24
"""Largest number of panels; a larger figure is hard to read and takes very long to draw."""

MIN_T_BAND_RUNS = 5
"""Number of runs from which a t-band is more informative than the range of the runs."""


def learning_curves(analysis: StudyAnalysis) -> tuple[LearningCurves, ...]:
    """Return the curves of the recorded losses, and of the error on one split."""
    points = analysis.study_data.curve_points
    if analysis.study.imported:
        return _imported_curves(analysis) if points else ()
    figures = []
    if any(point.split == "train" for point in points):
        figures.append(_curves(analysis, "train", "loss"))
    recorded = {point.split for point in points}
    if any(point.split == "test" and point.loss_nats is not None for point in points):
        figures.append(_curves(analysis, "test", "loss"))
    for split in ("test", "validation", "train"):
        if split in recorded:
            figures.append(_curves(analysis, split, "error"))
            pairs = _pairs(analysis, split)
            figures += [_pair_curves(analysis, pairs, split, figures[-1])] if pairs else []
            break
    return tuple(figures)


def _imported_curves(analysis: StudyAnalysis) -> tuple[LearningCurves, ...]:
    """Return the figure of the values of imported runs over their epochs."""
    measure = analysis.study.measure
    labels, left_out = _panel_labels(analysis)
    panels = tuple(_panel(analysis, label, "test", "value") for label in labels)
    values = [y for panel in panels for line in panel.runs for y in line.y]
    low, high = min(values), max(values)
    pad = 0.05 * (high - low or abs(high) or 1.0)
    ends = (max(0.0, low - pad), min(100.0, high + pad))
    if measure.unit != "%":
        ends = (low - pad, high + pad)
    title = f"{capitalize_first(measure.name)} by epoch"
    finals = [f"{panel.label} {panel.mean.y[-1]:.4g}" for panel in panels if panel.mean]
    return (
        LearningCurves(
            "values",
            title,
            _caption(analysis, panels, left_out, "", None, False),
            f"{title}, one panel per condition. Last value of the mean: {'; '.join(finals)}.",
            measure.unit,
            panels,
            None,
            "",
            ends[1],
            len(left_out),
            ends[0],
        ),
    )


def _pairs(analysis: StudyAnalysis, split: str) -> list[Panel]:
    """Return a panel for each two conditions that a claim compares, if both have curves."""
    compared: dict[frozenset[str], tuple[str, str]] = {}
    for claim in analysis.study.claims:
        if not isinstance(claim, Monotone | Best):
            labels = condition_labels(claim)
            for pair in zip(labels[::2], labels[1::2], strict=True):
                compared.setdefault(frozenset(pair), pair)
    panels = []
    for left, right in compared.values():
        upper, lower = (_panel(analysis, label, split, "error") for label in (left, right))
        if upper.runs and lower.runs:
            partner = replace(lower, series_index=0)
            panels.append(
                replace(
                    upper,
                    label=tr("{left} and {right}", left=left, right=right),
                    series_index=1,
                    partner=partner,
                    condition=left,
                )
            )
    return panels[:MAX_PANELS]


def _pair_curves(
    analysis: StudyAnalysis, panels: list[Panel], split: str, single: LearningCurves
) -> LearningCurves:
    """Return the figure of the pairs of claims, on the scale of the figure of all conditions."""
    caption = _caption(analysis, tuple(panels), [], split, None, False, has_gray_means=False)
    finals = [
        tr(
            "{label} {first:.2f} and {second:.2f}",
            label=panel.label,
            first=panel.mean.y[-1],
            second=panel.partner.mean.y[-1],
        )
        for panel in panels
        if panel.mean and panel.partner and panel.partner.mean
    ]
    title = tr("{title} of the two conditions of a claim", title=single.title)
    return LearningCurves(
        f"{split}-error-pairs",
        title,
        tr("The two conditions of a claim in one panel: the first solid, the second dashed.")
        + f" {caption}",
        tr(
            "{title}. Last value of the means: {values}.",
            title=title,
            values=join_clauses(finals) or tr("none yet"),
        ),
        single.unit,
        tuple(panels),
        None,
        "",
        single.y_max,
    )


def _panel_labels(analysis: StudyAnalysis) -> tuple[list[str], list[str]]:
    """Return the conditions with a panel and those without one, each in the order of the study.

    The main rungs of a ladder come before its side rungs.
    """
    labels = list(analysis.summaries)
    side = {rung.condition for rung in analysis.study.ladder if rung.instead_of}
    with_panel = set(sorted(labels, key=side.__contains__)[:MAX_PANELS])
    return [x for x in labels if x in with_panel], [x for x in labels if x not in with_panel]


_ERROR_TITLES = {
    "train": deferred("Train subset error"),
    "validation": deferred("Validation error"),
    "test": deferred("Test error"),
}


def _curves(analysis: StudyAnalysis, split: str, quantity: str) -> LearningCurves:
    labels, left_out = _panel_labels(analysis)
    panels = tuple(_panel(analysis, label, split, quantity) for label in labels)
    if analysis.study.ladder and (split, quantity) == ("test", "error"):
        train = [_panel(analysis, label, "train", quantity).mean for label in labels]
        panels = tuple(
            replace(panel, other_split_mean=line) for panel, line in zip(panels, train, strict=True)
        )
    values = [
        y
        for panel in panels
        for line in (*panel.runs, *([panel.published] if panel.published else []))
        for y in line.y
    ]
    classes = {len(details.classes) for details in analysis.study_data.data}
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
        "loss": tr("Test loss") if split == "test" else tr("Loss on the train subset"),
        "error": tr(_ERROR_TITLES[split]),
    }[quantity]
    caption = _caption(analysis, panels, left_out, split, reference, cut)
    finals = [
        tr("{label} {value:.2f}", label=p.label, value=p.mean.y[-1]) for p in panels if p.mean
    ]
    alt = tr(
        "{title} by epoch, one panel per condition. Last value of the mean: {values}.",
        title=title,
        values=join_clauses(finals) or tr("none yet"),
    )
    label = f"ln {max(classes)}" if reference else ""
    return LearningCurves(
        f"{split}-{quantity}",
        title,
        caption,
        alt,
        unit,
        panels,
        reference,
        label,
        top,
        len(left_out),
    )


def _caption(
    analysis: StudyAnalysis,
    panels: tuple[Panel, ...],
    without_panel: list[str],
    split: str,
    uniform_loss: float | None,
    is_cut: bool,
    has_gray_means: bool = True,
) -> str:
    """Return the caption of a figure of learning curves.

    `has_gray_means` is True if its panels repeat the means of the other panels.
    """
    trained_runs = [
        sum(line.outcome == "trained" for line in panel.runs) for panel in panels if panel.band
    ]
    kinds = []
    if any(n >= MIN_T_BAND_RUNS for n in trained_runs):
        kinds.append(tr("a pointwise 95 % t-interval of the mean"))
    if any(n < MIN_T_BAND_RUNS for n in trained_runs):
        kinds.append(
            tr(
                "the range of the runs if fewer than {runs} trained",
                runs=MIN_T_BAND_RUNS,
            )
        )
    sentences = [tr("Thin lines: runs, dashed if not trained. Bold: mean of the trained runs.")]
    sentences += [tr("Band: {kinds}.", kinds=tr(", and ").join(kinds))] if kinds else []
    lines = part_of(MAX_LINES, len(panels))
    if any(len(panel.runs) > lines for panel in panels):
        sentences.append(
            tr(
                "Drawn: at most {lines} runs of a condition, evenly spaced from the lowest to the "
                "highest last value; curves.csv has all runs.",
                lines=lines,
            )
        )
    if any(panel.other_split_mean for panel in panels):
        sentences.append(
            tr(
                "Dashed: mean error on the fixed train images; its distance below the bold line is "
                "overfitting."
            )
        )
    if any(panel.published or (panel.partner and panel.partner.published) for panel in panels):
        sentences.append(
            tr(
                "Thin and dashed, “published”: the mean of the source's runs after each of its "
                "epochs; the comparison with published results lists how its protocol differs."
            )
        )
        cut_sizes = {
            details.train_images
            for details in analysis.study_data.data
            for label in details.conditions
            if analysis.study.condition(label).data.train_images is not None
        }
        if cut_sizes:
            count = join_words([localize_number(f"{n:,}") for n in sorted(cut_sizes)])
            sentences.append(
                tr("An epoch of these runs has {count} train images, not all of them.", count=count)
            )
    if without_panel:
        sentences.append(
            tr(
                "{shown} of {conditions} conditions; curves.csv has also {names}.",
                shown=len(panels),
                conditions=len(panels) + len(without_panel),
                names=name_some(without_panel),
            )
        )
    elif (
        has_gray_means
        and sum(panel.mean is not None for panel in panels) > 1
        and len(panels) <= MAX_GRAY_PANELS
    ):
        sentences.append(tr("Gray: the means of the other conditions."))
    limits = {condition.data.curve_images for condition in analysis.study.conditions} - {None}
    if limits:
        numbers = [localize_number(f"{n:,}") for n in sorted(n for n in limits if n)]
        count = tr(" or ").join(numbers)
        sentences.append(
            tr("During training, at most {count} fixed images were evaluated.", count=count)
        )
    elif split == "train":
        images = {details.train_subset_images for details in analysis.study_data.data} - {None}
        of = (
            tr(" of {count:,} images", count=max(n for n in images if n))
            if len(images) == 1
            else ""
        )
        sentences.append(
            tr(
                "A fixed train subset{of}, in evaluation mode; step 0 is the network before "
                "training.",
                of=of,
            )
        )
    if split == "validation" and has_finetuning(analysis):
        sentences.append(
            tr("The stages of fine-tuning follow one another; each is evaluated at its train size.")
        )
    if uniform_loss:
        sentences.append(
            tr(
                "Dotted: {uniform_loss:.2f} nats, the loss of a uniform guess.",
                uniform_loss=uniform_loss,
            )
        )
    if split == "test":
        sentences.append(tr("No weights were selected by this curve."))
    return " ".join(
        [
            *sentences,
            *([tr("A triangle at the top marks a mean above the scale.")] if is_cut else []),
        ]
    )


def _panel(analysis: StudyAnalysis, label: str, split: str, quantity: str) -> Panel:
    by_seed: dict[int, list[CurvePoint]] = {}
    for point in analysis.points(label):
        if point.split == split:
            by_seed.setdefault(point.seed, []).append(point)
    runs, trained = [], []
    for row in analysis.rows(label):
        curve = {
            p.epoch: {"loss": p.loss_nats, "value": p.value}.get(quantity, p.top1_error_pct)
            for p in by_seed.get(row.seed, [])
        }
        xy = {x: y for x, y in sorted(curve.items()) if y is not None}
        if xy:
            runs.append(Line(row.status, tuple(xy), tuple(xy.values()), row.seed))
            trained += [xy] if row.status == "trained" else []
    style = analysis.style(label)
    known = references.published_curve(analysis, label, quantity) if split == "test" else None
    published = Line("trained", tuple(known), tuple(known.values())) if known else None
    shared = [x for x in trained[0] if all(x in run for run in trained)] if trained else []
    if not shared:
        return Panel(label, style, tuple(runs), None, None, published=published)
    columns = [[run[x] for run in trained] for x in shared]
    average = Line("trained", tuple(shared), tuple(mean(column) for column in columns))
    band = None
    if len(trained) >= 2:
        use_t = len(trained) >= MIN_T_BAND_RUNS
        edges = [
            t_interval(column) if use_t else Interval(min(column), max(column))
            for column in columns
        ]
        possible = ACCURACY_RANGE_PCT if quantity == "error" else Interval(0.0, math.inf)
        if quantity == "value":
            possible = analysis.study.measure.value_range
        pairs = [edge for pair in edges if (edge := within_range(pair, possible)) is not None]
        band = (tuple(low for low, _ in pairs), tuple(high for _, high in pairs))
    return Panel(label, style, tuple(runs), average, band, published=published)
