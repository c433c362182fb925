"""Training mode compared with evaluation mode: one network, one batch, and the layers that differ.

Batch normalization uses the statistics of the batch in training mode and its running statistics in
evaluation mode. Dropout draws a mask in training mode only. Trains nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from resnetlab.data.device_images import DeviceImages
from resnetlab.inspection.dropout_average import dropout_layers, only_in_training_mode, seeded_draws
from resnetlab.messages import format_count
from resnetlab.training.from_scratch_state import FromScratchState

REASONS = {
    "batch norm": "in training mode it normalizes with the mean and the variance of this batch, "
    "and updates its running ones; in evaluation mode it uses the running ones",
    "dropout": "in training mode it sets values to 0 at random and divides the rest by 1 - p; in "
    "evaluation mode it changes nothing",
}
"""Difference between the two modes by kind of layer."""

NOTES = (
    "training mode: the layers that are in training mode; all others are in evaluation mode.",
    "second pass: the same images once more. Differences are root mean squares of the logits.",
    "buffers changed: by a pass; running statistics and their counters. They are restored here.",
)


@dataclass(frozen=True)
class ModeRow:
    """Two passes of the same batch with one choice of layers in training mode."""

    training_mode: str
    """Layers in training mode: none (evaluation mode), one kind, or all (training mode)."""
    loss_nats: float
    """Loss of the first pass."""
    accuracy_pct: float
    """Accuracy of the first pass."""
    second_pass_loss_nats: float
    """Loss of the second pass of the same images."""
    second_pass_accuracy_pct: float
    difference_between_passes: float
    """Root mean square difference of the logits of both passes."""
    difference_from_evaluation: float
    """Root mean square difference of the first pass from evaluation mode."""
    buffers_changed: int
    """Number of buffers that a pass changes: running statistics and their counters."""


@dataclass(frozen=True)
class ModeComparison:
    """Result of `compare_modes`: the layers that change with the mode, and the passes."""

    layers: dict[str, dict[str, str]]
    """Layers that change with the mode by kind: type by name."""
    images: int
    rows: tuple[ModeRow, ...]


def layers_by_kind(model: nn.Module) -> dict[str, dict[str, nn.Module]]:
    """Return the layers that behave differently in the two modes, by kind and name."""
    batch_norms = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and module.track_running_stats
    }
    kinds: dict[str, dict[str, nn.Module]] = {
        "batch norm": dict(batch_norms),
        "dropout": dropout_layers(model),
    }
    return {kind: layers for kind, layers in kinds.items() if layers}


def compare_modes(state: FromScratchState, batch: DeviceImages) -> ModeComparison:
    """Pass one batch twice through the network for each choice of layers in training mode.

    The network stays unchanged. The random draws of both passes are different ones.
    """
    kinds = layers_by_kind(state.model)
    choices: dict[str, dict[str, nn.Module]] = {"none: evaluation mode": {}}
    choices |= {f"{kind} alone": layers for kind, layers in kinds.items() if len(kinds) > 1}
    choices["all: training mode"] = {"": state.model}
    rows: list[ModeRow] = []
    evaluation: Tensor | None = None
    with torch.inference_mode(), seeded_draws(state.seed, "modes"):
        for title, layers in choices.items():
            first, changed = _logits(state, batch, layers)
            second, _ = _logits(state, batch, layers)
            evaluation = first if evaluation is None else evaluation
            losses, accuracies = zip(
                *(_scores(logits, batch.labels) for logits in (first, second)), strict=True
            )
            rows.append(
                ModeRow(
                    title,
                    losses[0],
                    accuracies[0],
                    losses[1],
                    accuracies[1],
                    _rms(first - second),
                    _rms(first - evaluation),
                    changed,
                )
            )
    names = {
        kind: {name: type(module).__name__ for name, module in layers.items()}
        for kind, layers in kinds.items()
    }
    return ModeComparison(names, len(batch), tuple(rows))


def _logits(
    state: FromScratchState, batch: DeviceImages, layers: dict[str, nn.Module]
) -> tuple[Tensor, int]:
    """Return the logits (B, K) of the batch, and the number of buffers that the pass changed."""
    with only_in_training_mode(state.model, layers):
        before = {name: buffer.clone() for name, buffer in state.model.named_buffers()}
        logits = state.eval_forward_pixels(batch.pixels).double()
        after = dict(state.model.named_buffers())
        changed = sum(not torch.equal(after[name], value) for name, value in before.items())
    return logits, changed


def _scores(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    right = (logits.argmax(1) == labels).double().mean()
    return float(F.cross_entropy(logits, labels)), 100 * float(right)


def _rms(difference: Tensor) -> float:
    return float(difference.square().mean().sqrt())


def mode_sentences(comparison: ModeComparison) -> list[str]:
    """Return the conclusions that the values support, computed by rule."""
    evaluation, training = comparison.rows[0], comparison.rows[-1]
    if not comparison.layers:
        same = "the same" if not training.difference_from_evaluation else "different"
        return [
            (
                "The network has neither batch normalization nor dropout: training and evaluation "
                f"mode give {same} outputs."
            )
        ]
    lines = [
        f"{kind}: {format_count(len(layers), 'layer')}; {REASONS[kind]}."
        for kind, layers in comparison.layers.items()
    ]
    repeated = _repeated(evaluation), _repeated(training)
    lines.append(
        f"Two passes of the same batch give {repeated[0]} outputs in evaluation mode and "
        f"{repeated[1]} outputs in training mode."
    )
    lines.append(
        f"On the same {comparison.images} images the loss is {evaluation.loss_nats:.4g} nats in "
        f"evaluation mode and {training.loss_nats:.4g} in training mode, the accuracy "
        f"{evaluation.accuracy_pct:.1f} % and {training.accuracy_pct:.1f} %; a pass in training "
        f"mode changes {format_count(training.buffers_changed, 'buffer')}, one in evaluation mode "
        f"{evaluation.buffers_changed}."
    )
    return lines


def _repeated(row: ModeRow) -> str:
    return "different" if row.difference_between_passes else "identical"
