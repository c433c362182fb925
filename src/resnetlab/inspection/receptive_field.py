"""Receptive fields along the longest and the shortest path through a network. Free of torch.

Interval arithmetic after Dumoulin and Visin 2016.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

Pair = tuple[int, int]


@dataclass(frozen=True)
class AxisReceptiveField:
    """Receptive field on an axis: output p needs pixels p x jump + first to p x jump + last."""

    first: int = 0
    last: int = 0
    jump: int = 1

    @property
    def size(self) -> int:
        """Size in pixels, including those beyond the image's edge (zero padding)."""
        return self.last - self.first + 1

    def after_window(
        self, kernel: int, stride: int, padding: int, dilation: int
    ) -> AxisReceptiveField:
        """Return the span after a window whose output p starts at p x stride - padding."""
        first = self.first - padding * self.jump
        last = self.last + ((kernel - 1) * dilation - padding) * self.jump
        return AxisReceptiveField(first, last, self.jump * stride)

    def after_slice(self, start: int, step: int = 1) -> AxisReceptiveField:
        """Return the span after slicing: output p is input p x step + start."""
        offset = start * self.jump
        return AxisReceptiveField(self.first + offset, self.last + offset, self.jump * step)

    def pixels(self, position: int, side: int) -> range:
        """Return the pixels inside an image of `side` on which output `position` depends."""
        return range(
            max(0, position * self.jump + self.first),
            min(side, position * self.jump + self.last + 1),
        )


@dataclass(frozen=True)
class ReceptiveField:
    """Receptive fields down and across, along the largest and the smallest path."""

    largest: tuple[AxisReceptiveField, AxisReceptiveField]
    smallest: tuple[AxisReceptiveField, AxisReceptiveField]

    def after_window(
        self, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair
    ) -> ReceptiveField:
        """Return the receptive field after a convolution or a pooling."""

        def through(
            spans: tuple[AxisReceptiveField, AxisReceptiveField],
        ) -> tuple[AxisReceptiveField, AxisReceptiveField]:
            down, across = spans
            return (
                down.after_window(kernel[0], stride[0], padding[0], dilation[0]),
                across.after_window(kernel[1], stride[1], padding[1], dilation[1]),
            )

        return ReceptiveField(through(self.largest), through(self.smallest))

    def after_slice(self, axis: int, start: int, step: int) -> ReceptiveField:
        """Return the field of every `step`-th output from `start` on, down (0) or across (1)."""

        def through(
            spans: tuple[AxisReceptiveField, AxisReceptiveField],
        ) -> tuple[AxisReceptiveField, AxisReceptiveField]:
            spans_after = [
                span.after_slice(start, step) if index == axis else span
                for index, span in enumerate(spans)
            ]
            return spans_after[0], spans_after[1]

        return ReceptiveField(through(self.largest), through(self.smallest))

    def after_padding(self, pads: tuple[int, ...]) -> ReceptiveField:
        """Return the field after zero padding (left, right, top, bottom, ..., as in torch)."""
        left, top = pads[0] if pads else 0, pads[2] if len(pads) > 2 else 0
        return self.after_slice(1, -left, 1).after_slice(0, -top, 1)

    @property
    def size(self) -> Pair:
        """Size (H, W) in pixels, along the largest path."""
        return self.largest[0].size, self.largest[1].size

    @property
    def smallest_size(self) -> Pair:
        """Size (H, W) in pixels, along the smallest path."""
        return self.smallest[0].size, self.smallest[1].size

    @property
    def jump(self) -> Pair:
        """Distance in pixels between two neighbors of the map."""
        return self.largest[0].jump, self.largest[1].jump


SINGLE_PIXEL = ReceptiveField(
    (AxisReceptiveField(), AxisReceptiveField()), (AxisReceptiveField(), AxisReceptiveField())
)
"""Receptive field of the image itself."""


def merge_receptive_fields(
    receptive_fields: Sequence[ReceptiveField | None],
) -> ReceptiveField | None:
    """Return the field of a sum or concatenation: largest covers all, smallest is the smallest.

    Return None if the maps do not align, or if the receptive field of an input is unknown.
    """
    fields = [field for field in receptive_fields if field is not None]
    if len(fields) < len(receptive_fields) or not fields:
        return None
    if len({field.jump for field in fields}) > 1:
        # A vector of scales beside its maps (squeeze and excitation) depends on all maps from which
        # it was pooled.
        return None
    largest = tuple(
        replace(
            fields[0].largest[axis],
            first=min(field.largest[axis].first for field in fields),
            last=max(field.largest[axis].last for field in fields),
        )
        for axis in (0, 1)
    )
    smallest = min(
        (field.smallest for field in fields), key=lambda spans: (spans[0].size, spans[1].size)
    )
    return ReceptiveField((largest[0], largest[1]), smallest)
