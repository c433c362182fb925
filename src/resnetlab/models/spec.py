"""What a network is, as data: enough to build it, name it, count it. Free of torch."""

from __future__ import annotations

from dataclasses import fields as dataclass_fields
from dataclasses import replace
from typing import Any, Literal

from resnetlab.codec import FieldError, Fraction, Positive, Whole, decode, spec
from resnetlab.errors import InputError, Problem, mistake, nearest

Shortcut = Literal["none", "A", "B", "C"]

MAX_DEPTH = 100_000
"""Weighted layers; a slip of the keyboard should not fill the memory."""


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
        if not self.widths:
            raise FieldError("widths", "empty", "widths = [16, 32, 64]")
        if len(self.blocks) != len(self.widths):
            fix = f"give {len(self.widths)} numbers"
            raise FieldError("blocks", f"{len(self.blocks)} stages of blocks for {len(self.widths)} widths", fix)
        if not sum(self.blocks):
            raise FieldError("blocks", "all 0 leave a network without blocks", f"blocks = {[1] * len(self.blocks)}")
        if self.depth > MAX_DEPTH:
            raise FieldError("blocks", f"the network is deeper than {MAX_DEPTH:,} layers", "blocks = [18, 18, 18]")
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
    # A mistake in one part hides none in the others; `name` and `depth` are what the file form adds to the fields.
    table, problems = dict(value), []
    known = sorted([*(item.name for item in dataclass_fields(CifarNet)), "depth", "name"])
    for key in [key for key in table if key not in known]:
        fix = nearest(str(key), known) or "remove it"
        problems.append(Problem(where, "unknown field", fix, field=f"{field}.{key}", allowed=", ".join(known)))
        del table[key]
    widths = table.get("widths")
    stages = len(widths) if isinstance(widths, list | tuple) and widths else 3
    try:
        if "name" in table:
            base = named_model(table.pop("name"), where, f"{field}.name")
            shape = {} if "depth" in table else {"blocks": base.blocks}
            table = {"widths": base.widths, "shortcut": base.shortcut} | shape | table
        if "depth" in table and "blocks" in table:
            raise mistake(where, "given beside blocks", "keep one of the two", field=f"{field}.depth")
        if "depth" in table:
            try:
                table["blocks"] = _blocks(table.pop("depth"), stages, "depth")
            except FieldError as error:
                raise mistake(where, error.what, error.fix, field=f"{field}.{error.field}") from None
    except InputError as error:
        problems += error.problems
        table = {key: held for key, held in table.items() if key != "depth"} | {"blocks": [1] * stages}
    try:
        model: Model = decode(CifarNet, table, where, field)
    except InputError as error:
        problems += error.problems
    if problems:
        raise InputError(*problems)
    return model


def _blocks(depth: object, stages: int, field: str) -> tuple[int, ...]:
    step = 2 * stages
    if not isinstance(depth, int) or isinstance(depth, bool):
        raise FieldError(field, f"not a whole number (got {str(depth)[:60]})", f"{3 * step + 2}")
    if abs(depth) > MAX_DEPTH:
        raise FieldError(field, f"not between {step + 2} and {MAX_DEPTH:,}", f"{step * 3 + 2}")
    if depth < step + 2 or (depth - 2) % step:
        below = max(step + 2, (depth - 2) // step * step + 2)
        fix = f"{below} or {below + step}" if depth > step + 2 else f"{step + 2}"
        raise FieldError(field, f"{depth} is not {step}n + 2", fix)
    return ((depth - 2) // step,) * stages
