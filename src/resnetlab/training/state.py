"""The state of a network in training, and one that takes its batches from images on the device."""

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
"""What a trainee takes its batches from."""


Batches = Callable[[slice], tuple[Tensor, Tensor]]
"""Part of an epoch, as images (B, C, H, W) and labels (B,) or shares of the classes (B, K)."""


class Trainee(ABC, Generic[Images]):
    """One network in training: weights, optimiser, average, and the sums of the epoch so far.

    Of the parameters, those that ask for a gradient are trained. A subclass says where batches come from.
    """

    apart = False
    """Whether a part of a batch can be had without the rest: a process that shares the run asks for its own alone."""

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
        self.recipe, self.numerics, self.seed, self.device, self.team = recipe, numerics, seed, device, team
        self.full_rates = [group["lr"] for group in self.optimiser.param_groups]
        self.average = [p.detach().clone() for _, p in self.trained()] if recipe.ema else []
        self.step = 0
        self.total = recipe.total_steps(train_images)
        self.steps_per_epoch = recipe.steps_per_epoch(train_images)
        self.losses = torch.zeros(self.steps_per_epoch, device=device)  # of the epoch so far, one a step
        self.wrong = torch.zeros(self.steps_per_epoch, dtype=torch.int64, device=device)
        self.train_images = train_images

    @abstractmethod
    def batches(self, images: Images, epoch: int) -> Batches:
        """The batches of an epoch over `images`, a function of the seed and the epoch alone."""

    def trained(self) -> list[tuple[str, nn.Parameter]]:
        """The parameters that are trained, by name."""
        return [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]

    def judge(self, images: Tensor) -> Tensor:
        """Logits (B, K) of what the network takes, by the weights by which it is judged."""
        with autocast(self.numerics):
            if not self.average:
                logits: Tensor = self.model(self._laid_out(images))
                return logits
            names = [name for name, _ in self.trained()]
            weights = dict(zip(names, self.average, strict=True))
            judged: Tensor = torch.func.functional_call(self.model, weights, (self._laid_out(images),))
            return judged

    def judged_weights(self) -> dict[str, Tensor]:
        """The state by which the network is judged: buffers, and the average in place of the weights."""
        state = dict(self.model.state_dict())
        names = [name for name, _ in self.trained()]
        return state | dict(zip(names, self.average, strict=False))

    def running(self) -> tuple[float, float]:
        """The loop's own mean loss in nats and top-1 error in per cent over the epoch so far, in training mode.

        With mixup, the loss of mixtures; one is right where the network says the class with the largest share.
        """
        steps = (self.step - 1) % self.steps_per_epoch + 1 if self.step else 0
        sizes = torch.full((steps,), float(self.recipe.batch_size), dtype=torch.float64)
        seen = min(self.train_images, steps * self.recipe.batch_size)
        if steps:
            sizes[-1] -= steps * self.recipe.batch_size - seen
        losses, wrong = self.losses[:steps].cpu().double(), self.wrong[:steps].cpu()
        return float((losses * sizes).sum() / max(1, seen)), 100 * int(wrong.sum()) / max(1, seen)

    def first_bad_step(self) -> int | None:
        """The first step of the epoch so far whose loss is not finite; the step itself when only a weight is not."""
        steps = (self.step - 1) % self.steps_per_epoch + 1 if self.step else 0
        bad = torch.nonzero(~torch.isfinite(self.losses[:steps]))
        if len(bad):
            return self.step - steps + int(bad[0]) + 1
        held = (tensor.detach() for tensor in (*self.model.parameters(), *self.model.buffers()) if tensor.numel())
        # The least and the largest of a tensor are nan where any of it is; the device is asked once.
        ends = [end.float() for tensor in held if tensor.is_floating_point() for end in torch.aminmax(tensor)]
        return None if bool(torch.stack(ends).isfinite().all()) else self.step

    def tensors(self) -> dict[str, Tensor]:
        """All that a checkpoint must hold to go on with the same bits, beside the step."""
        held = {f"model/{name}": tensor for name, tensor in self.model.state_dict().items()}
        held |= {f"optimiser/{name}": t for name, t in optimiser_tensors(self.optimiser, self.model).items()}
        held |= {f"average/{index}": tensor for index, tensor in enumerate(self.average)}
        return held | {"epoch/losses": self.losses, "epoch/wrong": self.wrong}

    def restore(self, held: dict[str, Tensor], step: int) -> None:
        """Put back what `tensors` gave at `step`."""
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimiser": {}, "average": {}, "epoch": {}}
        for name, tensor in held.items():
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
        """One step on a batch: images (B, C, H, W), labels (B,) or shares of the classes (B, K).

        They may be this process's part alone, of a batch of `whole` images. The definition, whatever is faster.
        """
        self.set_rates()
        self.seed_layers(self.step)
        index = self.step % self.steps_per_epoch
        self.losses[index], self.wrong[index] = self.team.total(self.update(images, labels, whole))
        self.step += 1

    def set_rates(self) -> None:
        """Give the optimiser the learning rates of this step."""
        factor = rate(self.recipe.schedule, self.step, self.total, self.steps_per_epoch)
        set_rates(self.optimiser, [full * factor for full in self.full_rates])

    def seed_layers(self, step: int) -> None:
        """What a layer draws (dropout) follows from the step, so that a resumed run draws the same."""
        rank = (self.team.rank,) if self.team.rank else ()
        number = stream_seed(self.seed, "step", step, *rank)
        if self.device.type == "cpu":
            torch.default_generator.manual_seed(number)  # torch.manual_seed turns to every kind of device, each time
        else:
            torch.manual_seed(number)

    def update(self, images: Tensor, labels: Tensor, whole: int = 0) -> Tensor:
        """All of a step that the device does; gives the batch's loss and how many are wrong, (2,) fp32.

        It asks the device nothing, so that it can be captured.
        """
        loss, logits, mine = self._gradients(images, labels, whole)
        if self.recipe.clip_norm:
            nn.utils.clip_grad_norm_([p for _, p in self.trained()], self.recipe.clip_norm)
        self.optimiser.step()
        with torch.no_grad():
            if self.average:
                weights = [p.detach() for _, p in self.trained()]
                torch._foreach_lerp_(self.average, weights, 1 - self.recipe.ema)
            largest = mine.argmax(1) if mine.dim() > 1 else mine
            return torch.stack([loss.detach(), (logits.argmax(1) != largest).sum()])

    def _gradients(self, images: Tensor, labels: Tensor, whole: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """Put the batch's gradients in place of the last ones.

        Gives what this process's part adds to the batch's loss, and the part's logits (B, K) and labels.
        """
        self.optimiser.zero_grad()
        losses, scores = [], []
        parts = self.team.parts(whole or len(images), self.numerics.accumulate)
        if whole:  # the images begin with this process's first
            parts = [slice(part.start - parts[0].start, part.stop - parts[0].start) for part in parts]
        for part in parts:
            # The processes' gradients meet, and are averaged, with the last part.
            with nullcontext() if part is parts[-1] or self.team.size == 1 else self.shared.no_sync():  # type: ignore[operator]
                with autocast(self.numerics):
                    logits: Tensor = self.shared(self._laid_out(images[part]))
                loss = self.loss(logits, labels[part]) * ((part.stop - part.start) / (whole or len(images)))
                (loss * self.team.size).backward()
            losses.append(loss.detach())
            scores.append(logits.detach())
        return torch.stack(losses).sum(), torch.cat(scores), labels[parts[0].start : parts[-1].stop]

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean loss of logits (B, K) for labels (B,) or shares of the classes (B, K)."""
        return F.cross_entropy(logits.float(), labels, label_smoothing=self.recipe.label_smoothing)

    def _laid_out(self, images: Tensor) -> Tensor:
        return images.contiguous(memory_format=layout(self.numerics))


class Learner(Trainee[Resident]):
    """A network that is built from its spec and trained on images that stay on the device."""

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
        """uint8 (B, H, W, C) to the logits (B, K) by which the network is judged: of the average, if there is one."""
        return self.judge(self.prepared(pixels))

    def prepared(self, pixels: Tensor) -> Tensor:
        """uint8 (B, H, W, C) as the network takes them when it is judged, not augmented: (B, C, H, W)."""
        return self._laid_out(self.scale(centre(pixels, self.recipe.augment.crop)))

    def batches(self, images: Resident, epoch: int) -> Batches:
        """Batches of `images`, augmented and scaled."""
        return partial(self.batch, images, self.plan(images, epoch))

    def plan(self, images: Resident, epoch: int) -> EpochPlan:
        """The order and the draws of an epoch, on the device."""
        draw = partial(stream, self.seed, "epoch", epoch)
        return plan_epoch(len(images), images.pixels.shape[1], self.recipe.augment, draw).to(self.device)

    def batch(self, images: Resident, plan: EpochPlan, part: slice | Tensor) -> tuple[Tensor, Tensor]:
        """Part of an epoch, as a slice or as places in it (B,) int64, augmented and scaled."""
        augment = self.recipe.augment
        shown = train_batch(images.pixels, plan, part, augment, self.scale)
        return shown, train_labels(images.labels, plan, part, augment, self.classes)
