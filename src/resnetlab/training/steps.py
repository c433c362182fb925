"""Eager training steps of an epoch.

Every faster way of taking steps must give the same bits as these.
"""

from __future__ import annotations

from typing import Generic

import torch

from resnetlab.training.state import Batches, Images, Trainee


class Steps(Generic[Images]):
    """Eager steps of `learner` over `images`, each taken by the learner's own `train_step`."""

    batches: Batches

    def __init__(self, learner: Trainee[Images], images: Images) -> None:
        self.learner, self.images = learner, images

    def begin(self, epoch: int) -> None:
        """Begin an epoch: the next steps belong to it."""
        self.batches = self.learner.batches(self.images, epoch)

    def take(self, part: slice, size: int) -> None:
        """Take a step on `part` of the epoch, which has `size` images."""
        learner = self.learner
        if learner.apart and learner.team.size > 1:
            parts = learner.team.parts(size, learner.numerics.accumulate)
            images, labels = self.batches(
                slice(part.start + parts[0].start, part.start + parts[-1].stop)
            )
            learner.train_step(images, labels, size)
        else:
            learner.train_step(*self.batches(part))

    def rest(self) -> None:
        """Wait until the device has finished the queued work, so that the clock counts it and
        callers read final values.
        """
        if self.learner.device.type == "cuda":
            torch.cuda.current_stream(self.learner.device).synchronize()

    def resume(self) -> None:
        """Continue after a pause in which the caller may have used the device."""
