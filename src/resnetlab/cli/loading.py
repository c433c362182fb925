"""Progress messages during slow imports and long steps."""

from __future__ import annotations

import sys
from typing import Any

from resnetlab import messages
from resnetlab.cli.common import VERBOSITY, notify
from resnetlab.torch_check import check_torch

SLOW_IMPORTS = ("torch", "timm", "torchvision")


def announce_loading(model: Any = None, quiet: bool = False) -> None:
    """Print the packages that are about to be imported: torch, and the library of the model config
    `model`.

    The line goes to standard error. Prints nothing if they are already imported, if `quiet`, or
    with `--quiet`. Raises InputError if torch is not installed.
    """
    check_torch()
    library = getattr(model, "library", "")
    packages = [
        name for name in ("torch", library) if name in SLOW_IMPORTS and name not in sys.modules
    ]
    if packages and not quiet:
        notify(f"loading {' and '.join(packages)} ...")


class ProgressLine(messages.ProgressLine):
    """Progress of a step on standard error, unless `--quiet` was given."""

    def __call__(self, title: str, done: int, total: int) -> None:
        """Show the progress of the task `title` in items."""
        if not VERBOSITY.quiet:
            super().__call__(title, done, total)
