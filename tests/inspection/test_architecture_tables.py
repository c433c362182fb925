"""The sources' tables, from the specs."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from resnetlab.inspection.architecture_tables import architecture_table

Call = Callable[..., tuple[int, str, str]]

TABLE_1 = {  # the depth report's, as printed
    "16 to 16": (None, 1, 1, 3, 6),
    "16 to 32": (1, 1, 1, 1, 1),
    "32 to 32": (None, 1, 1, 3, 5),
    "32 to 64": (1, 1, 1, 1, 1),
    "64 to 64": (None, None, 1, 5, 5),
    "64 to 128": (1, 1, 1, 1, 1),
    "128 to 128": (None, 1, 1, 2, 5),
}


def test_the_depth_report_s_table_1_comes_from_the_specs() -> None:
    depths = ("8", "14", "18", "34", "50")
    rows = {
        row["blocks"]: tuple(row[depth] for depth in depths)
        for row in architecture_table("depth-report")
    }
    assert {name: rows[name] for name in TABLE_1} == TABLE_1
    assert list(rows)[:7] == list(TABLE_1)
    assert rows["weighted layers"] == (8, 14, 16, 34, 50)


def test_data_adds_parameters_per_training_image(call: Call, small_npz: Path) -> None:
    code, out, _ = call("table", "depth-report", "--data", str(small_npz), "--csv")
    rows = {row["blocks"]: row for row in csv.DictReader(out.splitlines())}
    assert code == 0
    images = float(rows["parameters, plain"]["8"]) / float(
        rows["parameters per training image, plain"]["8"]
    )
    assert images == pytest.approx(120)  # none held out for validation
    assert "weighted layers" in call("table", "depth-report")[1]


def test_an_unknown_family_suggests_the_nearest(call: Call) -> None:
    code, out, err = call("table", "depth-repot")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert 'did you mean "depth-report"?' in err
