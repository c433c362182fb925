"""Files of a study's data, which can be committed, read back and reported.

`report.json` holds the study, its data and the machines. `results.csv` has a row for each planned
run, and `curves.csv` has a row for each evaluation. If the study asks for them, `layers.csv` has a
row for each layer and epoch, `blocks.csv` for each block, and `ensembles.csv` for each ensemble.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import types
import typing
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from resnetlab import files
from resnetlab.analysis.ensembles import EnsembleRow
from resnetlab.analysis.study_data import (
    BlockRow,
    CurvePoint,
    GradientNormRow,
    RunRow,
    StudyData,
)
from resnetlab.checksums import CHECKSUMS, check_files, write_checksums
from resnetlab.errors import input_error
from resnetlab.schema import SCHEMA, check_schema, decode, without_defaults

T = TypeVar("T")

DATA_FILES = (
    *("report.json", "results.csv", "curves.csv"),
    *("layers.csv", "blocks.csv", "ensembles.csv"),
)


def save(study_data: StudyData, folder: Path) -> None:
    """Write report.json, results.csv, curves.csv and optional files, each atomically."""
    without_tables = replace(
        study_data, rows=(), curve_points=(), gradient_norms=(), blocks=(), ensembles=()
    )
    (folder / CHECKSUMS).unlink(missing_ok=True)  # a kill leaves files without checksums
    files.write_json(folder / "report.json", {"schema": SCHEMA} | without_defaults(without_tables))
    files.write_text(folder / "results.csv", _to_csv(RunRow, study_data.rows))
    files.write_text(folder / "curves.csv", _to_csv(CurvePoint, study_data.curve_points))
    if study_data.gradient_norms:
        files.write_text(folder / "layers.csv", _to_csv(GradientNormRow, study_data.gradient_norms))
    if study_data.blocks:
        files.write_text(folder / "blocks.csv", _to_csv(BlockRow, study_data.blocks))
    if study_data.ensembles:
        files.write_text(folder / "ensembles.csv", _to_csv(EnsembleRow, study_data.ensembles))
    write_checksums(folder, DATA_FILES)


def load(folder: Path) -> StudyData:
    """Read the evidence that `save` wrote. Raises InputError that names the file and the field."""
    check_files(folder)
    path = folder / "report.json"
    table = files.read_json(path, files.MAX_GENERATED_BYTES)
    check_schema(table, str(path))
    evidence: StudyData = decode(StudyData, table, str(path))
    return replace(
        evidence,
        verdicts=(),  # they follow from the runs, as the answers do
        answers=(),
        rows=_read_csv(RunRow, folder / "results.csv"),
        curve_points=_read_csv(CurvePoint, folder / "curves.csv"),
        gradient_norms=_read_csv(GradientNormRow, folder / "layers.csv", optional=True),
        blocks=_read_csv(BlockRow, folder / "blocks.csv", optional=True),
        ensembles=_read_csv(EnsembleRow, folder / "ensembles.csv", optional=True),
    )


def _to_csv(row_type: type[Any], rows: Sequence[Any]) -> str:
    """Return rows as CSV.

    Only a study with two modes of evaluation has a column for the mode. Imported runs have a column
    for their value, and no column that is empty in all rows.
    """
    fields = dataclasses.fields(row_type)
    names = [field.name for field in fields]
    if all(getattr(line, "evaluation_mode", "eval") == "eval" for line in rows):
        names = [name for name in names if name != "evaluation_mode"]
    if any(getattr(line, "value", None) is not None for line in rows):
        names = [
            field.name
            for field in fields
            if any(getattr(line, field.name) != field.default for line in rows)
        ]
    else:
        names = [name for name in names if name != "value"]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([getattr(line, name) for name in names] for line in rows)
    return buffer.getvalue()


def _read_csv(row_type: type[T], path: Path, optional: bool = False) -> tuple[T, ...]:
    if optional and not path.exists():
        return ()
    hints = typing.get_type_hints(row_type)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise input_error(str(path), f"cannot be read: {error}", "restore it from a copy") from None
    rows: list[T] = []
    for number, line in enumerate(lines, start=2):
        where = f"{path}:{number}"
        cells = {key: _parse_cell(hints.get(key), text, where, key) for key, text in line.items()}
        rows.append(decode(row_type, cells, where))
    return tuple(rows)


def _parse_cell(hint: Any, text: str, where: str, name: str) -> object:
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if text == "" and types.NoneType in kinds:
        return None
    try:
        return int(text) if int in kinds else float(text) if float in kinds else text
    except ValueError:
        raise input_error(
            where, "not a number", "restore the file from its commit", field=name, got=text
        ) from None
