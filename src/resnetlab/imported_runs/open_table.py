"""The reader of a path: CSV, JSON lines, TensorBoard event files, or a store of MLflow."""

from __future__ import annotations

from pathlib import Path

from resnetlab.errors import input_error
from resnetlab.imported_runs import event_files, mlflow_store
from resnetlab.imported_runs.raw_table import RawTable
from resnetlab.imported_runs.text_tables import read_csv, read_json

KINDS = (
    "a table in CSV or JSON lines, a folder of TensorBoard event files, or the mlruns folder or "
    "SQLite database of MLflow"
)
"""Description of what can be read."""


def open_table(path: Path, metric: str = "") -> RawTable:
    """Read a table of runs from a file or a folder.

    Args:
        path: File or folder; its content decides about the reader.
        metric: Name of the values, for folders and databases with several.

    Raises:
        InputError: The path has no table, or a damaged one.
    """
    if path.is_dir():
        if mlflow_store.is_file_store(path):
            return mlflow_store.read_file_store(path, metric)
        if any(path.rglob(event_files.EVENT_FILES)):
            return event_files.read_event_folder(path, metric)
        raise input_error(str(path), "a folder without runs", f"give {KINDS}")
    if not path.exists():
        raise input_error(str(path), "no such file", f"give {KINDS}")
    if mlflow_store.is_sqlite(path):
        return mlflow_store.read_sqlite(path, metric)
    if path.suffix.lower() in (".json", ".jsonl", ".ndjson"):
        return read_json(path)
    return read_csv(path)
