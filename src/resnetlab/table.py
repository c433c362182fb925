"""Table with named columns, which pandas and polars turn into a data frame. Needs neither."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from resnetlab.errors import input_error, suggest
from resnetlab.notebook import ObjectSummary, with_summary


@with_summary
@dataclass(frozen=True)
class Table:
    """Table of plain values: `len(table)` rows, and `table["lr"]` is the list of a column.

    Iteration yields each row as a dictionary, so `pandas.DataFrame(table)` works as well as
    `table.to_pandas()`. A value that was not measured is None.
    """

    columns: Mapping[str, Sequence[Any]]
    """Values of each column by its name. All columns have the same length."""
    title: str = ""
    """Content of the table in a few words."""
    notes: tuple[str, ...] = ()
    """Sentences that explain the columns."""

    @classmethod
    def from_rows(
        cls, rows: Iterable[Mapping[str, Any]], title: str = "", notes: Sequence[str] = ()
    ) -> Table:
        """Return the table of these rows. A value that a row lacks is None."""
        lines = list(rows)
        names = dict.fromkeys(name for line in lines for name in line)
        columns = {name: [line.get(name) for line in lines] for name in names}
        return cls(columns, title, tuple(notes))

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for values in zip(*self.columns.values(), strict=True):
            yield dict(zip(self.columns, values, strict=True))

    def __getitem__(self, name: str) -> Sequence[Any]:
        if name not in self.columns:
            known = ", ".join(self.columns)
            fix = suggest(name, self.columns) or "name one of the columns"
            raise input_error("table", "unknown column", fix, got=name, allowed=known)
        return self.columns[name]

    def to_pandas(self) -> Any:
        """Return the table as a data frame of pandas. Raises InputError if pandas is missing."""
        return _import("pandas").DataFrame(dict(self.columns))

    def to_polars(self) -> Any:
        """Return the table as a data frame of polars. Raises InputError if polars is missing."""
        return _import("polars").DataFrame(dict(self.columns), strict=False)

    def _summary(self) -> ObjectSummary:
        size = f"{len(self):,} rows, {len(self.columns):,} columns"
        title = f"{self.title}: {size}" if self.title else size
        rows = list(zip(*self.columns.values(), strict=True))
        return ObjectSummary(title, header=list(self.columns), rows=rows, notes=self.notes)


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise input_error(name, "not installed", f"pip install {name}") from None
