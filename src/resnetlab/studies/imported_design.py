"""Runs that were trained elsewhere and read from a table: their design. Free of torch.

The package `resnetlab.imported_runs` reads such tables. A study of imported runs has no conditions
with a model, data and a recipe, because they are not recorded; it has their names.
"""

from __future__ import annotations

import math
from typing import Literal

from resnetlab.schema import PositiveFloat, PositiveInt, strict_dataclass
from resnetlab.schema_errors import FieldError
from resnetlab.studies.measure import Measure


@strict_dataclass
class PublishedValue:
    """Published number that is compared with the runs of a condition."""

    condition: str
    """Name of the condition."""
    value: float
    """Number as its source prints it, in the unit of the runs."""
    num_runs: PositiveInt = 1
    """Number of runs behind it; 1 if the source does not say."""
    statistic: Literal["mean", "best"] = "mean"
    """Statistic of these runs."""
    half_width: PositiveFloat | None = None
    """Half of the unit of its last decimal; None for a number that is not rounded."""
    source: str = ""
    """Source of the number, in words."""

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise FieldError("value", "not finite", "value = 93.57")


@strict_dataclass
class ImportedRuns:
    """Table of runs that were trained elsewhere, as it was read and as its design was declared."""

    measure: Measure
    conditions: tuple[str, ...]
    """Names of the conditions, in the order of the report."""
    files: dict[str, str]
    """SHA-256 of the file or folder, by its name without other folders; empty for a table in
    memory.
    """
    reading: tuple[str, ...] = ()
    """Sentences about how the table was read, with the counts of its rows."""
    paired_by: str = ""
    """Column whose value two runs share if they are a pair; empty if nothing is paired."""
    folds: PositiveInt | None = None
    """Number of folds, if the runs are the folds of a cross-validation."""
    best_of: PositiveInt = 1
    """Number of runs of which each value is the best; 1 for values of single runs."""
    published: tuple[PublishedValue, ...] = ()
    """Published numbers."""
    untested: tuple[str, ...] = ()
    """Claims without a verdict, because no condition has two runs."""

    @property
    def overlap(self) -> float:
        """Ratio of test to train images of a fold: 1 / (K - 1), or 0 without folds."""
        return 1 / (self.folds - 1) if self.folds else 0.0
