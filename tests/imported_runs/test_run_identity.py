"""Runs are distinguished by their id, folder or seed, and never by a guess."""

from __future__ import annotations

import itertools
import sqlite3
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from helpers.runs_tables import report_of
from resnetlab.errors import InputError
from resnetlab.imported_runs.declaration import declare
from resnetlab.imported_runs.report import ImportedReport, report_table

VALUES = {"A": (0.91, 0.92, 0.915, 0.905), "B": (0.88, 0.885, 0.89, 0.875)}


@pytest.fixture(scope="module", params=["files", "sqlite"])
def same_names(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Store of MLflow whose runs have the names of their models, and no seed."""
    mlflow = pytest.importorskip("mlflow")
    folder = tmp_path_factory.mktemp("mlflow")
    path = folder / ("mlruns" if request.param == "files" else "mlflow.db")
    address = path.as_uri() if request.param == "files" else f"sqlite:///{path}"
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of MLflow
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.chdir(folder)
        client: Any = mlflow.MlflowClient(tracking_uri=address)
        experiment = client.create_experiment("early-stopping")
        for model, values in VALUES.items():
            for number, value in enumerate(values):
                run = client.create_run(experiment, run_name=model).info.run_id
                client.log_param(run, "model", model)
                client.log_metric(run, "acc", value, step=30 + number)
                client.set_terminated(run, "FINISHED")
    return path


@pytest.mark.parametrize("condition", [("model",), ()])
def test_runs_of_mlflow_with_one_name_are_different_runs(
    condition: tuple[str, ...], same_names: Path
) -> None:
    report = report_table(same_names, declare(value="acc", condition=condition, claims=("A > B",)))
    assert isinstance(report, ImportedReport)
    for model, values in VALUES.items():
        read = [row.value for row in report.study_data.rows if row.condition == model]
        assert sorted(read) == pytest.approx(sorted(100 * value for value in values))
    (verdict,) = report.analysis.verdicts
    a, b = (100 * np.array(VALUES[model]) for model in "AB")
    assert verdict.p == pytest.approx(stats.ttest_ind(a, b, equal_var=False).pvalue)


def mlflow_database(path: Path, runs: list[tuple[str, str, str, int, float]]) -> Path:
    """Write a database of runs: the id, the name, the seed, the step and the value of each."""
    with sqlite3.connect(path) as database:
        database.executescript(
            "CREATE TABLE experiments (experiment_id, name);"
            "CREATE TABLE runs"
            " (run_uuid, name, status, lifecycle_stage, experiment_id, start_time);"
            "CREATE TABLE params (run_uuid, key, value); CREATE TABLE tags (run_uuid, key, value);"
            "CREATE TABLE metrics (run_uuid, key, step, value, is_nan, timestamp);"
        )
        for number, (run, name, seed, step, value) in enumerate(runs):
            row = (run, name, "FINISHED", "active", 1, number)
            database.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?)", row)
            metric = (run, "acc", step, value, 0, 0)
            database.execute("INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?)", metric)
            if seed:
                database.execute("INSERT INTO params VALUES (?, 'seed', ?)", (run, seed))
    database.close()
    return path


def test_runs_with_one_name_and_one_step_are_different_runs(tmp_path: Path) -> None:
    runs = [(f"id{k}", "net", "", 7, 0.9 + k / 100) for k in range(3)]
    report = report_table(mlflow_database(tmp_path / "m.db", runs), declare())
    assert isinstance(report, ImportedReport)
    rows = report.study_data.rows
    assert [(row.condition, row.seed, row.value) for row in rows] == [
        ("net", 0, pytest.approx(90.0)),
        ("net", 1, pytest.approx(91.0)),
        ("net", 2, pytest.approx(92.0)),
    ]
    assert [row.run for row in rows] == [f"run net (id{k})" for k in range(3)]


def test_two_runs_with_one_seed_are_refused_and_never_joined(tmp_path: Path) -> None:
    runs = [("id0", "net/0", "0", 1, 0.5), ("id1", "net/0", "0", 2, 0.6)]
    with pytest.raises(InputError) as error:
        report_table(mlflow_database(tmp_path / "m.db", runs), declare())
    line = str(error.value)
    assert "run net/0 (id0) and run net/0 (id1): 2 runs of net with the same seed, 0" in line
    assert "Fix: give each run its own seed, or leave runs out by --where COLUMN=VALUE" in line


def epochs_of(names: dict[str, list[str]], epochs: tuple[int, ...]) -> str:
    """Return a table with a row for each run and epoch; `names` has the runs of each model."""
    lines = ["model,run,epoch,acc"]
    for model, runs in names.items():
        for run in runs:
            lines += [f"{model},{run},{epoch},{80 + epoch + len(lines) / 10}" for epoch in epochs]
    return "\n".join(lines) + "\n"


def test_rows_with_one_name_of_a_run_and_no_seed_are_refused(tmp_path: Path) -> None:
    lines = ["model,run,epoch,acc"]
    lines += [f"{model},{model},{30 + k},{90 + k}" for model in "AB" for k in range(4)]
    with pytest.raises(InputError) as error:
        report_of("\n".join(lines), tmp_path, claims=("A > B",))
    line = str(error.value)
    assert "row 2 to row 5: 4 rows of A with epochs, but without seeds" in line
    assert "Fix: --seed COLUMN; or names of runs with a seed, such as A/seed0" in line


def test_names_of_runs_that_differ_give_a_curve_each(tmp_path: Path) -> None:
    text = epochs_of({"A": ["x1", "x2"], "B": ["y1", "y2"]}, (1, 2, 3))
    rows = report_of(text, tmp_path).study_data.rows
    assert [(row.condition, row.seed, row.epochs) for row in rows] == [
        *(("A", 0, 3.0), ("A", 1, 3.0), ("B", 0, 3.0), ("B", 1, 3.0)),
    ]


def test_a_named_run_whose_epochs_begin_at_one_is_a_curve_and_others_are_refused(
    tmp_path: Path,
) -> None:
    text = epochs_of({"A": ["x1", "x2"], "B": ["y1"]}, (1, 2, 3))
    rows = report_of(text, tmp_path).study_data.rows
    assert [(row.condition, row.epochs) for row in rows] == [("A", 3.0), ("A", 3.0), ("B", 3.0)]
    late = epochs_of({"A": ["x1"], "B": ["y1"]}, (30, 31, 33))
    with pytest.raises(InputError, match=r"one name of a run, x1: .* --seed run, if"):
        report_of(late, tmp_path)
    rows = report_of(late, tmp_path, seed="run").study_data.rows
    assert [(row.condition, row.epochs) for row in rows] == [("A", 33.0), ("B", 33.0)]


def test_conditions_may_be_evaluated_at_other_epochs(tmp_path: Path) -> None:
    lines = ["model,seed,epoch,acc"]
    for model, interval in (("A", 2), ("B", 3)):
        for seed, epoch in itertools.product(range(3), range(1, 11)):
            value = f"{80 + epoch + seed / 10}" if epoch % interval == 0 else ""
            lines.append(f"{model},{seed},{epoch},{value}")
    rows = report_of("\n".join(lines) + "\n", tmp_path).study_data.rows
    assert {row.status for row in rows} == {"trained"}


def test_a_status_of_an_earlier_epoch_does_not_count(tmp_path: Path) -> None:
    lines = ["model,seed,epoch,acc,status"]
    for model, seed, epoch in itertools.product("AB", range(3), range(1, 4)):
        lines.append(f"{model},{seed},{epoch},{80 + epoch},{'running' if epoch < 3 else ''}")
    rows = report_of("\n".join(lines) + "\n", tmp_path).study_data.rows
    assert {row.status for row in rows} == {"trained"}


CURVES: dict[str, list[Any]] = {
    "model": ["A"] * 6,
    "seed": [0, 0, 0, 1, 1, 1],
    "epoch": [1, 2, 3] * 2,
    "val_loss": [2.0, 1.5, None, 2.1, 1.6, 1.4],
}


def as_frame(columns: dict[str, list[Any]]) -> Any:
    return pytest.importorskip("pandas").DataFrame(columns)


def as_csv(columns: dict[str, list[Any]]) -> str:
    lines = [",".join(columns)]
    for cells in zip(*columns.values(), strict=True):
        lines.append(",".join("" if cell is None else str(cell) for cell in cells))
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("form", ["pandas", "CSV"])
def test_a_run_without_its_last_epochs_is_refused_if_other_runs_have_them(
    form: str, tmp_path: Path
) -> None:
    expected = "no value of A, run 0 from epoch 3 on, and other runs have one there"
    source: Any = as_frame(CURVES)
    if form == "CSV":
        source = tmp_path / "runs.csv"
        source.write_text(as_csv(CURVES))
    with pytest.raises(InputError, match=expected) as error:
        report_table(source, declare())
    assert "Fix: write diverged in the last row of the run" in str(error.value)


def test_the_fixes_for_empty_last_epochs_are_read(tmp_path: Path) -> None:
    values = [*CURVES["val_loss"]]
    values[2] = "diverged"
    rows = report_of(as_csv(CURVES | {"val_loss": values}), tmp_path).study_data.rows
    assert [row.status for row in rows] == ["diverged", "trained"]
    states = [None, None, "diverged", None, None, None]
    frame = as_frame(CURVES | {"status": states})
    report = report_table(frame, declare())
    assert isinstance(report, ImportedReport)
    assert [row.status for row in report.study_data.rows] == ["diverged", "trained"]
    report = report_table(as_frame(CURVES).dropna(), declare())
    assert isinstance(report, ImportedReport)
    assert [row.value for row in report.study_data.rows] == [1.5, 1.4]


def test_a_single_run_without_its_last_epochs_is_named_in_the_reading() -> None:
    one = {name: cells[:3] for name, cells in CURVES.items()}
    report = report_table(as_frame(one), declare())
    assert isinstance(report, ImportedReport)
    imported = report.study_data.study.imported
    assert imported is not None
    reading = " ".join(imported.reading)
    assert "Without a value in the last rows: 1 run (A, run 0 from epoch 3 on)." in reading
    assert "a run that became NaN needs the word diverged" in reading


def test_an_evaluation_at_every_second_epoch_is_no_failure(tmp_path: Path) -> None:
    values = [None, 1.5, None, None, 1.6, None]
    report = report_of(as_csv(CURVES | {"val_loss": values}), tmp_path)
    rows = report.study_data.rows
    assert [(row.status, row.value) for row in rows] == [("trained", 1.5), ("trained", 1.6)]
    assert report.study_data.study.imported is not None
    assert "2 runs (A, run 0 from epoch 3 on, ...)" in " ".join(
        report.study_data.study.imported.reading
    )


def test_a_status_beside_an_empty_last_value_counts(tmp_path: Path) -> None:
    text = "model,seed,epoch,acc,state\nA,0,1,50,running\nA,0,2,60,running\nA,0,3,,crashed\n"
    (row,) = report_of(text, tmp_path).study_data.rows
    assert (row.status, row.value) == ("missing", None)
    assert row.reason == "crashed; its last value, 60, does not count"
