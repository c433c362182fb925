"""Training state of a fine-tuning stage, and the loader of its photographs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnetlab.data.photo_loader import Prefetcher
from resnetlab.data.transforms.eval_transform import EvalTransform
from resnetlab.data.transforms.photo_train import (
    PhotoDraws,
    apply_train_transform,
    draw_photo_epoch,
    jpeg_draft_factor,
)
from resnetlab.finetune.dataset import PhotoSplit
from resnetlab.finetune.model import FEATURE_BATCH_SIZE, FinetuneModel, SplitModel
from resnetlab.models.transfer import list_parts
from resnetlab.recipes.finetune import Stage
from resnetlab.recipes.train import Recipe
from resnetlab.training.eager_step import Batch, BatchLoader
from resnetlab.training.optimizer import build_optimizer
from resnetlab.training.rng import make_generator
from resnetlab.training.state import TrainState


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
        return PhotoBatches(self, photos, draws, epoch)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy of logits (B, K) and labels (B,).

        The loss of an image, smoothing included, is multiplied by the weight of its own class.
        torch's `weight` multiplies the smoothed part by the weights of the other classes instead,
        which rewards predicting a rare class (pytorch issue 104776).
        """
        each = F.cross_entropy(
            logits.float(),
            labels,
            label_smoothing=self.recipe.label_smoothing,
            reduction="none",
        )
        if self.class_weights is not None:
            each = each * self.class_weights[labels]
        # The mean is over images, not over weights, so that microbatches add up to the batch.
        return each.mean()


class PhotoBatches:
    """Batch loader of an epoch. Its threads decode and augment the next batch during a step."""

    def __init__(
        self, state: FinetuneState, photos: PhotoSplit, draws: PhotoDraws, epoch: int
    ) -> None:
        self.state, self.photos, self.draws, self.epoch = state, photos, draws, epoch
        # Otherwise torch would start as many threads again within each of these threads.
        self.prefetcher = Prefetcher(self._load_and_augment, partial(torch.set_num_threads, 1))

    def __call__(self, part: slice) -> Batch:
        """Return the images or features, and the labels, of a slice of the epoch."""
        state = self.state
        model, split_model = state.finetune_model, state.split_model
        split_point, stage_name = split_model.split_point, state.stage.name
        key = (split_point, state.transform, stage_name, state.seed, self.epoch, part.start)
        if split_model.trunk is not None and key in model.feature_cache.entries:
            return model.feature_cache.entries[key]
        batch_size = state.recipe.batch_size
        ahead = slice(part.start + batch_size, part.stop + batch_size)
        order = self.draws.order[part]
        indices = torch.cat([order, self.draws.order[ahead]]).tolist()
        self.prefetcher.submit((index, index) for index in indices)
        pixels = torch.stack(self.prefetcher.take(order.tolist())).permute(0, 2, 3, 1)
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
