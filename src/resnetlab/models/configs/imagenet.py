"""Configs of residual networks for ImageNet (He et al. 2016, table 1; Xie et al. 2017)."""

from __future__ import annotations

from typing import Any, Literal

from resnetlab.models.configs.cifar import EXPANSION, MAX_DEPTH
from resnetlab.models.configs.cost import CostCounter, CountedConfig
from resnetlab.schema import PositiveInt, strict_dataclass
from resnetlab.schema_errors import FieldError

WIDTHS = (64, 128, 256, 512)
"""Number of channels per stage, before the expansion of a bottleneck (He et al. 2016, table 1)."""


@strict_dataclass
class ImageNetConfig(CountedConfig):
    """Residual or plain network for ImageNet (He et al. 2016, table 1; ResNeXt: Xie et al. 2017).

    A 7x7 convolution of stride 2, a 3x3 max pooling of stride 2, four stages, global average
    pooling, a classifier.
    """

    family: Literal["imagenet"] = "imagenet"
    blocks: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]
    """Number of blocks per stage; (3, 4, 6, 3) is ResNet-34, and with bottlenecks ResNet-50."""
    block: Literal["basic", "bottleneck"] = "basic"
    """basic: two 3x3 convolutions; bottleneck: 1x1, 3x3, and 1x1 to four times the width."""
    shortcut: Literal["none", "A", "B", "C"] = "B"
    """Shortcut option. none: a plain network; A: subsampling and zero-padded channels; B:
    projection where the shape changes; C: projection in every block.
    """
    stride_on: Literal["first", "middle"] = "middle"
    """Convolution of a bottleneck with the stride: 1x1 (the paper) or 3x3 (torchvision)."""
    cardinality: PositiveInt = 1
    """Number of groups of a bottleneck's 3x3 convolution."""
    group_width: PositiveInt = 64
    """Number of channels per group in the stage with 64 channels: `32x48d` is 32 groups of 48."""
    init: Literal["he", "pytorch"] = "he"
    """Initialization. he: normal, sd sqrt(2 / fan-in) (He et al. 2015b); pytorch: as torch."""

    def __post_init__(self) -> None:
        if self.block == "basic" and (self.cardinality, self.group_width) != (1, 64):
            raise FieldError("block", "only a bottleneck has groups", 'block = "bottleneck"')
        if self.depth > MAX_DEPTH:
            raise FieldError(
                "blocks",
                f"the network is deeper than {MAX_DEPTH:,} layers",
                "blocks = [3, 8, 36, 3]",
            )

    @property
    def depth(self) -> int:
        """Number of weighted layers on the longest path."""
        return (2 if self.block == "basic" else 3) * sum(self.blocks) + 2

    @property
    def slug(self) -> str:
        """Common name of the network, with a `+` if the config differs from the classic ones."""
        for name, model in IMAGENET.items():
            if model == self:
                return name
        residual = "resnet" if self.cardinality == 1 else "resnext"
        return f"{'plain' if self.shortcut == 'none' else residual}{self.depth}+"

    @property
    def title(self) -> str:
        """Title in tables and figures: `ResNet-50`, `plain 34 (ImageNet)`, `ResNeXt-101 32x8d`."""
        if self.shortcut == "none":
            return f"plain {self.depth} (ImageNet)"
        groups = ""
        if (self.cardinality, self.group_width) != (1, 64):
            groups = f" {self.cardinality}x{self.group_width}d"
        options: list[str] = [] if self.shortcut == "B" else [self.shortcut]
        options += (
            ["stride on first"] if self.stride_on == "first" and self.block == "bottleneck" else []
        )
        kind = "ResNeXt" if self.cardinality > 1 else "ResNet"
        return f"{kind}-{self.depth}{groups}" + (f" ({', '.join(options)})" if options else "")

    def convolutions(self, width: int, stride: int) -> tuple[tuple[int, int, int, int], ...]:
        """Return the channels, kernel size, stride and groups of each convolution of a block."""
        if self.block == "basic":
            return (width, 3, stride, 1), (width, 3, 1, 1)
        first, middle = (stride, 1) if self.stride_on == "first" else (1, stride)
        inner = width * self.group_width // 64 * self.cardinality
        return (
            (inner, 1, first, 1),
            (inner, 3, middle, self.cardinality),
            (EXPANSION * width, 1, 1, 1),
        )

    def _count_layers(self, counter: CostCounter, num_classes: int) -> None:
        counter.conv("stem", 64, 7, 2, 3)
        counter.norm()
        counter.pool("pool", 3, 2, 1)
        for stage, (blocks, width) in enumerate(zip(self.blocks, WIDTHS, strict=True)):
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                name, channels, side = f"stages.{stage}.{block}", counter.channels, counter.side
                for layer, (out, kernel, step, groups) in enumerate(
                    self.convolutions(width, stride), 1
                ):
                    counter.conv(
                        f"{name}.conv{layer}", out, kernel, step, kernel // 2, groups=groups
                    )
                    counter.norm()
                changes = stride > 1 or channels != counter.channels
                if self.shortcut == "C" or (self.shortcut == "B" and changes):
                    shortcut = CostCounter(channels, side)
                    shortcut.conv(f"{name}.shortcut", counter.channels, 1, stride)
                    shortcut.norm()
                    counter.parameters += shortcut.parameters
                    counter.macs += shortcut.macs
        counter.linear(num_classes)


def _resnet(*blocks: int, **fields: Any) -> ImageNetConfig:
    a, b, c, d = blocks
    return ImageNetConfig(blocks=(a, b, c, d), **fields)


IMAGENET = {
    "plain18": _resnet(2, 2, 2, 2, shortcut="none"),
    "plain34": _resnet(3, 4, 6, 3, shortcut="none"),
    "resnet18": _resnet(2, 2, 2, 2),
    "resnet34": _resnet(3, 4, 6, 3),
    "resnet50": _resnet(3, 4, 6, 3, block="bottleneck"),
    "resnet101": _resnet(3, 4, 23, 3, block="bottleneck"),
    "resnet152": _resnet(3, 8, 36, 3, block="bottleneck"),
    "resnext50_32x4d": _resnet(3, 4, 6, 3, block="bottleneck", cardinality=32, group_width=4),
    "resnext101_32x8d": _resnet(3, 4, 23, 3, block="bottleneck", cardinality=32, group_width=8),
    "resnext101_32x48d": _resnet(3, 4, 23, 3, block="bottleneck", cardinality=32, group_width=48),
}
"""Named networks for ImageNet."""
