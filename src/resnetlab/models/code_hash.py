"""Hashes of the code of a network of the user's own, which is part of the identity of its runs.

Does not import torch, and no module whose source it reads.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import TypeVar
from weakref import WeakKeyDictionary

from resnetlab.errors import input_error
from resnetlab.models.configs.external import ExternalConfig

T = TypeVar("T")

PARAMETERS = "parameters"
"""Key of the hash of the names and shapes of parameters, beside the names of modules."""

HEX_DIGITS = 16


def with_module_hashes(model: T) -> T:
    """Return `model` with the hashes of its modules now; other networks are unchanged."""
    if not (isinstance(model, ExternalConfig) and model.needs_consent):
        return model
    shapes = {key: value for key, value in model.code.items() if key == PARAMETERS}
    return dataclasses.replace(model, code=module_hashes(model.source) | shapes)


def module_hashes(source: str) -> dict[str, str]:
    """Return the SHA-256 of the module of `package.module:function`, and of the modules that it
    imports, by name.

    These are modules of the same package, and those in the folder of a module that is not
    installed. Modules without a file are left out.
    """
    name = source.partition(":")[0]
    top = _find(name.partition(".")[0])
    if top is None:
        return {}
    folder = _folder(top)
    installed = any(part in ("site-packages", "dist-packages") for part in folder.parts)
    package = name.partition(".")[0]
    waiting, hashes = list(_with_parents(name)), dict[str, str]()
    while waiting:
        module = waiting.pop()
        spec = _find(module) if module not in hashes else None
        if spec is None or spec.origin is None or not Path(spec.origin).is_file():
            continue
        path = Path(spec.origin)
        same_package = module.partition(".")[0] == package
        if not (same_package or (not installed and folder in path.parents)):
            continue
        content = path.read_bytes()
        hashes[module] = hashlib.sha256(content).hexdigest()[:HEX_DIGITS]
        is_package = spec.submodule_search_locations is not None
        waiting += _imports(content, module if is_package else module.rpartition(".")[0])
    return dict(sorted(hashes.items()))


def changed_modules(model: object) -> list[str]:
    """Return the files of the modules of `model` that differ from its hashes; none without them."""
    if not (isinstance(model, ExternalConfig) and model.needs_consent and model.code):
        return []
    now = module_hashes(model.source)
    before = {key: value for key, value in model.code.items() if key != PARAMETERS}
    names = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
    return [_file_name(name) for name in names]


def loaded_module_hashes(source: str) -> dict[str, str]:
    """Return `module_hashes` of a function that this process has imported.

    Raises InputError if a file changed after the import, because the old code would run.
    """
    now = module_hashes(source)
    module = sys.modules.get(source.partition(":")[0])
    if module is not None and _hashes_at_import.setdefault(module, now) != now:
        raise input_error(source, "was edited after it was imported", "start Python again")
    return now


_hashes_at_import: WeakKeyDictionary[ModuleType, dict[str, str]] = WeakKeyDictionary()
"""Hashes by the imported module itself; a module that is imported again is another one."""


def check_unchanged(model: object, where: str) -> None:
    """Raise InputError that names the files if the code of `model` changed since it was hashed."""
    if files := changed_modules(model):
        message = f"the code of its network changed since it began: {', '.join(files[:5])}"
        raise input_error(where, message, "restore the code, or train again under a new id")


def _file_name(module: str) -> str:
    spec = _find(module)
    return str(spec.origin) if spec is not None and spec.origin else f"{module} (absent)"


def _with_parents(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[:count]) for count in range(1, len(parts) + 1))


def _find(name: str) -> ModuleSpec | None:
    """Find a module as an import would, without importing its package."""
    loaded = getattr(sys.modules.get(name), "__spec__", None)
    if loaded is not None:
        return loaded  # type: ignore[no-any-return]
    path: list[str] | None = None
    spec: ModuleSpec | None = None
    for part in _with_parents(name):
        spec = PathFinder.find_spec(part, path)
        if spec is None:
            return None
        path = list(spec.submodule_search_locations or [])
    return spec


def _folder(spec: ModuleSpec) -> Path:
    """Return the folder that contains a top-level module or package."""
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).absolute().parent
    return Path(spec.origin or "").absolute().parent


def _imports(content: bytes, package: str) -> Iterator[str]:
    """Yield the names that a module in `package` imports, with their parents; some of the names
    may be functions.
    """
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):  # a compiled module
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _with_parents(alias.name)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".") if package else []
            base = parents[: len(parents) - node.level + 1] if node.level else []
            base += node.module.split(".") if node.module else []
            if base:
                yield from _with_parents(".".join(base))
            for alias in node.names:
                yield ".".join([*base, alias.name])
