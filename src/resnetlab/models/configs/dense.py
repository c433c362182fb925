"""Config of DenseNets for small images (Huang et al. 2017). Free of torch."""

from __future__ import annotations

from typing import Literal

from resnetlab.models.configs.cost import CostCounter, CountedConfig
from resnetlab.schema import PositiveInt, UnitInterval, strict_dataclass
from resnetlab.schema_errors import FieldError

MAX_DEPTH = 1000
"""Maximum number of weighted layers: the cost grows with the square of the depth."""


@strict_dataclass
class DenseNetConfig(CountedConfig):
    """DenseNet: a layer takes all earlier maps of its block (Huang et al. 2017, sec. 3, 4.2).

    A 3x3 convolution, three dense blocks of (batch norm, ReLU, 3x3 convolution), between them a 1x1
    convolution and a 2x2 average pooling, a last batch norm, global average pooling, a classifier.
    No bottleneck, no compression.
    """

    family: Literal["densenet"] = "densenet"
    depth: PositiveInt = 40
    """Number of weighted layers: 3n + 4."""
    growth: PositiveInt = 12
    """Growth rate k: channels that each layer adds."""
    stem: PositiveInt = 16
    """Number of channels of the first convolution."""
    dropout: UnitInterval = 0.0
    """Probability of dropping a channel after each convolution of a block."""
    init: Literal["he", "pytorch"] = "he"
    """Initialization. he: normal, sd sqrt(2 / fan-in) (He et al. 2015b); pytorch: as torch."""

    shortcut = "none"

    def __post_init__(self) -> None:
        if self.depth > MAX_DEPTH:
            raise FieldError("depth", f"not between 7 and {MAX_DEPTH:,}", "depth = 40")
        if self.depth < 7 or (self.depth - 4) % 3:
            below = max(7, (self.depth - 4) // 3 * 3 + 4)
            fix = f"{below} or {below + 3}" if self.depth > 7 else "7"
            raise FieldError("depth", f"{self.depth} is not 3n + 4", fix)

    @property
    def layers(self) -> int:
        """Number of layers in a dense block."""
        return (self.depth - 4) // 3

    @property
    def slug(self) -> str:
        """Common name of the network, with a `+` if the config differs from the classic one."""
        classic = DenseNetConfig(depth=self.depth, growth=self.growth)
        return f"densenet{self.depth}-k{self.growth}{'' if self == classic else '+'}"

    @property
    def title(self) -> str:
        """Title for a table or a figure."""
        return f"DenseNet-{self.depth} (k = {self.growth})"

    def _count_layers(self, counter: CostCounter, num_classes: int) -> None:
        counter.conv("stem", self.stem, 3, 1, 1)
        for block in range(3):
            for layer in range(self.layers):
                before = counter.channels
                counter.norm()
                counter.conv(f"blocks.{block}.{layer}.conv", self.growth, 3, 1, 1)
                counter.channels += before
            counter.norm()
            if block < 2:
                counter.conv(f"transitions.{block}.conv", counter.channels, 1)
                counter.pool(f"transitions.{block}.pool", 2, 2)
        counter.linear(num_classes)
