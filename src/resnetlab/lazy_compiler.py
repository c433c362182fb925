"""Deferred import of torch's compiler until something in the process needs it.

torch's optimizers, torchvision and timm import `torch._dynamo`, and with it sympy, which takes as
long as torch itself. They use it only to mark functions that must not be compiled. These marks have
no effect in a process that compiles nothing.

`defer_compiler` installs a placeholder module instead of `torch._dynamo`. The placeholder
implements the three functions that only mark something, and is replaced by the real package on any
other access. Free of torch.
"""

from __future__ import annotations

import functools
import importlib
import importlib.abc
import importlib.machinery
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

DYNAMO_MODULE = "torch._dynamo"
DYNAMO_UTILS_MODULE = f"{DYNAMO_MODULE}.utils"


def defer_compiler() -> None:
    """Defer the import of `torch._dynamo` until it is needed, unless it is imported already."""
    if DYNAMO_MODULE not in sys.modules and not any(
        isinstance(finder, _Finder) for finder in sys.meta_path
    ):
        sys.meta_path.insert(0, _Finder())


class _Placeholder(types.ModuleType):
    """Placeholder module that is replaced by the real one when another attribute is read."""

    def __getattr__(self, name: str) -> Any:
        is_package = name == "__path__" and "disable" in vars(
            self
        )  # an import of a submodule of the real package
        # Tools read the other dunder attributes of every loaded module.
        if name.startswith("__") and not is_package:
            raise AttributeError(name)
        return getattr(_import_real(self.__name__), name)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Import finder that returns the placeholder for `torch._dynamo`."""

    def find_spec(
        self, fullname: str, _: Sequence[str] | None, __: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(fullname, self) if fullname == DYNAMO_MODULE else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _Placeholder(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        utils = _Placeholder(DYNAMO_UTILS_MODULE)
        module.__dict__.update(disable=_disable, graph_break=_graph_break, utils=utils)
        utils.__dict__.update(is_compile_supported=_is_compile_supported)
        sys.modules[DYNAMO_UTILS_MODULE] = utils


def _disable(fn: Any = None, recursive: bool = True, **options: Any) -> Any:
    """Mark a function as not to be compiled, once the compiler is imported."""
    if fn is None:
        return functools.partial(_disable, recursive=recursive, **options)
    if not isinstance(fn, types.FunctionType):
        return _import_real(DYNAMO_MODULE).disable(fn, recursive, **options)
    marked: list[Callable[..., Any]] = []

    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not _is_loaded():
            return fn(*args, **kwargs)
        if not marked:
            marked.append(_import_real(DYNAMO_MODULE).disable(fn, recursive, **options))
        return marked[0](*args, **kwargs)

    return call


def _graph_break(*args: Any, **kwargs: Any) -> None:
    """Do nothing outside a compiled function."""
    if _is_loaded():
        _import_real(DYNAMO_MODULE).graph_break(*args, **kwargs)


def _is_compile_supported(device_type: str) -> Any:
    return _import_real(DYNAMO_UTILS_MODULE).is_compile_supported(device_type)


def _is_loaded() -> bool:
    """Return True if the real compiler is imported completely."""
    module = sys.modules.get(DYNAMO_MODULE)
    if module is None or isinstance(module, _Placeholder):
        return False
    return not getattr(module.__spec__, "_initializing", False)


def _import_real(name: str) -> Any:
    """Import the real module `name` and remove the placeholder."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Finder)]
    for module_name in (DYNAMO_MODULE, DYNAMO_UTILS_MODULE):
        if isinstance(sys.modules.get(module_name), _Placeholder):
            del sys.modules[module_name]
    parent, _, child = DYNAMO_MODULE.rpartition(".")
    if isinstance(vars(sys.modules[parent]).get(child), _Placeholder):
        delattr(sys.modules[parent], child)
    return importlib.import_module(name)
