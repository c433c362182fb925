"""Networks for small images as data (He et al. 2016, sec. 4.2; He et al. 2016b). Free of torch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from resnetlab.models.configs.cost import Tally, count
from resnetlab.schema import FieldError, Fraction, Positive, Whole, spec

Shortcut = Literal["none", "A", "B", "C", "gated"]

Arrangement = Literal[
    "original", "norm-after-addition", "relu-before-addition", "relu-only-preactivation", "full-preactivation"
]

MAX_DEPTH = 100_000
"""Weighted layers; a slip of the keyboard should not fill the memory."""

EXPANSION = 4
"""Output channels of a bottleneck for each of its inner ones."""


@spec
class CifarNet:
    """A residual or plain network for small images (He et al. 2016, sec. 4.2).

    A 3x3 convolution, stages of blocks, global average pooling, a classifier. The first block of every stage but the
    first halves the image. Weighted layers: 2 x blocks + 2, of bottlenecks 3 x blocks + 2.
    """

    family: Literal["cifar"] = "cifar"
    blocks: tuple[Whole, ...]
    """Blocks a stage; (3, 3, 3) is ResNet-20."""
    widths: tuple[Positive, ...] = (16, 32, 64)
    """Channels a stage; the stem has the first."""
    shortcut: Shortcut = "A"
    """none: a plain net; A: stride and zero-padded channels; B: projection where the shape changes; C: everywhere;
    gated: as A, with a learned gate between the two ways (highway)."""
    batch_norm: bool = True
    dropout: Fraction = 0.0
    """Probability of dropping a channel at the end of each block's branch."""
    init: Literal["he", "pytorch"] = "he"
    """he: normal, sd sqrt(2 / fan-in) (He et al. 2015b); pytorch: the framework's own uniform default."""
    block: Literal["basic", "bottleneck"] = "basic"
    """basic: two 3x3 convolutions; bottleneck: 1x1, 3x3, and 1x1 to four times the width."""
    arrangement: Arrangement = "original"
    """Where a block normalises and cuts off (He et al. 2016b, fig. 4)."""

    def __post_init__(self) -> None:
        if not self.widths:
            raise FieldError("widths", "empty", "widths = [16, 32, 64]")
        if len(self.blocks) != len(self.widths):
            fix = f"give {len(self.widths)} numbers"
            raise FieldError("blocks", f"{len(self.blocks)} stages of blocks for {len(self.widths)} widths", fix)
        if not sum(self.blocks):
            raise FieldError("blocks", "all 0 leave a network without blocks", f"blocks = {[1] * len(self.blocks)}")
        if self.depth > MAX_DEPTH:
            raise FieldError("blocks", f"the network is deeper than {MAX_DEPTH:,} layers", "blocks = [18, 18, 18]")
        if self.shortcut in ("A", "gated") and list(self.widths) != sorted(self.widths):
            raise FieldError("widths", f"shortcut {self.shortcut} can add channels, not remove them", 'shortcut = "B"')

    @property
    def depth(self) -> int:
        """Weighted layers on the longest path."""
        return (2 if self.block == "basic" else 3) * sum(self.blocks) + 2

    @property
    def slug(self) -> str:
        """The name by which people call it; a spec that differs from the classic one says so with a `+`."""
        if name := _name(self):
            return name
        kind = "plain" if self.shortcut == "none" else "resnet"
        option = {"none": "", "A": "", "B": "-b", "C": "-c", "gated": "-gated"}[self.shortcut]
        classic = CifarNet(blocks=(self.blocks[0],) * 3, shortcut=self.shortcut) if self.blocks[0] else None
        return f"cifar-{kind}{self.depth}{option}{'' if self == classic else '+'}"

    @property
    def title(self) -> str:
        """For a table or a figure: `residual 56 (A)`, `plain 56`, `residual 8 (A, 16-64-128)`."""
        norm = [] if self.batch_norm else ["no batch norm"]
        if name := _name(replace(self, batch_norm=True)).removeprefix("depth-report-"):
            said = ", ".join(["depth report", *norm])
            return f"{name.replace('plain', 'plain ').replace('resnet', 'residual ')} ({said})"
        kind = "plain" if self.shortcut == "none" else "gated" if self.shortcut == "gated" else "residual"
        more: list[str] = [self.shortcut] if kind == "residual" else []
        more += ["-".join(map(str, self.widths))] if self.widths != (16, 32, 64) else []
        more += ["bottleneck"] if self.block == "bottleneck" else []
        more += [self.arrangement.replace("-", " ")] if self.arrangement != "original" else []
        more += norm
        return f"{kind} {self.depth}" + (f" ({', '.join(more)})" if more else "")

    def cost(self, channels: int, classes: int, side: int) -> tuple[int, int]:
        """Parameters, and multiply-adds of the convolutions and the classifier for one image of `side` pixels.

        Counted from the definition; the tests hold it against the built network.
        """
        return count(self.slug, lambda tally: self._walk(tally, classes), channels, side)

    def _walk(self, tally: Tally, classes: int) -> None:
        bias = not self.batch_norm
        tally.conv("stem", self.widths[0], 3, 1, 1, bias=bias)
        tally.norm(self.batch_norm)
        pre = self.arrangement == "full-preactivation"
        first = True
        for stage, (blocks, width) in enumerate(zip(self.blocks, self.widths, strict=True)):
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                name, channels, side = f"stages.{stage}.{block}", tally.channels, tally.side
                for layer, (out, kernel, step) in enumerate(self.convolutions(width, stride), 1):
                    tally.norm(self.batch_norm and pre and not (first and layer == 1))
                    tally.conv(f"{name}.conv{layer}", out, kernel, step, kernel // 2, bias=bias)
                    tally.norm(self.batch_norm and not pre)
                first = False
                changes = stride > 1 or channels != tally.channels
                way, out = Tally(channels, side), tally.channels
                if self.shortcut == "C" or (self.shortcut == "B" and changes):
                    way.conv(f"{name}.shortcut", out, 1, stride, bias=bias)
                    way.norm(self.batch_norm and not pre)
                elif self.shortcut == "gated":
                    way.conv(f"{name}.shortcut.gate", out, 1, stride, bias=True)
                tally.parameters, tally.macs = tally.parameters + way.parameters, tally.macs + way.macs
        tally.norm(self.batch_norm and pre)
        tally.linear(classes)

    def convolutions(self, width: int, stride: int) -> tuple[tuple[int, int, int], ...]:
        """Channels, kernel and stride of each convolution of a block."""
        if self.block == "basic":
            return (width, 3, stride), (width, 3, 1)
        return (width, 1, stride), (width, 3, 1), (EXPANSION * width, 1, 1)  # the stride as in He et al.'s own code


def cifar(depth: int, shortcut: Shortcut = "A", **fields: Any) -> CifarNet:
    """The classic network of `depth` = 6n + 2 weighted layers (9n + 2 of bottlenecks): widths 16, 32, 64."""
    layers = 3 if fields.get("block") == "bottleneck" else 2
    return replace(CifarNet(blocks=same_blocks(depth, 3, "", layers), shortcut=shortcut), **fields)


def same_blocks(depth: object, stages: int, field: str, layers: int = 2) -> tuple[int, ...]:
    """As many blocks in each of `stages` as make `depth`. Raises FieldError with the nearest depths that can be."""
    step = layers * stages
    if not isinstance(depth, int) or isinstance(depth, bool):
        raise FieldError(field, f"not a whole number (got {str(depth)[:60]})", f"{3 * step + 2}")
    if abs(depth) > MAX_DEPTH:
        raise FieldError(field, f"not between {step + 2} and {MAX_DEPTH:,}", f"{step * 3 + 2}")
    if depth < step + 2 or (depth - 2) % step:
        below = max(step + 2, (depth - 2) // step * step + 2)
        fix = f"{below} or {below + step}" if depth > step + 2 else f"{step + 2}"
        raise FieldError(field, f"{depth} is not {step}n + 2", fix)
    return ((depth - 2) // step,) * stages


DEPTH_REPORT = {8: (0, 1, 1, 1), 14: (1, 2, 1, 2), 18: (1, 2, 2, 2), 34: (3, 4, 6, 3), 50: (6, 6, 6, 6)}
"""Blocks a stage of the depth report's table 1, by the depth that it names. Its 18 has 7 blocks: 16 weighted layers."""


def depth_report(depth: int, plain: bool) -> CifarNet:
    """A network of the depth report as its text describes it: 1x1 convolutions where the shape changes, batch
    normalisation after convolutions, dropout .5 in the blocks, the framework's own first weights."""
    shortcut: Shortcut = "none" if plain else "B"
    return CifarNet(
        blocks=DEPTH_REPORT[depth], widths=(16, 32, 64, 128), shortcut=shortcut, dropout=0.5, init="pytorch"
    )


def _name(model: CifarNet) -> str:
    """The name that does not follow from depth and shortcut, or nothing."""
    return next((f"depth-report-{kind}{depth}" for kind, depth, held in _DEPTH_REPORT if held == model), "")


_DEPTH_REPORT = [
    (kind, depth, depth_report(depth, kind == "plain")) for kind in ("plain", "resnet") for depth in DEPTH_REPORT
]
