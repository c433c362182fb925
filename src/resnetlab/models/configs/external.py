"""Config of networks of other packages: by name in timm or torchvision, or by a function."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Literal, TypeVar

from resnetlab.files import sha256
from resnetlab.schema import FieldError, PositiveFloat, strict_dataclass

T = TypeVar("T")

KwargValue = bool | int | float | str | list[int]

_LIBRARY = re.compile(r"(timm|torchvision)/([A-Za-z0-9_.-]{1,100})")
_FUNCTION = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*")


@strict_dataclass
class ExternalConfig:
    """Network that another package builds; its layers and cost are unknown until then."""

    family: Literal["external"] = "external"
    source: str
    """Source of the network: `timm/NAME`, `torchvision/NAME` or `package.module:function`."""
    kwargs: dict[str, KwargValue] = dataclasses.field(default_factory=dict, hash=False)
    """Arguments of the function that builds it. `num_classes` is added unless it is given here."""
    weights: str = ""
    """Initial weights.

    Empty: drawn from the run's seed. `hub`: those of timm or torchvision. Otherwise the path of a
    file.
    """
    sha256: str = ""
    """SHA-256 of the weights file.

    It is part of the network's identity, filled in when a name is parsed and checked when the file
    is read.
    """
    mean: tuple[float, ...] = ()
    """Mean per channel of the training, for pixels from 0 to 1; empty: as the weights state."""
    std: tuple[PositiveFloat, ...] = ()
    """Standard deviation per channel, as `mean`."""
    class_names: tuple[str, ...] = ()
    """Class names of the outputs, in order; empty: as the weights state."""
    license: str | None = None
    """License of the weights as an SPDX identifier; it changes nothing in a run."""

    shortcut = "none"

    def __post_init__(self) -> None:
        if not (_LIBRARY.fullmatch(self.source) or _FUNCTION.fullmatch(self.source)):
            raise FieldError("source", "names no network", 'source = "torchvision/resnet18"')
        if len(self.mean) != len(self.std):
            raise FieldError(
                "mean", "mean and std differ in length", "give one value per channel in both"
            )
        if self.weights == "hub" and self.library == "":
            raise FieldError("weights", "a function has no hub", "the path of a safetensors file")

    @property
    def library(self) -> str:
        """Library of the network: `timm`, `torchvision`, or "" for a function."""
        match = _LIBRARY.fullmatch(self.source)
        return match[1] if match else ""

    @property
    def name(self) -> str:
        """Name of the network without its library, or the name of the function."""
        match = _LIBRARY.fullmatch(self.source)
        return match[2] if match else self.source.rpartition(":")[2]

    @property
    def slug(self) -> str:
        """Source of the network, such as `timm/NAME`, with a `+` if there are more settings."""
        return self.source if self == ExternalConfig(source=self.source) else f"{self.source}+"

    @property
    def title(self) -> str:
        """Title for a table or a figure: `mobilenetv2_100 (timm)`, `plain (depth 8)`."""
        if self.kwargs and not self.library:
            arguments = [
                value if isinstance(value, str) else f"{key} {value}"
                for key, value in self.kwargs.items()
            ]
            return f"{self.name} ({', '.join(arguments)})"
        origin = self.library or self.source.rpartition(":")[0]
        return f"{self.name} ({origin}{', pre-trained' if self.weights else ''})"


def with_weights_hash(model: T) -> T:
    """Return `model` with the SHA-256 of its weights file, if it names a file that exists."""
    if isinstance(model, ExternalConfig) and model.weights not in ("", "hub") and not model.sha256:
        try:
            path = Path(model.weights).expanduser()
            return dataclasses.replace(model, sha256=sha256(path)) if path.is_file() else model
        except (
            OSError,
            RuntimeError,
        ):  # unreadable or impossible paths are reported when the weights are read
            return model
    return model


def with_num_classes(model: T, num_classes: int) -> T:
    """Return `model` with `num_classes` outputs, as it is fine-tuned.

    The arguments of a pre-trained network may name the classes that it was trained for. Every
    other network has the number of outputs that it is built with.
    """
    if isinstance(model, ExternalConfig) and "num_classes" in model.kwargs:
        kwargs = model.kwargs | {"num_classes": num_classes}
        return dataclasses.replace(model, kwargs=kwargs)
    return model


def is_external(name: str) -> bool:
    """Return True if `name` has the form of an external network."""
    return bool(_LIBRARY.fullmatch(name) or _FUNCTION.fullmatch(name))
