"""One stage of fine-tuning: the loop of training/, on photographs or on constant features, its best epoch kept."""

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

from resnetlab.data.resident import Resident
from resnetlab.data.sources import images
from resnetlab.data.sources.decoded import default_workers
from resnetlab.data.view import View
from resnetlab.finetune.photographs import Part, Photographs
from resnetlab.finetune.subject import BATCH, Halves, Subject
from resnetlab.finetune.views import Draws, draw_epoch, reduction, show_train
from resnetlab.models.transfer import parts
from resnetlab.training.evaluate import Scored, evaluate
from resnetlab.training.loop import Batches, Progress, Trainee, train
from resnetlab.training.optimise import build_optimiser
from resnetlab.training.random import stream
from resnetlab.training.recipe import Recipe
from resnetlab.training.tuning import Stage

Say = Callable[[str], None]
Watch = Callable[[Progress], None]
"""Told of each pause of the loop."""


@dataclass(frozen=True)
class Epoch:
    """A look at validation after an epoch, or before any."""

    epoch: int
    accuracy_pct: float
    loss_nats: float
    seconds: float
    """Since the stage began."""
    running: tuple[float, float] = (0.0, 0.0)
    """The loop's own mean loss in nats and top-1 error in percent over the epoch, in training mode."""


@dataclass(frozen=True)
class Fitted:
    """What came of a stage; the weights of its best epoch are in the network."""

    stage: str
    best: Epoch
    epochs: tuple[Epoch, ...]
    rate: float
    trained: int
    """Parameters that learned."""
    seconds: float
    diverged: bool = False
    """The loss was not finite in every try: the weights are those of before."""
    whole: bool = True
    """False where it was told to stop before its end."""
    peak_bytes: int = 0
    """Of memory, while it was computed."""


class Tuner(Trainee[Part]):
    """A tail in training on the photographs of a split."""

    apart = True

    def __init__(
        self, subject: Subject, halves: Halves, stage: Stage, recipe: Recipe, view: View, seed: int, photos: Part,
        weights: Tensor | None,
    ) -> None:  # fmt: skip
        optimiser = build_optimiser(recipe, halves.tail, _shares(halves.tail, stage.depth_decay))
        numerics = replace(subject.numerics, accumulate=stage.accumulate)
        super().__init__(halves.tail, optimiser, recipe, numerics, seed, len(photos), subject.device, subject.team)
        self.subject, self.halves, self.stage, self.view, self.weights = subject, halves, stage, view, weights

    def batches(self, images: Part, epoch: int) -> Batches:
        """Batches of rows or images, drawn anew each epoch, or constant and in a new order."""
        draws = draw_epoch(len(images), partial(stream, self.seed, "finetune", self.stage.name, "epoch", epoch))
        if self.stage.augment == "none" and self.halves.trunk is not None:
            held = self.subject.held(self.halves, images, self.view)
            if held.pixels.dtype != torch.uint8:
                order = draws.order.to(held.pixels.device)
                return lambda part: (held.pixels[order[part]], held.labels[order[part]])
        return _Stream(self, images, draws, epoch)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean loss of logits (B, K) for labels (B,), each class by its weight."""
        smoothing = self.recipe.label_smoothing
        each = F.cross_entropy(logits.float(), labels, weight=self.weights, label_smoothing=smoothing, reduction="none")
        return each.mean()  # over images, not over weights: the pieces of a batch add up to the whole

    def _laid_out(self, images: Tensor) -> Tensor:
        return super()._laid_out(images) if images.dim() == 4 else images


class _Stream:
    """The batches of an epoch, decoded and augmented by threads one batch ahead of the network."""

    def __init__(self, tuner: Tuner, photos: Part, draws: Draws, epoch: int) -> None:
        self.tuner, self.photos, self.draws, self.epoch = tuner, photos, draws, epoch
        # Each thread computes alone: torch would give each of them as many threads again.
        self.pool = ThreadPoolExecutor(default_workers(), initializer=torch.set_num_threads, initargs=(1,))
        self.ahead: dict[int, Future[Tensor]] = {}

    def __call__(self, part: slice) -> tuple[Tensor, Tensor]:
        subject, halves = self.tuner.subject, self.tuner.halves
        key = (halves.at, self.tuner.view, self.tuner.stage.name, self.tuner.seed, self.epoch, part.start)
        if halves.trunk is not None and key in subject.memo.held:
            return subject.memo.held[key]
        ahead = slice(part.start + self.tuner.recipe.batch_size, part.stop + self.tuner.recipe.batch_size)
        for place in torch.cat([self.draws.order[part], self.draws.order[ahead]]).tolist():
            if place not in self.ahead:
                self.ahead[place] = self.pool.submit(self._show, place)
        order = self.draws.order[part]
        pixels = torch.stack([self.ahead.pop(place).result() for place in order.tolist()]).permute(0, 2, 3, 1)
        labels = torch.from_numpy(self.photos.labels)[order].to(subject.device)
        if halves.trunk is None:
            return subject.images(pixels), labels
        rows = torch.cat([subject.rows(halves, piece) for piece in torch.split(pixels, BATCH)])
        subject.memo.keep(key, rows, labels)
        return rows, labels

    def _show(self, place: int) -> Tensor:
        view, stage = self.tuner.view, self.tuner.stage

        def by(width: int, height: int) -> int:
            return reduction(view, stage.augment, self.draws, place, width, height) if stage.decode == "scaled" else 1

        photo, whole = self.photos.reduced(place, by)
        return show_train(photo, view, stage.augment, self.draws, place, whole)


def fit(
    subject: Subject, stage: Stage, photos: Photographs, views: dict[str, View], seed: int, *,
    weights: Tensor | None = None, stop: Callable[[], bool] = lambda: False, say: Say = lambda _: None,
    watch: Watch = lambda _: None,
) -> Fitted:  # fmt: skip
    """Run a stage; the network is left with the weights of its best epoch by validation.

    `views` has how photographs are shown at the train and at the test size. Better is a higher validation accuracy,
    then a lower loss; of several rates the best is taken. What `stop()` cuts short keeps the best epoch so far.
    """
    began = time.monotonic()
    view = views[stage.size]
    halves = subject.halves(stage.trains, view.size)
    if stage.checkpoint_parts:
        recompute(halves.tail)
    validation = subject.held(halves, photos.validation, view)
    state = {name: tensor.detach().clone() for name, tensor in halves.tail.state_dict().items()}
    tries = [_with_rate(stage.recipe, rate) for rate in stage.rates] or [stage.recipe]
    best: tuple[tuple[float, float], Epoch, tuple[Epoch, ...], float, dict[str, Tensor]] | None = None
    constant, whole = stage.augment == "none" and halves.trunk is not None, True
    for recipe in tries:
        halves.tail.load_state_dict(state)
        tuner = Tuner(subject, halves, stage, recipe, view, seed, photos.train, weights)
        with _threads(1 if constant else subject.numerics.threads):
            epochs, kept, whole = _try(tuner, photos.train, validation, began, stop, watch)
        if epochs:
            top = max(epochs, key=_merit)
            say(f"{stage.name}: rate {recipe.optimiser.lr:g}, validation {top.accuracy_pct:.1f} % at epoch {top.epoch}")
        if kept is not None and epochs and (best is None or _merit(top) > best[0]):
            best = _merit(top), top, tuple(epochs), recipe.optimiser.lr, kept
        if not whole:
            break
        if recipe is not tries[-1] and subject.team.agreed(stop()):
            whole = False
            break
    trained = sum(p.numel() for p in halves.tail.parameters() if p.requires_grad)
    halves.tail.load_state_dict(best[4] if best else state)
    settle(subject, halves, stage)
    seconds = time.monotonic() - began
    if best is None:
        forward = subject.forward(halves, tuner.judge)
        before = _epoch(0, evaluate(halves.tail, forward, validation, subject.team, batch=BATCH), seconds)
        return Fitted(stage.name, before, (), tries[0].optimiser.lr, trained, seconds, diverged=whole, whole=whole)
    return Fitted(stage.name, best[1], best[2], best[3], trained, seconds, whole=whole)


def settle(subject: Subject, halves: Halves, stage: Stage) -> None:
    """Forget the constant features that a finished stage made untrue."""
    subject.memo.forget(halves.at if stage.trains in ("classifier", "last norm") else "", stage.trains != "classifier")


def _try(
    tuner: Tuner, photos: Part, validation: Resident, began: float, stop: Callable[[], bool], watch: Watch
) -> tuple[list[Epoch], dict[str, Tensor] | None, bool]:
    """The epochs of one learning rate, the weights of the best (None where none was whole and finite), and whether it
    came to its end."""
    epochs: list[Epoch] = []
    kept: dict[str, Tensor] | None = None
    forward = tuner.subject.forward(tuner.halves, tuner.judge)
    with images.quiet():
        for progress in train(tuner, photos, stop):
            watch(progress)
            if progress.moment in ("pulse", "epoch"):
                tuner.subject.pulse(f"{tuner.stage.name}: steps", progress.step, progress.total)
            if progress.moment == "stopped":
                return epochs, kept, False
            if progress.moment != "epoch":
                continue
            if tuner.first_bad_step() is not None:
                break
            scored = evaluate(
                tuner.model, forward, validation, tuner.team,
                batch=BATCH if validation.pixels.dtype == torch.uint8 else 500,
            )  # fmt: skip
            if not scored.finite:
                break
            epoch = _epoch(round(progress.epoch), scored, time.monotonic() - began, tuner.running())
            if not epochs or _merit(epoch) > max(map(_merit, epochs)):
                kept = {name: tensor.detach().clone() for name, tensor in tuner.judged_weights().items()}
            epochs.append(epoch)
            if tuner.stage.patience and _waited(epochs) >= tuner.stage.patience:
                break
    return epochs, kept, True


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    """Compute in so many threads: handing the small steps of a probe from one to another costs more than they take."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _epoch(number: int, scored: Scored, seconds: float, running: tuple[float, float] = (0.0, 0.0)) -> Epoch:
    return Epoch(number, 100 - scored.top1_error_pct, scored.loss_nats, round(seconds, 3), running)


def _merit(epoch: Epoch) -> tuple[float, float]:
    """What is larger for a better epoch: validation accuracy, then a lower loss."""
    return epoch.accuracy_pct, -epoch.loss_nats


def _waited(epochs: list[Epoch]) -> int:
    """Epochs since the lowest validation loss."""
    losses = [epoch.loss_nats for epoch in epochs]
    return len(losses) - 1 - losses.index(min(losses))


def _with_rate(recipe: Recipe, rate: float) -> Recipe:
    return replace(recipe, optimiser=replace(recipe.optimiser, lr=rate))


def _shares(model: nn.Module, decay: float) -> Callable[[str], float]:
    """The share of the full rate of each parameter: times `decay` for each part from the last to the first."""
    known = parts(model) if decay < 1 else []
    depth = {f"{name}.": len(known) - 1 - place for place, (name, _) in enumerate(known)}

    def share(name: str) -> float:
        return math.pow(decay, next((held for prefix, held in depth.items() if name.startswith(prefix)), 0))

    return share


def recompute(model: nn.Module) -> None:
    """Let each part compute its activations again on the way back (Chen et al. 2016); once a network."""
    for _, module in parts(model):
        if not hasattr(module, "_recomputed"):
            forward = module.forward
            module.forward = lambda *held, forward=forward: checkpoint(forward, *held, use_reentrant=False)
            module._recomputed = True  # type: ignore[assignment]


def balanced(labels: NDArray[np.int64], classes: int) -> Tensor:
    """A weight a class (K,): N / (K n_k), so that each class weighs as much in the loss."""
    counts = np.bincount(labels, minlength=classes)
    return torch.from_numpy(len(labels) / (classes * np.maximum(counts, 1))).float()
