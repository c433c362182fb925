"""Batches of images that stay on the device, augmented and normalized."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from resnetlab.data.device_images import DeviceImages
from resnetlab.data.transforms.augment import train_batch, train_labels
from resnetlab.data.transforms.epoch_draws import EpochDraws, draw_epoch
from resnetlab.training.from_scratch_state import FromScratchState
from resnetlab.training.rng import make_generator

Batch = tuple[Tensor, Tensor]
"""Images (B, C, H, W) or features (B, F), with labels (B,) int64 or class probabilities (B, K)."""

BatchLoader = Callable[[slice, slice], Batch]
"""Function that loads a part of a batch. Its arguments are the slice of the epoch that is the
batch, and the slice of the batch that this process trains on.
"""


class InMemoryBatches:
    """Batches of a run whose train images are on its device.

    The order, crops and flips of an epoch follow from the seed and the epoch alone.
    """

    def __init__(self, state: FromScratchState, images: DeviceImages) -> None:
        self.state, self.images = state, images

    def __call__(self, epoch: int) -> BatchLoader:
        """Return the loader of an epoch's batches."""
        return partial(self.load, self.draws(epoch))

    def draws(self, epoch: int) -> EpochDraws:
        """Return the order and the random draws of an epoch, on the device."""
        generator_for = partial(make_generator, self.state.seed, "epoch", epoch)
        image_size = self.images.pixels.shape[1]
        draws = draw_epoch(len(self.images), image_size, self.state.recipe.augment, generator_for)
        return draws.to(self.state.device)

    def load(self, draws: EpochDraws, positions: slice, part: slice) -> Batch:
        """Return a part of the batch at `positions`. Mixup needs the entire batch to compute it."""
        images, labels = self.batch(draws, positions)
        return images[part], labels[part]

    def batch(self, draws: EpochDraws, positions: slice | Tensor) -> Batch:
        """Return a batch of an epoch; `positions` is a slice of it or a tensor (B,) int64."""
        augment, images = self.state.recipe.augment, self.images
        batch = train_batch(images.pixels, draws, positions, augment, self.state.normalizer)
        num_classes = self.state.num_classes
        return batch, train_labels(images.labels, draws, positions, augment, num_classes)
