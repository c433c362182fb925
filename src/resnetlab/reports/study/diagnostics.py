"""Figures of optional measurements: norms of layers by depth, block ablations, loss landscapes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from statistics import median
from typing import TYPE_CHECKING

from resnetlab.analysis.study_data import GradientNormRow
from resnetlab.reports.format import capitalize_first, format_pct, join_clauses
from resnetlab.reports.plot_data import (
    AblationPanel,
    AblationPlot,
    DepthPlot,
    LandscapePlot,
    LayerQuantity,
    Line,
    Panel,
)
from resnetlab.reports.study.landscapes import landscape_plot
from resnetlab.translation import deferred, tr, tr_count

if TYPE_CHECKING:
    from resnetlab.analysis.analyze import StudyAnalysis

QUANTITIES = {
    "weight_gradient_norm": (deferred("Gradient of the weights, norm"), True),
    "response_sd": (deferred("Response, standard deviation"), False),
    "activation_norm": (deferred("Activation, norm"), True),
    "never_active_pct": (deferred("Never active, % of maps or units"), False),
}
"""Fields of a layer, each with its title and a flag for a logarithmic scale."""


def diagnostic_plots(
    analysis: StudyAnalysis,
) -> tuple[DepthPlot | AblationPlot | LandscapePlot, ...]:
    """Return a figure by depth for each measured epoch, and those of blocks and of landscapes."""
    epochs = sorted({norm.epoch for norm in analysis.study_data.gradient_norms})
    plots = (_ablation_plot(analysis), landscape_plot(analysis))
    return (
        *(_depth_plot(analysis, epoch) for epoch in epochs),
        *(plot for plot in plots if plot is not None),
    )


def _depth_plot(analysis: StudyAnalysis, epoch: float) -> DepthPlot:
    norms = [
        norm
        for norm in analysis.study_data.gradient_norms
        if norm.epoch == epoch and is_on_main_path(norm.layer)
    ]
    quantities = [_quantity(analysis, norms, field, *words) for field, words in QUANTITIES.items()]
    drawn = tuple(
        q for q in quantities if any(y for panel in q.panels for line in panel.runs for y in line.y)
    )
    when = tr("after epoch {epoch:g}", epoch=epoch) if epoch else tr("before training")
    measured = len({(norm.condition, norm.seed) for norm in norms})
    images = sorted({norm.images for norm in norms})
    batch = tr("{count:,}", count=images[0])
    if len(images) > 1:
        batch = tr("{first:,} to {last:,}", first=images[0], last=images[-1])
    caption = tr(
        "{when}, by layer from the image on, projections of shortcuts left out; one batch of "
        "{batch} train images in training mode, on {runs}. Thin lines: runs, dashed if not "
        "trained. Bold: median of all runs. Gray: the other conditions. Response: output of a "
        "layer after its normalization (He et al. 2016, fig. 7). Activation: input of the next "
        "layer.",
        when=capitalize_first(when),
        batch=batch,
        runs=_run_count_text(measured, analysis.counts.planned),
    )
    inactive = [norm.never_active_pct for norm in norms if norm.never_active_pct is not None]
    if inactive and not any(inactive):
        caption += " " + tr("Every unit was active at some position of some image.")
    ranges = [
        tr(
            "{title}, first to last layer: {range_text}",
            title=quantity.title,
            range_text=_range_text(quantity),
        )
        for quantity in drawn
    ]
    alt = tr(
        "Layers by depth {when}, one panel per condition. {ranges}.",
        when=when,
        ranges=". ".join(ranges),
    )
    return DepthPlot(
        f"depth-epoch-{epoch:g}", tr("Layer by layer, {when}", when=when), caption, alt, drawn
    )


def is_on_main_path(layer: str) -> bool:
    """Return True if a layer is on the main path, not on a shortcut."""
    return not {"shortcut", "downsample"} & set(layer.split("."))


def _quantity(
    analysis: StudyAnalysis, norms: list[GradientNormRow], field: str, title: str, log: bool
) -> LayerQuantity:
    panels = []
    for label in analysis.summaries:
        runs: dict[int, dict[float, float]] = {}
        for norm in norms:
            value = getattr(norm, field)
            if norm.condition == label and value is not None and (value > 0 or not log):
                runs.setdefault(norm.seed, {})[float(norm.depth)] = value
        panels.append(_panel(analysis, label, runs))
    values = [y for panel in panels for line in panel.runs for y in line.y]
    low, high = min(values, default=1.0), max(values, default=1.0)
    if log:
        return LayerQuantity(tr(title), log, tuple(panels), low / 1.5, 1.5 * high)
    top = 100.0 if field.endswith("_pct") else 1.05 * high
    return LayerQuantity(tr(title), log, tuple(panels), 0.0, top or 1.0)


def _panel(analysis: StudyAnalysis, label: str, runs: Mapping[int, Mapping[float, float]]) -> Panel:
    """Return a panel with the runs as lines and with their median."""
    outcomes = {row.seed: row.status for row in analysis.rows(label)}
    lines = tuple(
        Line(outcomes[seed], tuple(xy), tuple(xy.values()), seed)
        for seed, xy in sorted(runs.items())
    )
    depths = sorted({x for xy in runs.values() for x in xy})
    middle = tuple(median(xy[x] for xy in runs.values() if x in xy) for x in depths)
    return Panel(
        label,
        analysis.series_index(label),
        lines,
        Line("trained", tuple(depths), middle) if depths else None,
        None,
    )


def _range_text(quantity: LayerQuantity) -> str:
    """Describe the first and last medians: `plain 56 0.12 to 0.0031; residual 56 0.2 to 0.19`."""
    means = [(panel.label, panel.mean) for panel in quantity.panels if panel.mean]
    return join_clauses(
        [
            tr("{label} {first:.2g} to {last:.2g}", label=label, first=line.y[0], last=line.y[-1])
            for label, line in means
        ]
    )


def _run_count_text(measured: int, planned: int) -> str:
    if measured == planned:
        return tr_count(planned, "run")
    return tr("{measured} of {planned}", measured=measured, planned=tr_count(planned, "run"))


def _ablation_plot(analysis: StudyAnalysis) -> AblationPlot | None:
    ablations = tuple(
        ablation
        for label in analysis.summaries
        if (ablation := _ablation_panel(analysis, label)) is not None
    )
    if not ablations:
        return None
    measured = sum(len(ablation.panel.runs) for ablation in ablations)
    caption = tr(
        "Test accuracy with one block switched off, block by block from the image on, of "
        "{runs}; nothing is trained again. A residual block then outputs its "
        "shortcut, a plain block its input (Veit et al. 2016). Small dots: runs; large dots: "
        "their median. Dashed line: the whole network; dotted line: chance. A gray line marks "
        "the start of a stage, whose first block changes the size and the number of channels.",
        runs=_run_count_text(measured, analysis.counts.planned),
    )
    alt = tr(
        "Test accuracy without each block, one panel per condition. {blocks}.",
        blocks=join_clauses([_ablation_text(ablation) for ablation in ablations]),
    )
    return AblationPlot("blocks", tr("Without one block"), caption, alt, ablations)


def _ablation_panel(analysis: StudyAnalysis, label: str) -> AblationPanel | None:
    runs: dict[int, dict[float, float]] = {}
    full_accuracies, names = [], {}
    for block in analysis.study_data.blocks:
        if block.condition != label:
            continue
        if block.without == "nothing":
            full_accuracies.append(block.accuracy_pct)
            continue
        accuracies = runs.setdefault(block.seed, {})
        accuracies[float(len(accuracies) + 1)] = block.accuracy_pct
        names[len(accuracies)] = block.without
    if not runs:
        return None
    chance = analysis.summaries[label].chance_pct
    return AblationPanel(
        _panel(analysis, label, runs),
        median(full_accuracies),
        chance,
        tuple(stage_starts(names.items())),
    )


def stage_starts(names: Iterable[tuple[int, str]]) -> Iterable[int]:
    """Yield the number of each block that begins a stage (`stages.1` in `stages.1.0`)."""
    before = None
    for number, name in names:
        stage = name.rpartition(".")[0]
        if before not in (None, stage):
            yield number
        before = stage


def _ablation_text(ablation: AblationPanel) -> str:
    middle = ablation.panel.mean
    lowest = min(middle.y) if middle else math.nan
    return tr(
        "{label} {full_accuracy_pct} whole, {lowest} without the block that it misses most",
        label=ablation.panel.label,
        full_accuracy_pct=format_pct(ablation.full_accuracy_pct),
        lowest=format_pct(lowest),
    )
