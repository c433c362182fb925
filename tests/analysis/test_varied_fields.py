"""Tables of runs have a column for each field in which the conditions differ, and no other."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

import resnetlab as rl
from resnetlab.analysis.data_files import load_study_data
from resnetlab.analysis.study_data import CurvePoint, RunRow
from resnetlab.analysis.varied_fields import row_table, varied_fields
from resnetlab.schema import encode

RESULTS = Path(__file__).parents[2] / "results"


def flat(value: Any, prefix: str) -> dict[str, Any]:
    """Return the values of a config by dotted name, without those that are not set."""
    if isinstance(value, dict):
        return {
            name: item
            for key, part in value.items()
            for name, item in flat(part, f"{prefix}.{key}").items()
        }
    return {} if value is None else {prefix: str(value)}


@pytest.mark.parametrize("name", ["digits", "ladder", "shortcuts", "precision", "learning-rate"])
def test_each_field_that_differs_is_a_column(name: str) -> None:
    if name == "learning-rate":
        study = rl.load_study(
            {
                "name": "rates",
                "question": "",
                "model": "cifar-resnet8",
                "data": "digits",
                "recipe": "digits",
                "seeds": [0],
                "grid": {"recipe": ["digits", "adam"], "model": ["cifar-plain8", "lenet5"]},
            }
        ).study
    else:
        study = rl.load_study(name).study
    columns = varied_fields(study.conditions)
    tables = []
    for condition in study.conditions:
        table: dict[str, Any] = {}
        for part in ("model", "data", "recipe", "numerics"):
            table |= flat(encode(getattr(condition, part)), part)
        tables.append(table)
    names = {key for table in tables for key in table}
    differing = {key for key in names if len({table.get(key) for table in tables}) > 1}
    differing = {key for key in differing if not key.startswith(("model.code", "model.sha256"))}
    numerics = {key for key in differing if key.startswith("numerics")}
    assert differing - numerics <= set(columns)
    axes = {axis for condition in study.conditions for axis in condition.values}
    assert set(columns) <= differing | axes | {"model.depth"}
    for values in columns.values():
        assert set(values) == {condition.label for condition in study.conditions}
        assert len(set(values.values())) > 1


def test_the_depth_of_a_ladder_and_the_values_of_an_axis_are_columns() -> None:
    digits = varied_fields(rl.load_study("digits").study.conditions)
    assert list(digits)[:2] == ["model.depth", "model.shortcut"]
    assert digits["model.depth"]["plain 56"] == 56
    ladder = varied_fields(rl.load_study("ladder").study.conditions)
    assert ladder["recipe.normalize"]["+ normalization"] == "train"
    assert "rung" not in ladder
    assert ladder["recipe.optimizer.momentum"]["Adam"] is None


@pytest.mark.parametrize(
    "folder", sorted(RESULTS.glob("*/results.csv")), ids=lambda p: p.parent.name
)
def test_committed_results_have_these_columns(folder: Path) -> None:
    data = load_study_data(folder.parent)
    for name, row_type, rows in (
        ("results.csv", RunRow, data.rows),
        ("curves.csv", CurvePoint, data.curve_points),
    ):
        header = (folder.parent / name).read_text(encoding="utf-8").splitlines()[0].split(",")
        assert header == list(row_table(row_type, rows, data.study.conditions).columns)
        fields = {field.name for field in dataclasses.fields(row_type)}
        assert {column for column in header if column not in fields} == set(
            varied_fields(data.study.conditions)
        )
