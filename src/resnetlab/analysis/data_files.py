"""Files of a study's data, which can be committed, read back and reported.

`report.json` holds the study, its data and the machines. `results.csv` has a row for each planned
run, and `curves.csv` has a row for each evaluation; both have a column for each field in which the
conditions differ. If the study asks for them, `layers.csv` has a row for each layer and epoch,
`blocks.csv` for each block, `landscape.csv` for each point of a loss landscape, and `ensembles.csv`
for each ensemble.
"""

from __future__ import annotations

import csv
import io
import types
import typing
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from resnetlab import files
from resnetlab.analysis.ensembles import EnsembleRow
from resnetlab.analysis.study_data import (
    BlockRow,
    CurvePoint,
    GradientNormRow,
    LandscapePoint,
    RunRow,
    StudyData,
)
from resnetlab.analysis.varied_fields import row_table, varied_fields
from resnetlab.checksums import CHECKSUMS, check_files, write_checksums
from resnetlab.errors import input_error
from resnetlab.schema import SCHEMA, check_schema, decode, without_defaults
from resnetlab.table import Table

T = TypeVar("T")

DATA_FILES = (
    *("report.json", "results.csv", "curves.csv"),
    *("layers.csv", "blocks.csv", "landscape.csv", "ensembles.csv"),
)


def save_study_data(study_data: StudyData, folder: Path) -> None:
    """Write report.json, results.csv, curves.csv and optional files, each atomically."""
    without_tables = replace(
        study_data,
        rows=(),
        curve_points=(),
        gradient_norms=(),
        blocks=(),
        landscape_points=(),
        ensembles=(),
    )
    (folder / CHECKSUMS).unlink(missing_ok=True)  # a kill leaves files without checksums
    files.write_json(folder / "report.json", {"schema": SCHEMA} | without_defaults(without_tables))
    conditions = study_data.study.conditions
    results = row_table(RunRow, study_data.rows, conditions)
    files.write_text(folder / "results.csv", _to_csv(results))
    curves = row_table(CurvePoint, study_data.curve_points, conditions)
    files.write_text(folder / "curves.csv", _to_csv(curves))
    for name, row_type, rows in (
        ("layers.csv", GradientNormRow, study_data.gradient_norms),
        ("blocks.csv", BlockRow, study_data.blocks),
        ("landscape.csv", LandscapePoint, study_data.landscape_points),
        ("ensembles.csv", EnsembleRow, study_data.ensembles),
    ):
        if rows:
            files.write_text(folder / name, _to_csv(row_table(row_type, rows)))
        else:  # of an earlier report
            (folder / name).unlink(missing_ok=True)
    write_checksums(folder, DATA_FILES)


def load_study_data(folder: Path) -> StudyData:
    """Read the values that `save_study_data` wrote.

    Raises InputError, with the file and the field, if a file is not as it was written.
    """
    check_files(folder)
    path = folder / "report.json"
    table = files.read_json(path, files.MAX_GENERATED_BYTES)
    check_schema(table, str(path))
    study_data: StudyData = decode(StudyData, table, str(path))
    varied = varied_fields(study_data.study.conditions)  # they follow from the study
    return replace(
        study_data,
        verdicts=(),  # they follow from the runs, as the answers do
        answers=(),
        rows=_read_csv(RunRow, folder / "results.csv", varied),
        curve_points=_read_csv(CurvePoint, folder / "curves.csv", varied),
        gradient_norms=_read_csv(GradientNormRow, folder / "layers.csv", optional=True),
        blocks=_read_csv(BlockRow, folder / "blocks.csv", optional=True),
        landscape_points=_read_csv(LandscapePoint, folder / "landscape.csv", optional=True),
        ensembles=_read_csv(EnsembleRow, folder / "ensembles.csv", optional=True),
    )


def _to_csv(table: Table) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows(zip(*table.columns.values(), strict=True))
    return buffer.getvalue()


def _read_csv(
    row_type: type[T], path: Path, ignored: Collection[str] = (), optional: bool = False
) -> tuple[T, ...]:
    """Read the rows of a CSV file, without the columns in `ignored`."""
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
        cells = {
            key: _parse_cell(hints.get(key), text, where, key)
            for key, text in line.items()
            if key not in ignored
        }
        rows.append(decode(row_type, cells, where))
    return tuple(rows)


def _parse_cell(hint: Any, text: str, where: str, name: str) -> object:
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if text == "" and types.NoneType in kinds:
        return None
    try:
        if int in kinds:
            return int(text)
        return float(text) if float in kinds else text
    except (TypeError, ValueError):  # a row has too few cells, or too many
        raise input_error(
            where, "not a number", "restore the file from its commit", field=name, got=text
        ) from None
