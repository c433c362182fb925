"""Residual and plain networks for small images (He et al. 2016, sec. 4.2; He et al. 2016b)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from resnetlab.models.configs.cost import CostCounter, CountedConfig
from resnetlab.schema import NonNegativeInt, PositiveInt, UnitInterval, strict_dataclass
from resnetlab.schema_errors import FieldError

Shortcut = Literal["none", "A", "B", "C", "gated"]

Arrangement = Literal[
    "original",
    "norm-after-addition",
    "relu-before-addition",
    "relu-only-preactivation",
    "full-preactivation",
]

MAX_DEPTH = 100_000
"""Maximum number of weighted layers; a typing error must not fill the memory."""

EXPANSION = 4
"""Ratio of a bottleneck's output channels to its inner channels."""


@strict_dataclass
class CifarConfig(CountedConfig):
    """Residual or plain network for small images (He et al. 2016, sec. 4.2).

    A 3x3 convolution, stages of blocks, global average pooling, a classifier. The first block of
    each stage except the first stage halves the image. Weighted layers: 2 x blocks + 2, or 3 x
    blocks + 2 with bottlenecks.
    """

    family: Literal["cifar"] = "cifar"
    blocks: tuple[NonNegativeInt, ...]
    """Number of blocks per stage; (3, 3, 3) is ResNet-20."""
    widths: tuple[PositiveInt, ...] = (16, 32, 64)
    """Number of channels per stage; the stem has those of the first stage."""
    shortcut: Shortcut = "A"
    """Shortcut option. none: a plain network; A: subsampling and zero-padded channels; B:
    projection where the shape changes; C: projection in every block; gated: as A, with a learned
    gate between branch and shortcut (highway).
    """
    zero_channels: Literal["both ends", "end"] = "both ends"
    """Position of the zero channels that shortcut option A adds. both ends: half of them before and
    half after the others; end: all after them, as in the Torch code of He et al. The tensors are
    the same, so weights do not tell which it is.
    """
    batch_norm: bool = True
    """Batch normalization after each convolution; without it, convolutions have a bias."""
    dropout: UnitInterval = 0.0
    """Probability of dropping a channel at the end of each block's branch."""
    init: Literal["he", "pytorch"] = "he"
    """Initialization. he: normal, sd sqrt(2 / fan-in) (He et al. 2015b); pytorch: as torch."""
    block: Literal["basic", "bottleneck"] = "basic"
    """basic: two 3x3 convolutions; bottleneck: 1x1, 3x3, and 1x1 to four times the width."""
    arrangement: Arrangement = "original"
    """Order of convolution, batch norm, ReLU and addition in a block (He et al. 2016b, fig. 4)."""

    def __post_init__(self) -> None:
        if not self.widths:
            raise FieldError("widths", "empty", "widths = [16, 32, 64]")
        if len(self.blocks) != len(self.widths):
            fix = f"give {len(self.widths)} numbers"
            raise FieldError(
                "blocks", f"{len(self.blocks)} stages of blocks for {len(self.widths)} widths", fix
            )
        if not sum(self.blocks):
            raise FieldError(
                "blocks",
                "all 0 leave a network without blocks",
                f"blocks = {[1] * len(self.blocks)}",
            )
        if self.depth > MAX_DEPTH:
            raise FieldError(
                "blocks",
                f"the network is deeper than {MAX_DEPTH:,} layers",
                "blocks = [18, 18, 18]",
            )
        if self.zero_channels != "both ends" and self.shortcut not in ("A", "gated"):
            raise FieldError(
                "zero_channels",
                f"shortcut {self.shortcut} adds no zero channels",
                'shortcut = "A"',
            )
        if self.shortcut in ("A", "gated") and list(self.widths) != sorted(self.widths):
            raise FieldError(
                "widths",
                f"shortcut {self.shortcut} can add channels, not remove them",
                'shortcut = "B"',
            )

    @property
    def depth(self) -> int:
        """Number of weighted layers on the longest path."""
        return (2 if self.block == "basic" else 3) * sum(self.blocks) + 2

    @property
    def slug(self) -> str:
        """Common name of the network, with a `+` if the config differs from the classic one."""
        if name := _depth_report_name(self):
            return name
        kind = "plain" if self.shortcut == "none" else "resnet"
        option = {"none": "", "A": "", "B": "-b", "C": "-c", "gated": "-gated"}[self.shortcut]
        if self.zero_channels == "end":
            option = "-a-end" if self.shortcut == "A" else option
        is_classic = False
        if self.blocks[0]:
            is_classic = self == CifarConfig(
                blocks=(self.blocks[0],) * 3,
                shortcut=self.shortcut,
                zero_channels=self.zero_channels if self.shortcut == "A" else "both ends",
            )
        return f"cifar-{kind}{self.depth}{option}{'' if is_classic else '+'}"

    @property
    def title(self) -> str:
        """Title in tables and figures: `residual 56 (A)`, `plain 56`, `residual 8 (A, 16-64)`."""
        norm = [] if self.batch_norm else ["no batch norm"]
        original = replace(self, batch_norm=True, dropout=self.dropout or 0.5)
        if name := _depth_report_name(original).removeprefix("depth-report-"):
            details = ", ".join(["depth report", *norm, *([] if self.dropout else ["no dropout"])])
            return f"{name.replace('plain', 'plain ').replace('resnet', 'residual ')} ({details})"
        kind = {"none": "plain", "gated": "gated"}.get(self.shortcut, "residual")
        options: list[str] = [self.shortcut] if kind == "residual" else []
        options += ["zeros at the end"] if self.zero_channels == "end" else []
        options += ["-".join(map(str, self.widths))] if self.widths != (16, 32, 64) else []
        options += ["bottleneck"] if self.block == "bottleneck" else []
        options += [self.arrangement.replace("-", " ")] if self.arrangement != "original" else []
        options += norm
        return f"{kind} {self.depth}" + (f" ({', '.join(options)})" if options else "")

    def _count_layers(self, counter: CostCounter, num_classes: int) -> None:
        bias = not self.batch_norm
        counter.conv("stem", self.widths[0], 3, 1, 1, bias=bias)
        counter.norm(self.batch_norm)
        pre = self.arrangement == "full-preactivation"
        first = True
        for stage, (blocks, width) in enumerate(zip(self.blocks, self.widths, strict=True)):
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                name, channels, side = f"stages.{stage}.{block}", counter.channels, counter.side
                for layer, (out, kernel, step) in enumerate(self.convolutions(width, stride), 1):
                    counter.norm(self.batch_norm and pre and not (first and layer == 1))
                    counter.conv(f"{name}.conv{layer}", out, kernel, step, kernel // 2, bias=bias)
                    counter.norm(self.batch_norm and not pre)
                first = False
                changes = stride > 1 or channels != counter.channels
                shortcut, out = CostCounter(channels, side), counter.channels
                if self.shortcut == "C" or (self.shortcut == "B" and changes):
                    shortcut.conv(f"{name}.shortcut", out, 1, stride, bias=bias)
                    shortcut.norm(self.batch_norm and not pre)
                elif self.shortcut == "gated":
                    shortcut.conv(f"{name}.shortcut.gate", out, 1, stride, bias=True)
                counter.parameters += shortcut.parameters
                counter.macs += shortcut.macs
        counter.norm(self.batch_norm and pre)
        counter.linear(num_classes)

    def convolutions(self, width: int, stride: int) -> tuple[tuple[int, int, int], ...]:
        """Return the channels, kernel size and stride of each convolution of a block."""
        if self.block == "basic":
            return (width, 3, stride), (width, 3, 1)
        # The first convolution has the stride, as in He et al.'s own code.
        return (width, 1, stride), (width, 3, 1), (EXPANSION * width, 1, 1)


def cifar_config(depth: int, shortcut: Shortcut = "A", **fields: Any) -> CifarConfig:
    """Return the config of a CIFAR network of widths 16, 32, 64 (He et al. 2016, sec. 4.2).

    Args:
        depth: Number of weighted layers, 6n + 2; 9n + 2 with bottlenecks.
        shortcut: Kind of shortcut; `none` for a plain network.
        fields: Other fields of the config, such as `block` or `widths`.

    Returns:
        The config.

    Raises:
        FieldError: No whole number of blocks gives the depth.
    """
    layers = 3 if fields.get("block") == "bottleneck" else 2
    return replace(
        CifarConfig(blocks=blocks_for_depth(depth, 3, "", layers), shortcut=shortcut), **fields
    )


def blocks_for_depth(
    depth: object, num_stages: int, field: str, layers_per_block: int = 2
) -> tuple[int, ...]:
    """Return equal numbers of blocks for `num_stages` stages that give `depth`.

    Raises FieldError with the nearest possible depths.
    """
    step = layers_per_block * num_stages
    if not isinstance(depth, int) or isinstance(depth, bool):
        raise FieldError(field, f"not a whole number (got {str(depth)[:60]})", f"{3 * step + 2}")
    if abs(depth) > MAX_DEPTH:
        raise FieldError(field, f"not between {step + 2} and {MAX_DEPTH:,}", f"{step * 3 + 2}")
    if depth < step + 2 or (depth - 2) % step:
        below = max(step + 2, (depth - 2) // step * step + 2)
        fix = f"{below} or {below + step}" if depth > step + 2 else f"{step + 2}"
        raise FieldError(field, f"{depth} is not {step}n + 2", fix)
    return ((depth - 2) // step,) * num_stages


DEPTH_REPORT = {
    8: (0, 1, 1, 1),
    14: (1, 2, 1, 2),
    18: (1, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (6, 6, 6, 6),
}
"""Blocks per stage in table 1 of the depth report, by the depth that it states.

Its 18 has 7 blocks: 16 weighted layers.
"""


def depth_report_config(depth: int, plain: bool) -> CifarConfig:
    """Return a network of the depth report as its text describes it.

    1x1 convolutions where the shape changes, batch normalization after convolutions, dropout .5 in
    the blocks, and the default initialization of torch.nn.
    """
    shortcut: Shortcut = "none" if plain else "B"
    return CifarConfig(
        blocks=DEPTH_REPORT[depth],
        widths=(16, 32, 64, 128),
        shortcut=shortcut,
        dropout=0.5,
        init="pytorch",
    )


def _depth_report_name(model: CifarConfig) -> str:
    """Return the name of a network of the depth report, or "" for any other network."""
    return next(
        (f"depth-report-{kind}{depth}" for kind, depth, config in _DEPTH_REPORT if config == model),
        "",
    )


_DEPTH_REPORT = [
    (kind, depth, depth_report_config(depth, kind == "plain"))
    for kind in ("plain", "resnet")
    for depth in DEPTH_REPORT
]
