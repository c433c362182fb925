"""Layers of a network as rows, the result of `trace_layers`. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass, field

from resnetlab.inspection.receptive_field import ReceptiveField


@dataclass
class Layer:
    """Row of a layer. Sizes are (H, W).

    `parameters` and `activation_bytes` (one image, fp32) include the operations that follow the
    layer.
    """

    name: str
    kind: str
    output: tuple[int, ...]
    """Output shape: (C, H, W), or (C,) for a vector."""
    kernel: tuple[int, int] | None = None
    stride: tuple[int, int] | None = None
    padding: tuple[int, int] | None = None
    layer_parameters: int = 0
    """Parameters of the layer itself, with its bias."""
    parameters: int = 0
    macs: int = 0
    activation_bytes: int = 0
    receptive_field: ReceptiveField | None = None
    """Receptive field of an output; None if it is unknown."""
    followed_by: list[str] = field(default_factory=list)
    inputs: tuple[int, ...] = ()
    """Rows whose output the layer, or an operation that follows it, takes; -1 is the image."""

    @property
    def flops(self) -> int:
        """Floating-point operations: a multiplication and an addition for each multiply-add."""
        return 2 * self.macs


@dataclass
class LayerTrace:
    """Layers of a network for one image size."""

    name: str
    image_shape: tuple[int, int, int]
    rows: list[Layer]
    parameters: int
    uncounted: dict[str, int]
    """Number of outputs for one image of each operation whose cost is not counted."""
    unused: int = 0
    """Number of parameters that no operation used."""

    @property
    def macs(self) -> int:
        """Multiply-adds of all layers."""
        return sum(row.macs for row in self.rows)

    @property
    def flops(self) -> int:
        """Floating-point operations of all layers, two for each multiply-add."""
        return 2 * self.macs

    @property
    def activation_bytes(self) -> int:
        """Memory of all activations in bytes."""
        return sum(row.activation_bytes for row in self.rows)
