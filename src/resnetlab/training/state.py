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

from resnetlab.data.config import Images as ImageArrays
from resnetlab.data.device_images import Resident
from resnetlab.data.transforms.augment import centre, train_batch, train_labels
from resnetlab.data.transforms.epoch_draws import EpochPlan, plan_epoch
from resnetlab.data.transforms.normalization import fitted
from resnetlab.models.build import build_model
from resnetlab.models.configs import Model
from resnetlab.recipes.numerics import Numerics
from resnetlab.recipes.train import Recipe
from resnetlab.training.device import autocast, layout
from resnetlab.training.distributed import ALONE, Team
from resnetlab.training.lr_schedule import rate
from resnetlab.training.optimizer import (
    build_optimiser,
    optimiser_tensors,
    rates_as_tensors,
    restore_optimiser,
    set_rates,
)
from resnetlab.training.rng import stream, stream_seed

Images = TypeVar("Images")
"""Type of the data from which a trainee takes its batches."""


Batches = Callable[[slice], tuple[Tensor, Tensor]]
"""Function from a slice of an epoch to images (B, C, H, W) and labels (B,) or class probabilities
(B, K).
"""


class Trainee(ABC, Generic[Images]):
    """Training state of one network: weights, optimizer, EMA, and the metrics of the epoch so far.

    Parameters with `requires_grad` are trained. A subclass defines the batches.
    """

    apart = False
    """True if a slice of a batch can be loaded without the rest of it.

    A process that shares the run then loads only its own slices.
    """

    def __init__(
        self,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        recipe: Recipe,
        numerics: Numerics,
        seed: int,
        train_images: int,
        device: torch.device,
        team: Team = ALONE,
    ) -> None:
        self.model, self.optimiser = model, optimiser
        self.shared = nn.parallel.DistributedDataParallel(model) if team.size > 1 else model
        self.recipe, self.numerics, self.seed, self.device, self.team = (
            recipe,
            numerics,
            seed,
            device,
            team,
        )
        self.full_rates = [group["lr"] for group in self.optimiser.param_groups]
        self.average = [p.detach().clone() for _, p in self.trained()] if recipe.ema else []
        self.step = 0
        self.total = recipe.total_steps(train_images)
        self.steps_per_epoch = recipe.steps_per_epoch(train_images)
        self.losses = torch.zeros(self.steps_per_epoch, device=device)  # one per step of this epoch
        self.wrong = torch.zeros(self.steps_per_epoch, dtype=torch.int64, device=device)
        self.train_images = train_images

    @abstractmethod
    def batches(self, images: Images, epoch: int) -> Batches:
        """Return the batches of an epoch over `images`.

        They depend on the seed and the epoch alone.
        """

    def trained(self) -> list[tuple[str, nn.Parameter]]:
        """Return the trainable parameters with their names."""
        return [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]

    def judge(self, images: Tensor) -> Tensor:
        """Return logits (B, K) of prepared images (B, C, H, W), with the EMA weights if there are
        any.
        """
        with autocast(self.numerics):
            if not self.average:
                logits: Tensor = self.model(self._laid_out(images))
                return logits
            names = [name for name, _ in self.trained()]
            weights = dict(zip(names, self.average, strict=True))
            ema_logits: Tensor = torch.func.functional_call(
                self.model, weights, (self._laid_out(images),)
            )
            return ema_logits

    def judged_weights(self) -> dict[str, Tensor]:
        """Return the state dict for evaluation: buffers, and the EMA in place of the trained
        weights.
        """
        state = dict(self.model.state_dict())
        names = [name for name, _ in self.trained()]
        return state | dict(zip(names, self.average, strict=False))

    def running(self) -> tuple[float, float]:
        """Return the mean training loss in nats and the top-1 error in per cent over the epoch so
        far.

        Both are measured in training mode. With mixup, the loss is that of the mixed images, and a
        prediction is correct if it is the class with the largest share.
        """
        steps = (self.step - 1) % self.steps_per_epoch + 1 if self.step else 0
        sizes = torch.full((steps,), float(self.recipe.batch_size), dtype=torch.float64)
        images_done = min(self.train_images, steps * self.recipe.batch_size)
        if steps:
            sizes[-1] -= steps * self.recipe.batch_size - images_done
        losses, wrong = self.losses[:steps].cpu().double(), self.wrong[:steps].cpu()
        return float((losses * sizes).sum() / max(1, images_done)), 100 * int(wrong.sum()) / max(
            1, images_done
        )

    def first_bad_step(self) -> int | None:
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

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors that a checkpoint needs for a bit-exact resume, except the step."""
        tensors = {f"model/{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {
            f"optimiser/{name}": t
            for name, t in optimiser_tensors(self.optimiser, self.model).items()
        }
        tensors |= {f"average/{index}": tensor for index, tensor in enumerate(self.average)}
        return tensors | {"epoch/losses": self.losses, "epoch/wrong": self.wrong}

    def restore(self, tensors: dict[str, Tensor], step: int) -> None:
        """Restore the tensors that `tensors` returned at `step`."""
        parts: dict[str, dict[str, Tensor]] = {
            "model": {},
            "optimiser": {},
            "average": {},
            "epoch": {},
        }
        for name, tensor in tensors.items():
            part, _, rest = name.partition("/")
            parts[part][rest] = tensor
        self.model.load_state_dict(parts["model"])
        restore_optimiser(self.optimiser, self.model, parts["optimiser"])
        with torch.no_grad():
            for index, tensor in enumerate(self.average):
                tensor.copy_(parts["average"][str(index)])
            self.losses.copy_(parts["epoch"]["losses"])
            self.wrong.copy_(parts["epoch"]["wrong"])
        self.step = step

    def train_step(self, images: Tensor, labels: Tensor, whole: int = 0) -> None:
        """Take one optimizer step on images (B, C, H, W) and labels (B,) or class probabilities (B,
        K).

        The images may be only this process's slice of a batch of `whole` images. Every faster way
        of taking a step must give the same bits as this one.
        """
        self.set_rates()
        self.seed_layers(self.step)
        index = self.step % self.steps_per_epoch
        self.losses[index], self.wrong[index] = self.team.total(self.update(images, labels, whole))
        self.step += 1

    def set_rates(self) -> None:
        """Set the optimizer's learning rates for this step."""
        factor = rate(self.recipe.schedule, self.step, self.total, self.steps_per_epoch)
        set_rates(self.optimiser, [full * factor for full in self.full_rates])

    def seed_layers(self, step: int) -> None:
        """Seed the random draws of layers (dropout) from the step, so that a resumed run draws the
        same numbers.
        """
        rank = (self.team.rank,) if self.team.rank else ()
        number = stream_seed(self.seed, "step", step, *rank)
        if self.device.type == "cpu":
            torch.default_generator.manual_seed(
                number
            )  # torch.manual_seed is slower: it seeds every kind of device
        else:
            torch.manual_seed(number)

    def update(self, images: Tensor, labels: Tensor, whole: int = 0) -> Tensor:
        """Compute the device part of a step; return the batch's loss and its number of wrong
        predictions, (2,) fp32.

        It never waits for the device, so that it can be captured as a CUDA graph.
        """
        loss, logits, own_labels = self._gradients(images, labels, whole)
        if self.recipe.clip_norm:
            nn.utils.clip_grad_norm_([p for _, p in self.trained()], self.recipe.clip_norm)
        self.optimiser.step()
        with torch.no_grad():
            if self.average:
                weights = [p.detach() for _, p in self.trained()]
                torch._foreach_lerp_(self.average, weights, 1 - self.recipe.ema)
            targets = own_labels.argmax(1) if own_labels.dim() > 1 else own_labels
            return torch.stack([loss.detach(), (logits.argmax(1) != targets).sum()])

    def _gradients(
        self, images: Tensor, labels: Tensor, whole: int = 0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the gradients of the batch; they replace those of the last step.

        Return this process's contribution to the batch's loss, and the logits (B, K) and labels of
        its slices.
        """
        self.optimiser.zero_grad()
        losses, scores = [], []
        parts = self.team.parts(whole or len(images), self.numerics.accumulate)
        if whole:  # `images` holds this process's slices only
            parts = [
                slice(part.start - parts[0].start, part.stop - parts[0].start) for part in parts
            ]
        for part in parts:
            # Gradients are averaged over the processes once, in the backward pass of the last part.
            synchronize = part is parts[-1] or self.team.size == 1
            with nullcontext() if synchronize else self.shared.no_sync():  # type: ignore[operator]
                with autocast(self.numerics):
                    logits: Tensor = self.shared(self._laid_out(images[part]))
                loss = self.loss(logits, labels[part]) * (
                    (part.stop - part.start) / (whole or len(images))
                )
                (loss * self.team.size).backward()
            losses.append(loss.detach())
            scores.append(logits.detach())
        return torch.stack(losses).sum(), torch.cat(scores), labels[parts[0].start : parts[-1].stop]

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy of logits (B, K) for labels (B,) or class probabilities (B,
        K).
        """
        return F.cross_entropy(logits.float(), labels, label_smoothing=self.recipe.label_smoothing)

    def _laid_out(self, images: Tensor) -> Tensor:
        return images.contiguous(memory_format=layout(self.numerics))


class Learner(Trainee[Resident]):
    """Training state of a network that is built from its config and trained on images that stay on
    the device.
    """

    def __init__(
        self,
        model: Model,
        recipe: Recipe,
        numerics: Numerics,
        seed: int,
        train: ImageArrays,
        classes: int,
        device: torch.device,
        team: Team = ALONE,
    ) -> None:
        channels = train.pixels.shape[3]
        built = build_model(model, channels, classes, lambda name: stream(seed, "init", name))
        if numerics.batch_norm == "synchronised":
            built = nn.SyncBatchNorm.convert_sync_batchnorm(built)  # type: ignore[no-untyped-call]
        network: nn.Module = built.to(device).to(memory_format=layout(numerics))
        self.spec, self.plain = model, ""
        optimiser = build_optimiser(recipe, network, capturable=numerics.capture == "on")
        super().__init__(network, optimiser, recipe, numerics, seed, len(train), device, team)
        if numerics.capture == "on":
            rates_as_tensors(optimiser, device)
        self.scale = fitted(recipe.normalise, train, recipe.augment.crop, device)
        self.classes = classes

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (B, K) of uint8 images (B, H, W, C) for evaluation, with the EMA weights if
        there are any.
        """
        return self.judge(self.prepared(pixels))

    def prepared(self, pixels: Tensor) -> Tensor:
        """Return uint8 images (B, H, W, C) as the network's input for evaluation, (B, C, H, W):
        cropped and scaled, not augmented.
        """
        return self._laid_out(self.scale(centre(pixels, self.recipe.augment.crop)))

    def batches(self, images: Resident, epoch: int) -> Batches:
        """Return the batches of `images`, augmented and scaled."""
        return partial(self.batch, images, self.plan(images, epoch))

    def plan(self, images: Resident, epoch: int) -> EpochPlan:
        """Return the order and the random draws of an epoch, on the device."""
        draw = partial(stream, self.seed, "epoch", epoch)
        return plan_epoch(len(images), images.pixels.shape[1], self.recipe.augment, draw).to(
            self.device
        )

    def batch(
        self, images: Resident, plan: EpochPlan, part: slice | Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return a part of an epoch, augmented and scaled.

        `part` is a slice or a tensor of positions (B,) int64.
        """
        augment = self.recipe.augment
        batch = train_batch(images.pixels, plan, part, augment, self.scale)
        return batch, train_labels(images.labels, plan, part, augment, self.classes)
