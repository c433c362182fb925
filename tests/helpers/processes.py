"""The environment of processes that the tests start."""

from __future__ import annotations

import os
import sys


def import_path() -> str:
    """Return the import path of this process as a value for `PYTHONPATH`, so that a child process finds `helpers`."""
    return os.pathsep.join(path for path in sys.path if path)


def environment(**variables: str) -> dict[str, str]:
    """Return the environment for a child process that computes in one thread and can import `helpers`.

    Args:
        **variables: More variables of the environment, by name.
    """
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": import_path()} | variables
