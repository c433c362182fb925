"""Interim looks add seeds only to the conditions of undecided claims, and the rule says when to
stop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import resnetlab as rl
from resnetlab.analysis.analyze import analyze
from resnetlab.analysis.collect import collect_study_data
from resnetlab.cli.main import main
from resnetlab.files import write_json
from resnetlab.runs.records import Result
from resnetlab.runs.run_folder import RunFolder
from resnetlab.schema import SCHEMA, encode
from resnetlab.studies.execution import read_record
from resnetlab.studies.plan import Plan

TEXT = """
name = "three"
question = ""
data = "{data}"
recipe = "adam"
numerics = {{ precision = "fp32" }}
seeds = [7, 8]
[grid]
model.depth = [8, 14, 20]
[[claim]]
statement = "far apart"
left = {{ model.depth = 14 }}
right = {{ model.depth = 8 }}
[[claim]]
statement = "close"
left = {{ model.depth = 20 }}
right = {{ model.depth = 14 }}
"""


def study_of(tmp_path: Path, small_npz: Path, more: str = "") -> rl.LoadedStudy:
    path = tmp_path / "three.toml"
    path.write_text(TEXT.format(data=small_npz) + more)
    return rl.load_study(path)


def pretend(plan: Plan, root: Path, accuracy: Callable[[str, int], float]) -> None:
    """Write the results of a plan as if its runs had been trained."""
    for run in plan.runs:
        run_folder = RunFolder.find(root, run.id)
        write_json(run_folder.path / "run.json", encode(run.file))
        scores = rl.Scores(
            images=60, loss_nats=1.0, top1_error_pct=100 - accuracy(run.condition, run.seed)
        )
        run_folder.commit(
            Result(schema=SCHEMA, status="trained", step=1, selected_step=1, test=scores)
        )


def run(
    study: rl.LoadedStudy, root: Path, accuracy: Callable[[str, int], float], max_seeds: int = 10
) -> list[Plan]:
    plans = []
    for plan in study.plan_looks(root, max_seeds=max_seeds):
        pretend(plan, root, accuracy)
        plans.append(plan)
    return plans


def noisy(level: dict[str, float]) -> Callable[[str, int], float]:
    return lambda label, seed: (
        level[label] + np.random.default_rng([seed, len(label), int(label.split()[1])]).normal()
    )


def test_only_the_arms_of_undecided_claims_get_more_seeds(tmp_path: Path, small_npz: Path) -> None:
    level = noisy({"residual 8 (A)": 50.0, "residual 14 (A)": 80.0, "residual 20 (A)": 80.1})
    plans = run(study_of(tmp_path, small_npz), tmp_path, level)
    counts = [Counter(run.condition for run in plan.runs) for plan in plans]
    assert counts == [
        {"residual 8 (A)": 3, "residual 14 (A)": 3, "residual 20 (A)": 3},
        {"residual 8 (A)": 3, "residual 14 (A)": 5, "residual 20 (A)": 5},
        {"residual 8 (A)": 3, "residual 14 (A)": 10, "residual 20 (A)": 10},
    ]
    seeds = [sorted({run.seed for run in plan.runs}) for plan in plans]
    assert seeds == [
        [0, 7, 8],
        [0, 1, 2, 7, 8],
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    ]  # its own first, then new ones
    judged = analyze(collect_study_data(read_record(plans[-1], tmp_path)))
    assert [verdict.label for verdict in judged.verdicts] == ["reproduced", "inconclusive"]
    assert judged.counts.planned == 23


def test_a_study_whose_claims_are_decided_ends_at_the_first_interim_look(
    tmp_path: Path, small_npz: Path
) -> None:
    level = noisy({"residual 8 (A)": 20.0, "residual 14 (A)": 50.0, "residual 20 (A)": 90.0})
    plans = run(study_of(tmp_path, small_npz), tmp_path, level)
    assert len(plans) == 1
    assert [
        v.label for v in analyze(collect_study_data(read_record(plans[0], tmp_path))).verdicts
    ] == ["reproduced"] * 2


def test_no_more_seeds_are_added_than_were_allowed(tmp_path: Path, small_npz: Path) -> None:
    level = noisy({"residual 8 (A)": 80.0, "residual 14 (A)": 80.0, "residual 20 (A)": 80.0})
    plans = run(study_of(tmp_path, small_npz), tmp_path, level, max_seeds=5)
    assert [len({run.seed for run in plan.runs}) for plan in plans] == [3, 5]


def test_no_second_plan_is_made_before_the_runs_of_the_first_are_finished(
    tmp_path: Path, small_npz: Path
) -> None:
    plans = study_of(tmp_path, small_npz).plan_looks(tmp_path, max_seeds=10)
    next(plans)
    with pytest.raises(StopIteration):
        next(plans)


def test_a_claim_that_a_network_fails_is_tested_once_after_five_seeds(
    tmp_path: Path, small_npz: Path
) -> None:
    sides = "left = { model.depth = 20 }\nright = { model.depth = 8 }\n"
    more = f'[[claim]]\nstatement = "fails"\nkind = "fails-and-trains"\n{sides}'
    level = noisy({"residual 8 (A)": 50.0, "residual 14 (A)": 80.0, "residual 20 (A)": 80.1})
    plans = run(study_of(tmp_path, small_npz, more), tmp_path, level)
    counts = [Counter(run.condition for run in plan.runs) for plan in plans]
    assert [count["residual 8 (A)"] for count in counts] == [5, 5]
    assert [count["residual 20 (A)"] for count in counts] == [5, 10]


@pytest.mark.parametrize(("more", "max_seeds", "words"), [("", 2, "no look at so few seeds")])
def test_invalid_numbers_of_seeds_and_claims_without_interim_looks_are_refused(
    tmp_path: Path, small_npz: Path, more: str, max_seeds: int, words: str
) -> None:
    with pytest.raises(rl.InputError, match=words):
        next(study_of(tmp_path, small_npz, more).plan_looks(tmp_path, max_seeds=max_seeds))


def test_interim_looks_at_a_study_without_claims_are_refused(
    tmp_path: Path, small_npz: Path
) -> None:
    path = tmp_path / "none.toml"
    path.write_text(TEXT.format(data=small_npz).partition("[[claim]]")[0])
    with pytest.raises(rl.InputError, match="no claim to decide"):
        next(rl.load_study(path).plan_looks(tmp_path, max_seeds=10))


def test_the_name_of_a_study_is_enough_to_find_a_study_with_interim_looks(
    tmp_path: Path,
    small_npz: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    study = study_of(tmp_path, small_npz)
    folder = study.report(
        run(study, tmp_path, lambda _, seed: 90 + seed / 10)[-1], tmp_path
    ).report.parent

    def run_study_command(*arguments: str) -> tuple[str, str]:
        words = [
            "resnetlab",
            "study",
            *arguments,
            str(tmp_path / "three.toml"),
            "--output",
            str(tmp_path),
        ]
        monkeypatch.setattr("sys.argv", words)
        with pytest.raises(SystemExit):
            main()
        return capfd.readouterr()

    assert folder.name.startswith("three-")
    out, err = run_study_command("status")
    assert err == f"Using the started study in {folder}\n"
    assert "30 of 30 runs finished" in out
    assert run_study_command("report")[0] == f"{folder / 'report.html'}\n"
    assert not (tmp_path / "studies" / "three").exists()
    study.report(study.plan(tmp_path), tmp_path)
    out, err = run_study_command("status")
    assert f"Also started, with other options: {folder}" in err
    assert "6 of 6 runs finished" in out
