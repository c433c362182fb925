"""Training recipes as dataclasses: optimizer, schedule, augmentation. Free of torch.

A default that is taken from a paper names its source.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from resnetlab.data.config import PRESETS, Augment, Fixed, Normalise
from resnetlab.errors import mistake
from resnetlab.schema import Amount, FieldError, Fraction, Positive, PositiveAmount, spec, tagged


@spec
class SGD:
    """Stochastic gradient descent with momentum."""

    name: Literal["sgd"] = "sgd"
    lr: PositiveAmount = 0.1  # He et al. 2016, sec. 3.4
    momentum: Fraction = 0.9  # He et al. 2016, sec. 3.4
    nesterov: bool = False
    weight_decay: Amount = 0.0

    def __post_init__(self) -> None:
        if self.nesterov and not self.momentum:
            raise FieldError("nesterov", "needs a momentum above 0", "momentum = 0.9")


@spec
class Adam:
    """Adam (Kingma and Ba 2015); weight decay is added to the gradient."""

    name: Literal["adam"] = "adam"
    lr: PositiveAmount = 1e-3
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    eps: PositiveAmount = 1e-8
    weight_decay: Amount = 0.0


@spec
class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

    name: Literal["adamw"] = "adamw"
    lr: PositiveAmount = 1e-3
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    eps: PositiveAmount = 1e-8
    weight_decay: Amount = 0.01


@spec
class RMSprop:
    """RMSprop: the gradient divided by a moving root mean square of itself (Tieleman and Hinton
    2012, lecture 6.5).
    """

    name: Literal["rmsprop"] = "rmsprop"
    lr: PositiveAmount = 1e-3  # Tieleman and Hinton 2012, lecture 6.5
    alpha: Fraction = 0.9  # Tieleman and Hinton 2012, lecture 6.5
    """Decay per step of the mean square."""
    eps: PositiveAmount = 1e-8
    weight_decay: Amount = 0.0


Optimiser = Annotated[SGD | Adam | AdamW | RMSprop, tagged("name")]


@spec
class Constant:
    """Constant learning rate."""

    name: Literal["constant"] = "constant"
    warmup: Fraction = 0.0
    """Fraction of the run over which the learning rate rises linearly from zero."""


@spec
class Step:
    """Step schedule: the learning rate is multiplied by `gamma` at each milestone, a fraction of
    the run.
    """

    name: Literal["step"] = "step"
    milestones: tuple[Fraction, ...] = (
        0.5,
        0.75,
    )  # 32k and 48k of 64k steps: He et al. 2016, sec. 4.2
    gamma: PositiveAmount = 0.1
    warmup: Fraction = 0.0


@spec
class Exponential:
    """Exponential schedule: the learning rate is multiplied by `gamma` after each epoch."""

    name: Literal["exponential"] = "exponential"
    gamma: PositiveAmount = 0.95
    warmup: Fraction = 0.0


@spec
class Cosine:
    """Cosine schedule from the full learning rate to `final` times it (Loshchilov, Hutter 2017)."""

    name: Literal["cosine"] = "cosine"
    final: Fraction = 0.0
    warmup: Fraction = 0.0


@spec
class OneCycle:
    """One-cycle schedule: half a cosine up to `peak`, a fraction of the run, then half a cosine
    down (Smith and Topin 2018).
    """

    name: Literal["one-cycle"] = "one-cycle"
    peak: Annotated[Fraction, "share of the run"] = 0.3
    start: Fraction = 0.04
    """Fraction of the full learning rate at the first step."""
    final: Fraction = 0.0
    """Fraction of the full learning rate at the end."""

    def __post_init__(self) -> None:
        if not self.peak:
            raise FieldError("peak", "0 leaves no way up", "peak = 0.3")


Schedule = Annotated[Constant | Step | Exponential | Cosine | OneCycle, tagged("name")]


@spec
class Recipe:
    """Training recipe. Give `epochs` or `steps`, not both."""

    batch_size: Positive = 128
    epochs: Positive | None = None
    steps: Positive | None = None
    optimiser: Optimiser = SGD()
    schedule: Schedule = Constant()
    augment: Augment = Augment()
    normalise: Normalise = "train"
    """Normalization. train: mean and sd per channel of the train split; half: (x - .5) / .5; none:
    x from 0 to 1; per-image: each image by its own mean and sd; zca: ZCA whitening fitted to the
    train split; imagenet, practical or a table: given numbers.
    """
    label_smoothing: Fraction = 0.0
    decay_norm_and_bias: bool = True
    """Weight decay on normalization layers and biases too, as in the classic recipes."""
    ema: Fraction = 0.0
    """Decay per step of an exponential moving average (EMA) of the weights, which is used for
    evaluation; 0 for none.
    """
    clip_norm: Amount = 0.0
    """Maximum norm of the gradient of all parameters; 0 for no clipping."""
    choose: Literal["last", "best"] = "last"
    """Checkpoint selection: the last weights, or those with the lowest validation error.

    They are saved and tested.
    """

    def __post_init__(self) -> None:
        if self.epochs is not None and self.steps is not None:
            raise FieldError("epochs", "given beside steps", "keep one of the two")
        if self.epochs is None and self.steps is None:
            raise FieldError("epochs", "missing", "add epochs = 10")
        if self.batch_size == 1:
            raise FieldError(
                "batch_size", "1 leaves batch normalisation no batch", "batch_size = 2"
            )
        if (
            (self.epochs or 0) > 100_000
            or (self.steps or 0) > 100_000_000
            or self.batch_size > 1_000_000
        ):
            raise FieldError("", "larger than any machine's lifetime", "epochs up to 100000")

    def seen(self, side: int, channels: int) -> int:
        """Return the side in pixels of the network's input for images of `side` pixels.

        Raises InputError if they do not fit.
        """
        crop = self.augment.crop
        if crop > side:
            fix = f"recipe.augment.crop = {side * 7 // 8}, or 0 for none"
            raise mistake(
                "recipe",
                f"larger than the images, which have {side} pixels a side",
                fix,
                field="augment.crop",
                got=crop,
            )
        fixed = PRESETS.get(self.normalise) if isinstance(self.normalise, str) else self.normalise
        if isinstance(fixed, Fixed) and len(fixed.mean) != channels:
            problem = f"numbers for {len(fixed.mean)} channels, of images that have {channels}"
            raise mistake("recipe", problem, 'recipe.normalise = "train"', field="normalise")
        return crop or side

    def steps_per_epoch(self, images: int) -> int:
        """Return the batches per epoch over `images` train images.

        A last batch of one image is left out.
        """
        return max(1, math.ceil((images - 1) / self.batch_size))

    def total_steps(self, images: int) -> int:
        """Return the steps of the whole run over `images` train images."""
        return self.steps or (self.epochs or 0) * self.steps_per_epoch(images)

    def passes(self, images: int) -> float:
        """Return the epochs of the whole run over `images` train images."""
        return self.total_steps(images) / self.steps_per_epoch(images)
