"""Steps of a run: each loads the next batch of the epoch and trains on it."""

from __future__ import annotations

from collections.abc import Callable

from resnetlab.training.batches import BatchLoader
from resnetlab.training.device import synchronize
from resnetlab.training.state import TrainState
from resnetlab.training.step import train_on_batch


class TrainingStep:
    """Callable that loads the next batch of the epoch and trains on it, operation by operation.

    `GraphedStep` replays a CUDA graph instead, `ProfiledStep` adds a clock.

    Args:
        state: Training state.
        load_epoch: Function from the index of an epoch, from 0, to the loader of its batches.
    """

    load: BatchLoader

    def __init__(self, state: TrainState, load_epoch: Callable[[int], BatchLoader]) -> None:
        self.state, self.load_epoch, self.epoch = state, load_epoch, -1

    def __call__(self) -> None:
        """Take the step that follows `state.step`."""
        state = self.state
        epoch, index = divmod(state.step, state.steps_per_epoch)
        if epoch != self.epoch:
            self.start_epoch(epoch)
            self.epoch = epoch
        start = index * state.recipe.batch_size
        self.load_and_train(
            slice(start, min(start + state.recipe.batch_size, state.num_train_images))
        )

    def start_epoch(self, epoch: int) -> None:
        """Begin an epoch: the next steps use its batches."""
        self.load = self.load_epoch(epoch)

    def load_and_train(self, positions: slice) -> None:
        """Take a step on the images at these positions of the epoch's order."""
        state, batch_size = self.state, positions.stop - positions.start
        part = state.world.part_of_batch(batch_size, state.numerics.grad_accum_steps)
        images, labels = self.load(positions, part)
        train_on_batch(state, images, labels, batch_size)

    def synchronize(self) -> None:
        """Wait until the device has finished the queued steps, so that a clock counts them."""
        synchronize(self.state.device)

    def wait_for_current_stream(self) -> None:
        """Do nothing: an eager step uses the stream of the caller. `GraphedStep` waits here."""
