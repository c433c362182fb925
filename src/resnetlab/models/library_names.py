"""Names of the networks of timm and torchvision, read from their source files without importing
them: timm alone takes seconds to import.

Free of torch.
"""

from __future__ import annotations

import functools
import re
from importlib.util import find_spec
from pathlib import Path

LIBRARIES = ("timm", "torchvision")

_BUILDER = re.compile(
    r"^@register_model(?:\([^)]*\))?\n(?:@[^\n]*\n|[ \t)][^\n]*\n)*def ([a-z0-9_]+)\(", re.M
)
"""Registered function of a module of either library; more decorators may follow the first."""


@functools.cache
def library_names(library: str) -> frozenset[str]:
    """Return the names of a library's networks; empty if it is not installed."""
    spec = find_spec(library)
    if spec is None or not spec.submodule_search_locations:
        return frozenset()
    names: set[str] = set()
    for folder in spec.submodule_search_locations:
        for path in sorted((Path(folder) / "models").glob("*.py")):
            names.update(_BUILDER.findall(path.read_text(encoding="utf-8", errors="replace")))
    return frozenset(names)


def full_names(name: str) -> list[str]:
    """Return `LIBRARY/NAME` for each library that has a network of that name."""
    return [f"{library}/{name}" for library in LIBRARIES if name in library_names(library)]
