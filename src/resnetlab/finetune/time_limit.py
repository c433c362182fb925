"""Time limit of a fine-tuning: shorter stages, skipped stages, and the reasons for them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from resnetlab.data.transforms.eval_transform import EvalTransform
from resnetlab.finetune.dataset import PhotoDataset
from resnetlab.finetune.evaluation import predict_photos
from resnetlab.finetune.model import FEATURE_BATCH_SIZE, FinetuneModel
from resnetlab.recipes.finetune import Stage


@dataclass
class TimeLimit:
    """Time limit of a fine-tuning, and the estimated seconds of an epoch by stage."""

    seconds: float | None
    start: float
    """Time on the monotonic clock."""
    epoch_seconds: dict[str, float] = field(default_factory=dict)

    @property
    def elapsed(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self.start

    @property
    def over(self) -> bool:
        """Return True once the limit has passed."""
        return self.seconds is not None and self.elapsed > self.seconds

    def skipped_stages(self, stages: Sequence[Stage]) -> tuple[str, ...]:
        """Return a line with the reason for each stage that was skipped."""
        reason = "fine-tuning was stopped"
        if self.over:
            reason = f"the time limit of {self.seconds:.0f} s was over after {self.elapsed:.0f} s"
        return tuple(
            f'stage "{stage.name}" was skipped: {reason}'
            + (
                f"; an epoch of it takes about {self.epoch_seconds[stage.name]:.0f} s here"
                if stage.name in self.epoch_seconds
                else ""
            )
            for stage in stages
        )


def fit_to_limit(
    stage: Stage,
    finetune_model: FinetuneModel,
    photos: PhotoDataset,
    transforms: dict[str, EvalTransform],
    limit: TimeLimit,
) -> tuple[Stage, float]:
    """Reduce the epochs of a stage to fit the time limit, so that its learning rate schedule is
    complete.

    Returns:
        The stage, and the estimated seconds of an epoch (0 if there is no estimate).
    """
    if limit.seconds is None or stage.recipe.epochs is None or stage.augment == "none":
        return stage, 0.0
    start = time.monotonic()
    sample = replace(
        photos.validation,
        rows=photos.validation.rows[:FEATURE_BATCH_SIZE],
        labels=photos.validation.labels[:FEATURE_BATCH_SIZE],
    )
    predict_photos(finetune_model.model, sample, transforms[stage.size], finetune_model.device)
    image_seconds = (time.monotonic() - start) / len(sample)
    # A frozen trunk needs the forward pass alone; the backward pass costs two more.
    passes = 1 if stage.trainable in ("classifier", "last norm") else 3
    epoch_seconds = image_seconds * (passes * len(photos.train) + len(photos.validation))
    evaluation_seconds = image_seconds * (len(photos.test) + len(photos.validation))
    remaining = limit.seconds - limit.elapsed - evaluation_seconds
    epochs = max(1, min(stage.recipe.epochs, int(remaining / epoch_seconds)))
    return replace(stage, recipe=replace(stage.recipe, epochs=epochs)), epoch_seconds
