"""Study files from values of Python: dictionaries with configs, functions and arrays of numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from resnetlab import trust
from resnetlab.models.configs.external import config_of
from resnetlab.schema import encode
from resnetlab.studies.parsing.toml_tables import grid_of


def plain_tables(value: Any) -> Any:
    """Return the tables of a study as a file has them: configs as tables, functions by name.

    Entries that are None are left out. Consent is given to the functions, because they were passed
    themselves. Raises InputError for a function that no other process can import.
    """
    if isinstance(value, Mapping):
        return {str(key): plain_tables(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple | range):
        return [plain_tables(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return plain_tables(encode(value))  # in full: a grid may change a field of any table
    if callable(value):
        config = config_of(value)
        trust.allow(config.source)
        return plain_tables(encode(config))
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return str(value) if isinstance(value, Path) else value


def study_file_text(tables: dict[str, Any]) -> str:
    """Return the text of the study file that has these plain tables.

    The axes of the grid have dotted names, since TOML would write nested tables after the others
    and the order of the axes is that of the conditions.
    """
    grid = grid_of(tables)
    return tomli_w.dumps(tables | {"grid": grid} if grid else tables)
