"""Configs of networks without shortcuts: LeNet-5, an AlexNet for CIFAR, VGG. Free of torch."""

from __future__ import annotations

from typing import Literal

from resnetlab.models.configs.cost import CostCounter, CountedConfig
from resnetlab.schema import PositiveInt, UnitInterval, strict_dataclass
from resnetlab.schema_errors import FieldError


@strict_dataclass
class LeNet5Config(CountedConfig):
    """LeNet-5 as taught today (after LeCun et al. 1998): tanh, max pooling, images of 28x28.

    5x5 convolutions to 6 (padding 2) and 16 channels, each followed by a 2x2 max pooling, then
    linear layers 400-120-84-classes.
    """

    family: Literal["lenet5"] = "lenet5"
    init: Literal["he", "pytorch"] = "pytorch"
    """Initialization. he: normal, sd sqrt(2 / fan-in) (He et al. 2015b); pytorch: as torch."""

    depth = 5
    shortcut = "none"

    @property
    def slug(self) -> str:
        """Common name of the network, with a `+` if the config differs from the classic one."""
        return "lenet5" if self == LeNet5Config() else "lenet5+"

    @property
    def title(self) -> str:
        """Title for a table or a figure."""
        return "LeNet-5"

    def _count_layers(self, counter: CostCounter, num_classes: int) -> None:
        counter.conv("conv1", 6, 5, 1, 2, bias=True)
        counter.pool("pool1", 2, 2)
        counter.conv("conv2", 16, 5, bias=True)
        counter.pool("pool2", 2, 2)
        counter.flatten("fc3", 5)
        for out in (120, 84, num_classes):
            counter.linear(out)


@strict_dataclass
class AlexNetCifarConfig(CountedConfig):
    """Small AlexNet for CIFAR (Deep Learning practical 5-6, sec. 2.1): 3 convolutions, 2 linear.

    Convolutions to 32, 64 and 64 channels keep the size; ReLU and a 2x2 max pooling follow each;
    then 1000 units and the classes. Images of 32 pixels, or of 28 with `ceil_mode`, reach the first
    linear layer as 64 feature maps of 4x4.
    """

    family: Literal["alexnet-cifar"] = "alexnet-cifar"
    ceil_mode: bool = False
    """Rounding up in the last pooling, so that a crop of 28 pixels still gives 4x4 (sec. 3.2)."""
    dropout: UnitInterval = 0.0
    """Probability of dropping a unit between the two linear layers (sec. 3.4)."""
    batch_norm: bool = False
    """Batch normalization after each convolution, before its ReLU (sec. 3.5)."""
    init: Literal["he", "pytorch"] = "pytorch"

    depth = 5
    shortcut = "none"

    @property
    def slug(self) -> str:
        """Common name of the network, with a `+` if the config differs from the classic one."""
        return "alexnet-cifar" if self == AlexNetCifarConfig() else "alexnet-cifar+"

    @property
    def title(self) -> str:
        """Title for a table or a figure."""
        options = {
            "ceil mode": self.ceil_mode,
            f"dropout {self.dropout:g}": self.dropout > 0,
            "batch norm": self.batch_norm,
        }
        names = [name for name, present in options.items() if present]
        return "AlexNet for CIFAR" + (f" ({', '.join(names)})" if names else "")

    def _count_layers(self, counter: CostCounter, num_classes: int) -> None:
        for layer, out in enumerate((32, 64, 64), 1):
            counter.conv(f"conv{layer}", out, 5, 1, 2, bias=True)
            counter.norm(self.batch_norm)
            counter.pool(f"pool{layer}", 2, 2, ceil=self.ceil_mode and layer == 3)
        counter.flatten("fc4", 4)
        counter.linear(1000)
        counter.linear(num_classes)


@strict_dataclass
class VGGConfig(CountedConfig):
    """VGG: stages of 3x3 convolutions, each followed by a 2x2 max pooling, and three linear layers.

    Source: Simonyan and Zisserman 2015. With `adaptive_pool`, feature maps are averaged to 7x7
    before the first linear layer. For images of 224 pixels that changes nothing, and it allows
    other sizes.
    """

    family: Literal["vgg"] = "vgg"
    convolutions: tuple[PositiveInt, ...] = (2, 2, 3, 3, 3)
    """Number of convolutions per stage; the default is VGG-16."""
    widths: tuple[PositiveInt, ...] = (64, 128, 256, 512, 512)
    """Number of channels per stage."""
    hidden: PositiveInt = 4096
    """Units of the first and the second linear layer."""
    batch_norm: bool = False
    """Batch normalization after each convolution, before its ReLU."""
    dropout: UnitInterval = 0.5
    """Probability of dropping a unit after the first and the second linear layer."""
    adaptive_pool: bool = True
    """Average pooling to 7x7 before the first linear layer, as in torchvision, not in the paper."""
    init: Literal["he", "pytorch"] = "he"

    shortcut = "none"

    def __post_init__(self) -> None:
        if not self.widths:
            raise FieldError("widths", "empty", "widths = [64, 128, 256, 512, 512]")
        if len(self.convolutions) != len(self.widths):
            message = (
                f"{len(self.convolutions)} stages of convolutions for {len(self.widths)} widths"
            )
            raise FieldError("convolutions", message, f"give {len(self.widths)} numbers")
        if self.depth > 1000:
            raise FieldError(
                "convolutions",
                "the network is deeper than 1,000 layers",
                "convolutions = [2, 2, 3, 3, 3]",
            )

    @property
    def depth(self) -> int:
        """Number of weighted layers."""
        return sum(self.convolutions) + 3

    @property
    def slug(self) -> str:
        """Common name of the network, with a `+` if the config differs from the classic one."""
        names = {"vgg16": VGGConfig(), "vgg19": VGG19, "vgg16-paper": VGG16_PAPER}
        return next((name for name, config in names.items() if config == self), f"vgg{self.depth}+")

    @property
    def title(self) -> str:
        """Title for a table or a figure."""
        options = {"batch norm": self.batch_norm, "no adaptive pooling": not self.adaptive_pool}
        names = [name for name, present in options.items() if present]
        return f"VGG-{self.depth}" + (f" ({', '.join(names)})" if names else "")

    def _count_layers(self, counter: CostCounter, num_classes: int) -> None:
        for stage, (convolutions, width) in enumerate(
            zip(self.convolutions, self.widths, strict=True)
        ):
            for layer in range(convolutions):
                counter.conv(f"stages.{stage}.{layer}.conv", width, 3, 1, 1, bias=True)
                counter.norm(self.batch_norm)
            counter.pool(f"pool {stage + 1}", 2, 2)
        if self.adaptive_pool:
            counter.side = 7
        counter.flatten("fc1", 7)
        for out in (self.hidden, self.hidden, num_classes):
            counter.linear(out)


VGG19 = VGGConfig(convolutions=(2, 2, 4, 4, 4))
"""VGG-19 (Simonyan and Zisserman 2015, table 1 E)."""

VGG16_PAPER = VGGConfig(adaptive_pool=False)
"""VGG-16 as in the paper, for images of 224 pixels only."""
