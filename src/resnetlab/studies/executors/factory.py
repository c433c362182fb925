"""Executors by the name that a command gives."""

from __future__ import annotations

from pathlib import Path

from resnetlab.errors import input_error
from resnetlab.recipes.numerics import Placement
from resnetlab.studies.executors.base import Executor
from resnetlab.studies.executors.local import LocalExecutor


def make_executor(name: str, root: Path, placement: Placement, address: str) -> Executor:
    """Return the executor `local` or `ray` for runs under `root`.

    Raises InputError if the name is unknown, its package is not installed, or it does not support
    the placement.
    """
    if name == "local":
        return LocalExecutor(root, placement)
    if name != "ray":
        message, fix = "no such executor", "--executor local"
        raise input_error("", message, fix, field="executor", got=name, allowed="local, ray")
    if placement.parallel_seeds > 1:
        message, fix = "not supported with Ray", "--gpus-per-run 0.2 shares a GPU between runs"
        raise input_error("", message, fix, field="parallel_seeds")
    try:
        from resnetlab.studies.executors.ray import RayExecutor
    except ImportError:
        fix = "pip install 'resnetlab[ray]'"
        raise input_error("", "ray is not installed", fix, field="executor") from None
    return RayExecutor(root, placement, address)
