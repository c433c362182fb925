"""Config of networks of other packages: by name in timm or torchvision, or by a function."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

from resnetlab import trust
from resnetlab.errors import input_error
from resnetlab.files import sha256
from resnetlab.schema import PositiveFloat, strict_dataclass
from resnetlab.schema_errors import FieldError

T = TypeVar("T")

KwargValue = bool | int | float | str | list[int]

_LIBRARY = re.compile(r"(timm|torchvision)/([A-Za-z0-9_.-]{1,100})")
_LOADING_ARGUMENT = re.compile(r"pretrained.*|checkpoint.*|weights.*|.*(_path|_file|_dir|_url|cfg)")
"""Arguments of timm and torchvision that load something from a file or an address."""
_PLAIN_VALUE = re.compile(r"[A-Za-z0-9_.+-]{0,64}")
"""Text that is no path and no address."""
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
    code: dict[str, str] = dataclasses.field(default_factory=dict, hash=False)
    """Hashes of the modules of a function, and of the names and shapes of its parameters.

    A run records them, so that a network whose code changed is another one.
    """
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
        for name, value in self.kwargs.items() if self.library else ():
            if _LOADING_ARGUMENT.fullmatch(name) or (
                isinstance(value, str) and not _PLAIN_VALUE.fullmatch(value)
            ):
                message = f"{name} may load a file or an address"
                fix = 'remove it; weights = "hub" or a safetensors file gives weights'
                raise FieldError("kwargs", message, fix)

    @property
    def library(self) -> str:
        """Library of the network: `timm`, `torchvision`, or "" for a function."""
        match = _LIBRARY.fullmatch(self.source)
        return match[1] if match else ""

    @property
    def needs_consent(self) -> bool:
        """True if the network is built by a function from outside timm, torchvision and this
        package.
        """
        return not self.library and not self.source.startswith(trust.TRUSTED_PREFIX)

    @property
    def name(self) -> str:
        """Name of the network without its library, or the name of the function."""
        match = _LIBRARY.fullmatch(self.source)
        return match[2] if match else self.source.rpartition(":")[2]

    @property
    def slug(self) -> str:
        """Source of the network, such as `timm/NAME`, with a `+` if there are more settings."""
        plain = ExternalConfig(source=self.source, code=self.code)
        return self.source if self == plain else f"{self.source}+"

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


def config_of(function: Callable[..., object]) -> ExternalConfig:
    """Return the config of a network that `function`, in a module of its own, builds.

    Raises InputError for a function that no other process could find by its name.
    """
    module, name = function.__module__, getattr(function, "__qualname__", "")
    if module == "__main__" or not name.isidentifier():
        fix = "put it into a module of its own, at the top level, and import it from there"
        raise input_error(name or str(function), "another process cannot import it", fix)
    return ExternalConfig(source=f"{module}:{name}")


def record_origin(model: object, where: str) -> None:
    """Record that the file `where` names the function of `model`, for the messages about it."""
    if isinstance(model, ExternalConfig) and model.needs_consent:
        trust.record_origin(model.source, model.kwargs, where)


def allow_code(model: object) -> None:
    """Consent to the code that builds `model`, if it is a function with these arguments."""
    if isinstance(model, ExternalConfig) and model.needs_consent:
        trust.allow(model.source, model.kwargs)


def allow_typed(name: str) -> None:
    """Consent to the function `name`, which the user typed; any other text has no effect."""
    if _FUNCTION.fullmatch(name):
        trust.allow(name)


def code_is_allowed(model: object) -> bool:
    """Return True if `model` needs code of the user's own and it is allowed to run."""
    return (
        isinstance(model, ExternalConfig)
        and model.needs_consent
        and trust.is_allowed(model.source, model.kwargs)
    )


def check_code(model: object) -> None:
    """Raise InputError if `model` needs code that is not allowed to run."""
    if isinstance(model, ExternalConfig) and model.needs_consent:
        trust.check_consent(model.source, model.kwargs)


def with_weights_hash(model: T) -> T:
    """Return `model` with the SHA-256 of its weights file, if it names a file that exists."""
    if isinstance(model, ExternalConfig) and model.weights not in ("", "hub") and not model.sha256:
        try:
            path = Path(model.weights).expanduser()
            return dataclasses.replace(model, sha256=sha256(path)) if path.is_file() else model
        except (OSError, RuntimeError):
            # Unreadable or impossible paths are reported when the weights are read.
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
