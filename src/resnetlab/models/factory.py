"""Declaration of functions that build networks. Free of torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

_MARK = "__resnetlab_model_factory__"


def model_factory(function: F) -> F:
    """Declare that `function` builds a network, so that a file may name it.

    A subclass of `nn.Module` and a function with the return annotation `-> nn.Module`, or a
    subclass, need no declaration.

    Args:
        function: Function that returns an `nn.Module`.

    Returns:
        The function itself: `model_factory` is a decorator.
    """
    setattr(function, _MARK, True)
    return function


def is_declared(function: object) -> bool:
    """Return True if `function` has the decorator `model_factory`."""
    return getattr(function, _MARK, False) is True
