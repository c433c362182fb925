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

from resnetlab.data.device_images import DeviceImages
from resnetlab.data.sources import image_decoder
from resnetlab.data.sources.decode_cache import default_workers
from resnetlab.data.transforms.eval_transform import EvalTransform
from resnetlab.data.transforms.photo_train import (
    PhotoDraws,
    apply_train_transform,
    draw_photo_epoch,
    jpeg_draft_factor,
)
from resnetlab.finetune.dataset import PhotoDataset, PhotoSplit
from resnetlab.finetune.model import FEATURE_BATCH_SIZE, FinetuneModel, SplitModel
from resnetlab.models.transfer import list_parts
from resnetlab.recipes.finetune import Stage
from resnetlab.recipes.train import Recipe
from resnetlab.training.evaluate import EvalResult, evaluate
from resnetlab.training.events import TrainEvent, train_events
from resnetlab.training.optimizer import build_optimizer
from resnetlab.training.rng import make_generator
from resnetlab.training.state import TrainState
from resnetlab.training.step import Batch, BatchLoader, EagerStep

Notify = Callable[[str], None]
EventCallback = Callable[[TrainEvent], None]
"""Callback for each pause of the training loop."""


@dataclass(frozen=True)
class EpochResult:
    """Validation result after an epoch, or before the first one."""

    epoch: int
    accuracy_pct: float
    loss_nats: float
    seconds: float
    """Time since the start of the stage."""
    train_metrics: tuple[float, float] = (0.0, 0.0)
    """Mean loss in nats and top-1 error in percent over the batches of the epoch, in training mode.
    """


@dataclass(frozen=True)
class StageResult:
    """Result of a stage. The network has the weights of the best epoch."""

    stage: str
    best: EpochResult
    epochs: tuple[EpochResult, ...]
    lr: float
    trainable_parameters: int
    """Number of trained parameters."""
    seconds: float
    diverged: bool = False
    """True if the loss was not finite at any learning rate; the network then has its weights from
    before.
    """
    complete: bool = True
    """False if the stage was stopped before its end."""
    peak_bytes: int = 0
    """Peak memory during the stage."""


class FinetuneState(TrainState):
    """Training state of the tail of a model on the photographs of a split."""

    can_shard_batches = True

    def __init__(
        self,
        finetune_model: FinetuneModel,
        split_model: SplitModel,
        stage: Stage,
        recipe: Recipe,
        transform: EvalTransform,
        seed: int,
        photos: PhotoSplit,
        class_weights: Tensor | None,
    ) -> None:
        optimizer = build_optimizer(
            recipe, split_model.tail, layer_decay_scales(split_model.tail, stage.layer_decay)
        )
        numerics = replace(finetune_model.numerics, grad_accum_steps=stage.grad_accum_steps)
        super().__init__(
            split_model.tail,
            optimizer,
            recipe,
            numerics,
            seed,
            len(photos),
            finetune_model.device,
            finetune_model.world,
        )
        self.finetune_model, self.split_model, self.stage = finetune_model, split_model, stage
        self.photos, self.transform, self.class_weights = photos, transform, class_weights

    def load_epoch(self, epoch: int) -> BatchLoader:
        """Return the loader of an epoch: augmented images, or constant features in a new order."""
        stage, photos, model = self.stage, self.photos, self.finetune_model
        generator_for = partial(make_generator, self.seed, "finetune", stage.name, "epoch", epoch)
        draws = draw_photo_epoch(len(photos), generator_for)
        if stage.augment == "none" and self.split_model.trunk is not None:
            inputs = model.features_or_pixels(self.split_model, photos, self.transform)
            if inputs.pixels.dtype != torch.uint8:
                order = draws.order.to(inputs.pixels.device)
                return lambda part: (inputs.pixels[order[part]], inputs.labels[order[part]])
        return _PrefetchLoader(self, draws, epoch)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy of logits (B, K) and labels (B,), with class weights."""
        smoothing = self.recipe.label_smoothing
        each = F.cross_entropy(
            logits.float(),
            labels,
            weight=self.class_weights,
            label_smoothing=smoothing,
            reduction="none",
        )
        return (
            each.mean()
        )  # over images, not over weights, so that microbatches add up to the batch


class _PrefetchLoader:
    """Batch loader of an epoch. Its threads decode and augment the next batch during a step."""

    def __init__(self, state: FinetuneState, draws: PhotoDraws, epoch: int) -> None:
        self.state, self.photos, self.draws, self.epoch = state, state.photos, draws, epoch
        # Otherwise torch would start as many threads again within each of these threads.
        self.pool = ThreadPoolExecutor(
            default_workers(), initializer=torch.set_num_threads, initargs=(1,)
        )
        self.pending: dict[int, Future[Tensor]] = {}

    def __call__(self, part: slice) -> Batch:
        state = self.state
        model, split_model = state.finetune_model, state.split_model
        split_point, stage_name = split_model.split_point, state.stage.name
        key = (split_point, state.transform, stage_name, state.seed, self.epoch, part.start)
        if split_model.trunk is not None and key in model.feature_cache.entries:
            return model.feature_cache.entries[key]
        batch_size = state.recipe.batch_size
        ahead = slice(part.start + batch_size, part.stop + batch_size)
        for index in torch.cat([self.draws.order[part], self.draws.order[ahead]]).tolist():
            if index not in self.pending:
                self.pending[index] = self.pool.submit(self._load_and_augment, index)
        order = self.draws.order[part]
        pixels = torch.stack(
            [self.pending.pop(index).result() for index in order.tolist()]
        ).permute(0, 2, 3, 1)
        labels = torch.from_numpy(self.photos.labels)[order].to(model.device)
        if split_model.trunk is None:
            return model.preprocess(pixels), labels
        pieces = torch.split(pixels, FEATURE_BATCH_SIZE)
        features = torch.cat([model.features(split_model, piece) for piece in pieces])
        model.feature_cache.add(key, features, labels)
        return features, labels

    def _load_and_augment(self, index: int) -> Tensor:
        transform, augment, draws = self.state.transform, self.state.stage.augment, self.draws

        def factor(width: int, height: int) -> int:
            if self.state.stage.decode != "scaled":
                return 1
            return jpeg_draft_factor(transform, augment, draws, index, width, height)

        photo, full_size = self.photos.load_reduced(index, factor)
        return apply_train_transform(photo, transform, augment, draws, index, full_size)


def fit(
    finetune_model: FinetuneModel,
    stage: Stage,
    photos: PhotoDataset,
    views: dict[str, EvalTransform],
    seed: int,
    *,
    class_weights: Tensor | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    notify: Notify = lambda _: None,
    on_event: EventCallback = lambda _: None,
) -> StageResult:
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
    halves = finetune_model.split_for_training(stage.trainable, view.size)
    if stage.grad_checkpointing:
        enable_grad_checkpointing(halves.tail)
    validation = finetune_model.features_or_pixels(halves, photos.validation, view)
    state = {name: tensor.detach().clone() for name, tensor in halves.tail.state_dict().items()}
    tries = [_with_lr(stage.recipe, rate) for rate in stage.lrs] or [stage.recipe]
    best: (
        tuple[tuple[float, float], EpochResult, tuple[EpochResult, ...], float, dict[str, Tensor]]
        | None
    ) = None
    constant, complete = stage.augment == "none" and halves.trunk is not None, True
    for recipe in tries:
        halves.tail.load_state_dict(state)
        tuner = FinetuneState(
            finetune_model, halves, stage, recipe, view, seed, photos.train, class_weights
        )
        with _threads(1 if constant else finetune_model.numerics.threads):
            epochs, best_weights, complete = _train_one_lr(
                tuner, validation, start, should_stop, on_event
            )
        if epochs:
            top = max(epochs, key=_selection_key)
            notify(
                f"{stage.name}: rate {recipe.optimizer.lr:g}, validation "
                f"{top.accuracy_pct:.1f} % at epoch {top.epoch}"
            )
        if best_weights is not None and epochs and (best is None or _selection_key(top) > best[0]):
            best = _selection_key(top), top, tuple(epochs), recipe.optimizer.lr, best_weights
        if not complete:
            break
        if recipe is not tries[-1] and finetune_model.world.all_reduce_any(should_stop()):
            complete = False
            break
    trained = sum(p.numel() for p in halves.tail.parameters() if p.requires_grad)
    halves.tail.load_state_dict(best[4] if best else state)
    invalidate_features(finetune_model, halves, stage)
    seconds = time.monotonic() - start
    if best is None:
        forward = finetune_model.make_forward(halves, tuner.eval_forward)
        before = _epoch_result(
            0,
            evaluate(
                halves.tail,
                forward,
                validation,
                finetune_model.world,
                batch_size=FEATURE_BATCH_SIZE,
            ),
            seconds,
        )
        rate = tries[0].optimizer.lr
        return StageResult(
            stage.name, before, (), rate, trained, seconds, diverged=complete, complete=complete
        )
    return StageResult(stage.name, best[1], best[2], best[3], trained, seconds, complete=complete)


def invalidate_features(
    finetune_model: FinetuneModel, split_model: SplitModel, stage: Stage
) -> None:
    """Remove the cached features that a finished stage made invalid."""
    finetune_model.feature_cache.remove_stale(
        split_model.split_point if stage.trainable in ("classifier", "last norm") else "",
        stage.trainable != "classifier",
    )


def _train_one_lr(
    state: FinetuneState,
    validation: DeviceImages,
    start: float,
    should_stop: Callable[[], bool],
    on_event: EventCallback,
) -> tuple[list[EpochResult], dict[str, Tensor] | None, bool]:
    """Train with one learning rate.

    Returns:
        The epochs, the weights of the best one (None without a complete epoch of finite loss), and
        False if the training was stopped.
    """
    epochs: list[EpochResult] = []
    best_weights: dict[str, Tensor] | None = None
    forward = state.finetune_model.make_forward(state.split_model, state.eval_forward)
    with image_decoder.suppress_pillow_warnings():
        for progress in train_events(state, EagerStep(state, state.load_epoch), should_stop):
            on_event(progress)
            if progress.kind in ("tick", "epoch"):
                state.finetune_model.on_item(
                    f"{state.stage.name}: steps", progress.step, progress.total_steps
                )
            if progress.kind == "interrupted":
                return epochs, best_weights, False
            if progress.kind != "epoch":
                continue
            if state.first_nonfinite_step() is not None:
                break
            scored = evaluate(
                state.model,
                forward,
                validation,
                state.world,
                batch_size=FEATURE_BATCH_SIZE if validation.pixels.dtype == torch.uint8 else 500,
            )
            if not scored.is_finite:
                break
            epoch = _epoch_result(
                round(progress.epoch), scored, time.monotonic() - start, state.train_metrics()
            )
            if not epochs or _selection_key(epoch) > max(map(_selection_key, epochs)):
                best_weights = {
                    name: tensor.detach().clone()
                    for name, tensor in state.eval_state_dict().items()
                }
            epochs.append(epoch)
            if state.stage.patience and _epochs_since_best_loss(epochs) >= state.stage.patience:
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


def _epoch_result(
    number: int, result: EvalResult, seconds: float, running: tuple[float, float] = (0.0, 0.0)
) -> EpochResult:
    return EpochResult(
        number, 100 - result.top1_error_pct, result.loss_nats, round(seconds, 3), running
    )


def _selection_key(epoch: EpochResult) -> tuple[float, float]:
    """Return the sort key of an epoch: higher validation accuracy first, then lower loss."""
    return epoch.accuracy_pct, -epoch.loss_nats


def _epochs_since_best_loss(epochs: list[EpochResult]) -> int:
    """Return the number of epochs since the lowest validation loss."""
    losses = [epoch.loss_nats for epoch in epochs]
    return len(losses) - 1 - losses.index(min(losses))


def _with_lr(recipe: Recipe, lr: float) -> Recipe:
    return replace(recipe, optimizer=replace(recipe.optimizer, lr=lr))


def layer_decay_scales(model: nn.Module, decay: float) -> Callable[[str], float]:
    """Return a function from parameter name to learning rate scale: `decay` per part, from the last
    to the first.
    """
    named_parts = list_parts(model) if decay < 1 else []
    depth = {
        f"{name}.": len(named_parts) - 1 - index for index, (name, _) in enumerate(named_parts)
    }

    def share(name: str) -> float:
        return math.pow(
            decay,
            next((exponent for prefix, exponent in depth.items() if name.startswith(prefix)), 0),
        )

    return share


def enable_grad_checkpointing(model: nn.Module) -> None:
    """Enable gradient checkpointing (Chen et al. 2016) for each part of a network, unless it is
    enabled.
    """
    for _, module in list_parts(model):
        if not hasattr(module, "_recomputed"):
            forward = module.forward
            module.forward = lambda *inputs, forward=forward: checkpoint(
                forward, *inputs, use_reentrant=False
            )
            module._recomputed = True  # type: ignore[assignment]


def balanced_class_weights(labels: NDArray[np.int64], classes: int) -> Tensor:
    """Return balanced class weights (K,), N / (K n_k), which give each class the same weight in the
    loss.
    """
    counts = np.bincount(labels, minlength=classes)
    return torch.from_numpy(len(labels) / (classes * np.maximum(counts, 1))).float()
