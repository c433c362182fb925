"""Eager training steps of an epoch.

Every faster way of taking steps must give the same bits as these.
"""

from __future__ import annotations

from typing import Generic

import torch

from resnetlab.training.state import Batches, ImagesT, TrainState


class EagerSteps(Generic[ImagesT]):
    """Eager steps of `learner` over `images`, each taken by the learner's own `train_step`."""

    batches: Batches

    def __init__(self, state: TrainState[ImagesT], images: ImagesT) -> None:
        self.state, self.images = state, images

    def start_epoch(self, epoch: int) -> None:
        """Begin an epoch: the next steps belong to it."""
        self.batches = self.state.batches(self.images, epoch)

    def step(self, batch_slice: slice, batch_size: int) -> None:
        """Take a step on `part` of the epoch, which has `size` images."""
        learner = self.state
        if learner.can_shard_batches and learner.world.size > 1:
            parts = learner.world.microbatches(batch_size, learner.numerics.grad_accum_steps)
            images, labels = self.batches(
                slice(batch_slice.start + parts[0].start, batch_slice.start + parts[-1].stop)
            )
            learner.train_step(images, labels, batch_size)
        else:
            learner.train_step(*self.batches(batch_slice))

    def synchronize(self) -> None:
        """Wait until the device has finished the queued work, so that the clock counts it and
        callers read final values.
        """
        if self.state.device.type == "cuda":
            torch.cuda.current_stream(self.state.device).synchronize()

    def wait_for_current_stream(self) -> None:
        """Continue after a pause in which the caller may have used the device."""
