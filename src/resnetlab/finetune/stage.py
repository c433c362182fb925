"""Fine-tuning stage: the loop of `training` on photographs or constant features, with the best
epoch selected.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from resnetlab.data.device_images import Resident
from resnetlab.data.sources import image_decoder
from resnetlab.data.sources.decode_cache import default_workers
from resnetlab.data.transforms.eval_transform import View
from resnetlab.data.transforms.photo_train import Draws, draw_epoch, reduction, show_train
from resnetlab.finetune.dataset import Part, Photographs
from resnetlab.finetune.model import BATCH, Halves, Subject
from resnetlab.models.transfer import parts
from resnetlab.recipes.finetune import Stage
from resnetlab.recipes.train import Recipe
from resnetlab.training.evaluate import Scored, evaluate
from resnetlab.training.loop import Progress, train
from resnetlab.training.optimizer import build_optimiser
from resnetlab.training.rng import stream
from resnetlab.training.state import Batches, Trainee
from resnetlab.training.steps import Steps

Say = Callable[[str], None]
Watch = Callable[[Progress], None]
"""Callback for each pause of the training loop."""


@dataclass(frozen=True)
class Epoch:
    """Validation result after an epoch, or before the first one."""

    epoch: int
    accuracy_pct: float
    loss_nats: float
    seconds: float
    """Time since the start of the stage."""
    running: tuple[float, float] = (0.0, 0.0)
    """Mean loss in nats and top-1 error in percent over the batches of the epoch, in training mode.
    """


@dataclass(frozen=True)
class Fitted:
    """Result of a stage. The network has the weights of the best epoch."""

    stage: str
    best: Epoch
    epochs: tuple[Epoch, ...]
    rate: float
    trained: int
    """Number of trained parameters."""
    seconds: float
    diverged: bool = False
    """True if the loss was not finite at any learning rate; the network then has its weights from
    before.
    """
    whole: bool = True
    """False if the stage was stopped before its end."""
    peak_bytes: int = 0
    """Peak memory during the stage."""


class Tuner(Trainee[Part]):
    """Training state of the tail of a network on the photographs of a split."""

    apart = True

    def __init__(
        self,
        subject: Subject,
        halves: Halves,
        stage: Stage,
        recipe: Recipe,
        view: View,
        seed: int,
        photos: Part,
        weights: Tensor | None,
    ) -> None:
        optimiser = build_optimiser(
            recipe, halves.tail, _layer_lr_scales(halves.tail, stage.depth_decay)
        )
        numerics = replace(subject.numerics, accumulate=stage.accumulate)
        super().__init__(
            halves.tail,
            optimiser,
            recipe,
            numerics,
            seed,
            len(photos),
            subject.device,
            subject.team,
        )
        self.subject, self.halves, self.stage, self.view, self.weights = (
            subject,
            halves,
            stage,
            view,
            weights,
        )

    def batches(self, images: Part, epoch: int) -> Batches:
        """Return the batches of an epoch: augmented images, or constant features in a new order."""
        draws = draw_epoch(
            len(images), partial(stream, self.seed, "finetune", self.stage.name, "epoch", epoch)
        )
        if self.stage.augment == "none" and self.halves.trunk is not None:
            inputs = self.subject.held(self.halves, images, self.view)
            if inputs.pixels.dtype != torch.uint8:
                order = draws.order.to(inputs.pixels.device)
                return lambda part: (inputs.pixels[order[part]], inputs.labels[order[part]])
        return _Stream(self, images, draws, epoch)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy of logits (B, K) and labels (B,), with class weights."""
        smoothing = self.recipe.label_smoothing
        each = F.cross_entropy(
            logits.float(), labels, weight=self.weights, label_smoothing=smoothing, reduction="none"
        )
        return (
            each.mean()
        )  # over images, not over weights, so that microbatches add up to the batch

    def _laid_out(self, images: Tensor) -> Tensor:
        return super()._laid_out(images) if images.dim() == 4 else images


class _Stream:
    """Batch loader of an epoch, whose threads decode and augment one batch ahead of the network."""

    def __init__(self, tuner: Tuner, photos: Part, draws: Draws, epoch: int) -> None:
        self.tuner, self.photos, self.draws, self.epoch = tuner, photos, draws, epoch
        # Otherwise torch would start as many threads again within each of these threads.
        self.pool = ThreadPoolExecutor(
            default_workers(), initializer=torch.set_num_threads, initargs=(1,)
        )
        self.ahead: dict[int, Future[Tensor]] = {}

    def __call__(self, part: slice) -> tuple[Tensor, Tensor]:
        subject, halves = self.tuner.subject, self.tuner.halves
        key = (
            halves.at,
            self.tuner.view,
            self.tuner.stage.name,
            self.tuner.seed,
            self.epoch,
            part.start,
        )
        if halves.trunk is not None and key in subject.memo.held:
            return subject.memo.held[key]
        ahead = slice(
            part.start + self.tuner.recipe.batch_size, part.stop + self.tuner.recipe.batch_size
        )
        for index in torch.cat([self.draws.order[part], self.draws.order[ahead]]).tolist():
            if index not in self.ahead:
                self.ahead[index] = self.pool.submit(self._show, index)
        order = self.draws.order[part]
        pixels = torch.stack([self.ahead.pop(index).result() for index in order.tolist()]).permute(
            0, 2, 3, 1
        )
        labels = torch.from_numpy(self.photos.labels)[order].to(subject.device)
        if halves.trunk is None:
            return subject.images(pixels), labels
        rows = torch.cat([subject.rows(halves, piece) for piece in torch.split(pixels, BATCH)])
        subject.memo.keep(key, rows, labels)
        return rows, labels

    def _show(self, index: int) -> Tensor:
        view, stage = self.tuner.view, self.tuner.stage

        def factor(width: int, height: int) -> int:
            return (
                reduction(view, stage.augment, self.draws, index, width, height)
                if stage.decode == "scaled"
                else 1
            )

        photo, full_size = self.photos.reduced(index, factor)
        return show_train(photo, view, stage.augment, self.draws, index, full_size)


def fit(
    subject: Subject,
    stage: Stage,
    photos: Photographs,
    views: dict[str, View],
    seed: int,
    *,
    weights: Tensor | None = None,
    stop: Callable[[], bool] = lambda: False,
    say: Say = lambda _: None,
    watch: Watch = lambda _: None,
) -> Fitted:
    """Train a stage and load the weights of its best epoch into the network.

    The best epoch has the highest validation accuracy, then the lowest loss, over all learning
    rates of the stage. A stage that is stopped keeps its best epoch so far.

    Args:
        subject: Network to train.
        stage: Stage to train.
        photos: Data set.
        views: Evaluation transforms at the train size and at the test size.
        seed: Seed of the run.
        weights: Weight of each class in the loss (K,).
        stop: Function that is asked between steps; training ends once it returns True.
        say: Function that gets a line about each learning rate.
        watch: Callback for each pause of the training loop.
    """
    start = time.monotonic()
    view = views[stage.size]
    halves = subject.halves(stage.trains, view.size)
    if stage.checkpoint_parts:
        recompute(halves.tail)
    validation = subject.held(halves, photos.validation, view)
    state = {name: tensor.detach().clone() for name, tensor in halves.tail.state_dict().items()}
    tries = [_with_lr(stage.recipe, rate) for rate in stage.rates] or [stage.recipe]
    best: tuple[tuple[float, float], Epoch, tuple[Epoch, ...], float, dict[str, Tensor]] | None = (
        None
    )
    constant, complete = stage.augment == "none" and halves.trunk is not None, True
    for recipe in tries:
        halves.tail.load_state_dict(state)
        tuner = Tuner(subject, halves, stage, recipe, view, seed, photos.train, weights)
        with _threads(1 if constant else subject.numerics.threads):
            epochs, best_weights, complete = _train_one_lr(
                tuner, photos.train, validation, start, stop, watch
            )
        if epochs:
            top = max(epochs, key=_selection_key)
            say(
                f"{stage.name}: rate {recipe.optimiser.lr:g}, validation "
                f"{top.accuracy_pct:.1f} % at epoch {top.epoch}"
            )
        if best_weights is not None and epochs and (best is None or _selection_key(top) > best[0]):
            best = _selection_key(top), top, tuple(epochs), recipe.optimiser.lr, best_weights
        if not complete:
            break
        if recipe is not tries[-1] and subject.team.agreed(stop()):
            complete = False
            break
    trained = sum(p.numel() for p in halves.tail.parameters() if p.requires_grad)
    halves.tail.load_state_dict(best[4] if best else state)
    settle(subject, halves, stage)
    seconds = time.monotonic() - start
    if best is None:
        forward = subject.forward(halves, tuner.judge)
        before = _epoch(
            0, evaluate(halves.tail, forward, validation, subject.team, batch=BATCH), seconds
        )
        rate = tries[0].optimiser.lr
        return Fitted(
            stage.name, before, (), rate, trained, seconds, diverged=complete, whole=complete
        )
    return Fitted(stage.name, best[1], best[2], best[3], trained, seconds, whole=complete)


def settle(subject: Subject, halves: Halves, stage: Stage) -> None:
    """Remove the cached features that a finished stage made invalid."""
    subject.memo.forget(
        halves.at if stage.trains in ("classifier", "last norm") else "",
        stage.trains != "classifier",
    )


def _train_one_lr(
    tuner: Tuner,
    photos: Part,
    validation: Resident,
    start: float,
    stop: Callable[[], bool],
    watch: Watch,
) -> tuple[list[Epoch], dict[str, Tensor] | None, bool]:
    """Train with one learning rate.

    Returns:
        The epochs, the weights of the best one (None without a complete epoch of finite loss), and
        False if the training was stopped.
    """
    epochs: list[Epoch] = []
    best_weights: dict[str, Tensor] | None = None
    forward = tuner.subject.forward(tuner.halves, tuner.judge)
    with image_decoder.quiet():
        for progress in train(tuner, Steps(tuner, photos), stop):
            watch(progress)
            if progress.moment in ("pulse", "epoch"):
                tuner.subject.pulse(f"{tuner.stage.name}: steps", progress.step, progress.total)
            if progress.moment == "stopped":
                return epochs, best_weights, False
            if progress.moment != "epoch":
                continue
            if tuner.first_bad_step() is not None:
                break
            scored = evaluate(
                tuner.model,
                forward,
                validation,
                tuner.team,
                batch=BATCH if validation.pixels.dtype == torch.uint8 else 500,
            )
            if not scored.finite:
                break
            epoch = _epoch(round(progress.epoch), scored, time.monotonic() - start, tuner.running())
            if not epochs or _selection_key(epoch) > max(map(_selection_key, epochs)):
                best_weights = {
                    name: tensor.detach().clone() for name, tensor in tuner.judged_weights().items()
                }
            epochs.append(epoch)
            if tuner.stage.patience and _epochs_since_best_loss(epochs) >= tuner.stage.patience:
                break
    return epochs, best_weights, True


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    """Set torch's number of threads for the `with` block.

    For the small steps of a linear probe, several threads are slower than one.
    """
    previous = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(previous)


def _epoch(
    number: int, scored: Scored, seconds: float, running: tuple[float, float] = (0.0, 0.0)
) -> Epoch:
    return Epoch(number, 100 - scored.top1_error_pct, scored.loss_nats, round(seconds, 3), running)


def _selection_key(epoch: Epoch) -> tuple[float, float]:
    """Return the sort key of an epoch: higher validation accuracy first, then lower loss."""
    return epoch.accuracy_pct, -epoch.loss_nats


def _epochs_since_best_loss(epochs: list[Epoch]) -> int:
    """Return the number of epochs since the lowest validation loss."""
    losses = [epoch.loss_nats for epoch in epochs]
    return len(losses) - 1 - losses.index(min(losses))


def _with_lr(recipe: Recipe, rate: float) -> Recipe:
    return replace(recipe, optimiser=replace(recipe.optimiser, lr=rate))


def _layer_lr_scales(model: nn.Module, decay: float) -> Callable[[str], float]:
    """Return a function from parameter name to learning rate scale: `decay` per part, from the last
    to the first.
    """
    named_parts = parts(model) if decay < 1 else []
    depth = {
        f"{name}.": len(named_parts) - 1 - index for index, (name, _) in enumerate(named_parts)
    }

    def share(name: str) -> float:
        return math.pow(
            decay,
            next((exponent for prefix, exponent in depth.items() if name.startswith(prefix)), 0),
        )

    return share


def recompute(model: nn.Module) -> None:
    """Enable gradient checkpointing (Chen et al. 2016) for each part of a network, unless it is
    enabled.
    """
    for _, module in parts(model):
        if not hasattr(module, "_recomputed"):
            forward = module.forward
            module.forward = lambda *inputs, forward=forward: checkpoint(
                forward, *inputs, use_reentrant=False
            )
            module._recomputed = True  # type: ignore[assignment]


def balanced(labels: NDArray[np.int64], classes: int) -> Tensor:
    """Return balanced class weights (K,), N / (K n_k), which give each class the same weight in the
    loss.
    """
    counts = np.bincount(labels, minlength=classes)
    return torch.from_numpy(len(labels) / (classes * np.maximum(counts, 1))).float()
