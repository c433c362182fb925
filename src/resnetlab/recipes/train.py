"""Training recipes as dataclasses: optimizer, schedule, augmentation. Free of torch.

A default that is taken from a paper names its source.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Annotated, Literal

from resnetlab.data.config import CHANNEL_STATS_PRESETS, Augment, ChannelStats, NormalizeMode
from resnetlab.errors import input_error
from resnetlab.schema import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    UnitInterval,
    discriminated_by,
    strict_dataclass,
)
from resnetlab.schema_errors import FieldError


@strict_dataclass
class SGD:
    """Stochastic gradient descent with momentum."""

    name: Literal["sgd"] = "sgd"
    lr: PositiveFloat = 0.1  # He et al. 2016, sec. 3.4
    """Learning rate before the schedule."""
    momentum: UnitInterval = 0.9  # He et al. 2016, sec. 3.4
    """Factor by which the sum of past gradients is multiplied in each step; 0 for none."""
    nesterov: bool = False
    """Nesterov momentum: the gradient is taken after the step of the momentum."""
    weight_decay: NonNegativeFloat = 0.0
    """Factor of the weights that is added to the gradient (an L2 penalty); 0 for none."""

    def __post_init__(self) -> None:
        if self.nesterov and not self.momentum:
            raise FieldError("nesterov", "needs a momentum above 0", "momentum = 0.9")


@strict_dataclass
class Adam:
    """Adam (Kingma and Ba 2015); weight decay is added to the gradient."""

    name: Literal["adam"] = "adam"
    lr: PositiveFloat = 1e-3
    betas: tuple[UnitInterval, UnitInterval] = (0.9, 0.999)
    """Decay per step of the mean of the gradient and of the mean of its square."""
    eps: PositiveFloat = 1e-8
    """Number that is added to the root of the mean square, so that nothing is divided by zero."""
    weight_decay: NonNegativeFloat = 0.0


@strict_dataclass
class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

    name: Literal["adamw"] = "adamw"
    lr: PositiveFloat = 1e-3
    betas: tuple[UnitInterval, UnitInterval] = (0.9, 0.999)
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.01


@strict_dataclass
class RMSprop:
    """RMSprop: the gradient divided by its moving root mean square (Tieleman and Hinton 2012)."""

    name: Literal["rmsprop"] = "rmsprop"
    lr: PositiveFloat = 1e-3  # Tieleman and Hinton 2012, lecture 6.5
    alpha: UnitInterval = 0.9  # Tieleman and Hinton 2012, lecture 6.5
    """Decay per step of the mean square."""
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.0


Optimizer = Annotated[SGD | Adam | AdamW | RMSprop, discriminated_by("name")]


@strict_dataclass
class Constant:
    """Constant learning rate."""

    name: Literal["constant"] = "constant"
    warmup: UnitInterval = 0.0
    """Fraction of the run over which the learning rate rises linearly from zero."""


@strict_dataclass
class MultiStep:
    """Step schedule: the rate is multiplied by `gamma` at each milestone, a fraction of the run."""

    name: Literal["step"] = "step"
    # 32k and 48k of 64k steps: He et al. 2016, sec. 4.2
    milestones: tuple[UnitInterval, ...] = (0.5, 0.75)
    """Fractions of the run after which the learning rate is multiplied by `gamma`."""
    gamma: PositiveFloat = 0.1
    """Factor of the learning rate at each milestone."""
    warmup: UnitInterval = 0.0


@strict_dataclass
class Exponential:
    """Exponential schedule: the learning rate is multiplied by `gamma` after each epoch."""

    name: Literal["exponential"] = "exponential"
    gamma: PositiveFloat = 0.95
    """Factor of the learning rate after each epoch."""
    warmup: UnitInterval = 0.0


@strict_dataclass
class Cosine:
    """Cosine schedule from the full learning rate to `final` times it (Loshchilov, Hutter 2017)."""

    name: Literal["cosine"] = "cosine"
    final: UnitInterval = 0.0
    warmup: UnitInterval = 0.0


@strict_dataclass
class OneCycle:
    """One-cycle schedule: half a cosine up to fraction `peak`, then down (Smith and Topin 2018)."""

    name: Literal["one-cycle"] = "one-cycle"
    peak: Annotated[UnitInterval, "share of the run"] = 0.3
    """Fraction of the run after which the learning rate is largest."""
    start: UnitInterval = 0.04
    """Fraction of the full learning rate at the first step."""
    final: UnitInterval = 0.0
    """Fraction of the full learning rate at the end."""

    def __post_init__(self) -> None:
        if not self.peak:
            raise FieldError("peak", "the learning rate needs time to rise", "peak = 0.3")


Schedule = Annotated[
    Constant | MultiStep | Exponential | Cosine | OneCycle, discriminated_by("name")
]


@strict_dataclass
class Recipe:
    """Training recipe. Give `epochs` or `steps`, not both."""

    batch_size: PositiveInt = 128
    """Number of images per step. A last batch of one image is left out."""
    epochs: PositiveInt | None = None
    """Number of passes over the train images; None if `steps` is given."""
    steps: PositiveInt | None = None
    """Number of optimizer steps; None if `epochs` is given."""
    optimizer: Optimizer = SGD()
    """Optimizer with its settings."""
    schedule: Schedule = Constant()
    """Learning rate over the run, as a factor of the optimizer's `lr`."""
    augment: Augment = Augment()
    """Random changes of each train image in each epoch."""
    normalize: NormalizeMode = "train"
    """Normalization. train: mean and sd per channel of the train split; half: (x - .5) / .5; none:
    x from 0 to 1; per-image: each image by its own mean and sd; zca: ZCA whitening fitted to the
    train split; imagenet, practical or a table: given numbers.
    """
    label_smoothing: UnitInterval = 0.0
    """Share of the label that is spread evenly over all classes; 0 for none."""
    decay_norm_and_bias: bool = True
    """Weight decay on normalization layers and biases too, as in the classic recipes."""
    ema: UnitInterval = 0.0
    """Decay per step of the moving average (EMA) of weights that is evaluated; 0 for none."""
    clip_norm: NonNegativeFloat = 0.0
    """Maximum norm of the gradient of all parameters; 0 for no clipping."""
    select: Literal["last", "best"] = "last"
    """Weights that are saved and tested: the last, or those of the lowest validation error."""
    eval_every_epochs: PositiveInt = 1
    """Epochs from one evaluation to the next. The start and the last epoch are always evaluated."""
    initial_weights_seed: NonNegativeInt | None = None
    """Seed of the initial weights, so that runs of several seeds start from the same weights and
    differ in the order of the images alone; None for the seed of the run.
    """

    def __post_init__(self) -> None:
        if self.epochs is not None and self.steps is not None:
            raise FieldError("epochs", "given together with steps", "remove one of the two")
        if self.epochs is None and self.steps is None:
            raise FieldError("epochs", "missing", "add epochs = 10")
        if self.batch_size == 1:
            raise FieldError("batch_size", "batch normalization needs two images", "batch_size = 2")
        if (
            (self.epochs or 0) > 100_000
            or (self.steps or 0) > 100_000_000
            or self.batch_size > 1_000_000
        ):
            raise FieldError("", "training would never end", "epochs up to 100000")

    @property
    def identity(self) -> Recipe:
        """Recipe without the fields that change no result."""
        return self

    @property
    def training(self) -> Recipe:
        """Recipe without the fields that change the evaluation alone."""
        return replace(self, select="last", eval_every_epochs=1)

    def input_size(self, image_size: int, channels: int) -> int:
        """Return the size in pixels of the network's input for images of that size.

        Raises InputError if they do not fit.
        """
        crop = self.augment.crop
        if crop > image_size:
            fix = f"recipe.augment.crop = {image_size * 7 // 8}, or 0 for none"
            raise input_error(
                "recipe",
                f"the images have {image_size} pixels per side only",
                fix,
                field="augment.crop",
                got=crop,
            )
        fixed = (
            CHANNEL_STATS_PRESETS.get(self.normalize)
            if isinstance(self.normalize, str)
            else self.normalize
        )
        if isinstance(fixed, ChannelStats) and len(fixed.mean) != channels:
            problem = f"numbers for {len(fixed.mean)} channels, of images that have {channels}"
            raise input_error("recipe", problem, 'recipe.normalize = "train"', field="normalize")
        return crop or image_size

    def steps_per_epoch(self, num_images: int) -> int:
        """Return the batches per epoch over the train images, without a last batch of one."""
        return max(1, math.ceil((num_images - 1) / self.batch_size))

    def smallest_batch(self, num_images: int) -> int:
        """Return the number of images of the smallest batch of an epoch."""
        last = num_images - (self.steps_per_epoch(num_images) - 1) * self.batch_size
        return min(self.batch_size, last)

    def total_steps(self, num_images: int) -> int:
        """Return the steps of the whole run over `num_images` train images."""
        return self.steps or (self.epochs or 0) * self.steps_per_epoch(num_images)

    def epochs_at(self, step: int, num_images: int) -> float | None:
        """Return the epochs over `num_images` train images after `step` steps."""
        return step / self.steps_per_epoch(num_images)

    def is_evaluated(self, step: int, num_images: int) -> bool:
        """Return True if the splits are evaluated after `step` steps, at the end of an epoch."""
        epochs, rest = divmod(step, self.steps_per_epoch(num_images))
        is_due = not rest and epochs % self.eval_every_epochs == 0
        return is_due or step == self.total_steps(num_images)

    def evaluations(self, num_images: int) -> int:
        """Return the number of evaluations of a run, before its first step and after epochs."""
        epochs = math.ceil(self.num_epochs(num_images))
        return 1 + math.ceil(epochs / self.eval_every_epochs)

    def num_epochs(self, num_images: int) -> float:
        """Return the epochs of the whole run over `num_images` train images."""
        return self.total_steps(num_images) / self.steps_per_epoch(num_images)


def train_subset_size(num_images: int) -> int:
    """Return the number of train images that are evaluated: a twentieth, 500 to 5,000 images."""
    return min(num_images, max(500, min(5_000, num_images // 20)))
