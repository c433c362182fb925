"""What a network is, as data: enough to build it, name it, count it. Free of torch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from resnetlab.codec import FieldError, Fraction, Positive, Whole, decode, spec
from resnetlab.errors import mistake

Shortcut = Literal["none", "A", "B", "C"]


@spec
class CifarNet:
    """A residual or plain network for small images (He et al. 2016, sec. 4.2).

    A 3x3 convolution, stages of basic blocks (two 3x3 convolutions each), global average pooling, a classifier.
    The first block of every stage but the first halves the image. Weighted layers: 2 x blocks + 2.
    """

    family: Literal["cifar"] = "cifar"
    blocks: tuple[Whole, ...]
    """Blocks a stage; (3, 3, 3) is ResNet-20."""
    widths: tuple[Positive, ...] = (16, 32, 64)
    """Channels a stage; the stem has the first."""
    shortcut: Shortcut = "A"
    """none: a plain net; A: stride and zero-padded channels; B: projection where the shape changes; C: everywhere."""
    batch_norm: bool = True
    dropout: Fraction = 0.0
    """Probability of dropping a channel at the end of each block's branch."""
    init: Literal["he", "pytorch"] = "he"
    """he: normal, sd sqrt(2 / fan-in) (He et al. 2015b); pytorch: the framework's own uniform default."""

    def __post_init__(self) -> None:
        if len(self.blocks) != len(self.widths) or not sum(self.blocks):
            fix = f"give {len(self.widths)} numbers that are not all 0"
            raise FieldError("blocks", f"{len(self.blocks)} stages of blocks for {len(self.widths)} widths", fix)
        if self.shortcut == "A" and list(self.widths) != sorted(self.widths):
            raise FieldError("widths", "shortcut A can add channels, not remove them", 'shortcut = "B"')

    @property
    def depth(self) -> int:
        """Weighted layers on the longest path."""
        return 2 * sum(self.blocks) + 2

    @property
    def slug(self) -> str:
        """The name by which people call it; a spec that differs from the classic one says so with a `+`."""
        kind = "plain" if self.shortcut == "none" else "resnet"
        option = {"none": "", "A": "", "B": "-b", "C": "-c"}[self.shortcut]
        classic = CifarNet(blocks=(self.blocks[0],) * 3, shortcut=self.shortcut) if self.blocks[0] else None
        return f"cifar-{kind}{self.depth}{option}{'' if self == classic else '+'}"

    @property
    def title(self) -> str:
        """For a table or a figure: `residual 56 (A)`, `plain 56`."""
        return f"plain {self.depth}" if self.shortcut == "none" else f"residual {self.depth} ({self.shortcut})"

    def cost(self, channels: int, classes: int, side: int) -> tuple[int, int]:
        """Parameters, and multiply-adds of the convolutions and the classifier for one image of `side` pixels.

        Counted from the definition; the tests hold it against the built network.
        """
        norm = 2 if self.batch_norm else 1  # weight and bias of a norm, or the bias of a convolution
        parameters, macs, width = channels * self.widths[0] * 9, channels * self.widths[0] * 9 * side**2, self.widths[0]
        parameters += norm * self.widths[0]
        for stage, (count, out) in enumerate(zip(self.blocks, self.widths, strict=True)):
            for block in range(count):
                halves = stage > 0 and block == 0
                side = (side + 1) // 2 if halves else side
                weights = 9 * out * (width + out)
                projects = self.shortcut == "C" or (self.shortcut == "B" and (halves or width != out))
                weights += width * out if projects else 0
                parameters += weights + norm * out * (3 if projects else 2)
                macs += weights * side**2
                width = out
        return parameters + classes * (width + 1), macs + classes * width


Model = CifarNet
"""The closed union of families; `build_model` has a case for each."""


def cifar(depth: int, shortcut: Shortcut = "A", **fields: Any) -> CifarNet:
    """The classic network of `depth` = 6n + 2 weighted layers: three stages of n blocks, widths 16, 32, 64."""
    return replace(CifarNet(blocks=_blocks(depth, 3, ""), shortcut=shortcut), **fields)


def parse_model(value: object, where: str, field: str = "model") -> Model:
    """A model from a file or an option: a name, or a table in which `depth` is short for `blocks`.

    Raises InputError that names `where` and `field`.
    """
    from resnetlab.models.names import named_model

    if isinstance(value, str):
        return named_model(value, where, field)
    if not isinstance(value, dict):
        raise mistake(where, "not a model", 'model = "cifar-resnet20"', field=field, got=value)
    table = dict(value)
    if "name" in table:
        base = named_model(table.pop("name"), where, f"{field}.name")
        depth = table.pop("depth", None)
        table = {"blocks": base.blocks, "widths": base.widths, "shortcut": base.shortcut} | table
        table |= {} if depth is None else {"depth": depth, "blocks": None}
    table = {key: held for key, held in table.items() if held is not None}
    if "depth" in table:
        if "blocks" in table:
            raise mistake(where, "given beside blocks", "keep one of the two", field=f"{field}.depth")
        widths = table.get("widths", (16, 32, 64))
        stages = len(widths) if isinstance(widths, list | tuple) else 3
        depth = table.pop("depth")
        try:
            table["blocks"] = _blocks(depth, stages, "depth")
        except FieldError as error:
            raise mistake(where, error.what, error.fix, field=f"{field}.{error.field}") from None
    model: Model = decode(CifarNet, table, where, field)
    return model


def _blocks(depth: object, stages: int, field: str) -> tuple[int, ...]:
    step = 2 * stages
    if not isinstance(depth, int) or isinstance(depth, bool):
        raise FieldError(field, f"not a whole number (got {depth!r})", f"{3 * step + 2}")
    if depth < step + 2 or (depth - 2) % step:
        below = max(step + 2, (depth - 2) // step * step + 2)
        fix = f"{below} or {below + step}" if depth > step + 2 else f"{step + 2}"
        raise FieldError(field, f"{depth} is not {step}n + 2", fix)
    if depth > 100_000:
        raise FieldError(field, f"{depth} is deeper than 100,000", f"{step * 100 + 2}")
    return ((depth - 2) // step,) * stages
