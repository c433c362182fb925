"""Which pixels of the image a number depends on, along the longest and the shortest way through a network. Free of
torch: arithmetic of intervals (Dumoulin and Visin 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

Pair = tuple[int, int]


@dataclass(frozen=True)
class Span:
    """Along one axis: the number at place p depends on pixels p x jump + first to p x jump + last."""

    first: int = 0
    last: int = 0
    jump: int = 1

    @property
    def size(self) -> int:
        """Pixels, those beyond the image's edge (zero padding) among them."""
        return self.last - self.first + 1

    def window(self, kernel: int, stride: int, padding: int, dilation: int) -> Span:
        """Through a window: place p takes p x stride - padding, and on in steps of `dilation`."""
        first = self.first - padding * self.jump
        last = self.last + ((kernel - 1) * dilation - padding) * self.jump
        return Span(first, last, self.jump * stride)

    def shifted(self, places: int, step: int = 1) -> Span:
        """Place p is what was place p x step + places."""
        move = places * self.jump
        return Span(self.first + move, self.last + move, self.jump * step)

    def pixels(self, place: int, side: int) -> range:
        """Those inside an image of `side` on which the number at `place` depends."""
        return range(max(0, place * self.jump + self.first), min(side, place * self.jump + self.last + 1))


@dataclass(frozen=True)
class Paths:
    """Down and across, along the largest and the smallest way through the shortcuts."""

    largest: tuple[Span, Span]
    smallest: tuple[Span, Span]

    def window(self, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Paths:
        """Through a convolution or a pooling."""

        def through(spans: tuple[Span, Span]) -> tuple[Span, Span]:
            down, across = spans
            return (
                down.window(kernel[0], stride[0], padding[0], dilation[0]),
                across.window(kernel[1], stride[1], padding[1], dilation[1]),
            )

        return Paths(through(self.largest), through(self.smallest))

    def sliced(self, axis: int, start: int, step: int) -> Paths:
        """Every `step`-th place from `start` on, down (0) or across (1)."""

        def through(spans: tuple[Span, Span]) -> tuple[Span, Span]:
            moved = [span.shifted(start, step) if at == axis else span for at, span in enumerate(spans)]
            return moved[0], moved[1]

        return Paths(through(self.largest), through(self.smallest))

    def padded(self, pads: tuple[int, ...]) -> Paths:
        """With zeros around: (left, right, top, bottom, ...), as torch gives them."""
        left, top = pads[0] if pads else 0, pads[2] if len(pads) > 2 else 0
        return self.sliced(1, -left, 1).sliced(0, -top, 1)

    @property
    def size(self) -> Pair:
        """(H, W) in pixels, along the largest way."""
        return self.largest[0].size, self.largest[1].size

    @property
    def smallest_size(self) -> Pair:
        """(H, W) in pixels, along the smallest way."""
        return self.smallest[0].size, self.smallest[1].size

    @property
    def jump(self) -> Pair:
        """Pixels between two neighbours of the map."""
        return self.largest[0].jump, self.largest[1].jump


PIXEL = Paths((Span(), Span()), (Span(), Span()))
"""The image itself."""


def joined(ways: Sequence[Paths | None]) -> Paths | None:
    """Where ways meet: the largest holds them all, the smallest is the smallest of theirs.

    None where the maps do not lie upon one another, or a way is not known.
    """
    known = [way for way in ways if way is not None]
    if len(known) < len(ways) or not known:
        return None
    if len({way.jump for way in known}) > 1:
        # A vector of scales beside its maps (squeeze and excitation) sees all that it was pooled from.
        return None
    largest = tuple(
        replace(
            known[0].largest[axis],
            first=min(way.largest[axis].first for way in known),
            last=max(way.largest[axis].last for way in known),
        )
        for axis in (0, 1)
    )
    smallest = min((way.smallest for way in known), key=lambda spans: (spans[0].size, spans[1].size))
    return Paths((largest[0], largest[1]), smallest)
