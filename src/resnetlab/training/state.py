"""Training state: a model with its optimizer, EMA, step and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnetlab.recipes.numerics import Numerics
from resnetlab.recipes.train import Recipe
from resnetlab.training.device import autocast, to_memory_format
from resnetlab.training.distributed import SINGLE_PROCESS, World
from resnetlab.training.ema import EMA
from resnetlab.training.lr_schedule import lr_factor
from resnetlab.training.optimizer import (
    load_optimizer_state_dict,
    optimizer_state_dict,
    set_lr,
)
from resnetlab.training.rng import derive_seed


class TrainMetrics(NamedTuple):
    """Metrics over the train batches of an epoch."""

    loss_nats: float
    top1_error_pct: float


class TrainState:
    """Training state of a model: weights, optimizer, EMA, and the metrics of the epoch so far.

    The parameters with `requires_grad` are trained. A module that is in eval mode at the start
    stays so.
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
        self.wrapped_model = nn.parallel.DistributedDataParallel(model) if world.size > 1 else model
        self.recipe, self.numerics, self.seed = recipe, numerics, seed
        self.device, self.world = device, world
        self.trainable = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.eval_modules = [module for module in model.modules() if not module.training]
        self.ema = EMA(self.trainable.values(), recipe.ema) if recipe.ema else None
        self.base_lrs = [group["lr"] for group in optimizer.param_groups]
        self.step = 0
        self.num_train_images = num_train_images
        self.total_steps = recipe.total_steps(num_train_images)
        self.steps_per_epoch = recipe.steps_per_epoch(num_train_images)
        self.losses = torch.zeros(self.steps_per_epoch, device=device)  # one per step of this epoch
        self.error_counts = torch.zeros(self.steps_per_epoch, dtype=torch.int64, device=device)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy; the labels may be class probabilities (B, K)."""
        return F.cross_entropy(logits.float(), labels, label_smoothing=self.recipe.label_smoothing)

    def no_sync(self) -> AbstractContextManager[None]:
        """Return a context in which several processes do not average their gradients."""
        if isinstance(self.wrapped_model, nn.parallel.DistributedDataParallel):
            context: AbstractContextManager[None] = self.wrapped_model.no_sync()
            return context
        return nullcontext()

    def set_train_mode(self) -> None:
        """Set the model to training mode, except the modules that stay in eval mode."""
        if self.model.training:
            return
        self.model.train()
        for module in self.eval_modules:
            module.training = False

    def set_lr(self) -> None:
        """Set the optimizer's learning rates for this step."""
        factor = lr_factor(self.recipe.schedule, self.step, self.total_steps, self.steps_per_epoch)
        set_lr(self.optimizer, [lr * factor for lr in self.base_lrs])

    def seed_dropout(self, step: int) -> None:
        """Seed the random draws of layers from the step, so that a resumed run draws the same."""
        rank = (self.world.rank,) if self.world.rank else ()
        seed = derive_seed(self.seed, "step", step, *rank)
        if self.device.type == "cpu":  # torch.manual_seed is slower: it seeds every kind of device
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)

    def record_step(self, metrics: Tensor) -> None:
        """Store the metrics of a step, summed over the processes, and count the step.

        Args:
            metrics: Loss and number of errors of this process, (2,) fp32, from `train_step`.
        """
        index = self.step % self.steps_per_epoch
        self.losses[index], self.error_counts[index] = self.world.all_reduce_sum(metrics)
        self.step += 1

    @property
    def images_processed(self) -> int:
        """Number of train images in the steps so far."""
        epochs, steps = divmod(self.step, self.steps_per_epoch)
        per_epoch = self._images_in(self.steps_per_epoch)
        return epochs * per_epoch + self._images_in(steps)

    def _images_in(self, steps: int) -> int:
        """Return the number of images in the first `steps` of an epoch; the last may have fewer."""
        return min(self.num_train_images, steps * self.recipe.batch_size)

    def _steps_so_far_in_epoch(self) -> int:
        """Return the number of steps of the epoch so far: all of them right after its last step."""
        return (self.step - 1) % self.steps_per_epoch + 1 if self.step else 0

    def eval_forward(self, images: Tensor) -> Tensor:
        """Return logits (B, K) of prepared images (B, C, H, W), with the EMA if there is one."""
        inputs = to_memory_format(images, self.numerics)
        with autocast(self.numerics):
            if self.ema is None:
                logits: Tensor = self.model(inputs)
            else:
                logits = torch.func.functional_call(self.model, self._ema_by_name(), (inputs,))
        return logits

    def _ema_by_name(self) -> dict[str, Tensor]:
        """Return the averaged parameters by name; without an EMA there are none."""
        if self.ema is None:
            return {}
        return dict(zip(self.trainable, self.ema.weights, strict=True))

    def eval_state_dict(self) -> dict[str, Tensor]:
        """Return the state dict for evaluation, with the EMA in place of the trained weights."""
        return dict(self.model.state_dict()) | self._ema_by_name()

    def use_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Load weights that are evaluated from now on. They have their own average, if any."""
        self.model.load_state_dict(weights)
        self.ema = None

    def train_metrics(self) -> TrainMetrics:
        """Return the mean loss and the top-1 error over the epoch so far.

        Both are measured in training mode. With mixup, the loss is that of the mixed images, and a
        prediction is correct if it is the class with the largest share.
        """
        steps = self._steps_so_far_in_epoch()
        images = self._images_in(steps)
        sizes = torch.full((steps,), float(self.recipe.batch_size), dtype=torch.float64)
        if steps:  # the last batch of an epoch may be smaller
            sizes[-1] -= steps * self.recipe.batch_size - images
        losses, errors = self.losses[:steps].cpu().double(), self.error_counts[:steps].cpu()
        loss = (losses * sizes).sum() / max(1, images)
        return TrainMetrics(float(loss), 100 * int(errors.sum()) / max(1, images))

    def first_nonfinite_step(self) -> int | None:
        """Return the first step of this epoch, counted from 1, whose loss is not finite, or None.

        If all losses are finite but a weight is not, return the current step.
        """
        steps = self._steps_so_far_in_epoch()
        bad_steps = torch.nonzero(~torch.isfinite(self.losses[:steps]))
        if len(bad_steps):
            return self.step - steps + int(bad_steps[0]) + 1
        # min and max are NaN if any element is NaN; one transfer from the device is enough for all.
        extremes: list[Tensor] = []
        for tensor in (*self.model.parameters(), *self.model.buffers()):
            if tensor.numel() and tensor.is_floating_point():
                extremes += [value.float() for value in torch.aminmax(tensor.detach())]
        return None if bool(torch.stack(extremes).isfinite().all()) else self.step

    def state_dict(self) -> dict[str, Tensor]:
        """Return all tensors that a checkpoint needs for a bit-exact resume, except the step."""
        parts = {
            "model": self.model.state_dict(),
            "optimizer": optimizer_state_dict(self.optimizer, self.model),
            "ema": self._ema_by_name(),
            "epoch": {"losses": self.losses, "error_counts": self.error_counts},
        }
        return {
            f"{part}/{name}": tensor
            for part, tensors in parts.items()
            for name, tensor in tensors.items()
        }

    def load_state_dict(self, tensors: dict[str, Tensor], step: int) -> None:
        """Restore the tensors that `state_dict` returned at `step`."""
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}, "ema": {}, "epoch": {}}
        for name, tensor in tensors.items():
            part, _, rest = name.partition("/")
            parts[part][rest] = tensor
        self.model.load_state_dict(parts["model"])
        load_optimizer_state_dict(self.optimizer, self.model, parts["optimizer"])
        with torch.no_grad():
            for name, tensor in self._ema_by_name().items():
                tensor.copy_(parts["ema"][name])
            self.losses.copy_(parts["epoch"]["losses"])
            self.error_counts.copy_(parts["epoch"]["error_counts"])
        self.step = step


def clone_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies of tensors, without gradients."""
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}
