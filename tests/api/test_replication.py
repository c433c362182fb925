"""`resnetlab verify` reproduces a result of this machine, and rejects one with other numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import resnetlab as rl
from resnetlab.analysis.data_files import load_study_data, save_study_data
from resnetlab.api.loaded_study import LoadedStudy
from resnetlab.api.replication import (
    Replication,
    format_replication,
    replicate_runs,
    replication_folder,
    sample_runs,
    summary,
    to_dict,
)
from resnetlab.cli.main import main
from resnetlab.errors import InputError
from resnetlab.reports.write import write_report
from resnetlab.stats.intervals import Interval
from resnetlab.studies.plan import Plan


@pytest.fixture(scope="module")
def result(
    tmp_path_factory: pytest.TempPathFactory,
    study_text: str,
    train_here: Callable[[Plan, Path], None],
) -> Path:
    folder = tmp_path_factory.mktemp("made")
    learning = study_text.replace(", widths = [4, 4, 8]", "").replace("lr = 1e-3", "lr = 3e-3")
    (folder / "small.toml").write_text(learning)
    study = rl.load_study(folder / "small.toml")
    plan = study.plan(folder)
    train_here(plan, folder)
    return study.report(plan, folder).report.parent


@pytest.fixture(scope="module")
def replicated(
    result: Path, tmp_path_factory: pytest.TempPathFactory, small_npz: Path
) -> list[Replication]:
    return list(
        replicate_runs(
            result, tmp_path_factory.mktemp("again"), num_runs=2, seed=1, data=str(small_npz)
        )
    )


def test_python_repeats_runs_like_the_command(
    result: Path, replicated: list[Replication], tmp_path: Path, small_npz: Path
) -> None:
    again = rl.verify(result, runs=1, seed=1, data=str(small_npz), output=tmp_path, progress=False)
    assert again.is_consistent
    assert [item.replicated.run for item in again] == [replicated[0].replicated.run]
    assert format_replication(replicated[0])[:40] in repr(again)


def test_a_run_repeated_on_the_same_machine_has_the_same_digits(
    replicated: list[Replication],
) -> None:
    assert len(replicated) == 2
    for item in replicated:
        assert item.is_consistent
        assert item.same_environment
        assert item.same_digits
        assert format_replication(item).endswith("(the same to the last digit): reproduced")
    assert summary(replicated).startswith(
        "2 of 2 repeated runs are reproduced. One new run in twenty"
    )


def test_a_report_with_changed_numbers_is_not_reproduced(
    result: Path, tmp_path: Path, small_npz: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study_data = load_study_data(result)
    rows = tuple(
        replace(row, test_error_pct=1.0 + 0.01 * row.seed, test_loss_nats=0.1)
        for row in study_data.rows
    )
    write_report(replace(study_data, rows=rows), tmp_path / "altered")
    items = list(replicate_runs(tmp_path / "altered", tmp_path, num_runs=1, data=str(small_npz)))
    assert not items[0].is_consistent
    assert (
        "(different digits, though torch, processor and data are the same); 95 % prediction "
        "interval [" in format_replication(items[0])
    )
    assert format_replication(items[0]).endswith(": not reproduced")
    monkeypatch.setattr("resnetlab.api.replication.replicate_runs", lambda *_, **__: iter(items))
    monkeypatch.setattr("sys.argv", ["resnetlab", "verify", str(tmp_path / "altered")])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 5


def test_equal_digits_are_reproduced_even_outside_of_the_prediction_interval(
    replicated: list[Replication],
) -> None:
    outlier = replace(replicated[0], prediction_interval=Interval(1.0, 2.0))
    assert outlier.is_consistent
    other = replace(outlier, replicated=replace(outlier.replicated, test_loss_nats=0.123))
    assert not other.is_consistent
    assert format_replication(other).endswith(
        "95 % prediction interval [1.00, 2.00]: not reproduced"
    )


def test_other_digits_without_an_interval_cannot_be_compared(
    replicated: list[Replication],
) -> None:
    row = replace(replicated[0].replicated, test_error_pct=1.0)
    other = replace(replicated[0], replicated=row, prediction_interval=None)
    assert other.is_consistent is None
    assert format_replication(other).endswith("to predict a new one: not comparable")
    pair = [replicated[0], other]
    assert summary(pair).startswith("1 of 2 repeated runs is reproduced, 1 cannot be compared.")
    assert to_dict(pair)["num_consistent"] == 1
    assert to_dict(pair)["all_consistent"] is False


def test_a_run_with_another_status_is_not_reproduced(replicated: list[Replication]) -> None:
    dead = replace(replicated[0], reported=replace(replicated[0].reported, status="at chance"))
    assert not dead.is_consistent
    assert format_replication(dead).endswith("reported at chance, here trained: not reproduced")


def test_two_runs_at_chance_are_not_compared_with_the_interval_of_trained_runs(
    replicated: list[Replication],
) -> None:
    first = replicated[0]
    pair = [
        replace(row, status="at chance", test_error_pct=error)
        for row, error in ((first.reported, 86.63), (first.replicated, 88.0))
    ]
    replication = replace(
        first, reported=pair[0], replicated=pair[1], prediction_interval=Interval(16.71, 28.23)
    )
    assert replication.is_consistent
    line = format_replication(replication)
    assert "reported 13.37 %, here 12.00 %, at chance again: reproduced" in line
    assert "interval" not in line


def test_runs_are_drawn_by_the_seed_and_at_most_all_of_them(result: Path, tmp_path: Path) -> None:
    study_data = load_study_data(result)
    assert sample_runs(study_data, 2, 3) == sample_runs(study_data, 2, 3)
    assert len(sample_runs(study_data, 99, 0)) == len(study_data.rows)
    with pytest.raises(InputError, match="no finished run to repeat"):
        sample_runs(replace(study_data, rows=()), 2, 0)
    with pytest.raises(InputError, match=r"report\.json"):
        list(replicate_runs(tmp_path, tmp_path))


def test_a_result_in_bf16_is_refused_if_bf16_would_be_emulated(
    result: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study_data = load_study_data(result)
    study, folder = study_data.study, tmp_path / "bf16"
    folder.mkdir()
    in_bf16 = replace(
        study_data,
        study=replace(study, numerics=replace(study.numerics, precision="bf16")),
        numerics=tuple(replace(item, precision="bf16") for item in study_data.numerics),
    )
    save_study_data(in_bf16, folder)
    monkeypatch.setattr("resnetlab.training.resolve.processor_has_bf16", lambda: False)
    with pytest.raises(InputError, match="precision: its runs were trained in bf16") as caught:
        list(replicate_runs(folder, tmp_path))
    assert str(folder) in str(caught.value)


def test_the_caller_that_trains_the_runs_may_stop(
    result: Path, tmp_path: Path, small_npz: Path
) -> None:
    calls: list[str] = []

    def train(_: object, plan: Plan) -> bool:
        calls.append(plan.runs[0].id)
        return False

    assert (
        list(replicate_runs(result, tmp_path, num_runs=2, data=str(small_npz), train=train)) == []
    )
    assert len(calls) == 1


def test_a_stopped_call_leaves_its_folder_and_the_next_call_continues_and_removes_it(
    result: Path, tmp_path: Path, small_npz: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first call ends after one run of two; the second trains only the other one."""
    monkeypatch.setenv("RESNETLAB_CACHE", str(tmp_path))

    def repeat(most: int) -> int:
        trained: list[str] = []
        with replication_folder(result) as root:

            def train(loaded: LoadedStudy, plan: Plan) -> bool:
                if len(trained) == most:
                    raise KeyboardInterrupt
                if not (root / "runs" / plan.runs[0].id / "result.json").exists():
                    trained.append(plan.runs[0].id)
                    list(loaded.execute(plan, root))
                return True

            list(replicate_runs(result, root, num_runs=2, data=str(small_npz), train=train))
        return len(trained)

    with pytest.raises(KeyboardInterrupt):
        repeat(1)
    (repetition,) = (path for path in (tmp_path / "verify").iterdir() if path.is_dir())
    assert len(list((repetition / "runs").glob("*/result.json"))) == 1
    with (
        replication_folder(result) as root,
        pytest.raises(InputError, match="another process verifies"),
        replication_folder(result),
    ):
        pytest.fail(str(root))
    assert not repetition.exists()
    with pytest.raises(KeyboardInterrupt):
        repeat(1)
    assert repeat(2) == 1
    assert not repetition.exists()
