"""Logs of TensorBoard, torch and MLflow are read without these packages. The export of Weights &
Biases was written by hand in the form of its web page.
"""

from __future__ import annotations

import math
import sqlite3
import warnings
from pathlib import Path
from typing import Any

import pytest

from helpers.runs_tables import values_of, verdicts
from resnetlab.errors import InputError
from resnetlab.imported_runs.declaration import declare
from resnetlab.imported_runs.event_files import read_scalars
from resnetlab.imported_runs.open_table import open_table
from resnetlab.imported_runs.report import report_table

EPOCHS = 4
MEANS = {"resnet18": 0.91, "resnet-34": 0.93}
"""The second name ends with a number that is no seed."""


def accuracy(model: str, seed: int, epoch: int) -> float:
    return MEANS[model] + 0.002 * seed - 0.01 * (EPOCHS - epoch)


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Event files: torch's writer writes floats, TensorFlow's writes tensors."""
    pytest.importorskip("tensorboard")
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter
    from tensorboard.util import tensor_util

    folder = tmp_path_factory.mktemp("board")
    for model in MEANS:
        for seed in range(3):
            writer = EventFileWriter(str(folder / model / f"seed{seed}"))
            for epoch in range(1, EPOCHS + 1):
                number = accuracy(model, seed, epoch)
                image = Summary.Image(height=1, width=1, encoded_image_string=bytes(100_000))
                values = [
                    Summary.Value(tag="loss/train", simple_value=1 / epoch),
                    Summary.Value(tag="sample", image=image),
                ]
                if seed < 2:
                    values.append(Summary.Value(tag="acc/val", simple_value=number))
                else:
                    tensor = tensor_util.make_tensor_proto(number, dtype=float)
                    values.append(Summary.Value(tag="acc/val", tensor=tensor))
                writer.add_event(Event(step=epoch, summary=Summary(value=values)))
            writer.close()
    return folder


def test_event_files_have_the_scalars_that_tensorboard_reads(board: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util import tensor_util

    paths = sorted(board.rglob("*tfevents*"))
    assert len(paths) == 6
    for path in paths:
        reference = EventAccumulator(str(path), size_guidance={"scalars": 0, "tensors": 0})
        reference.Reload()
        expected = {
            (tag, event.step, event.value)
            for tag in reference.Tags()["scalars"]
            for event in reference.Scalars(tag)
        }
        expected |= {
            (tag, event.step, float(tensor_util.make_ndarray(event.tensor_proto)))
            for tag in reference.Tags()["tensors"]
            for event in reference.Tensors(tag)
        }
        scalars, complete = read_scalars(path)
        assert complete
        assert {tuple(scalar) for scalar in scalars} == expected


def test_a_folder_of_event_files_gives_verdicts_and_curves(board: Path) -> None:
    report = report_table(board, declare(value="acc/val", claims=("resnet-34 > resnet18",)))
    rows = {(row.condition, row.seed): row.value for row in report.study_data.rows}
    assert rows == {
        (model, seed): pytest.approx(100 * accuracy(model, seed, EPOCHS), abs=1e-5)
        for model in MEANS
        for seed in range(3)
    }
    assert verdicts(report) == ["reproduced"]
    # The names of event files contain that of the machine.
    assert report.study_data.study.imported is not None
    assert [*report.study_data.study.imported.files] == [board.name]
    assert len(report.report.curves[0].panels[0].runs[0].x) == EPOCHS


def test_event_files_of_the_torch_writer_are_read(tmp_path: Path) -> None:
    tensorboard = pytest.importorskip("torch.utils.tensorboard")
    writer = tensorboard.SummaryWriter(str(tmp_path / "plain" / "seed7"))
    for step, value in enumerate((0.5, 0.0, math.nan, 0.75)):
        writer.add_scalar("acc", value, step)
    writer.close()
    values = values_of(tmp_path)
    assert values[:2] == [("plain/seed7", 0, 0.5), ("plain/seed7", 1, 0.0)]
    assert math.isnan(values[2][2])
    assert values[3] == ("plain/seed7", 3, 0.75)


def test_two_folders_of_event_files_with_one_seed_are_refused(tmp_path: Path) -> None:
    tensorboard = pytest.importorskip("torch.utils.tensorboard")
    for folder, step in (("net-s0", 1), ("net/seed0", 2)):
        writer = tensorboard.SummaryWriter(str(tmp_path / folder))
        writer.add_scalar("acc", 0.5, step)
        writer.close()
    expected = "run net/seed0 and run net-s0: 2 runs of net with the same seed, 0"
    with pytest.raises(InputError, match=expected):
        report_table(tmp_path, declare())


def test_a_truncated_event_file_is_read_to_its_last_record_and_a_damaged_one_is_refused(
    board: Path, tmp_path: Path
) -> None:
    content = next(iter(sorted(board.rglob("*tfevents*")))).read_bytes()
    path = tmp_path / "events.out.tfevents.1"
    path.write_bytes(content[:-5])
    scalars, complete = read_scalars(path)
    assert not complete
    path.write_bytes(content)
    assert len(read_scalars(path)[0]) > len(scalars)
    damaged = bytearray(content)
    damaged[14] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(InputError, match="damaged at byte 0: a checksum does not fit"):
        read_scalars(path)


def test_a_tag_that_no_run_has_is_refused_with_the_tags(board: Path) -> None:
    with pytest.raises(InputError, match=r"--value: several metrics \(allowed: acc/val, loss/tr"):
        open_table(board)
    with pytest.raises(InputError, match='did you mean "acc/val"'):
        open_table(board, "acc/vall")


def log_to_mlflow(client: Any) -> None:
    """Log three runs of two models, a failed one, a running one and a deleted one."""
    experiment = client.create_experiment("resnets")

    def start(name: str, model: str, seed: int) -> str:
        run = client.create_run(experiment, run_name=name)
        client.log_param(run.info.run_id, "model", model)
        client.log_param(run.info.run_id, "seed", seed)
        client.set_tag(run.info.run_id, "machine", "node: 3")
        return run.info.run_id

    for model in MEANS:
        for seed in range(3):
            run = start(f"{model} {seed}", model, seed)
            for epoch in range(1, EPOCHS + 1):
                client.log_metric(run, "val acc", accuracy(model, seed, epoch), step=epoch)
                client.log_metric(run, "loss", 1 / epoch, step=epoch)
            client.set_terminated(run, "FINISHED")
    client.set_terminated(start("failed", "resnet18", 3), "FAILED")
    nan = start("diverged", "resnet18", 4)
    client.log_metric(nan, "val acc", math.nan, step=1)
    client.set_terminated(nan, "FINISHED")
    deleted = start("deleted", "resnet18", 5)
    client.log_metric(deleted, "val acc", 0.1, step=1)
    client.delete_run(deleted)


@pytest.fixture(scope="module", params=["files", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    mlflow = pytest.importorskip("mlflow")
    folder = tmp_path_factory.mktemp("mlflow")
    path = folder / ("mlruns" if request.param == "files" else "mlflow.db")
    address = path.as_uri() if request.param == "files" else f"sqlite:///{path}"
    if request.param == "sqlite":
        pytest.importorskip("sqlalchemy")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of MLflow
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.chdir(folder)
        log_to_mlflow(mlflow.MlflowClient(tracking_uri=address))
    return path


def test_an_mlflow_store_gives_every_run_that_was_not_deleted(store: Path) -> None:
    report = report_table(
        store, declare(value="val acc", condition=("model",), claims=("resnet-34 > resnet18",))
    )
    rows = {(row.condition, row.seed): (row.status, row.value) for row in report.study_data.rows}
    assert rows == {
        **{
            (model, seed): (
                "trained",
                pytest.approx(100 * accuracy(model, seed, EPOCHS), abs=1e-9),
            )
            for model in MEANS
            for seed in range(3)
        },
        ("resnet18", 3): ("missing", None),
        ("resnet18", 4): ("diverged", None),
    }
    imported = report.study_data.study.imported
    assert imported is not None
    assert "Deleted and not used: 1 run." in " ".join(imported.reading)
    assert "8 runs of 2 conditions = 6 trained + 1 diverged + 1 missing." in imported.reading[0]
    assert len(report.report.curves[0].panels[0].runs[0].x) == EPOCHS


def test_another_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE songs (title TEXT)")
    database.close()
    with pytest.raises(InputError, match="not a database of MLflow: no such table: runs"):
        open_table(path)


def test_an_infinite_value_of_mlflow_is_a_diverged_run(tmp_path: Path) -> None:
    """MLflow writes an infinite value as the largest float."""
    path = tmp_path / "mlflow.db"
    with sqlite3.connect(path) as database:
        database.executescript(
            "CREATE TABLE experiments (experiment_id, name);"
            "CREATE TABLE runs"
            " (run_uuid, name, status, lifecycle_stage, experiment_id, start_time);"
            "CREATE TABLE params (run_uuid, key, value); CREATE TABLE tags (run_uuid, key, value);"
            "CREATE TABLE metrics (run_uuid, key, step, value, is_nan, timestamp);"
            "INSERT INTO experiments VALUES (1, 'cifar');"
        )
        for seed, value in enumerate((0.31, 0.35, 1.7976931348623157e308)):
            run = (f"id{seed}", f"net/{seed}", "FINISHED", "active", 1, seed)
            database.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?)", run)
            metric = (run[0], "loss", 0, value, 0, 0)
            database.execute("INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?)", metric)
    database.close()
    rows = report_table(path, declare(value="loss")).study_data.rows
    assert [row.status for row in rows] == ["trained", "trained", "diverged"]


WANDB_CHART = """"Step","resnet18-s0 - val_acc","resnet18-s0 - val_acc__MIN",\
"resnet18-s0 - val_acc__MAX","resnet18-s1 - val_acc","resnet18-s1 - val_acc__MIN",\
"resnet18-s1 - val_acc__MAX","vgg-16-s0 - val_acc","vgg-16-s0 - val_acc__MIN",\
"vgg-16-s0 - val_acc__MAX","vgg-16-s1 - val_acc","vgg-16-s1 - val_acc__MIN",\
"vgg-16-s1 - val_acc__MAX"
"1","0.5","0.5","0.5","0.6","0.6","0.6","0.4","0.4","0.4","","",""
"2","0.9","0.9","0.9","","","","0.7","0.7","0.7","","",""
"3","","","","0.92","0.92","0.92","","","","","",""
"""


def test_a_chart_export_of_weights_and_biases_is_read_as_curves(tmp_path: Path) -> None:
    path = tmp_path / "chart.csv"
    path.write_text(WANDB_CHART)
    report = report_table(path, declare(claims=("resnet18 > vgg-16",)))
    rows = [(row.condition, row.seed, row.status, row.value) for row in report.study_data.rows]
    assert rows == [
        ("resnet18", 0, "trained", 90.0),
        ("resnet18", 1, "trained", 92.0),
        ("vgg-16", 0, "trained", 70.0),
        ("vgg-16", 1, "missing", None),
    ]
    imported = report.study_data.study.imported
    assert imported is not None
    assert "A chart exported by Weights & Biases: 4 runs of val_acc over Step" in " ".join(
        imported.reading
    )


@pytest.mark.parametrize(
    ("name", "pattern", "expected"),
    [
        ("resnet18/seed0", "", ("resnet18", "0")),
        ("resnet18-s12", "", ("resnet18", "12")),
        ("logs/vgg/version_3", "", ("logs/vgg", "3")),
        ("vgg/4", "", ("vgg", "4")),
        ("resnet-18", "", ("resnet-18", "")),
        ("densenet121", "", ("densenet121", "")),
        ("resnet-18@7", "{condition}@{seed}", ("resnet-18", "7")),
    ],
)
def test_names_of_runs_are_split_only_at_a_seed(
    name: str, pattern: str, expected: tuple[str, str]
) -> None:
    rows = [{"run": name, "acc": 90.0}]
    (row,) = report_table(rows, declare(value="acc", run_pattern=pattern)).study_data.rows
    assert (row.condition, str(row.seed)) == (expected[0], expected[1] or "0")
