"""Runs of MLflow, from its folder of files (`mlruns`) or its SQLite database, without MLflow."""

from __future__ import annotations

import math
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from resnetlab.errors import input_error
from resnetlab.files import sha256
from resnetlab.imported_runs.event_files import STEP_COLUMN, choose_metric
from resnetlab.imported_runs.raw_table import RUN_COLUMN, RawTable, Row, folder_sha256
from resnetlab.messages import format_count

SQLITE_HEADER = b"SQLite format 3\0"

STATUS_COLUMN = "status"

_STATUS_BY_NUMBER = {
    "1": "RUNNING",
    "2": "SCHEDULED",
    "3": "FINISHED",
    "4": "FAILED",
    "5": "KILLED",
}
"""Statuses of MLflow's file store, which writes the numbers of its protobuf enumeration."""


@dataclass
class MlflowRun:
    """Run of MLflow: its id, which is unique, its name, status, parameters, tags and metrics."""

    id: str
    name: str
    status: str
    deleted: bool
    experiment: str
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, dict[int, float]] = field(default_factory=dict)
    """Value by step of each metric."""


def is_file_store(folder: Path) -> bool:
    """Return True if a folder is MLflow's file store: experiments with runs and metrics."""
    return any(folder.glob("*/*/meta.yaml"))


def is_sqlite(path: Path) -> bool:
    """Return True if a file is a SQLite database."""
    try:
        with path.open("rb") as file:
            return file.read(len(SQLITE_HEADER)) == SQLITE_HEADER
    except OSError:
        return False


def read_file_store(folder: Path, metric: str = "") -> RawTable:
    """Read the runs of MLflow's file store. Raises InputError if a file is damaged."""
    runs, metric_files = [], []
    for meta_path in sorted(folder.glob("*/*/meta.yaml")):
        run_folder = meta_path.parent
        if not (run_folder / "metrics").is_dir() and not (run_folder / "params").is_dir():
            continue  # models of MLflow 3 have a meta.yaml too
        meta = _flat_yaml(meta_path)
        experiment_meta = meta_path.parent.parent / "meta.yaml"
        experiment = _flat_yaml(experiment_meta).get("name", "") if experiment_meta.exists() else ""
        run = MlflowRun(
            id=run_folder.name,
            name=meta.get("run_name") or run_folder.name,
            status=_STATUS_BY_NUMBER.get(meta.get("status", ""), meta.get("status", "")),
            deleted=meta.get("lifecycle_stage") == "deleted",
            experiment=experiment,
            params=_folder_texts(run_folder / "params"),
            tags=_folder_texts(run_folder / "tags"),
        )
        metrics = run_folder / "metrics"
        for path in sorted(metrics.rglob("*")) if metrics.is_dir() else ():
            if path.is_file():
                key = path.relative_to(metrics).as_posix()
                run.metrics[key] = dict(_metric_lines(path))
                metric_files.append(path)
        runs.append(run)
    return _table(folder, runs, metric, folder_sha256(folder, metric_files), "file store")


def read_sqlite(path: Path, metric: str = "") -> RawTable:
    """Read the runs of MLflow's SQLite database, which is opened for reading alone.

    Raises InputError if it is the database of another program.
    """
    address = f"{path.resolve().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True)) as database:
            runs = {
                str(key): MlflowRun(
                    str(key), name or key, status, stage == "deleted", experiment or ""
                )
                for key, name, status, stage, experiment in database.execute(
                    "SELECT r.run_uuid, r.name, r.status, r.lifecycle_stage, e.name FROM runs r "
                    "LEFT JOIN experiments e ON e.experiment_id = r.experiment_id "
                    "ORDER BY r.start_time, r.run_uuid"
                )
            }
            for table in ("params", "tags"):
                query = f"SELECT run_uuid, key, value FROM {table}"
                for key, name, value in database.execute(query):
                    if key in runs:
                        getattr(runs[key], table)[name] = value
            points = "SELECT run_uuid, key, step, value, is_nan FROM metrics ORDER BY timestamp"
            for key, name, step, value, is_nan in database.execute(points):
                if key in runs:
                    number = float("nan") if is_nan else float(value)
                    if abs(number) >= sys.float_info.max:  # MLflow's text for an infinite value
                        number = math.copysign(math.inf, number)
                    runs[key].metrics.setdefault(name, {})[int(step)] = number
    except (sqlite3.Error, TypeError, ValueError) as error:
        fix = "give the database of an MLflow tracking server, such as mlflow.db"
        raise input_error(str(path), f"not a database of MLflow: {error}", fix) from None
    return _table(path, list(runs.values()), metric, {path.name: sha256(path)}, "database")


def _table(
    path: Path, runs: list[MlflowRun], metric: str, files: dict[str, str], kind: str
) -> RawTable:
    alive = [run for run in runs if not run.deleted]
    if not alive:
        raise input_error(str(path), "no runs in it", "give the store of finished runs")
    names = sorted({name for run in alive for name in run.metrics})
    chosen = choose_metric(str(path), metric, names)
    reserved = {RUN_COLUMN, STEP_COLUMN, STATUS_COLUMN, chosen}
    rows = []
    names_of_runs = Counter(run.name for run in alive)
    for run in alive:
        origin = f"run {run.name}" + (f" ({run.id})" if names_of_runs[run.name] > 1 else "")
        tags = {k: v for k, v in run.tags.items() if not k.startswith("mlflow.")}
        described = {k: v for k, v in (tags | run.params).items() if k not in reserved}
        described = {"experiment": run.experiment} | described
        points = sorted(run.metrics.get(chosen, {}).items())
        curve: list[tuple[object, object]] = [*points] or [(None, None)]
        for step, value in curve:
            cells = {RUN_COLUMN: run.name, **described, STATUS_COLUMN: run.status}
            rows.append(Row(origin, cells | {STEP_COLUMN: step, chosen: value}, run.id))
    sentence = f"MLflow {kind}: {format_count(len(alive), 'run')}, metric {chosen}."
    if deleted := len(runs) - len(alive):
        sentence += f" Deleted and not used: {format_count(deleted, 'run')}."
    columns = dict.fromkeys(name for row in rows for name in row.cells)
    return RawTable(
        where=str(path),
        columns=tuple(columns),
        rows=tuple(rows),
        files=files,
        reading=(sentence,),
        value_column=chosen,
        epoch_column=STEP_COLUMN,
    )


def _metric_lines(path: Path) -> Iterator[tuple[int, float]]:
    """Yield the step and the value of each line `TIMESTAMP VALUE STEP` of a metric's file."""
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        parts = line.split()
        try:
            if number == len(lines) and not text.endswith("\n"):
                raise ValueError("cut off: MLflow ends each line")
            yield (int(parts[2]) if len(parts) > 2 else 0), float(parts[1])
        except (ValueError, IndexError):
            fix = "restore the file of MLflow from a copy"
            raise input_error(f"{path}:{number}", "not a line of a metric", fix, got=line) from None


def _folder_texts(folder: Path) -> dict[str, str]:
    """Return the text of each file of a folder by its name, as MLflow writes params and tags."""
    paths = sorted(folder.rglob("*")) if folder.is_dir() else []
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8", errors="replace")
        for path in paths
        if path.is_file()
    }


def _flat_yaml(path: Path) -> dict[str, str]:
    """Return the texts of a YAML file of single values, as MLflow's `meta.yaml` is."""
    values = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        name, separator, value = line.partition(": ")
        if separator and name == name.strip():
            text = value.strip()
            quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
            values[name] = text[1:-1] if quoted else text
    return values
