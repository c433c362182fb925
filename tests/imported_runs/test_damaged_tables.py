"""Damaged tables and logs give values, or errors in single lines, whatever bytes they have."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from helpers.fuzz import damaged
from helpers.runs_tables import A, B, long_rows
from resnetlab.errors import InputError
from resnetlab.imported_runs.declaration import declare
from resnetlab.imported_runs.event_files import masked_crc32c
from resnetlab.imported_runs.report import report_table

EXAMPLES = int(os.environ.get("DAMAGED_TABLES", "60"))


def record(data: bytes) -> bytes:
    """Return a record of an event file."""
    length = struct.pack("<Q", len(data))
    checksums = [struct.pack("<I", masked_crc32c(part)) for part in (length, data)]
    return length + checksums[0] + data + checksums[1]


def event(step: int, tag: bytes, value: float) -> bytes:
    """Return an event with a scalar, with the numbers of its fields in protobuf."""
    scalar = b"\x0a" + bytes([len(tag)]) + tag + b"\x15" + struct.pack("<f", value)
    summary = b"\x0a" + bytes([len(scalar)]) + scalar
    return b"\x10" + bytes([step]) + b"\x2a" + bytes([len(summary)]) + summary


EVENTS = b"".join(record(event(step, b"acc", step / 10)) for step in range(5))
CSV = long_rows(A=A, B=B)
JSON = "".join(f'{{"model": "A", "seed": {k}, "accuracy": {v}}}\n' for k, v in enumerate(A))
CHART = '"Step","a-s0 - acc","a-s0 - acc__MIN","a-s0 - acc__MAX"\n"1","0.5","0.5","0.5"\n'


def database(folder: Path) -> bytes:
    """Return a database with the tables of MLflow that are read."""
    path = folder / "seed.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            """
            CREATE TABLE experiments (experiment_id, name);
            CREATE TABLE runs (run_uuid, name, status, lifecycle_stage, experiment_id, start_time);
            CREATE TABLE params (run_uuid, key, value);
            CREATE TABLE tags (run_uuid, key, value);
            CREATE TABLE metrics (run_uuid, key, step, value, is_nan, timestamp);
            INSERT INTO runs VALUES ('u', 'a-s0', 'FINISHED', 'active', 1, 0);
            INSERT INTO params VALUES ('u', 'model', 'a');
            INSERT INTO metrics VALUES ('u', 'acc', 1, 0.5, 0, 0);
            """
        )
    return path.read_bytes()


SEEDS = {
    "runs.csv": [CSV.encode(), CSV.replace(",", ";").encode("utf-16"), CHART.encode()],
    "runs.jsonl": [JSON.encode(), f"[{JSON.strip().replace(chr(10), ',')}]".encode()],
    "logs/events.out.tfevents.0": [EVENTS],
}


def read(path: Path, content: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    source = path.parent if "tfevents" in path.name else path
    try:
        report_table(source, declare(claims=("A > B",)))
    except InputError as error:
        lines = str(error).splitlines()
        assert lines
        assert all("Fix: " in line for line in lines)


@pytest.mark.parametrize("name", SEEDS)
def test_a_damaged_table_is_read_or_refused_with_readable_lines(name: str, tmp_path: Path) -> None:
    check = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))(
        given(damaged(SEEDS[name]))(lambda content: read(tmp_path / name, content))
    )
    check()


def test_a_damaged_database_is_read_or_refused_with_readable_lines(tmp_path: Path) -> None:
    check = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))(
        given(damaged([database(tmp_path)]))(lambda content: read(tmp_path / "m.db", content))
    )
    check()


def values(source: Path) -> list[float | None]:
    """Return the value of each run of a table or log."""
    return [row.value for row in report_table(source, declare()).study_data.rows]


def test_the_undamaged_files_are_read(tmp_path: Path) -> None:
    expected: dict[str, list[tuple[float, ...]]] = {
        "runs.csv": [(*A, *B), (*A, *B), (50.0,)],
        "runs.jsonl": [A, A],
        "logs/events.out.tfevents.0": [(40.0,)],
    }
    assert expected.keys() == SEEDS.keys()
    for name, contents in SEEDS.items():
        for content, expected_values in zip(contents, expected[name], strict=True):
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
            source = path.parent if "tfevents" in path.name else path
            assert values(source) == pytest.approx(list(expected_values))
    (tmp_path / "m.db").write_bytes(database(tmp_path))
    assert values(tmp_path / "m.db") == [50.0]
