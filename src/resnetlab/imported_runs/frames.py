"""Tables in memory: pandas and polars frames, lists of rows, and dictionaries of columns.

Neither pandas nor polars is imported: a frame is recognized by its methods.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from resnetlab.errors import input_error
from resnetlab.imported_runs.raw_table import RawTable, Row
from resnetlab.imported_runs.text_tables import table_of_rows

WHERE = "the table"


def from_frame(frame: Any) -> RawTable:
    """Return the table of a frame, of a list of dictionaries or of a dictionary of columns.

    A missing value of pandas (NaN, NaT, NA) is an empty cell, because pandas has no other mark for
    one. A NaN of polars is a number, and its null is an empty cell.

    Raises:
        InputError: The object is no table.
    """
    if hasattr(frame, "to_dicts"):  # polars
        records = frame.to_dicts()
    elif hasattr(frame, "to_dict") and hasattr(frame, "columns"):  # pandas
        names = [str(name) for name in getattr(frame.index, "names", ()) if name is not None]
        framed = frame.reset_index() if names else frame
        records = [
            {str(name): _without_nan(cell) for name, cell in record.items()}
            for record in framed.to_dict("records")
        ]
    elif isinstance(frame, Mapping):
        columns = {str(name): list(values) for name, values in frame.items()}
        lengths = {len(values) for values in columns.values()}
        if len(lengths) > 1:
            fix = "give each column as many values as there are rows"
            raise input_error(WHERE, "columns of different lengths", fix, got=sorted(lengths))
        records = [
            dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)
        ]
    elif isinstance(frame, Sequence) and all(isinstance(row, Mapping) for row in frame):
        records = [{str(name): cell for name, cell in row.items()} for row in frame]
    else:
        fix = "a path, a frame of pandas or polars, a list of dictionaries, or columns by name"
        raise input_error(WHERE, "not a table", fix, got=type(frame).__name__)
    rows = [
        Row(f"row {number}", {name: _plain(cell) for name, cell in record.items()})
        for number, record in enumerate(records, 1)
    ]
    return table_of_rows(WHERE, rows, {})


def _plain(cell: Any) -> Any:
    """Return a numpy scalar as a number of Python."""
    return cell.item() if hasattr(cell, "item") and hasattr(cell, "dtype") else cell


def _without_nan(cell: Any) -> Any:
    value = _plain(cell)
    if isinstance(value, float) and math.isnan(value):
        return None
    return None if type(value).__name__ in ("NAType", "NaTType") else value
