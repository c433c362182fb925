"""Grid of exactly two axes with numbers, such as learning rate by batch size. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from resnetlab.stats.intervals import ConditionSummary

if TYPE_CHECKING:
    from resnetlab.analysis.analyze import StudyAnalysis


@dataclass(frozen=True)
class ConditionGrid:
    """Conditions of a study on two axes with numbers, each in ascending order."""

    row_axis: str
    column_axis: str
    rows: tuple[float, ...]
    columns: tuple[float, ...]
    labels: dict[tuple[float, float], str]
    """Label of the condition of each row and column; a cell may be absent."""

    def best_rows(
        self, summaries: dict[str, ConditionSummary]
    ) -> dict[float, tuple[float, ConditionSummary]]:
        """Return, for each column with a mean, the row with the highest mean and its summary."""
        best: dict[float, tuple[float, ConditionSummary]] = {}
        for column in self.columns:
            for row in self.rows:
                label = self.labels.get((row, column))
                if label is None or summaries[label].mean_pct is None:
                    continue
                known = best[column][1].mean_pct if column in best else None
                if known is None or (summaries[label].mean_pct or 0.0) > known:
                    best[column] = (row, summaries[label])
        return best


def find_grid(analysis: StudyAnalysis) -> ConditionGrid | None:
    """Return the grid of a study with exactly two axes that have at least two numbers each, or
    None for another study.
    """
    conditions = analysis.study.conditions
    axes = list(conditions[0].values) if conditions and not analysis.study.ladder else []
    if len(axes) != 2 or any(list(c.values) != axes for c in conditions):
        return None
    if any(type(c.values[axis]) not in (int, float) for c in conditions for axis in axes):
        return None
    values = [sorted({c.values[axis] for c in conditions}) for axis in axes]
    if min(map(len, values)) < 2:
        return None
    labels = {(c.values[axes[0]], c.values[axes[1]]): c.label for c in conditions}
    return ConditionGrid(axes[0], axes[1], tuple(values[0]), tuple(values[1]), labels)
