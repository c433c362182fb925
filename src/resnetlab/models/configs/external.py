"""Networks of others as data: by name in timm or torchvision, or by a function. Free of torch."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Literal, TypeVar

from resnetlab.files import sha256
from resnetlab.schema import FieldError, PositiveAmount, spec

T = TypeVar("T")

Value = bool | int | float | str | list[int]

_LIBRARY = re.compile(r"(timm|torchvision)/([A-Za-z0-9_.-]{1,100})")
_FUNCTION = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*")


@spec
class External:
    """A network that another package builds. Nothing is known of it, its cost least of all, but by building it."""

    family: Literal["external"] = "external"
    source: str
    """`timm/NAME`, `torchvision/NAME` or `package.module:function`."""
    kwargs: dict[str, Value] = dataclasses.field(default_factory=dict, hash=False)
    """Arguments of the function that builds it; the number of classes is given unless it stands here."""
    weights: str = ""
    """Empty: first weights drawn from the run's seed. `hub`: those of timm or torchvision. Else a file."""
    sha256: str = ""
    """Of the weights file: part of what the network is, checked when it is read, filled in when a name is parsed."""
    mean: tuple[float, ...] = ()
    """A channel, of pixels from 0 to 1, that the weights were trained with; empty: as the weights say."""
    deviation: tuple[PositiveAmount, ...] = ()
    """As `mean`."""
    class_names: tuple[str, ...] = ()
    """Of the outputs, in order; empty: as the weights say."""
    licence: str | None = None
    """Of the weights, as SPDX has it; decides nothing of a run."""

    shortcut = "none"

    def __post_init__(self) -> None:
        if not (_LIBRARY.fullmatch(self.source) or _FUNCTION.fullmatch(self.source)):
            raise FieldError("source", "names no network", 'source = "torchvision/resnet18"')
        if len(self.mean) != len(self.deviation):
            raise FieldError("mean", "mean and deviation differ in length", "give both a channel")
        if self.weights == "hub" and self.library == "":
            raise FieldError("weights", "a function has no hub", "the path of a safetensors file")

    @property
    def library(self) -> str:
        """`timm`, `torchvision` or, of a function, nothing."""
        found = _LIBRARY.fullmatch(self.source)
        return found[1] if found else ""

    @property
    def name(self) -> str:
        """Without the library; of a function, its own name."""
        found = _LIBRARY.fullmatch(self.source)
        return found[2] if found else self.source.rpartition(":")[2]

    @property
    def slug(self) -> str:
        """`timm/NAME`; a spec that says more ends with a `+`."""
        return self.source if self == External(source=self.source) else f"{self.source}+"

    @property
    def title(self) -> str:
        """For a table or a figure: `mobilenetv2_100 (timm)`; of a function with its arguments: `plain (depth 8)`."""
        if self.kwargs and not self.library:
            said = [value if isinstance(value, str) else f"{key} {value}" for key, value in self.kwargs.items()]
            return f"{self.name} ({', '.join(said)})"
        where = self.library or self.source.rpartition(":")[0]
        return f"{self.name} ({where}{', pre-trained' if self.weights else ''})"


def with_hash(model: T) -> T:
    """`model`, told by the content of its weights file as well as by the path, if it names a file that exists."""
    if isinstance(model, External) and model.weights not in ("", "hub") and not model.sha256:
        try:
            path = Path(model.weights).expanduser()
            return dataclasses.replace(model, sha256=sha256(path)) if path.is_file() else model
        except (OSError, RuntimeError):  # a name too long, a folder not ours, a home of nobody: told when it is read
            return model
    return model


def is_external(name: str) -> bool:
    """Whether `name` has the form of a network of others."""
    return bool(_LIBRARY.fullmatch(name) or _FUNCTION.fullmatch(name))
