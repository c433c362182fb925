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
from resnetlab.data.transforms.photo_augment import Mixer, make_mixer
from resnetlab.data.transforms.photo_train import (
    PhotoDraws,
    apply_train_transform,
    draw_photo_epoch,
    jpeg_draft_factor,
)
from resnetlab.errors import input_error
from resnetlab.files import json_sha256
from resnetlab.finetuning.dataset import PhotoSplit
from resnetlab.finetuning.network.model import FEATURE_BATCH_SIZE, FinetuneModel, PartitionedModel
from resnetlab.models.transfer import block_numbers, list_parts
from resnetlab.recipes.finetune import Sampler, Stage
from resnetlab.recipes.train import Recipe
from resnetlab.training.batches import Batch, BatchLoader
from resnetlab.training.optimizer import build_optimizer
from resnetlab.training.rng import derive_seed, make_generator
from resnetlab.training.state import TrainState


class FinetuneState(TrainState):
    """Training state of the trainable part of a model on the photographs of a split.

    `close` ends the threads of its loader: use it with `contextlib.closing`.
    """

    def __init__(
        self,
        finetune_model: FinetuneModel,
        partitioned: PartitionedModel,
        stage: Stage,
        recipe: Recipe,
        transform: EvalTransform,
        seed: int,
        photo_split: PhotoSplit,
        class_weights: Tensor | None,
        sampler: Sampler = "shuffled",
    ) -> None:
        trainable_part = partitioned.trainable_part
        decay = layer_decay_scales(trainable_part, stage.layer_decay)
        if stage.layer_decay_by == "block":
            decay = block_decay_scales(finetune_model.model, trainable_part, stage.layer_decay)
        optimizer = build_optimizer(recipe, trainable_part, decay)
        numerics = replace(finetune_model.numerics, grad_accum_steps=stage.grad_accum_steps)
        super().__init__(
            trainable_part,
            optimizer,
            recipe,
            numerics,
            seed,
            len(photo_split),
            finetune_model.device,
            finetune_model.world,
        )
        self.finetune_model, self.partitioned, self.stage = finetune_model, partitioned, stage
        self.photo_split, self.transform, self.class_weights = photo_split, transform, class_weights
        self._batches: PhotoBatches | None = None
        # What the batches of an epoch depend on, beside the stage, the seed and the epoch.
        self.batches_key = json_sha256([sampler, *(row.sha256 for row in photo_split.rows)])
        smallest = recipe.smallest_batch(len(photo_split))
        parts = numerics.world_size * numerics.grad_accum_steps
        if smallest < parts:
            problem = f"a batch of {smallest} images is too small for {parts} microbatches"
            fix = f"a batch size whose last batch has {parts} images or more"
            got = recipe.batch_size
            raise input_error(f"stage {stage.name}", problem, fix, field="batch_size", got=got)
        self.image_weights = None
        if sampler == "balanced":
            self.image_weights = (
                1 / torch.bincount(torch.from_numpy(photo_split.labels))[photo_split.labels]
            )

    def load_epoch(self, epoch: int) -> BatchLoader:
        """Return the loader of an epoch: augmented images, or constant features in a new order.

        The loader of the previous epoch is closed.
        """
        self.close()
        stage, photo_split, model = self.stage, self.photo_split, self.finetune_model
        generator_for = partial(make_generator, self.seed, "finetune", stage.name, "epoch", epoch)
        erasing = (stage.random_erasing, self.transform.size)
        draws = draw_photo_epoch(len(photo_split), generator_for, self.image_weights, erasing)
        if stage.augment == "none" and self.partitioned.frozen_part is not None:
            inputs = model.features_or_pixels(self.partitioned, photo_split, self.transform)
            if inputs.are_features:
                order = draws.order.to(inputs.pixels.device)
                return lambda positions, part: (
                    inputs.pixels[order[positions][part]],
                    inputs.labels[order[positions][part]],
                )
        mixer = make_mixer(stage.mixup, stage.cutmix, len(model.classes))
        self._batches = PhotoBatches(self, photo_split, draws, epoch, mixer)
        return self._batches

    def close(self) -> None:
        """End the threads of the current loader, if any. The rest of the state stays usable."""
        if self._batches is not None:
            self._batches.close()
            self._batches = None

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy of logits (B, K) and labels (B,) or probabilities (B, K).

        The loss of an image, smoothing included, is multiplied by the weight of its own class.
        torch's `weight` multiplies the smoothed part by the weights of the other classes instead,
        which rewards predicting a rare class (pytorch issue 104776).
        """
        if labels.dim() > 1 and self.class_weights is not None:
            return self._weighted_loss(logits.float(), labels, self.class_weights)
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

    def _weighted_loss(self, logits: Tensor, probabilities: Tensor, weights: Tensor) -> Tensor:
        """Return the mean over mixed images of the losses of their parts, each with the weight of
        its class.
        """
        smoothing = self.recipe.label_smoothing
        weighted = probabilities * weights
        targets = (1 - smoothing) * weighted + smoothing * weighted.mean(1, keepdim=True)
        return -(targets * F.log_softmax(logits, 1)).sum(1).mean()


class PhotoBatches:
    """Batch loader of an epoch. Its threads decode and augment the next batch during a step."""

    def __init__(
        self,
        state: FinetuneState,
        photo_split: PhotoSplit,
        draws: PhotoDraws,
        epoch: int,
        mixer: Mixer | None = None,
    ) -> None:
        self.state, self.photo_split, self.draws, self.epoch = state, photo_split, draws, epoch
        self.mixer = mixer
        # Otherwise torch would start as many threads again within each of these threads.
        self.prefetcher = Prefetcher(self._load_and_augment, partial(torch.set_num_threads, 1))

    def __call__(self, batch_positions: slice, part: slice) -> Batch:
        """Return the images or features, and the labels, of a part of a batch of the epoch.

        A process that shares the run loads only its own part.
        """
        start, state = batch_positions.start, self.state
        positions = slice(start + part.start, start + part.stop)
        model, partitioned = state.finetune_model, state.partitioned
        boundary, stage_name = partitioned.boundary, state.stage.name
        batch = (stage_name, state.seed, self.epoch, positions.start)
        key = (boundary, state.transform, state.batches_key, *batch)
        if partitioned.frozen_part is not None and key in model.feature_cache.entries:
            return model.feature_cache.entries[key]
        batch_size, count = state.recipe.batch_size, len(self.draws.order)
        next_positions = slice(positions.start + batch_size, positions.stop + batch_size)
        # `indices` cuts a slice at the end of the epoch.
        current_positions = range(*positions.indices(count))
        upcoming_positions = range(*next_positions.indices(count))
        self.prefetcher.submit((k, k) for k in (*current_positions, *upcoming_positions))
        pixels = torch.stack(self.prefetcher.take(current_positions)).permute(0, 2, 3, 1)
        all_labels = torch.from_numpy(self.photo_split.labels)
        labels = all_labels[self.draws.order[positions]].to(model.device)
        images = model.preprocess(pixels)
        if self.mixer is not None:
            names = ("finetune", stage_name, "epoch", self.epoch, "mix", positions.start)
            images, labels = self.mixer(images, labels, derive_seed(state.seed, *names))
        if partitioned.frozen_part is None:
            return images, labels
        pieces = torch.split(images, FEATURE_BATCH_SIZE)
        features = torch.cat([model.frozen_features(partitioned, piece) for piece in pieces])
        model.feature_cache.add(key, features, labels)
        return features, labels

    def close(self) -> None:
        """Wait for the threads and end them. Photographs that no thread has begun are dropped."""
        self.prefetcher.close()

    def _load_and_augment(self, position: int) -> Tensor:
        """Load the photograph at a position of the epoch."""
        transform, augment, draws = self.state.transform, self.state.stage.augment, self.draws
        index, row = int(draws.order[position]), int(draws.rows[position])

        def reduction(width: int, height: int) -> int:
            if self.state.stage.decode != "scaled":
                return 1
            return jpeg_draft_factor(transform, augment, draws, row, width, height)

        photo, full_size = self.photo_split.load_reduced(index, reduction)
        return apply_train_transform(photo, transform, augment, draws, row, full_size)


def layer_decay_scales(model: nn.Module, decay: float) -> Callable[[str], float]:
    """Return a function from parameter name to learning rate scale: `decay` per part, from the last
    to the first.
    """
    part_names = [name for name, _ in list_parts(model)] if decay < 1 else []

    def lr_scale(parameter_name: str) -> float:
        for exponent, part_name in enumerate(reversed(part_names)):
            if parameter_name.startswith(f"{part_name}."):
                return math.pow(decay, exponent)
        return 1.0

    return lr_scale


def block_decay_scales(
    model: nn.Module, trainable_part: nn.Module, decay: float
) -> Callable[[str], float]:
    """Return a function from the name of a trained parameter to its learning rate scale.

    The scale is that of BEiT (Bao et al. 2022): `decay` per block of `model`, from the last to the
    first. `trainable_part` may also be the whole model.
    """
    numbers = block_numbers(model)
    last = max(numbers.values())
    exponents = {parameter: last - numbers[name] for name, parameter in model.named_parameters()}
    scales = {name: decay ** exponents[p] for name, p in trainable_part.named_parameters()}
    return scales.__getitem__
