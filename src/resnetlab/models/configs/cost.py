"""Parameters and multiply-adds of a network by arithmetic, without building it. Free of torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from resnetlab.errors import InputError, input_error

MAX_SIDE = 1024
"""Side in pixels at which the search for a suitable image size ends."""


class ShapeError(Exception):
    """Error of a layer that cannot take its input."""

    def __init__(self, layer: str, side: int, required: str) -> None:
        super().__init__(layer)
        self.layer, self.side, self.required = layer, side, required


@dataclass
class CostCounter:
    """Running total of parameters and multiply-adds (convolutions and linear layers, one image).

    `channels` and `side` are those of the input of the next layer.
    """

    channels: int
    side: int
    parameters: int = 0
    macs: int = 0

    def conv(
        self,
        layer: str,
        out: int,
        kernel: int,
        stride: int = 1,
        padding: int = 0,
        *,
        groups: int = 1,
        bias: bool = False,
    ) -> None:
        """Add a convolution; `bias` adds one number per filter."""
        side = (self.side + 2 * padding - kernel) // stride + 1
        if side < 1:
            raise ShapeError(
                layer, self.side, f"at least {kernel - 2 * padding}x{kernel - 2 * padding}"
            )
        weights = kernel**2 * self.channels // groups * out
        self.parameters += weights + (out if bias else 0)
        self.macs += weights * side**2
        self.channels, self.side = out, side

    def norm(self, present: bool = True) -> None:
        """Add a batch normalization: weight and bias per channel."""
        self.parameters += 2 * self.channels if present else 0

    def pool(
        self, layer: str, kernel: int, stride: int, padding: int = 0, *, ceil: bool = False
    ) -> None:
        """Add a pooling; `ceil` keeps a window that begins inside the map and ends outside."""
        span = self.side + 2 * padding - kernel
        side = (-(-span // stride) if ceil else span // stride) + 1
        if ceil and (side - 1) * stride >= self.side + padding:
            side -= 1
        if side < 1 or (span < 0 and not ceil):
            raise ShapeError(
                layer, self.side, f"at least {kernel - 2 * padding}x{kernel - 2 * padding}"
            )
        self.side = side

    def flatten(self, layer: str, side: int) -> None:
        """Flatten the maps to one vector for a linear `layer` that expects maps of `side`."""
        if self.side != side:
            raise ShapeError(layer, self.side, f"{side}x{side}")
        self.channels, self.side = self.channels * side**2, 1

    def linear(self, out: int) -> None:
        """Add a linear layer with a bias."""
        self.parameters += (self.channels + 1) * out
        self.macs += self.channels * out
        self.channels = out


class CountedConfig:
    """Base class of a config that counts its layers, which gives the cost of its network."""

    @property
    def slug(self) -> str:
        """Common name of the network."""
        raise NotImplementedError

    def cost(self, channels: int, num_classes: int, image_size: int) -> tuple[int, int]:
        """Return parameters, and multiply-adds for one image of `image_size` pixels.

        They are counted from the definition; tests compare them with the built network.
        """
        return count_cost(
            self.slug,
            lambda counter: self._count_layers(counter, num_classes),
            channels,
            image_size,
        )

    def _count_layers(self, counter: CostCounter, num_classes: int) -> None:
        raise NotImplementedError


def count_cost(
    name: str, count_layers: Callable[[CostCounter], None], channels: int, image_size: int
) -> tuple[int, int]:
    """Return parameters and multiply-adds of the layers that `count_layers` counts.

    Raises InputError that names the layer that cannot take the images, and the smallest size
    that works.
    """
    counter = CostCounter(channels, image_size)
    try:
        count_layers(counter)
    except ShapeError as error:
        raise _size_error(name, count_layers, channels, image_size, error) from None
    return counter.parameters, counter.macs


def _size_error(
    name: str,
    count_layers: Callable[[CostCounter], None],
    channels: int,
    image_size: int,
    error: ShapeError,
) -> InputError:
    """Return the InputError for `error`, with the sizes of images that the network can take."""
    sides = [
        candidate
        for candidate in range(1, MAX_SIDE + 1)
        if _fits(count_layers, channels, candidate)
    ]
    problem = (
        f"layer {error.layer} takes maps of {error.required} and gets {error.side}x{error.side}"
    )
    largest = next((a for a, b in zip(sides, [*sides[1:], 0], strict=True) if b != a + 1), 0)
    fix = "another network"
    if sides:
        fix = f"the smallest images that it takes are {sides[0]}x{sides[0]} pixels"
    if sides and largest < MAX_SIDE:
        fix += f", the largest {largest}x{largest}"
    return input_error(name, problem, fix, field=f"images of {image_size}x{image_size} pixels")


def _fits(count_layers: Callable[[CostCounter], None], channels: int, image_size: int) -> bool:
    try:
        count_layers(CostCounter(channels, image_size))
    except ShapeError:
        return False
    return True
