"""Comparison of the files of finished runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CLOCKS = ("seconds", "train_seconds", "evaluation_seconds", "images_per_second")
"""Fields that measure time. They differ between two runs that have the same bits."""


def outcome(
    run: Path, files: tuple[str, ...] = ("weights.safetensors",)
) -> tuple[dict[str, bytes | None], list[dict[str, Any]], dict[str, Any]]:
    """Read the outcome of a finished run, without its clock fields.

    Args:
        run: Folder of the run.
        files: Names of binary files of the run to compare as well.

    Returns:
        The content of each file by name (None where the run has no such file), the lines of
        `metrics.jsonl`, and the table of `result.json`.
    """
    contents = {
        name: (run / name).read_bytes() if (run / name).exists() else None for name in files
    }
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    result = json.loads((run / "result.json").read_text())
    for table in (*lines, result):
        for clock in CLOCKS:
            table.pop(clock, None)
    return contents, lines, result
