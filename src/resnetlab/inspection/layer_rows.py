"""The layers of a network as rows: what `read_layers` finds. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass, field

from resnetlab.inspection.receptive_field import Paths


@dataclass
class Layer:
    """A row. Sizes are (H, W); `parameters` and `activation_bytes` (one image, fp32) are with what follows it."""

    name: str
    kind: str
    output: tuple[int, ...]
    """(C, H, W), or (C,) of a vector."""
    kernel: tuple[int, int] | None = None
    stride: tuple[int, int] | None = None
    padding: tuple[int, int] | None = None
    weights: int = 0
    """Of the layer itself, with its bias."""
    parameters: int = 0
    macs: int = 0
    activation_bytes: int = 0
    paths: Paths | None = None
    """From the image's pixels to a number of the output; None where it cannot be told."""
    then: list[str] = field(default_factory=list)
    takes: tuple[int, ...] = ()
    """The rows whose output it, or what follows it, takes; -1 is the image."""

    @property
    def flops(self) -> int:
        """A multiplication and an addition for each multiply-add."""
        return 2 * self.macs


@dataclass
class Layers:
    """A network, read."""

    name: str
    image: tuple[int, int, int]
    rows: list[Layer]
    parameters: int
    uncounted: dict[str, int]
    """Operations that enter no count of cost, and how many numbers they give for one image."""
    unused: int = 0
    """Parameters that no operation took."""

    @property
    def macs(self) -> int:
        return sum(row.macs for row in self.rows)

    @property
    def flops(self) -> int:
        return 2 * self.macs

    @property
    def activation_bytes(self) -> int:
        return sum(row.activation_bytes for row in self.rows)
