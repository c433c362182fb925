"""The arithmetic of layers: walk a network and count it, without building it. Free of torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from resnetlab.errors import InputError, mistake

LARGEST_SIDE = 1024
"""Pixels; where the search for an image that a network can take ends."""


class NoFitError(Exception):
    """This layer cannot take what reaches it."""

    def __init__(self, layer: str, side: int, needs: str) -> None:
        super().__init__(layer)
        self.layer, self.side, self.needs = layer, side, needs


@dataclass
class Tally:
    """Parameters and multiply-adds (convolutions and linear layers, one image) of the layers walked so far.

    `channels` and `side` are those of the maps that the next layer takes.
    """

    channels: int
    side: int
    parameters: int = 0
    macs: int = 0

    def conv(
        self, layer: str, out: int, kernel: int, stride: int = 1, padding: int = 0, *, groups: int = 1,
        bias: bool = False,
    ) -> None:  # fmt: skip
        """A convolution; `bias` adds a number a filter."""
        side = (self.side + 2 * padding - kernel) // stride + 1
        if side < 1:
            raise NoFitError(layer, self.side, f"at least {kernel - 2 * padding}x{kernel - 2 * padding}")
        weights = kernel**2 * self.channels // groups * out
        self.parameters += weights + (out if bias else 0)
        self.macs += weights * side**2
        self.channels, self.side = out, side

    def norm(self, present: bool = True) -> None:
        """A batch normalisation: weight and bias a channel."""
        self.parameters += 2 * self.channels if present else 0

    def pool(self, layer: str, kernel: int, stride: int, padding: int = 0, *, ceil: bool = False) -> None:
        """A pooling; `ceil` keeps a window that hangs over the far edge if it begins inside."""
        room = self.side + 2 * padding - kernel
        side = (-(-room // stride) if ceil else room // stride) + 1
        if ceil and (side - 1) * stride >= self.side + padding:
            side -= 1
        if side < 1 or (room < 0 and not ceil):
            raise NoFitError(layer, self.side, f"at least {kernel - 2 * padding}x{kernel - 2 * padding}")
        self.side = side

    def flatten(self, layer: str, side: int) -> None:
        """The maps as one vector, for a fully connected `layer` made for maps of `side`."""
        if self.side != side:
            raise NoFitError(layer, self.side, f"{side}x{side}")
        self.channels, self.side = self.channels * side**2, 1

    def linear(self, out: int) -> None:
        """A fully connected layer with a bias."""
        self.parameters += (self.channels + 1) * out
        self.macs += self.channels * out
        self.channels = out


def count(name: str, walk: Callable[[Tally], None], channels: int, side: int) -> tuple[int, int]:
    """Parameters and multiply-adds of what `walk` walks over.

    Raises InputError that names the layer that cannot take images of `side`, and the smallest that can be taken.
    """
    tally = Tally(channels, side)
    try:
        walk(tally)
    except NoFitError as error:
        raise _told(name, walk, channels, side, error) from None
    return tally.parameters, tally.macs


def _told(name: str, walk: Callable[[Tally], None], channels: int, side: int, error: NoFitError) -> InputError:
    sides = [other for other in range(1, LARGEST_SIDE + 1) if _fits(walk, channels, other)]
    what = f"layer {error.layer} takes maps of {error.needs} and gets {error.side}x{error.side}"
    largest = next((a for a, b in zip(sides, [*sides[1:], 0], strict=True) if b != a + 1), 0)
    fix = f"the smallest images that it takes are {sides[0]}x{sides[0]} pixels" if sides else "another network"
    if sides and largest < LARGEST_SIDE:
        fix += f", the largest {largest}x{largest}"
    return mistake(name, what, fix, field=f"images of {side}x{side} pixels")


def _fits(walk: Callable[[Tally], None], channels: int, side: int) -> bool:
    try:
        walk(Tally(channels, side))
    except NoFitError:
        return False
    return True
