"""Summary of block ablations by the number of blocks that were left out. Free of torch."""

from __future__ import annotations

from statistics import median
from typing import Any

from resnetlab.inspection.diagnostics_records import BlockAblations


def accuracies_by_size(ablations: BlockAblations) -> dict[int, list[float]]:
    """Return the accuracies in percent by the number of blocks that were left out, from 0 on."""
    by_size: dict[int, list[float]] = {}
    for row in ablations.blocks:
        by_size.setdefault(int(row.without != "nothing"), []).append(row.accuracy_pct)
    for item in ablations.sets:
        by_size.setdefault(len(item.without), []).append(item.accuracy_pct)
    return dict(sorted(by_size.items()))


def set_rows(ablations: BlockAblations) -> list[dict[str, Any]]:
    """Return a row for each number of left-out blocks: the sets and their accuracies in percent."""
    return [
        {
            "blocks_left_out": size,
            "sets": len(values),
            "lowest_accuracy_pct": min(values),
            "median_accuracy_pct": median(values),
            "highest_accuracy_pct": max(values),
        }
        for size, values in accuracies_by_size(ablations).items()
    ]
