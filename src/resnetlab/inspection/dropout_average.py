"""Dropout as an average: evaluation mode beside the mean over networks with sampled masks.

Each dropout mask removes units, and what is left is a thinned network. Srivastava et al. 2014,
sec. 1, read evaluation mode, where no unit is dropped, as an approximation of the mean over all
thinned networks. This module measures on images how good the approximation is. Trains nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from resnetlab.data.device_images import DeviceImages
from resnetlab.errors import input_error
from resnetlab.models.preserve_model import preserve_buffers_and_mode
from resnetlab.training.evaluate import EVAL_BATCH_SIZE
from resnetlab.training.from_scratch_state import FromScratchState
from resnetlab.training.rng import derive_seed

CLOSE_FACTOR = 2.0
"""Factor by which evaluation mode is called nearer to a mean than to one thinned network."""

NOTES = (
    "one mask: the mean over all masks. In a pass each image has its own mask.",
    "geometric mean: of the probabilities, normalized, which is the softmax of the mean logits.",
    (
        "distance: half the sum over the classes of the absolute differences of the probabilities, "
        "in percentage points, averaged over the images."
    ),
    (
        "sampling error of mean: the difference of logits that chance leaves between the mean of "
        "these masks and that of all masks."
    ),
)


@dataclass(frozen=True)
class DropoutAverage:
    """Answers of one network on N images: in evaluation mode, and with M sampled masks."""

    layers: dict[str, float]
    """Probability of dropping, by name of the dropout layer."""
    labels: Tensor
    """Classes of the images (N,)."""
    evaluation: Tensor
    """Logits in evaluation mode (N, K)."""
    samples: Tensor
    """Logits with sampled masks (M, N, K)."""


def dropout_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Return the dropout layers with a probability above 0, by name."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, _DropoutNd) and module.p > 0
    }


@contextmanager
def only_in_training_mode(model: nn.Module, layers: dict[str, nn.Module]) -> Iterator[None]:
    """Set the given layers to training mode and all others to evaluation mode within the block.

    Buffers and modes are restored on exit.
    """
    with preserve_buffers_and_mode(model):
        model.eval()
        for layer in layers.values():
            layer.train()
        yield


@contextmanager
def seeded_draws(seed: int, *names: str | int) -> Iterator[None]:
    """Seed the random draws of layers within the block; the global generators are restored."""
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, *names))
        yield


def sample_dropout(state: FromScratchState, images: DeviceImages, masks: int) -> DropoutAverage:
    """Evaluate the images once in evaluation mode, and once for each of `masks` draws of dropout.

    In a pass each image has its own mask. All other layers stay in evaluation mode.

    Raises:
        InputError: The network has no dropout layer.
    """
    layers = dropout_layers(state.model)
    if not layers:
        raise input_error(
            state.model_config.slug,
            "the network has no dropout layer",
            'a model file with family = "alexnet-cifar" and dropout = 0.5',
        )

    def logits() -> Tensor:
        parts = torch.split(images.pixels, EVAL_BATCH_SIZE)
        return torch.cat([state.eval_forward_pixels(part).float().cpu() for part in parts])

    with torch.inference_mode(), seeded_draws(state.seed, "dropout masks"):
        with only_in_training_mode(state.model, {}):
            evaluation = logits()
        with only_in_training_mode(state.model, layers):
            samples = torch.stack([logits() for _ in range(masks)])
    probabilities = {name: float(vars(layer)["p"]) for name, layer in layers.items()}
    return DropoutAverage(probabilities, images.labels.cpu(), evaluation, samples)


def average_rows(average: DropoutAverage) -> list[dict[str, Any]]:
    """Return one row for each way to answer; `NOTES` explains the rows and columns."""
    samples = average.samples.double()
    evaluation = average.evaluation.double().softmax(1)
    answers = {
        "evaluation mode": evaluation[None],
        "mean over masks": samples.softmax(2).mean(0, keepdim=True),
        "geometric mean over masks": samples.mean(0, keepdim=True).softmax(2),
        "one mask": samples.softmax(2),
    }
    rows = []
    for name, probabilities in answers.items():
        predicted = probabilities.argmax(2)
        labels = average.labels.expand_as(predicted)
        same = predicted == evaluation.argmax(1)
        rows.append(
            {
                "answer": name,
                "accuracy_pct": 100 * float((predicted == labels).double().mean()),
                "loss_nats": float(-probabilities.gather(2, labels[..., None]).log().mean()),
                "same_label_as_evaluation_pct": 100 * float(same.double().mean()),
                "distance_to_evaluation_points": 50
                * float((probabilities - evaluation).abs().sum(2).mean()),
            }
        )
    return rows


def average_details(average: DropoutAverage) -> dict[str, Any]:
    """Return the layers, and the logits in numbers: their spread over masks, and the difference
    between evaluation mode and their mean (root mean squares over images and classes).
    """
    samples = average.samples.double()
    spread = float(samples.var(0).mean().sqrt())
    difference = average.evaluation.double() - samples.mean(0)
    return {
        "dropout_layers": average.layers,
        "images": len(average.labels),
        "masks": len(samples),
        "sd_of_logits_over_masks": spread,
        "sampling_error_of_mean": spread / math.sqrt(len(samples)),
        "logits_evaluation_minus_mean": float(difference.square().mean().sqrt()),
    }


def average_sentences(average: DropoutAverage) -> list[str]:
    """Return the conclusions that the values support, computed by rule."""
    _, mean, geometric, one = average_rows(average)
    label, distance = "same_label_as_evaluation_pct", "distance_to_evaluation_points"
    is_close = CLOSE_FACTOR * min(mean[distance], geometric[distance]) <= one[distance]
    nearer = "geometric mean" if geometric[distance] < mean[distance] else "mean"
    comparison = "as accurate as"
    if mean["accuracy_pct"] > one["accuracy_pct"]:
        comparison = "more accurate than"
    elif mean["accuracy_pct"] < one["accuracy_pct"]:
        comparison = "less accurate than"
    return [
        (
            f"Evaluation mode gives the label of the mean over {len(average.samples)} thinned "
            f"networks for {mean[label]:.1f} % of the {len(average.labels):,} images, and that of "
            f"one thinned network for {one[label]:.1f} %."
        ),
        (
            f"Its probabilities are {mean[distance]:.2g} points from the mean, "
            f"{geometric[distance]:.2g} from the geometric mean, {one[distance]:.2g} from one "
            f"thinned network: it is {'at least twice' if is_close else 'less than twice'} as near "
            f"to the {nearer} of many networks as to one of them."
        ),
        (
            f"The mean is {comparison} one thinned network: {mean['accuracy_pct']:.1f} % against "
            f"{one['accuracy_pct']:.1f} %."
        ),
    ]
