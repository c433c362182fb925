"""Packages that one command alone needs: imported when it runs, or named with the line that installs them."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

from resnetlab.errors import mistake


def need(module: str, extra: str) -> Any:
    """The module of that name. Raises InputError that says how to install the extra it belongs to."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what other packages deprecate in each other is not our user's affair
            return importlib.import_module(module)
    except ImportError as error:
        package = (error.name or module).partition(".")[0]
        raise mistake("", f"{package} is not installed", f'pip install "resnetlab[{extra}]"') from None
