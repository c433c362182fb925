"""Figures of a run: learning curves, norms by layer, and accuracy without blocks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import median

from resnetlab.inspection.block_set_summary import accuracies_by_size
from resnetlab.inspection.diagnostics_records import BlockAblations, LayerNorms
from resnetlab.reports.format import format_pct, join_words
from resnetlab.reports.plot_data import (
    AblationPanel,
    AblationPlot,
    DepthPlot,
    LayerQuantity,
    LearningCurves,
    Line,
    Panel,
)
from resnetlab.reports.study.diagnostics import QUANTITIES, is_on_main_path, stage_starts
from resnetlab.runs.records import Evaluation, RunRecord
from resnetlab.stats.outcomes import Outcome
from resnetlab.translation import tr, tr_word

SOLID_SERIES = 1
"""Index of the series whose lines are solid."""


def learning_curves(record: RunRecord) -> tuple[LearningCurves, ...]:
    """Return the curves of the error and of the loss, on train images and on the other split."""
    recorded = {line.split for line in record.metrics}
    if "train" not in recorded:
        return ()
    other = next((split for split in ("test", "validation") if split in recorded), "")
    outcome: Outcome = record.result.status if record.result else "waiting"
    figures = []
    for quantity, title in (("error", tr("Error by epoch")), ("loss", tr("Loss by epoch"))):
        train = _line(record.metrics, "train", quantity, outcome)
        bold = _line(record.metrics, other, quantity, outcome) if other else train
        values = [*train.y, *bold.y]
        if not values:
            continue
        uniform = math.log(len(record.file.classes)) if quantity == "loss" else None
        top = 1.05 * max(values)
        top = max(1.15 * uniform, min(top, 3 * uniform)) if uniform else min(100.0, top) or 1.0
        label = tr_word(other or "train")
        panel = Panel(label, SOLID_SERIES, (bold,), bold, None, train if other else None)
        figures.append(
            LearningCurves(
                f"run-{quantity}",
                title,
                _curve_caption(other, quantity),
                _curve_alt(title, label, bold, train),
                "nats" if uniform else "%",
                (panel,),
                uniform,
                f"ln {len(record.file.classes)}" if uniform else "",
                top,
            )
        )
    return tuple(figures)


def _line(metrics: Iterable[Evaluation], split: str, quantity: str, outcome: Outcome) -> Line:
    points = {
        line.epoch: value
        for line in metrics
        if line.split == split
        and (value := line.top1_error_pct if quantity == "error" else line.loss_nats) is not None
    }
    return Line(outcome, tuple(points), tuple(points.values()))


def _curve_caption(other: str, quantity: str) -> str:
    if not other:
        return tr("Evaluated on a fixed part of the train images.")
    text = tr(
        "Solid: {split} images. Dashed: a fixed part of the train images, also evaluated in "
        "evaluation mode and without augmentation.",
        split=tr_word(other),
    )
    if quantity == "loss":
        text += " " + tr("Dotted: the loss of a uniform guess.")
    return text


def _curve_alt(title: str, label: str, bold: Line, train: Line) -> str:
    if not bold.y or not train.y:
        return title
    return tr(
        "{title}. {split}: {first:.2f} at first, {last:.2f} at the end; train: {train:.2f} at the "
        "end.",
        title=title,
        split=label,
        first=bold.y[0],
        last=bold.y[-1],
        train=train.y[-1],
    )


def layer_plot(record: RunRecord, series_index: int) -> DepthPlot | None:
    """Return the figure of the recorded norms by layer, with a panel for each epoch."""
    if not record.gradient_norms:
        return None
    quantities = []
    for field, (title, log_scale) in QUANTITIES.items():
        panels = tuple(
            _norm_panel(norms.epoch, norms.layers, field, log_scale, series_index)
            for norms in record.gradient_norms
        )
        values = [y for panel in panels for line in panel.runs for y in line.y]
        if not values:
            continue
        low, high = min(values), max(values)
        ends = (low / 1.5, 1.5 * high) if log_scale else (0.0, 1.05 * high or 1.0)
        if field.endswith("_pct"):
            ends = (0.0, 100.0)
        quantities.append(LayerQuantity(tr(title), log_scale, panels, *ends))
    images = record.gradient_norms[0].images
    caption = tr(
        "By layer from the image on, for one batch of {images:,} train images in training mode; "
        "projections of shortcuts are left out. Gray: the other epochs.",
        images=images,
    )
    title = tr("Gradients and responses by layer")
    alt = tr(
        "{title}: {epochs}.",
        title=title,
        epochs=join_words([_epoch_title(norms.epoch) for norms in record.gradient_norms]),
    )
    return DepthPlot("run-layers", title, caption, alt, tuple(quantities))


def _norm_panel(
    epoch: float, layers: Iterable[LayerNorms], field: str, log_scale: bool, series_index: int
) -> Panel:
    points = {
        float(layer.depth): value
        for layer in layers
        if is_on_main_path(layer.layer)
        and (value := getattr(layer, field)) is not None
        and (value > 0 or not log_scale)
    }
    line = Line("trained", tuple(points), tuple(points.values()))
    return Panel(_epoch_title(epoch), series_index, (line,), line if points else None, None)


def _epoch_title(epoch: float) -> str:
    return tr("after epoch {epoch:g}", epoch=epoch) if epoch else tr("before training")


def block_plots(
    networks: Iterable[tuple[str, BlockAblations, int]], chance_pct: float
) -> tuple[AblationPlot, ...]:
    """Return the figure of the accuracy without each block, and that without several.

    Args:
        networks: Label, block ablations and index of the series of each network.
        chance_pct: Accuracy of a constant guess in percent.
    """
    with_blocks = [item for item in networks if len(item[1].blocks) > 1]
    if not with_blocks:
        return ()
    single = tuple(_single_panel(*item, chance_pct) for item in with_blocks)
    caption = tr(
        "Test accuracy without each block, block by block from the image on; nothing is trained "
        "again. A residual block then outputs its shortcut, a plain block its input (Veit et al. "
        "2016). Dashed line: the complete network; dotted line: chance. A gray line marks the "
        "start of a stage."
    )
    plots = [
        AblationPlot("run-blocks", tr("Without one block"), caption, _block_alt(single), single)
    ]
    measured = [item for item in with_blocks if item[1].sets]
    if measured:
        several = tuple(_several_panel(*item, chance_pct) for item in measured)
        caption = tr(
            "Test accuracy by the number of blocks that are left out. Small dots: measured sets of "
            "blocks, pairs and random sets; large dots: their median. Dashed line: the complete "
            "network; dotted line: chance (compare Veit et al. 2016, figure 5)."
        )
        title, alt = tr("Without several blocks"), _block_alt(several)
        axis = tr("number of blocks left out")
        plots.append(AblationPlot("run-block-sets", title, caption, alt, several, axis))
    return tuple(plots)


def _single_panel(
    label: str, ablations: BlockAblations, series_index: int, chance_pct: float
) -> AblationPanel:
    complete, *blocks = ablations.blocks
    numbers = tuple(float(number) for number in range(1, len(blocks) + 1))
    line = Line("trained", numbers, tuple(block.accuracy_pct for block in blocks))
    starts = tuple(stage_starts(enumerate([block.without for block in blocks], 1)))
    panel = Panel(label, series_index, (line,), line, None)
    return AblationPanel(panel, complete.accuracy_pct, chance_pct, starts)


def _several_panel(
    label: str, ablations: BlockAblations, series_index: int, chance_pct: float
) -> AblationPanel:
    by_size = accuracies_by_size(ablations)
    complete = by_size.pop(0)[0]
    points = [
        (float(size), value) for size, values in by_size.items() for value in sorted({*values})
    ]
    dots = Line("trained", tuple(x for x, _ in points), tuple(y for _, y in points))
    medians = tuple(median(values) for values in by_size.values())
    middle = Line("trained", tuple(map(float, by_size)), medians)
    return AblationPanel(
        Panel(label, series_index, (dots,), middle, None), complete, chance_pct, ()
    )


def _block_alt(panels: Iterable[AblationPanel]) -> str:
    parts = [
        tr(
            "{label}: {complete} complete, at lowest {lowest}",
            label=item.panel.label,
            complete=format_pct(item.full_accuracy_pct),
            lowest=format_pct(min(item.panel.mean.y)),
        )
        for item in panels
        if item.panel.mean
    ]
    return tr("Test accuracy without blocks. {parts}.", parts=join_words(parts))
