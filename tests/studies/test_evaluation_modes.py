"""Two conditions that differ only in the evaluation mode share one training."""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import resnetlab as rl
from helpers.commands import run_command
from resnetlab.analysis.analyze import analyze
from resnetlab.analysis.collect import collect_study_data
from resnetlab.analysis.data_files import load_study_data
from resnetlab.api.loaded_study import LoadedStudy
from resnetlab.errors import InputError
from resnetlab.reports.study.assemble import build_report
from resnetlab.stats.hypothesis_types import MeansHypothesis
from resnetlab.studies.execution import pending_runs, read_record
from resnetlab.studies.parsing.overrides import Overrides
from resnetlab.studies.parsing.study_file import parse_study
from resnetlab.studies.plan import Plan
from resnetlab.studies.study import Study

TEXT = """
name = "modes"
question = "What does the mode of evaluation change?"
data = {{ source = "{data}", test_curve = true }}
recipe = {{ batch_size = 16, epochs = 5, optimizer = {{ name = "adam", lr = 1e-2 }} }}
model = {{ depth = 8, widths = [4, 4, 8] }}
numerics = {{ precision = "fp32" }}
seeds = [0, 1, 2]
[grid]
model.shortcut = ["A"]
"""
AXIS = 'evaluation_mode = ["eval", "train"]\n'
CLAIM = """
[[claim]]
statement = "The network is more accurate with running statistics."
paired = true
left = { evaluation_mode = "eval" }
right = { evaluation_mode = "train" }
"""
EVAL, TRAIN = (f"residual 8 (A, 4-4-8), evaluated in {mode} mode" for mode in ("eval", "train"))


def parse(text: str) -> Study:
    return parse_study(tomllib.loads(text), "modes.toml", Overrides())


def written(folder: Path, text: str) -> Path:
    path = folder / "modes.toml"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory,
    small_npz: Path,
    train_here: Callable[[Plan, Path], None],
) -> tuple[LoadedStudy, Plan, Path]:
    """Return the study with its trained runs and its report, which tests only read."""
    root = tmp_path_factory.mktemp("modes")
    loaded = rl.load_study(written(root, TEXT.format(data=small_npz) + AXIS + CLAIM))
    plan = loaded.plan(root)
    train_here(plan, root)
    loaded.report(plan, root)
    return loaded, plan, root


def test_a_single_training_is_used_by_two_conditions(
    finished: tuple[LoadedStudy, Plan, Path],
) -> None:
    loaded, plan, root = finished
    assert [c.label for c in loaded.study.conditions] == [EVAL, TRAIN]
    assert loaded.study.shared_runs == {TRAIN: EVAL}
    assert (len(plan.runs), len(plan.unique_runs), loaded.study.num_runs) == (6, 3, 3)
    folders = [path.name for path in (root / "runs").iterdir()]
    assert sorted(folders) == sorted(run.id for run in plan.unique_runs)
    events = [(root / "runs" / name / "provenance.jsonl").read_text() for name in folders]
    assert [text.count('"start"') for text in events] == [1, 1, 1]
    assert pending_runs(plan, root) == []


def test_the_values_in_evaluation_mode_equal_a_study_without_the_axis(
    finished: tuple[LoadedStudy, Plan, Path],
    tmp_path: Path,
    small_npz: Path,
    train_here: Callable[[Plan, Path], None],
) -> None:
    _, plan, root = finished
    alone = rl.load_study(written(tmp_path, TEXT.format(data=small_npz))).plan(tmp_path)
    assert [run.id for run in alone.runs] == [run.id for run in plan.unique_runs]
    train_here(alone, tmp_path)
    expected, both = (
        collect_study_data(read_record(*pair)) for pair in ((alone, tmp_path), (plan, root))
    )

    def values(rows: Any, *names: str) -> list[tuple[Any, ...]]:
        return [tuple(getattr(row, name) for name in names) for row in rows]

    rows = [row for row in both.rows if row.condition == EVAL]
    losses = ("seed", "status", "test_error_pct", "test_loss_nats", "train_loss_nats")
    assert values(rows, *losses) == values(expected.rows, *losses)
    points = [point for point in both.curve_points if point.condition == EVAL]
    line = ("seed", "split", "step", "loss_nats", "top1_error_pct")
    assert values(points, *line) == values(expected.curve_points, *line)
    in_train_mode = [row for row in both.rows if row.condition == TRAIN]
    assert all(
        row.test_loss_nats not in (None, other.test_loss_nats)
        for row, other in zip(in_train_mode, rows, strict=True)
    )


def test_a_run_of_another_study_is_evaluated_and_not_trained_again(
    tmp_path: Path,
    finished: tuple[LoadedStudy, Plan, Path],
    small_npz: Path,
    train_here: Callable[[Plan, Path], None],
) -> None:
    alone = rl.load_study(written(tmp_path, TEXT.format(data=small_npz)), seeds=1).plan(tmp_path)
    train_here(alone, tmp_path)
    text = TEXT.format(data=small_npz) + AXIS
    loaded = rl.load_study(written(tmp_path, text), seeds=1)
    plan = loaded.plan(tmp_path)
    states = {
        study_run.planned.condition: study_run.state
        for study_run in read_record(plan, tmp_path).runs
    }
    assert states == {EVAL: "finished", TRAIN: "waiting"}
    assert [run.id for run in pending_runs(plan, tmp_path)] == [alone.runs[0].id]
    assert not loaded.report(plan, tmp_path).is_finished
    status = run_command("study", "status", "modes.toml", "--seeds", "1", folder=tmp_path)
    assert "0 of 1 run finished" in status.output
    weights = tmp_path / "runs" / alone.runs[0].id / "weights.safetensors"
    before = weights.stat().st_mtime_ns
    train_here(plan, tmp_path)
    assert weights.stat().st_mtime_ns == before
    later = {row.condition: row for row in collect_study_data(read_record(plan, tmp_path)).rows}
    _, whole_plan, whole_root = finished
    at_once = collect_study_data(read_record(whole_plan, whole_root)).rows
    (expected,) = (row for row in at_once if (row.condition, row.seed) == (TRAIN, 0))
    assert later[TRAIN].test_loss_nats == expected.test_loss_nats
    report = build_report(collect_study_data(read_record(plan, tmp_path)))
    assert "1 run had ended before the evaluation in training mode was requested" in report.limits


def test_claims_compare_the_two_results_of_each_run(
    finished: tuple[LoadedStudy, Plan, Path],
) -> None:
    _, plan, root = finished
    analysis = analyze(collect_study_data(read_record(plan, root)))
    (hypothesis,) = analysis.hypotheses
    assert isinstance(hypothesis, MeansHypothesis)
    errors = {(row.condition, row.seed): row.test_error_pct for row in analysis.study_data.rows}
    trained = [row.seed for row in analysis.rows(EVAL) if row.status == "trained"]
    differences = [(errors[TRAIN, seed] or 0.0) - (errors[EVAL, seed] or 0.0) for seed in trained]
    assert hypothesis.pairs == pytest.approx(differences)
    assert len(trained) >= 2
    assert analysis.counts.planned == analysis.counts.ended == 3


def test_a_report_states_that_both_conditions_use_the_same_training(
    finished: tuple[LoadedStudy, Plan, Path],
) -> None:
    _, _, root = finished
    folder = root / "studies" / "modes"
    page = (folder / "report.md").read_text()
    assert f"{EVAL}, trained once and evaluated in two modes" in page
    assert "run by run" in page
    assert "a run that two conditions evaluate in two modes counts once" in page
    for name, rows in (("results.csv", 6), ("curves.csv", None)):
        with (folder / name).open(newline="") as file:
            lines = list(csv.DictReader(file))
        modes = {(line["condition"], line["evaluation_mode"]) for line in lines}
        assert modes == {(EVAL, "eval"), (TRAIN, "train")}
        assert rows in (None, len(lines))
    study_data = load_study_data(folder)
    assert {row.evaluation_mode for row in study_data.rows} == {"eval", "train"}
    assert study_data.study.condition(TRAIN).evaluation_mode == "train"


def test_a_study_without_the_axis_has_no_column_for_the_mode(
    tmp_path: Path, small_npz: Path
) -> None:
    loaded = rl.load_study(written(tmp_path, TEXT.format(data=small_npz)))
    loaded.report(loaded.plan(tmp_path), tmp_path)
    header = (tmp_path / "studies" / "modes" / "results.csv").read_text().splitlines()[0]
    assert "evaluation_mode" not in header


def test_commands_count_a_shared_run_once(finished: tuple[LoadedStudy, Plan, Path]) -> None:
    _, _, root = finished
    note = "3 runs are trained once for two conditions and counted once."
    status = run_command("study", "status", "modes.toml", folder=root)
    assert note in status.output
    assert "3 of 3 runs finished" in status.output
    plan = run_command("study", "plan", "modes.toml", "--no-timing", folder=root)
    assert "modes: 3 runs, 3 finished" in plan.output
    assert f"the 3 runs of {EVAL}" in plan.output
    assert note in plan.output
    run = run_command("study", "run", "modes.toml", folder=root)
    assert note in run.errors
    assert "modes: 0 of 3 runs to do, 3 already finished" in run.errors
    show = run_command("study", "show", "modes.toml", folder=root)
    assert "Conditions: 2, so 3 runs" in show.output
    assert f"{TRAIN} (the runs of {EVAL})" in show.output
    check = run_command("study", "check", "modes.toml", folder=root)
    assert "2 conditions (1 with the runs of another) x 3 seeds = 3 runs" in check.output


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            TEXT + 'evaluation_mode = ["eval", "as run"]\n',
            "grid.evaluation_mode: unknown mode (got as run; allowed: eval, train). Fix: ",
        ),
        (TEXT + 'evaluation_mod = ["eval"]\n', "grid.evaluation_mod: not a field of model"),
        (
            TEXT
            + AXIS
            + CLAIM.replace("paired = true\n", "").replace("{", "{{").replace("}", "}}"),
            "claim[0].paired: left and right are the same runs in two modes of evaluation",
        ),
        (
            TEXT.replace('"fp32"', '"fp32", batch_norm = "synchronized"') + AXIS,
            "grid.evaluation_mode: not available with statistics that several processes share",
        ),
        (
            TEXT.replace("depth = 8, widths = [4, 4, 8]", 'name = "bow-svm"').replace(
                'model.shortcut = ["A"]', ""
            )
            + AXIS,
            "grid.evaluation_mode: only for networks that are trained from scratch",
        ),
        (
            TEXT + AXIS + "[[ensemble]]\nconditions = {{}}\n",
            "ensemble[0].conditions: the outputs in training mode are not saved",
        ),
    ],
)
def test_an_invalid_mode_is_refused_in_one_line(text: str, words: str, small_npz: Path) -> None:
    with pytest.raises(InputError) as caught:
        parse(text.format(data=small_npz))
    lines = str(caught.value).splitlines()
    assert len(lines) == 1
    assert words in lines[0]
    assert "Fix: " in lines[0]


def test_the_two_studies_of_the_shortcut_report_share_their_runs(
    tmp_path: Path,
) -> None:
    pixels, labels = np.zeros((20, 32, 32, 3), np.uint8), np.arange(20) % 10
    data = tmp_path / "ten.npz"
    np.savez(data, x_train=pixels, y_train=labels, x_test=pixels + 1, y_test=labels)
    described, as_run = (
        rl.load_study(name, data=str(data)).plan(tmp_path)
        for name in ("shortcuts", "shortcuts-as-run")
    )
    assert len(as_run.runs) == 40
    assert len(as_run.unique_runs) == 20
    assert {run.id for run in as_run.runs} < {run.id for run in described.runs}
