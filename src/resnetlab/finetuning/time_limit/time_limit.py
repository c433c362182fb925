"""Time limit of a fine-tuning: stages with fewer epochs, stages that are left out, and the reasons.

The limit covers everything from the start of the command to its last file. The time of what
follows training, the predictions on the test images and the page, is measured and reserved before
the first stage. A first stage on constant features gets the train photographs whose features can be
computed in time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from resnetlab.data.transforms.eval_transform import EvalTransform
from resnetlab.finetuning.dataset import PhotoSplit
from resnetlab.finetuning.evaluation import predict_photos
from resnetlab.finetuning.network.model import FinetuneModel
from resnetlab.finetuning.results import TimeLimitCut
from resnetlab.recipes.finetune import Stage
from resnetlab.training.distributed import SINGLE_PROCESS, World

WARM_UP_IMAGES = 4
"""Images of a first batch that is not timed: a network is slower the first time."""

TIMED_IMAGES = 16
"""Images of each of the batches that are timed."""

PAGE_IMAGES = 12
"""Misclassified images of the page, each of which costs about three predictions."""

CLOSING_SECONDS = 3.0
"""Seconds to write the model and the page, and to end."""

MIN_PHOTOGRAPHS = 5
"""Train photographs of each class that the first stage gets at least, if a class has so many."""

MARGIN = 1.1
"""Factor on the epochs that a stage still needs, for the time limit that is suggested."""


@dataclass
class TimeLimit:
    """Time limit of a fine-tuning. `seconds` is None for no limit."""

    seconds: float | None
    start: float
    """Time on the monotonic clock."""
    image_seconds: float = 0.0
    """Seconds to predict one image."""
    reserved_seconds: float = 0.0
    """Seconds for what follows training."""
    page_seconds: float = 0.0
    """The part of them for the page and the end."""
    stage: Stage | None = None
    """Stage of the recipe that is being trained."""
    cuts: list[TimeLimitCut] = field(default_factory=list)
    """Stages that the limit changed, in order."""
    epoch_seconds: dict[str, float] = field(default_factory=dict)
    """Measured seconds of an epoch, by stage."""

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.start

    @property
    def remaining(self) -> float:
        """Seconds that are left for training."""
        if self.seconds is None:
            return math.inf
        return self.seconds - self.elapsed - self.reserved_seconds

    @property
    def seconds_before_page(self) -> float:
        """Seconds that are left for what comes before the page; infinite if no limit."""
        if self.seconds is None:
            return math.inf
        return self.seconds - self.elapsed - self.page_seconds

    @property
    def is_over(self) -> bool:
        """True once training must end."""
        return self.remaining < 0

    def reserve(self, image_seconds: float, predicted_images: int, page_images: int) -> None:
        """Reserve the time to predict images after training, and to draw those of the page."""
        self.image_seconds = image_seconds
        self.page_seconds = 3 * image_seconds * page_images + CLOSING_SECONDS
        self.reserved_seconds = image_seconds * predicted_images + self.page_seconds

    def affordable_photographs(
        self, labels: NDArray[np.int64], missing_train: int, missing_validation: int
    ) -> NDArray[np.int64] | None:
        """Return the number of train photographs of each class (K,) whose features fit into the
        time that is left; None if all fit.

        The classes keep their shares, but each keeps at least `MIN_PHOTOGRAPHS`.

        Args:
            labels: Classes (N,) of the train photographs.
            missing_train: Number of train photographs whose features are not stored.
            missing_validation: The same for validation, of which none is left out.
        """
        seconds = self.remaining - self.image_seconds * missing_validation
        if self.image_seconds * missing_train <= max(seconds, 0):
            return None
        share = max(seconds, 0) / (self.image_seconds * missing_train)
        counts = np.bincount(labels)
        fitting = np.maximum(np.floor(share * counts), MIN_PHOTOGRAPHS).astype(np.int64)
        return None if (fitting >= counts).all() else fitting

    def record_cut(
        self,
        stage: Stage,
        kind: Literal["left out", "stopped", "shortened", "fewer photographs"],
        epochs: int = 0,
        photographs: tuple[int, int] = (0, 0),
    ) -> None:
        """Record that the limit changed a stage, in place of an earlier record of it.

        Args:
            stage: Stage of the recipe.
            kind: Kind of the change.
            epochs: Epochs that were trained, or that the limit allows.
            photographs: Train photographs that the stage was trained on, and all of them; zeros
                keep the numbers of an earlier record of the stage.
        """
        for earlier in self.cuts:
            if earlier.stage == stage.name and not photographs[1]:
                photographs = earlier.photographs, earlier.planned_photographs
        planned = stage.recipe.epochs or 0
        seconds = self.epoch_seconds.get(stage.name, 0.0)
        total = 2 * (self.seconds or 0)  # nothing better is known without the time of an epoch
        if seconds and planned:
            total = self.elapsed + self.reserved_seconds + MARGIN * planned * seconds
        elif photographs[1]:
            rest = MARGIN * self.image_seconds * photographs[1]
            total = max(total, self.elapsed + self.reserved_seconds + rest)
        cut = TimeLimitCut(
            stage=stage.name,
            kind=kind,
            epochs=epochs,
            planned_epochs=planned,
            photographs=photographs[0],
            planned_photographs=photographs[1],
            epoch_seconds=round(seconds, 2),
            elapsed_seconds=round(self.elapsed, 1),
            needed=suggest_time_limit(total),
        )
        self.cuts = [*(item for item in self.cuts if item.stage != stage.name), cut]


def suggest_time_limit(seconds: float) -> str:
    """Return a round value of `--time-limit` of at least these seconds: `20s`, `4m`, `75m`."""
    if seconds <= 55:
        return f"{max(5, 5 * math.ceil(seconds / 5))}s"
    minutes = math.ceil(seconds / 60)
    return f"{minutes if minutes <= 20 else 5 * math.ceil(minutes / 5)}m"


def time_prediction(
    finetune_model: FinetuneModel, split: PhotoSplit, transform: EvalTransform
) -> float:
    """Return the seconds to decode and predict one image: the faster of two batches of a split."""

    def predict(count: int) -> float:
        start = time.monotonic()
        sample = replace(split, rows=split.rows[:count], labels=split.labels[:count])
        predict_photos(finetune_model.model, sample, transform, finetune_model.device)
        return (time.monotonic() - start) / len(sample)

    predict(WARM_UP_IMAGES)
    return min(predict(TIMED_IMAGES) for _ in range(2))


def fit_to_limit(
    stage: Stage,
    limit: TimeLimit,
    num_train: int,
    num_validation: int,
    time_step: Callable[[float], float],
    *,
    is_first: bool,
    world: World = SINGLE_PROCESS,
) -> tuple[Stage | None, float]:
    """Reduce the epochs of a stage to those that fit the time limit, so that its learning rate
    schedule is complete.

    Args:
        stage: Stage to fit.
        limit: Time limit.
        num_train: Number of train images.
        num_validation: Number of validation images.
        time_step: Function that trains some steps of the stage and returns the seconds of one. It
            gets the seconds of a step with which an epoch would still fit.
        is_first: True for the first stage, which is always trained, for at least one epoch.
        world: Processes that train together; the clock of the first one decides.

    Returns:
        The stage, or None if not even one epoch fits; and the seconds of an epoch (0 if unknown).
    """
    epochs = stage.recipe.epochs
    if limit.seconds is None:
        return stage, 0.0
    remaining = world.broadcast(limit.remaining)
    if epochs is None or stage.augment == "none":  # steps on features that are computed once
        return (stage if is_first or remaining > 0 else None), 0.0
    forward_seconds = limit.image_seconds * num_train
    if not is_first and remaining < forward_seconds:
        # Too little time for the forward passes alone: measuring a step would waste the rest.
        return None, 3 * forward_seconds
    steps = math.ceil(num_train / stage.recipe.batch_size)
    step_seconds = time_step(max(remaining, 0) / steps)
    epoch_seconds = world.broadcast(steps * step_seconds + limit.image_seconds * num_validation)
    possible = max(int(world.broadcast(limit.remaining) / epoch_seconds), int(is_first))
    if possible < 1:
        return None, epoch_seconds
    shorter = replace(stage.recipe, epochs=min(epochs, possible))
    return replace(stage, recipe=shorter), epoch_seconds
