"""Put off the import of torch's compiler until something in the process needs it.

torch's optimizers, torchvision and timm import `torch._dynamo`, and sympy with it, which takes as long as torch itself.
They use it only to mark functions that are never to be compiled. A process that compiles nothing has nothing to mark.

`defer_compiler` puts a stand-in at the place of `torch._dynamo`. It answers the three calls that only mark something,
and gives way to the real package as soon as anything else is asked of it. Free of torch.
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

COMPILER = "torch._dynamo"
UTILS = f"{COMPILER}.utils"


def defer_compiler() -> None:
    """Import `torch._dynamo` in this process no earlier than it is needed; where it is there already, do nothing."""
    if COMPILER not in sys.modules and not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _StandIn(types.ModuleType):
    """A module that becomes the real one when an attribute is read that it does not have."""

    def __getattr__(self, name: str) -> Any:
        is_package = name == "__path__" and "disable" in vars(self)  # somebody imports a module of the real package
        if name.startswith("__") and not is_package:  # others are asked of every loaded module
            raise AttributeError(name)
        return getattr(_real(self.__name__), name)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the stand-in where `torch._dynamo` is imported."""

    def find_spec(
        self, fullname: str, _: Sequence[str] | None, __: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(fullname, self) if fullname == COMPILER else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _StandIn(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        utils = _StandIn(UTILS)
        module.__dict__.update(disable=_disable, graph_break=_graph_break, utils=utils)
        utils.__dict__.update(is_compile_supported=_is_compile_supported)
        sys.modules[UTILS] = utils


def _disable(fn: Any = None, recursive: bool = True, **options: Any) -> Any:
    """Mark a function as never to be compiled, as `torch._dynamo.disable` does, once there is a compiler."""
    if fn is None:
        return functools.partial(_disable, recursive=recursive, **options)
    if not isinstance(fn, types.FunctionType):
        return _real(COMPILER).disable(fn, recursive, **options)
    marked: list[Callable[..., Any]] = []

    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not _is_loaded():
            return fn(*args, **kwargs)
        if not marked:
            marked.append(_real(COMPILER).disable(fn, recursive, **options))
        return marked[0](*args, **kwargs)

    return call


def _graph_break(*args: Any, **kwargs: Any) -> None:
    """Do nothing outside a compiled function."""
    if _is_loaded():
        _real(COMPILER).graph_break(*args, **kwargs)


def _is_compile_supported(device_type: str) -> Any:
    return _real(UTILS).is_compile_supported(device_type)


def _is_loaded() -> bool:
    """Whether the real compiler is there, whole."""
    held = sys.modules.get(COMPILER)
    if held is None or isinstance(held, _StandIn):
        return False
    return not getattr(held.__spec__, "_initializing", False)


def _real(name: str) -> Any:
    """The real module of that name, in place of the stand-in from now on."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Finder)]
    for place in (COMPILER, UTILS):
        if isinstance(sys.modules.get(place), _StandIn):
            del sys.modules[place]
    parent, _, child = COMPILER.rpartition(".")
    if isinstance(vars(sys.modules[parent]).get(child), _StandIn):
        delattr(sys.modules[parent], child)
    return importlib.import_module(name)
