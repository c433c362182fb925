"""Time of one training step of a fine-tuning stage, for a time limit and an estimate."""

from __future__ import annotations

import contextlib
import math
import time

from torch import Tensor

from resnetlab.data.sources import image_decoder
from resnetlab.data.transforms.eval_transform import EvalTransform
from resnetlab.finetuning.dataset import PhotoDataset
from resnetlab.finetuning.network.grad_checkpointing import grad_checkpointing
from resnetlab.finetuning.network.model import FinetuneModel
from resnetlab.finetuning.stage.state import FinetuneState
from resnetlab.finetuning.stage.train_stage import with_lr
from resnetlab.recipes.finetune import Sampler, Stage
from resnetlab.training.loop import train
from resnetlab.training.training_step import TrainingStep

TIMED_STEPS = 2
"""Steps of `time_step`. The first is not timed: a network is slower the first time."""


def time_step(
    finetune_model: FinetuneModel,
    stage: Stage,
    photos: PhotoDataset,
    transform: EvalTransform,
    seed: int,
    class_weights: Tensor | None = None,
    affordable_seconds: float = math.inf,
    sampler: Sampler = "shuffled",
) -> float:
    """Return the seconds of one training step of a stage, from steps whose effect is undone.

    A first step that takes more than twice `affordable_seconds` is the only one.
    """
    partitioned = finetune_model.partition_for_training(
        stage.trainable, transform.size, stage.frozen_mode
    )
    before = finetune_model.clone_state()
    recipe = with_lr(stage.recipe, (*stage.lrs, stage.recipe.optimizer.lr)[0])
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
    step, durations = TrainingStep(state, state.load_epoch), list[float]()
    # A process of several would not know when the others end.
    longest = math.inf if finetune_model.world.size > 1 else 2 * affordable_seconds
    with (
        contextlib.closing(state),
        image_decoder.suppress_pillow_warnings(),
        grad_checkpointing(partitioned.trainable_part, stage.grad_checkpointing),
    ):
        start = time.monotonic()
        with contextlib.closing(train(state, step, lambda: False)) as events:
            for event in events:
                step.synchronize()
                if event != "start":
                    durations.append(time.monotonic() - start)
                if len(durations) == TIMED_STEPS or max(durations, default=0) > longest:
                    break
                start = time.monotonic()
    finetune_model.model.load_state_dict(before)
    finetune_model.model.eval()
    return durations[-1]
