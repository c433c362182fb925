"""Imports of optional packages, with an error that names the command to install them."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

from resnetlab.errors import input_error


def optional_import(module: str, extra: str) -> Any:
    """Import an optional module. Raises InputError with the command that installs its extra."""
    try:
        with warnings.catch_warnings():
            # Deprecations between other packages do not concern the user.
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ImportError as error:
        package = (error.name or module).partition(".")[0]
        raise input_error(
            "", f"{package} is not installed", f'pip install "resnetlab[{extra}]"'
        ) from None
