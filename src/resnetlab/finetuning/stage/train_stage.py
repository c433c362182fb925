"""Fine-tuning stage: training on photographs or features, and selection of the best epoch."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from resnetlab.data.device_images import DeviceImages
from resnetlab.data.sources import image_decoder
from resnetlab.data.transforms.eval_transform import EvalTransform
from resnetlab.finetuning.dataset import PhotoDataset
from resnetlab.finetuning.network.grad_checkpointing import grad_checkpointing
from resnetlab.finetuning.network.model import FEATURE_BATCH_SIZE, FinetuneModel, PartitionedModel
from resnetlab.finetuning.stage.state import FinetuneState
from resnetlab.messages import Notify, silent
from resnetlab.models.model_cost import count_parameters
from resnetlab.recipes.finetune import Sampler, Stage
from resnetlab.recipes.train import Recipe
from resnetlab.training.distributed import World
from resnetlab.training.evaluate import EVAL_BATCH_SIZE, SplitEvaluation, evaluate
from resnetlab.training.events import TrainEvent, train_events
from resnetlab.training.state import TrainMetrics, clone_tensors
from resnetlab.training.training_step import TrainingStep

EventCallback = Callable[[TrainEvent], None]
"""Callback for each event of the training loop."""


@dataclass(frozen=True)
class StageCallbacks:
    """Functions that the training of a stage calls."""

    should_stop: Callable[[], bool] = lambda: False
    """Function that is called between steps. Once it returns True, training ends with the best
    epoch so far.
    """
    should_finish: Callable[[], bool] = lambda: False
    """Function that is called after each epoch and learning rate. Once it returns True, training
    ends with at least one epoch.
    """
    notify: Notify = silent
    """Function that gets a line about each stage and learning rate."""
    on_event: EventCallback = silent
    """Callback for each pause of the training loop."""


NO_CALLBACKS = StageCallbacks()
"""Callbacks that do nothing: the stage is trained to its end."""

NO_METRICS = TrainMetrics(0.0, 0.0)
"""Metrics of a result before the first epoch."""

TIE_SMOOTHING = 0.1
"""Label smoothing of the validation loss that decides between learning rates of equal accuracy.

Where few validation images are separable, the plain loss falls with every larger rate, because the
probabilities only become more extreme, and so does the price of each mistake on other images. The
smoothed loss has its minimum where the probability of the label is about 0.95 (K = 2).
"""


def smoothed_loss(logits: Tensor, labels: Tensor) -> float:
    """Return the mean smoothed cross-entropy in nats of logits (N, K) and labels (N,)."""
    targets = labels.to(logits.device)
    loss = F.cross_entropy(logits.double(), targets, label_smoothing=TIE_SMOOTHING)
    return float(loss)


@dataclass(frozen=True)
class EpochResult:
    """Validation result after an epoch, or before the first one."""

    epoch: int
    """Number of the epoch, from 1. The last epoch of a stage counted in steps may be cut short."""
    accuracy_pct: float
    loss_nats: float
    seconds: float
    """Time since the start of the stage."""
    step: int
    """Number of steps at its end. A cached stage without it is of an earlier version, which took
    some stages that diverged for trained ones; it counts as absent.
    """
    train_metrics: TrainMetrics = NO_METRICS
    """Metrics over the batches of the epoch, in training mode."""

    def __str__(self) -> str:
        return f"validation {self.accuracy_pct:.1f} % at epoch {self.epoch}"


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
    """True if the loss became not finite at the learning rate of the result, or at every one. The
    network has the weights of the best epoch before that; without one, its weights from before.
    """
    complete: bool = True
    """False if the stage was stopped before its end."""
    peak_bytes: int = 0
    """Peak memory during the stage."""


def train_stage(
    finetune_model: FinetuneModel,
    stage: Stage,
    photos: PhotoDataset,
    transforms: dict[str, EvalTransform],
    seed: int,
    *,
    class_weights: Tensor | None = None,
    sampler: Sampler = "shuffled",
    callbacks: StageCallbacks = NO_CALLBACKS,
) -> StageResult:
    """Train a stage and load the weights of its best epoch into the model.

    The best epoch of a learning rate has the highest validation accuracy, then the lowest loss. Of
    the learning rates of the stage, the one with the highest validation accuracy is taken, and of
    equal ones the one with the lowest smoothed validation loss (see `TIE_SMOOTHING`).

    Args:
        finetune_model: Network to train.
        stage: Stage of the recipe.
        photos: Photographs; the train and validation splits are used.
        transforms: Evaluation transforms at the train size and at the test size, by "train" and
            "test".
        seed: Seed of the order of the images and of the augmentation.
        class_weights: Weight (K,) of each class in the loss; None for equal weights.
        sampler: Choice of the train images of an epoch, as in a recipe.
        callbacks: Functions that training calls.
    """
    start = time.monotonic()
    transform, world = transforms[stage.size], finetune_model.world
    partitioned = finetune_model.partition_for_training(
        stage.trainable, transform.size, stage.frozen_mode
    )
    trainable_part = partitioned.trainable_part
    validation = finetune_model.features_or_pixels(partitioned, photos.validation, transform)
    if stage.augment == "none" and partitioned.at_head:
        # They are needed in the first epoch, in which small steps take one thread only.
        finetune_model.features_or_pixels(partitioned, photos.train, transform)
    initial = clone_tensors(trainable_part.state_dict())

    def train_at(recipe: Recipe) -> tuple[FinetuneState, LrResult]:
        trainable_part.load_state_dict(initial)
        state = FinetuneState(
            finetune_model,
            partitioned,
            stage,
            recipe,
            transform,
            seed,
            photos.train,
            class_weights,
            sampler,
        )
        with (
            contextlib.closing(state),
            grad_checkpointing(trainable_part, stage.grad_checkpointing),
        ):
            return state, _train_one_lr(state, validation, start, callbacks)

    best, state, complete, diverged = _train_each_lr(stage, train_at, world, callbacks)
    trainable_part.load_state_dict(best.weights if best else initial)
    invalidate_features(finetune_model, partitioned, stage)
    seconds = time.monotonic() - start
    if best is not None:
        best_epoch = best.best_epoch
    else:  # the network has its weights from before the stage
        state.ema = None  # its averages belong to the weights that diverged
        forward = finetune_model.make_forward(partitioned, state.eval_forward)
        scores = evaluate(trainable_part, forward, validation, world, batch_size=FEATURE_BATCH_SIZE)
        best_epoch = _epoch_result(0, 0, scores, seconds)
    return StageResult(
        stage=stage.name,
        best=best_epoch,
        epochs=tuple(best.epochs) if best else (),
        lr=best.lr if best else _recipes(stage)[0].optimizer.lr,
        trainable_parameters=count_parameters(trainable_part, trainable=True),
        seconds=seconds,
        diverged=diverged,
        complete=complete,
    )


def _recipes(stage: Stage) -> list[Recipe]:
    """Return the recipe of a stage with each of its learning rates."""
    return [with_lr(stage.recipe, lr) for lr in stage.lrs] or [stage.recipe]


def _train_each_lr(
    stage: Stage,
    train_at: Callable[[Recipe], tuple[FinetuneState, LrResult]],
    world: World,
    callbacks: StageCallbacks,
) -> tuple[LrResult | None, FinetuneState, bool, bool]:
    """Train with each learning rate of a stage and select the best result.

    Returns:
        The best result, or None if no epoch ended with a finite loss; the state of the last
        training; False if the stage was stopped before its end; and True if every learning rate
        diverged.
    """
    best: LrResult | None = None
    diverged = True
    recipes = _recipes(stage)
    for recipe in recipes:
        state, result = train_at(recipe)
        diverged &= result.diverged
        if result.epochs:
            callbacks.notify(f"{stage.name}: learning rate {result.lr:g}, {result.best_epoch}")
        # Only the weights of the best learning rate so far stay in memory.
        best = select_lr([result] if best is None else [best, result])
        ends = callbacks.should_stop() or (best is not None and callbacks.should_finish())
        # A stage that ends before its last learning rate is not complete.
        complete = result.complete and (recipe is recipes[-1] or not world.any_rank(ends))
        if not complete:
            break
    return best, state, complete, diverged


def invalidate_features(
    finetune_model: FinetuneModel, partitioned: PartitionedModel, stage: Stage
) -> None:
    """Remove the cached features that a finished stage has made invalid."""
    if stage.frozen_mode == "train":  # the statistics of every layer have changed
        finetune_model.feature_cache.remove_stale("", weights_changed=True)
        return
    # The features before the trained layers are valid still, if those are the last layers.
    is_end = stage.trainable in ("classifier", "last norm")
    valid_boundary = partitioned.boundary if is_end else ""
    weights_changed = stage.trainable != "classifier"
    finetune_model.feature_cache.remove_stale(valid_boundary, weights_changed)


@dataclass
class LrResult:
    """Result of a stage with one learning rate."""

    lr: float
    epochs: list[EpochResult] = field(default_factory=list)
    """Complete epochs with a finite loss."""
    weights: dict[str, Tensor] = field(default_factory=dict)
    """Weights of the best epoch."""
    smoothed_loss_nats: float = math.inf
    """Smoothed validation loss of the best epoch."""
    complete: bool = True
    """False if the training was stopped."""
    diverged: bool = False
    """True if the training ended because the loss or a weight was not finite."""

    @property
    def selection_key(self) -> tuple[float, float, float]:
        """Sort key among the learning rates: accuracy, then smoothed loss, then the smaller."""
        return self.best_epoch.accuracy_pct, -self.smoothed_loss_nats, -self.lr

    @property
    def best_epoch(self) -> EpochResult:
        """Epoch with the highest validation accuracy, then the lowest loss."""
        return max(self.epochs, key=_selection_key)


def select_lr(results: Iterable[LrResult]) -> LrResult | None:
    """Return the result of the best learning rate of a stage.

    Args:
        results: Results of the learning rates, in any order.

    Returns:
        The result with the highest validation accuracy; of equal ones that with the lowest smoothed
        validation loss (see `TIE_SMOOTHING`), then that with the smallest learning rate. None if no
        epoch ended with a finite loss.
    """
    trained = (result for result in results if result.epochs)
    return max(trained, key=lambda result: result.selection_key, default=None)


def _train_one_lr(
    state: FinetuneState,
    validation: DeviceImages,
    start: float,
    callbacks: StageCallbacks,
) -> LrResult:
    """Train with one learning rate, until the loss is not finite or no longer falls."""
    result = LrResult(state.recipe.optimizer.lr)
    forward = state.finetune_model.make_forward(state.partitioned, state.eval_forward)
    batch_size = EVAL_BATCH_SIZE if validation.are_features else FEATURE_BATCH_SIZE
    has_constant_features = (
        state.stage.augment == "none" and state.partitioned.frozen_part is not None
    )
    threads = 1 if has_constant_features else state.finetune_model.numerics.threads
    step = TrainingStep(state, state.load_epoch)
    with (
        _threads(threads),
        image_decoder.suppress_pillow_warnings(),
        contextlib.closing(train_events(state, step, callbacks.should_stop)) as events,
    ):
        for event in events:
            callbacks.on_event(event)
            if event.kind in ("tick", "epoch"):
                state.finetune_model.on_item(
                    f"{state.stage.name}: steps", event.step, event.total_steps
                )
            if event.kind == "interrupted":
                result.complete = False
                break
            if event.kind != "epoch":
                continue
            if state.first_nonfinite_step() is not None:
                result.diverged = True
                break
            scores = evaluate(state.model, forward, validation, state.world, batch_size=batch_size)
            if not scores.is_finite:
                result.diverged = True
                break
            number, seconds = math.ceil(event.epoch), time.monotonic() - start
            epoch = _epoch_result(number, event.step, scores, seconds, state.train_metrics())
            if not result.epochs or _selection_key(epoch) > _selection_key(result.best_epoch):
                result.weights = clone_tensors(state.eval_state_dict())
                result.smoothed_loss_nats = smoothed_loss(scores.logits, validation.labels)
            result.epochs.append(epoch)
            patience = state.stage.patience
            if patience and _epochs_since_best_loss(result.epochs) >= patience:
                break
            should_finish = state.world.any_rank(callbacks.should_finish())
            if should_finish and event.step < event.total_steps:
                result.complete = False
                break
    return result


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
    number: int,
    step: int,
    result: SplitEvaluation,
    seconds: float,
    train_metrics: TrainMetrics = NO_METRICS,
) -> EpochResult:
    accuracy_pct = 100 - result.top1_error_pct
    return EpochResult(
        number, accuracy_pct, result.loss_nats, round(seconds, 3), step, train_metrics
    )


def _selection_key(epoch: EpochResult) -> tuple[float, float]:
    """Return the sort key of an epoch: higher validation accuracy first, then lower loss."""
    return epoch.accuracy_pct, -epoch.loss_nats


def _epochs_since_best_loss(epochs: list[EpochResult]) -> int:
    """Return the number of epochs since the lowest validation loss."""
    losses = [epoch.loss_nats for epoch in epochs]
    return len(losses) - 1 - losses.index(min(losses))


def with_lr(recipe: Recipe, lr: float) -> Recipe:
    """Return the recipe with another learning rate."""
    return replace(recipe, optimizer=replace(recipe.optimizer, lr=lr))
