"""Loss landscapes of a trained network on random planes through its weights. Trains nothing.

The method is that of Li, Xu, Taylor, Studer and Goldstein 2018, Visualizing the Loss Landscape of
Neural Nets, sec. 3 and 4: a plane is f(x, y) = L(w + x d + y e), with two Gaussian directions d and
e whose filters are scaled to the norms of the filters of the weights w.

- A filter is the weights of one output of a convolution or of a linear layer (sec. 4). Biases and
  the parameters of normalization layers have the direction 0, so that they stay as they are.
- The loss is the mean cross-entropy in nats of train images without augmentation, in evaluation
  mode and in fp32. Label smoothing and weight decay are no part of it.
- Batch norm keeps the running statistics that belong to w, as in the code of the article. Away from
  w they do not fit: with a direction of the same norm the variance of a layer's output grows by
  about 1 + x^2 + y^2, which a plain network multiplies layer by layer. `batch_statistics` takes the
  statistics of the images at each point instead, so that this growth is normalized away.
- Both directions have the norm of the convolution and linear weights: the axes have one scale. Two
  random directions of many weights are nearly orthogonal; they are not made orthogonal.
- Each filter bank of each direction of each plane has a named random stream, and so has the choice
  of the images. Networks with layers of equal names and shapes share the Gaussian draws.
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from resnetlab.data.device_images import DeviceImages
from resnetlab.inspection.diagnostics_config import LandscapeConfig
from resnetlab.inspection.diagnostics_records import LossLandscape, PlaneLosses
from resnetlab.inspection.landscape_summary import axis_values
from resnetlab.models.preserve_model import preserve_buffers_and_mode
from resnetlab.schema import finite_or_none
from resnetlab.training.evaluate import EVAL_BATCH_SIZE
from resnetlab.training.from_scratch_state import FromScratchState
from resnetlab.training.rng import make_generator

STREAM = "loss landscape"
"""Name of all random streams of a measurement."""

Direction = Mapping[str, Tensor]
"""Direction by name of the weight; weights without an entry do not change."""


@dataclass(frozen=True)
class MeasuredLoss:
    """Loss of a network on fixed images, as a function of its weights."""

    model: nn.Module
    weights: Mapping[str, Tensor]
    """Parameters by name: the center of all planes."""
    inputs: Tensor
    """Images (N, C, H, W), prepared for the network."""
    labels: Tensor
    """Class indices (N,)."""
    batch_size: int = EVAL_BATCH_SIZE
    batch_statistics: bool = False
    """True if batch norm uses the statistics of all images, which are then one batch."""

    def at(self, steps: tuple[float, ...] = (), directions: tuple[Direction, ...] = ()) -> float:
        """Return the mean cross-entropy in nats at the weights plus steps along directions.

        The parameters, the buffers and the mode of the network stay as they are.
        """
        moved = dict(self.weights)
        for step, direction in zip(steps, directions, strict=True):
            for name, change in direction.items():
                moved[name] = moved[name] + step * change
        size = len(self.labels) if self.batch_statistics else self.batch_size
        total = torch.zeros((), dtype=torch.float64)
        with preserve_buffers_and_mode(self.model), torch.no_grad():
            self.model.eval()
            for module in self.model.modules():
                if self.batch_statistics and isinstance(module, _BatchNorm):
                    module.train()
            for inputs, labels in zip(
                torch.split(self.inputs, size), torch.split(self.labels, size), strict=True
            ):
                logits: Tensor = functional_call(self.model, moved, (inputs,))
                losses = F.cross_entropy(logits.float(), labels, reduction="none")
                total += losses.cpu().double().sum()
        return float(total) / len(self.labels)


def measured_loss(
    state: FromScratchState,
    train: DeviceImages,
    images: int,
    seed: int,
    batch_statistics: bool = False,
) -> MeasuredLoss:
    """Return the loss at the weights that `state` evaluates, on `images` drawn train images.

    Args:
        state: State of a run; its EMA is the center, if there is one.
        train: Train split on the device of the state.
        images: Number of images, without replacement; at most those of the split are used.
        seed: Seed of the stream that draws them.
        batch_statistics: True if batch norm uses the statistics of these images at each point.
    """
    order = torch.randperm(len(train), generator=make_generator(seed, STREAM, "images"))[:images]
    chosen = order.to(train.pixels.device)
    evaluated = state.eval_state_dict()
    weights = {name: evaluated[name].detach() for name, _ in state.model.named_parameters()}
    with torch.no_grad():
        inputs = state.preprocess(train.pixels[chosen])
    labels = train.labels[chosen]
    return MeasuredLoss(state.model, weights, inputs, labels, batch_statistics=batch_statistics)


def random_direction(
    loss: MeasuredLoss, seed: int, plane: int, axis: Literal["x", "y"]
) -> dict[str, Tensor]:
    """Return a Gaussian direction whose filters have the norms of the filters of the weights.

    Args:
        loss: Loss with the weights at the center.
        seed: Seed of the named streams.
        plane: Number of the plane, from 0.
        axis: Axis of the plane.

    Returns:
        Tensors of the shapes of the convolution and linear weights, by name.
    """
    direction = {}
    for name in _filter_banks(loss.model):
        weights = loss.weights[name].detach()
        generator = make_generator(seed, STREAM, plane, axis, name)
        drawn = torch.randn(weights.shape, generator=generator).to(weights)
        norms, drawn_norms = _filter_norms(weights), _filter_norms(drawn)
        direction[name] = drawn * (norms / drawn_norms)
    return direction


def _filter_banks(model: nn.Module) -> list[str]:
    """Return the names of the weights of convolutions and linear layers, each tensor once."""
    layers = {
        id(module.weight)
        for module in model.modules()
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear)
    }
    return [name for name, parameter in model.named_parameters() if id(parameter) in layers]


def _filter_norms(weights: Tensor) -> Tensor:
    """Return the norm of each filter, in a shape that broadcasts to (outputs, ...)."""
    norms: Tensor = torch.linalg.vector_norm(weights.flatten(1), dim=1)
    return norms.view(-1, *[1] * (weights.dim() - 1))


def measure_landscape(
    loss: MeasuredLoss,
    config: LandscapeConfig,
    seed: int = 0,
    on_loss: Callable[[], None] = lambda: None,
    workers: int = 1,
) -> LossLandscape:
    """Measure the loss on the grid of each plane.

    Args:
        loss: Loss with the weights at the center.
        config: Number of planes and of grid points.
        seed: Seed of the named streams of the directions.
        on_loss: Callback after each measured loss; several threads call it.
        workers: Number of threads, each with a copy of the network. It changes no loss if torch
            uses one thread for an operation.

    Returns:
        The losses by plane. A loss that is not finite is None.
    """
    axis = axis_values(config.points)
    planes = [
        (random_direction(loss, seed, plane, "x"), random_direction(loss, seed, plane, "y"))
        for plane in range(config.planes)
    ]
    points = [(directions, (x, y)) for directions in planes for y in axis for x in axis]
    losses: list[float | None] = [None] * len(points)
    stopped = threading.Event()

    def measure_part(first: int) -> None:
        part = loss if workers == 1 else replace(loss, model=copy.deepcopy(loss.model))
        for index in range(first, len(points), workers):
            if stopped.is_set():
                return
            directions, steps = points[index]
            losses[index] = finite_or_none(part.at(steps, directions))
            on_loss()

    with ThreadPoolExecutor(workers) as pool:
        try:
            list(pool.map(measure_part, range(workers)))
        finally:  # after Ctrl-C, too, no thread goes on
            stopped.set()
    side = config.points
    rows = [tuple(losses[start : start + side]) for start in range(0, len(losses), side)]
    return LossLandscape(
        images=len(loss.labels),
        seed=seed,
        batch_norm="batch" if loss.batch_statistics else "running",
        planes=tuple(
            PlaneLosses(plane=plane, losses_nats=tuple(rows[plane * side : (plane + 1) * side]))
            for plane in range(config.planes)
        ),
    )


def measure_run_landscape(
    state: FromScratchState, train: DeviceImages, config: LandscapeConfig
) -> LossLandscape:
    """Measure the loss landscapes of a run that a study asks for, with the streams of seed 0.

    All runs of a study have the same images and the same Gaussian draws.
    """
    in_batch = config.batch_norm == "batch"
    return measure_landscape(measured_loss(state, train, config.images, 0, in_batch), config)


def seconds_per_loss(loss: MeasuredLoss) -> float:
    """Return the seconds of one measurement of a loss, after a first one."""
    first = replace(loss, inputs=loss.inputs[:2], labels=loss.labels[:2])
    first.at()
    start = time.monotonic()
    loss.at()
    return time.monotonic() - start
