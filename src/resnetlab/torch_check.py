"""Check that torch is installed. It belongs to the extra `train`, which judging does not need."""

from __future__ import annotations

import importlib.util
import sys

from resnetlab.errors import InputError, input_error

TRAIN_PACKAGES = ("torch", "torchvision", "sklearn")
"""Modules of the extra `train`."""


def has_torch() -> bool:
    """Return True if torch is installed. Does not import it."""
    return sys.modules.get("torch") is not None or importlib.util.find_spec("torch") is not None


def check_torch() -> None:
    """Raise InputError if torch is not installed."""
    if not has_torch():
        raise missing_package_error("torch")


def missing_package_error(package: str) -> InputError:
    """Return the error of a package of the extra `train` that is not installed."""
    return input_error(package, "not installed", 'pip install "resnetlab[train]"')
