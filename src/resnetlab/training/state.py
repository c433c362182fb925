"""Training state: a network with its optimizer and step, and a subclass that trains on images on
the device.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Generic, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnetlab.data.config import LabeledImages as ImageArrays
from resnetlab.data.device_images import DeviceImages
from resnetlab.data.transforms.augment import center_crop, train_batch, train_labels
from resnetlab.data.transforms.epoch_draws import EpochDraws, draw_epoch
from resnetlab.data.transforms.normalization import fit_normalizer
from resnetlab.models.build import build_model
from resnetlab.models.configs import ModelConfig
from resnetlab.recipes.numerics import Numerics
from resnetlab.recipes.train import Recipe
from resnetlab.training.device import autocast, memory_format
from resnetlab.training.distributed import SINGLE_PROCESS, World
from resnetlab.training.lr_schedule import lr_factor
from resnetlab.training.optimizer import (
    build_optimizer,
    load_optimizer_state_dict,
    lrs_to_device,
    optimizer_state_dict,
    set_lr,
)
from resnetlab.training.rng import derive_seed, make_generator

ImagesT = TypeVar("ImagesT")
"""Type of the data from which a trainee takes its batches."""


Batches = Callable[[slice], tuple[Tensor, Tensor]]
"""Function from a slice of an epoch to images (B, C, H, W) and labels (B,) or class probabilities
(B, K).
"""


class TrainState(ABC, Generic[ImagesT]):
    """Training state of one network: weights, optimizer, EMA, and the metrics of the epoch so far.

    Parameters with `requires_grad` are trained. A subclass defines the batches.
    """

    can_shard_batches = False
    """True if a slice of a batch can be loaded without the rest of it.

    A process that shares the run then loads only its own slices.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        recipe: Recipe,
        numerics: Numerics,
        seed: int,
        num_train_images: int,
        device: torch.device,
        world: World = SINGLE_PROCESS,
    ) -> None:
        self.model, self.optimizer = model, optimizer
        self.ddp_model = nn.parallel.DistributedDataParallel(model) if world.size > 1 else model
        self.recipe, self.numerics, self.seed, self.device, self.world = (
            recipe,
            numerics,
            seed,
            device,
            world,
        )
        self.base_lrs = [group["lr"] for group in self.optimizer.param_groups]
        self.ema_weights = (
            [p.detach().clone() for _, p in self.trainable_parameters()] if recipe.ema else []
        )
        self.step = 0
        self.total_steps = recipe.total_steps(num_train_images)
        self.steps_per_epoch = recipe.steps_per_epoch(num_train_images)
        self.losses = torch.zeros(self.steps_per_epoch, device=device)  # one per step of this epoch
        self.error_counts = torch.zeros(self.steps_per_epoch, dtype=torch.int64, device=device)
        self.num_train_images = num_train_images

    @abstractmethod
    def batches(self, images: ImagesT, epoch: int) -> Batches:
        """Return the batches of an epoch over `images`.

        They depend on the seed and the epoch alone.
        """

    def trainable_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Return the trainable parameters with their names."""
        return [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]

    def eval_forward(self, images: Tensor) -> Tensor:
        """Return logits (B, K) of prepared images (B, C, H, W), with the EMA weights if there are
        any.
        """
        with autocast(self.numerics):
            if not self.ema_weights:
                logits: Tensor = self.model(self._to_memory_format(images))
                return logits
            names = [name for name, _ in self.trainable_parameters()]
            weights = dict(zip(names, self.ema_weights, strict=True))
            ema_logits: Tensor = torch.func.functional_call(
                self.model, weights, (self._to_memory_format(images),)
            )
            return ema_logits

    def eval_state_dict(self) -> dict[str, Tensor]:
        """Return the state dict for evaluation: buffers, and the EMA in place of the trained
        weights.
        """
        state = dict(self.model.state_dict())
        names = [name for name, _ in self.trainable_parameters()]
        return state | dict(zip(names, self.ema_weights, strict=False))

    def train_metrics(self) -> tuple[float, float]:
        """Return the mean training loss in nats and the top-1 error in per cent over the epoch so
        far.

        Both are measured in training mode. With mixup, the loss is that of the mixed images, and a
        prediction is correct if it is the class with the largest share.
        """
        steps = (self.step - 1) % self.steps_per_epoch + 1 if self.step else 0
        sizes = torch.full((steps,), float(self.recipe.batch_size), dtype=torch.float64)
        images_done = min(self.num_train_images, steps * self.recipe.batch_size)
        if steps:
            sizes[-1] -= steps * self.recipe.batch_size - images_done
        losses, wrong = self.losses[:steps].cpu().double(), self.error_counts[:steps].cpu()
        return float((losses * sizes).sum() / max(1, images_done)), 100 * int(wrong.sum()) / max(
            1, images_done
        )

    def first_nonfinite_step(self) -> int | None:
        """Return the first step of this epoch whose loss is not finite, or None.

        If all losses are finite but a weight is not, return the current step.
        """
        steps = (self.step - 1) % self.steps_per_epoch + 1 if self.step else 0
        bad_steps = torch.nonzero(~torch.isfinite(self.losses[:steps]))
        if len(bad_steps):
            return self.step - steps + int(bad_steps[0]) + 1
        tensors = (
            tensor.detach()
            for tensor in (*self.model.parameters(), *self.model.buffers())
            if tensor.numel()
        )
        # min and max are NaN if any element is NaN; one transfer from the device is enough for all.
        extremes = [
            value.float()
            for tensor in tensors
            if tensor.is_floating_point()
            for value in torch.aminmax(tensor)
        ]
        return None if bool(torch.stack(extremes).isfinite().all()) else self.step

    def state_dict(self) -> dict[str, Tensor]:
        """Return all tensors that a checkpoint needs for a bit-exact resume, except the step."""
        tensors = {f"model/{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {
            f"optimizer/{name}": t
            for name, t in optimizer_state_dict(self.optimizer, self.model).items()
        }
        tensors |= {f"average/{index}": tensor for index, tensor in enumerate(self.ema_weights)}
        return tensors | {"epoch/losses": self.losses, "epoch/wrong": self.error_counts}

    def load_state_dict(self, tensors: dict[str, Tensor], step: int) -> None:
        """Restore the tensors that `tensors` returned at `step`."""
        parts: dict[str, dict[str, Tensor]] = {
            "model": {},
            "optimizer": {},
            "average": {},
            "epoch": {},
        }
        for name, tensor in tensors.items():
            part, _, rest = name.partition("/")
            parts[part][rest] = tensor
        self.model.load_state_dict(parts["model"])
        load_optimizer_state_dict(self.optimizer, self.model, parts["optimizer"])
        with torch.no_grad():
            for index, tensor in enumerate(self.ema_weights):
                tensor.copy_(parts["average"][str(index)])
            self.losses.copy_(parts["epoch"]["losses"])
            self.error_counts.copy_(parts["epoch"]["wrong"])
        self.step = step

    def train_step(self, images: Tensor, labels: Tensor, global_batch_size: int = 0) -> None:
        """Take one optimizer step on images (B, C, H, W) and labels (B,) or class probabilities (B,
        K).

        The images may be only this process's slice of a batch of `whole` images. Every faster way
        of taking a step must give the same bits as this one.
        """
        self.set_lr()
        self.seed_dropout(self.step)
        index = self.step % self.steps_per_epoch
        self.losses[index], self.error_counts[index] = self.world.all_reduce_sum(
            self.forward_backward_update(images, labels, global_batch_size)
        )
        self.step += 1

    def set_lr(self) -> None:
        """Set the optimizer's learning rates for this step."""
        factor = lr_factor(self.recipe.schedule, self.step, self.total_steps, self.steps_per_epoch)
        set_lr(self.optimizer, [full * factor for full in self.base_lrs])

    def seed_dropout(self, step: int) -> None:
        """Seed the random draws of layers (dropout) from the step, so that a resumed run draws the
        same numbers.
        """
        rank = (self.world.rank,) if self.world.rank else ()
        number = derive_seed(self.seed, "step", step, *rank)
        if self.device.type == "cpu":
            torch.default_generator.manual_seed(
                number
            )  # torch.manual_seed is slower: it seeds every kind of device
        else:
            torch.manual_seed(number)

    def forward_backward_update(
        self, images: Tensor, labels: Tensor, global_batch_size: int = 0
    ) -> Tensor:
        """Compute the device part of a step; return the batch's loss and its number of wrong
        predictions, (2,) fp32.

        It never waits for the device, so that it can be captured as a CUDA graph.
        """
        loss, logits, own_labels = self._forward_backward(images, labels, global_batch_size)
        if self.recipe.clip_norm:
            nn.utils.clip_grad_norm_(
                [p for _, p in self.trainable_parameters()], self.recipe.clip_norm
            )
        self.optimizer.step()
        with torch.no_grad():
            if self.ema_weights:
                weights = [p.detach() for _, p in self.trainable_parameters()]
                torch._foreach_lerp_(self.ema_weights, weights, 1 - self.recipe.ema)
            targets = own_labels.argmax(1) if own_labels.dim() > 1 else own_labels
            return torch.stack([loss.detach(), (logits.argmax(1) != targets).sum()])

    def _forward_backward(
        self, images: Tensor, labels: Tensor, global_batch_size: int = 0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the gradients of the batch; they replace those of the last step.

        Return this process's contribution to the batch's loss, and the logits (B, K) and labels of
        its slices.
        """
        self.optimizer.zero_grad()
        losses, scores = [], []
        parts = self.world.microbatches(
            global_batch_size or len(images), self.numerics.grad_accum_steps
        )
        if global_batch_size:  # `images` holds this process's slices only
            parts = [
                slice(part.start - parts[0].start, part.stop - parts[0].start) for part in parts
            ]
        for part in parts:
            # Gradients are averaged over the processes once, in the backward pass of the last part.
            synchronize = part is parts[-1] or self.world.size == 1
            with nullcontext() if synchronize else self.ddp_model.no_sync():  # type: ignore[operator]
                with autocast(self.numerics):
                    logits: Tensor = self.ddp_model(self._to_memory_format(images[part]))
                loss = self.loss(logits, labels[part]) * (
                    (part.stop - part.start) / (global_batch_size or len(images))
                )
                (loss * self.world.size).backward()
            losses.append(loss.detach())
            scores.append(logits.detach())
        return torch.stack(losses).sum(), torch.cat(scores), labels[parts[0].start : parts[-1].stop]

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy of logits (B, K) for labels (B,) or class probabilities (B,
        K).
        """
        return F.cross_entropy(logits.float(), labels, label_smoothing=self.recipe.label_smoothing)

    def _to_memory_format(self, images: Tensor) -> Tensor:
        return images.contiguous(memory_format=memory_format(self.numerics))


class ScratchTrainState(TrainState[DeviceImages]):
    """Training state of a network that is built from its config and trained on images that stay on
    the device.
    """

    def __init__(
        self,
        model: ModelConfig,
        recipe: Recipe,
        numerics: Numerics,
        seed: int,
        train: ImageArrays,
        num_classes: int,
        device: torch.device,
        world: World = SINGLE_PROCESS,
    ) -> None:
        channels = train.pixels.shape[3]
        built = build_model(
            model, channels, num_classes, lambda name: make_generator(seed, "init", name)
        )
        if numerics.batch_norm == "synchronized":
            built = nn.SyncBatchNorm.convert_sync_batchnorm(built)  # type: ignore[no-untyped-call]
        network: nn.Module = built.to(device).to(memory_format=memory_format(numerics))
        self.spec, self.eager_reason = model, ""
        optimizer = build_optimizer(recipe, network, capturable=numerics.cuda_graphs == "on")
        super().__init__(network, optimizer, recipe, numerics, seed, len(train), device, world)
        if numerics.cuda_graphs == "on":
            lrs_to_device(optimizer, device)
        self.normalizer = fit_normalizer(recipe.normalize, train, recipe.augment.crop, device)
        self.num_classes = num_classes

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (B, K) of uint8 images (B, H, W, C) for evaluation, with the EMA weights if
        there are any.
        """
        return self.eval_forward(self.preprocess(pixels))

    def preprocess(self, pixels: Tensor) -> Tensor:
        """Return uint8 images (B, H, W, C) as the network's input for evaluation, (B, C, H, W):
        cropped and scaled, not augmented.
        """
        return self._to_memory_format(
            self.normalizer(center_crop(pixels, self.recipe.augment.crop))
        )

    def batches(self, images: DeviceImages, epoch: int) -> Batches:
        """Return the batches of `images`, augmented and scaled."""
        return partial(self.batch, images, self.epoch_draws(images, epoch))

    def epoch_draws(self, images: DeviceImages, epoch: int) -> EpochDraws:
        """Return the order and the random draws of an epoch, on the device."""
        draw = partial(make_generator, self.seed, "epoch", epoch)
        return draw_epoch(len(images), images.pixels.shape[1], self.recipe.augment, draw).to(
            self.device
        )

    def batch(
        self, images: DeviceImages, draws: EpochDraws, positions: slice | Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return a part of an epoch, augmented and scaled.

        `part` is a slice or a tensor of positions (B,) int64.
        """
        augment = self.recipe.augment
        batch = train_batch(images.pixels, draws, positions, augment, self.normalizer)
        return batch, train_labels(images.labels, draws, positions, augment, self.num_classes)
