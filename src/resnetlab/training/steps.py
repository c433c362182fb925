"""The steps of an epoch, one after another: the plain way, which is the definition."""

from __future__ import annotations

from typing import Generic

import torch

from resnetlab.training.state import Batches, Images, Trainee


class Steps(Generic[Images]):
    """Takes the steps of `learner` over `images`, each by the learner's own `train_step`."""

    batches: Batches

    def __init__(self, learner: Trainee[Images], images: Images) -> None:
        self.learner, self.images = learner, images

    def begin(self, epoch: int) -> None:
        """The steps that follow are of `epoch`."""
        self.batches = self.learner.batches(self.images, epoch)

    def take(self, part: slice, size: int) -> None:
        """Step on that part of the epoch, which has `size` images."""
        learner = self.learner
        if learner.apart and learner.team.size > 1:
            mine = learner.team.parts(size, learner.numerics.accumulate)
            shown, labels = self.batches(slice(part.start + mine[0].start, part.start + mine[-1].stop))
            learner.train_step(shown, labels, size)
        else:
            learner.train_step(*self.batches(part))

    def rest(self) -> None:
        """Wait until the device has done what was asked of it: the clock counts it, and others may look."""
        if self.learner.device.type == "cuda":
            torch.cuda.current_stream(self.learner.device).synchronize()

    def resume(self) -> None:
        """Others have looked, and may have asked something of the device."""
