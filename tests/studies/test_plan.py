"""The plan of a study lists each run once, and says which runs are left to do."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import resnetlab as rl
from resnetlab.data.config import DataIdentity
from resnetlab.models.model_cost import model_cost
from resnetlab.schema import SCHEMA, decode, encode
from resnetlab.studies.execution import read_plan, save_plan
from resnetlab.studies.parsing.overrides import Overrides
from resnetlab.studies.parsing.study_file import load_study, parse_study
from resnetlab.studies.plan import (
    DataProperties,
    Plan,
    PlannedRun,
    folder_name,
    load_plan,
    make_plan,
    make_record,
)
from resnetlab.studies.study import Study
from resnetlab.studies.timing.time_estimate import TimeEstimator

PROPERTIES = DataProperties(
    name="digits",
    identity=DataIdentity(sha256="ab" * 32),
    classes=tuple("0123456789"),
    channels=1,
    image_size=8,
    train_images=1000,
    class_share=0.1,
)
RESOLVED = rl.Numerics(device="cpu", precision="fp32", memory_format="channels_last", threads=1)


def plan_of(study: Study, numerics: rl.Numerics = RESOLVED) -> Plan:
    return make_plan(
        study, {c.data_key: PROPERTIES for c in study.conditions}, lambda _: numerics, model_cost
    )


def test_every_condition_has_every_seed_once_and_expensive_runs_come_first() -> None:
    plan = plan_of(load_study("digits"))
    assert len(plan.runs) == len({run.id for run in plan.runs}) == 20
    assert {(run.condition, run.seed) for run in plan.runs} == {
        (label, seed)
        for label in ("plain 8", "residual 8 (A)", "plain 56", "residual 56 (A)")
        for seed in range(5)
    }
    assert [run.seed for run in plan.runs] == sorted(run.seed for run in plan.runs)
    for seed in range(5):
        costs = [run.train_macs for run in plan.runs if run.seed == seed]
        assert costs == sorted(costs, reverse=True)


def test_the_id_of_a_run_does_not_change() -> None:
    """A change here orphans every run that people have: raise ALGORITHM_VERSION, or find what
    moved.
    """
    assert plan_of(load_study("digits")).runs[0].id == "digits-cifar-plain56-s0-282c7aa4a2"


@pytest.mark.parametrize(
    "changed",
    [
        Overrides(settings=("recipe.epochs=9",)),
        Overrides(settings=("recipe.optimizer.lr=0.002",)),
        Overrides(settings=("model.dropout=0.1",)),
        Overrides(seeds=(7,)),
    ],
)
def test_a_setting_that_changes_a_result_changes_the_id(changed: Overrides) -> None:
    before = {run.id for run in plan_of(load_study("digits")).runs}
    assert not before & {run.id for run in plan_of(load_study("digits", changed)).runs}


def test_numerics_and_the_content_of_the_data_are_part_of_the_run_id() -> None:
    study = load_study("digits")
    before = {run.id for run in plan_of(study).runs}
    assert not before & {run.id for run in plan_of(study, replace(RESOLVED, threads=2)).runs}
    assert not before & {run.id for run in plan_of(study, replace(RESOLVED, precision="bf16")).runs}
    other = replace(PROPERTIES, identity=replace(PROPERTIES.identity, sha256="cd" * 32))
    assert not before & {
        run.id
        for run in make_plan(
            study, {c.data_key: other for c in study.conditions}, lambda _: RESOLVED, model_cost
        ).runs
    }


def test_numerics_as_an_axis_give_conditions_and_the_other_settings_stay() -> None:
    grid = {"model.depth": [8], "numerics.precision": ["fp32", "bf16"]}
    table = {
        "name": "precision",
        "question": "?",
        "data": "digits",
        "recipe": "digits",
        "seeds": [0],
        "grid": grid,
    }
    study = parse_study(table | {"numerics": {"threads": 2}}, "study.toml", Overrides())
    assert [condition.label for condition in study.conditions] == [
        "residual 8 (A), precision fp32",
        "residual 8 (A), precision bf16",
    ]
    plan = make_plan(
        study,
        {c.data_key: PROPERTIES for c in study.conditions},
        lambda requested: replace(requested, device="cpu"),
        model_cost,
    )
    numerics_by_condition = {run.condition: run.config.numerics for run in plan.runs}
    assert [(n.precision, n.threads, n.device) for n in numerics_by_condition.values()] == [
        ("fp32", 2, "cpu"),
        ("bf16", 2, "cpu"),
    ]
    fixed = parse_study(table | {"grid": {"model.depth": [8]}}, "study.toml", Overrides())
    same = next(run for run in plan_of(fixed).runs)
    alone = parse_study(table, "study.toml", Overrides())
    by_axis = make_plan(
        alone,
        {c.data_key: PROPERTIES for c in alone.conditions},
        lambda n: replace(RESOLVED, precision=n.precision),
        model_cost,
    )
    assert same.id == by_axis.runs[0].id  # an axis is a way to ask for a run, and not part of it
    with pytest.raises(rl.InputError, match=r"numerics\.precision: unknown value"):
        parse_study(
            table | {"grid": {"numerics.precision": ["fp32", "fp8"]}, "model": "cifar-resnet8"},
            "x",
            Overrides(),
        )


def test_the_path_and_the_name_of_the_data_are_not_part_of_the_run_id() -> None:
    study, moved = (
        load_study("digits"),
        load_study("digits", Overrides(data="elsewhere/digits.npz")),
    )
    hashes = [run.config.hash for run in plan_of(study).runs]
    named = replace(PROPERTIES, name="other")
    assert [
        run.config.hash
        for run in make_plan(
            moved, {c.data_key: named for c in moved.conditions}, lambda _: RESOLVED, model_cost
        ).runs
    ] == hashes


def test_two_studies_that_contain_the_same_run_share_it() -> None:
    some, more = load_study("digits", Overrides(seeds=(0, 1))), load_study("digits")
    assert {run.id for run in plan_of(some).runs} < {run.id for run in plan_of(more).runs}


def test_a_changed_study_has_another_report_folder() -> None:
    shorter, longer = (Overrides(settings=(f"recipe.epochs={epochs}",)) for epochs in (2, 3))
    names = {
        folder_name(plan_of(load_study("digits", o)))
        for o in (Overrides(), shorter, longer, Overrides(seeds=(0,)))
    }
    assert len(names) == 4
    assert "digits" in names


def test_a_plan_is_decoded_as_it_was_encoded() -> None:
    plan = plan_of(load_study("digits"))
    assert decode(Plan, encode(plan), "plan.json") == plan


def test_a_run_without_a_folder_is_waiting() -> None:
    plan = plan_of(load_study("digits"))
    numerics_by_condition = make_record(plan, lambda _: None, frozenset({plan.runs[3].id}))
    assert [study_run.state for study_run in numerics_by_condition.runs] == [
        "running" if i == 3 else "waiting" for i in range(20)
    ]
    assert [study_run.planned.seed for study_run in numerics_by_condition.runs_of("plain 8")] == [
        0,
        1,
        2,
        3,
        4,
    ]


def test_the_estimated_time_is_exact_for_a_constant_speed() -> None:
    """Two workers, a tenth of a microsecond a multiply-add: the estimate after 20 steps is the
    truth.
    """
    plan = plan_of(load_study("digits"))
    estimate = TimeEstimator(plan.runs, (), 2)
    assert estimate.seconds_left() is None
    truth = sum(run.train_macs for run in plan.runs) * 1e-10 / 2
    total = plan.runs[0].file.run.recipe.total_steps(PROPERTIES.train_images)
    for step in range(25):
        for run in plan.runs[:2]:
            estimate.update(run.id, step, total, step * run.train_macs * 1e-10 / total)
    left = estimate.seconds_left()
    gone = 24 * plan.runs[0].train_macs * 1e-10 / total
    assert left == pytest.approx(truth - gone, rel=0.01)
    for run in plan.runs:
        estimate.mark_finished(run.id)
    assert estimate.seconds_left() == 0


def test_an_attempt_from_an_earlier_checkpoint_has_its_own_speed() -> None:
    plan = plan_of(load_study("digits"))
    estimate = TimeEstimator(plan.runs[:1], (), 1)
    for step, now in ((0, 0.0), (50, 100.0), (10, 500.0), (40, 560.0)):
        estimate.update(plan.runs[0].id, step, 100, now)
    assert estimate.seconds_left() == pytest.approx(60 * 2.0)


def test_the_time_left_is_estimated_for_a_network_without_counted_operations() -> None:
    """The counter of operations counts nothing in some external networks."""
    plan = plan_of(load_study("digits"))
    runs = [replace(run, file=replace(run.file, macs=0)) for run in plan.runs]
    estimate = TimeEstimator(runs, (), 1)
    for step in range(25):
        estimate.update(runs[0].id, step, 100, step * 2.0)
    same = [run for run in runs if run.condition == runs[0].condition]
    assert estimate.seconds_left() == pytest.approx(200 * len(same) - 48)


def test_an_unreadable_plan_is_refused_with_its_file_name(tmp_path: Path) -> None:
    from resnetlab.studies.execution import read_plan

    with pytest.raises(rl.InputError, match="no study was started there"):
        read_plan(tmp_path)
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(rl.InputError, match=r"plan\.json: not JSON"):
        read_plan(tmp_path)


def test_a_plan_with_the_former_field_macs_is_read(tmp_path: Path) -> None:
    plan = plan_of(load_study("digits"))
    table = encode(plan)
    for run in table["runs"]:
        run["macs"] = 7
        run["side"] = run.pop("image_size")
    (tmp_path / "plan.json").write_text(json.dumps(table), encoding="utf-8")
    assert load_plan(tmp_path / "plan.json") == plan


def test_the_best_weights_are_not_selected_without_validation_images() -> None:
    study = load_study("digits", Overrides(settings=("recipe.select=best",)))
    with pytest.raises(rl.InputError, match=r"recipe\.select: there are no validation images"):
        plan_of(study)


def test_the_time_of_a_study_is_estimated_from_past_runs() -> None:
    from resnetlab.runs.records import Evaluation, Result, RunRecord, Scores
    from resnetlab.studies.timing.time_estimate import PastSpeeds, TimeEstimate, Timing

    def finished(run: int, speed: float) -> RunRecord:
        result = Result(
            schema=SCHEMA, status="trained", step=1, selected_step=1, images_per_second=speed
        )
        return RunRecord(id=str(run), file=plan.runs[run].file, result=result)

    def expected_time(
        run: PlannedRun, records: list[RunRecord], timing: Timing | None = None
    ) -> TimeEstimate | None:
        return PastSpeeds(records).expected_time(run, timing)

    plan = plan_of(load_study("digits"))
    deep, shallow = plan.runs[0], plan.runs[3]
    assert expected_time(deep, []) is None
    images = deep.train_macs / deep.file.macs
    same = expected_time(deep, [finished(0, 100.0), finished(4, 300.0)])
    assert same is not None
    assert (same.train_seconds, same.basis) == (pytest.approx(images / 200), "past runs")
    other_network = expected_time(deep, [finished(3, 100.0)])
    assert other_network is not None
    assert other_network.basis == "past runs of other networks"
    assert other_network.train_seconds == pytest.approx(
        images / (100.0 * shallow.file.macs / deep.file.macs)
    )
    other = replace(deep.file.run, numerics=replace(RESOLVED, precision="bf16"))
    moved = replace(deep, file=replace(deep.file, run=other))
    assert expected_time(moved, [finished(0, 100.0)]) is None

    # A timing is better than a run of another network and worse than one of the same network.
    timing = Timing(train_images_per_second=50.0, evaluation_images_per_second=400.0)
    timed = expected_time(deep, [finished(3, 100.0)], timing)
    assert timed is not None
    assert timed.basis == "timed steps"
    assert timed.seconds == pytest.approx(images / 50 + deep.evaluation_images / 400)
    assert expected_time(deep, [finished(0, 100.0)], timing) == expected_time(
        deep, [finished(0, 100.0)]
    )

    # A run of 3 evaluations of 500 + 100 images and a final one of 300 has 2,100 in 42 seconds.
    def scores(images: int) -> Scores:
        return Scores(images=images, loss_nats=1.0, top1_error_pct=50.0)

    record = finished(0, 100.0)
    assert record.result is not None
    lines = tuple(
        Evaluation(
            step=step, epoch=step, split=split, loss_nats=1.0, top1_error_pct=50.0, seconds=1.0
        )
        for step in range(3)
        for split in ("train", "validation")
    )
    result = replace(
        record.result,
        train=scores(500),
        validation=scores(100),
        test=scores(300),
        evaluation_seconds=42.0,
    )
    measured = expected_time(deep, [replace(record, metrics=lines, result=result)])
    assert measured is not None
    assert measured.evaluation_seconds == pytest.approx(deep.evaluation_images * 42 / 2_100)


def test_the_run_id_depends_on_the_content_of_a_weights_file_and_not_on_its_path() -> None:
    from resnetlab.models.configs.external import ExternalConfig

    first = plan_of(load_study("digits")).runs[0].file.run
    here, there, other = (
        replace(
            first, model=ExternalConfig(source="torchvision/resnet18", weights=path, sha256=sha)
        )
        for path, sha in (
            ("a/w.safetensors", "ab" * 32),
            ("b/v.safetensors", "ab" * 32),
            ("a/w.safetensors", "cd" * 32),
        )
    )
    assert here.hash == there.hash != other.hash
    hub = replace(first, model=ExternalConfig(source="torchvision/resnet18", weights="hub"))
    assert hub.hash != replace(first, model=ExternalConfig(source="torchvision/resnet18")).hash


def test_a_plan_of_a_thousand_runs_is_read_back_unchanged(study_file: Path, tmp_path: Path) -> None:
    loaded = rl.load_study(study_file, seeds=500)
    plan = loaded.plan(tmp_path)
    assert not (tmp_path / "studies").exists()
    save_plan(plan, tmp_path)
    folder = next((tmp_path / "studies").iterdir())
    assert (folder / "plan.json").stat().st_size > 1_000_000
    assert read_plan(folder) == plan
    assert len(plan.runs) == 1_000
