"""The names of networks. Free of torch."""

from __future__ import annotations

import re
from dataclasses import dataclass

from resnetlab.errors import mistake, nearest
from resnetlab.models.spec import Model, Shortcut, cifar

_CIFAR = re.compile(r"cifar-(?:(plain)|resnet)([0-9]{1,6})(?:-([bc]))?")
_DEPTHS = (20, 32, 44, 56, 110, 1202)


@dataclass(frozen=True)
class Entry:
    """A line of `resnetlab models`."""

    name: str
    model: Model
    source: str


def entries() -> list[Entry]:
    """The networks that have a name of their own; any other depth of 6n + 2 has one by the same rule."""
    source = "He et al. 2016, sec. 4.2"
    names = [(f"cifar-{kind}{depth}{option}") for kind, option in _KINDS for depth in _DEPTHS]
    return [Entry(name, named_model(name, "", ""), source) for name in names]


_KINDS = (("plain", ""), ("resnet", ""), ("resnet", "-b"), ("resnet", "-c"))


def named_model(name: str, where: str, field: str) -> Model:
    """The model of that name. Raises InputError with the nearest known name."""
    found = _CIFAR.fullmatch(name) if isinstance(name, str) else None
    if not found or (found[1] and found[3]):
        known = [f"cifar-{kind}{depth}{option}" for kind, option in _KINDS for depth in _DEPTHS]
        fix = nearest(str(name), known) or "resnetlab models lists the names"
        raise mistake(where, "unknown model", fix, field=field, got=name)
    shortcuts: dict[str | None, Shortcut] = {None: "A", "b": "B", "c": "C"}
    shortcut = "none" if found[1] else shortcuts[found[3]]
    try:
        return cifar(int(found[2]), shortcut)
    except ValueError as error:
        what, fix = getattr(error, "what", str(error)), getattr(error, "fix", "cifar-resnet20")
        raise mistake(where, what, fix, field=field) from None
