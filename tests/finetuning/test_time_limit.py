"""The time limit of a fine-tuning decides the epochs of each stage and which stages are left out,
and the record, the model and the page name both.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from helpers.finetuning import make_model, request
from helpers.texture_photographs import QUICK, folder
from resnetlab.cli.finetune.output import with_time_limit
from resnetlab.data.transforms.eval_transform import EvalTransform
from resnetlab.errors import InputError
from resnetlab.finetuning.dataset import open_photographs
from resnetlab.finetuning.finetune_photos import finetune
from resnetlab.finetuning.results import TimeLimitCut
from resnetlab.finetuning.stage.train_stage import StageCallbacks, train_stage
from resnetlab.finetuning.time_limit import stage_time_limit, time_limit
from resnetlab.finetuning.time_limit.time_limit import TimeLimit, fit_to_limit, suggest_time_limit
from resnetlab.finetuning.time_limit.time_step import time_step
from resnetlab.model_folder.store import load_model_folder
from resnetlab.models.configs import ExternalConfig
from resnetlab.recipes.finetune import Sampler, Stage, Trainable
from resnetlab.recipes.train import Adam, Recipe
from resnetlab.training.state import TrainState
from resnetlab.training.step import train_step


def make_stage(**fields: Any) -> Stage:
    recipe = Recipe(batch_size=8, epochs=10, optimizer=Adam(lr=1e-2))
    return Stage(**({"name": "all layers", "trainable": "all", "recipe": recipe} | fields))


def limit_with(remaining: float, image_seconds: float = 0.0) -> TimeLimit:
    """Return a limit of which so many seconds are left for training."""
    limit = TimeLimit(1000.0, time.monotonic())
    limit.image_seconds, limit.reserved_seconds = image_seconds, 1000.0 - remaining
    return limit


def fake_step_times(monkeypatch: pytest.MonkeyPatch, *seconds: float) -> list[float]:
    """Let the training steps alone take time on the clock of `time_step`: the first one
    `seconds[0]`, and so on. Return the list of the times so far.
    """
    times: list[float] = []

    def step(state: TrainState, *rest: Any) -> Any:
        times.append(seconds[len(times)])
        return train_step(state, *rest)

    monkeypatch.setattr("resnetlab.training.step.train_step", step)
    clock = SimpleNamespace(monotonic=lambda: sum(times))
    monkeypatch.setattr("resnetlab.finetuning.time_limit.time_step.time", clock)
    return times


@pytest.mark.parametrize(
    ("remaining", "is_first", "epochs"),
    [
        (1000.0, False, 10),  # an epoch takes 5 steps of 1 s and 10 predictions of 0.1 s
        (31.0, False, 5),
        (7.0, False, 1),
        (5.5, False, None),
        (5.5, True, 1),
        (-100.0, True, 1),
    ],
)
def test_the_number_of_epochs_fits_the_limit_and_the_first_stage_gets_one(
    remaining: float, is_first: bool, epochs: int | None
) -> None:
    limit = limit_with(remaining, 0.1)
    stage, seconds = fit_to_limit(make_stage(), limit, 40, 10, lambda _: 1.0, is_first=is_first)
    assert (stage.recipe.epochs if stage else None) == epochs
    assert seconds == pytest.approx(6.0)


def test_a_stage_for_which_even_the_forward_passes_take_too_long_is_not_measured() -> None:
    def measure(_: float) -> float:
        raise AssertionError("a step would take the time that is left")

    stage, seconds = fit_to_limit(
        make_stage(), limit_with(3.0, 0.1), 40, 10, measure, is_first=False
    )
    assert stage is None
    assert seconds == pytest.approx(12.0)


def test_without_a_limit_nothing_is_measured_and_no_stage_is_changed() -> None:
    limit = TimeLimit(None, 0.0)
    planned = make_stage()
    assert fit_to_limit(planned, limit, 40, 10, lambda _: 1 / 0, is_first=False) == (planned, 0.0)
    assert not limit.is_over


@pytest.mark.parametrize(
    ("trainable", "sampler"),
    [("all", "shuffled"), ("classifier", "shuffled"), ("classifier", "balanced")],
)
def test_measuring_a_step_changes_no_bit_of_the_training_after_the_measurement(
    photos: Path,
    config: ExternalConfig,
    monkeypatch: pytest.MonkeyPatch,
    trainable: Trainable,
    sampler: Sampler,
) -> None:
    """The features of the measured batches may stay in the cache."""
    data = open_photographs(photos, cache=photos.parent / "cache")
    states = []
    for measured in (False, True):
        model = make_model(config)
        recipe = Recipe(batch_size=8, epochs=1, optimizer=Adam(lr=1e-2))
        stage = make_stage(recipe=recipe, trainable=trainable)
        transform = model.eval_transform(24)
        transforms: dict[str, EvalTransform] = {"train": transform, "test": transform}
        if measured:
            before = model.clone_state()
            with monkeypatch.context() as patch:
                fake_step_times(patch, 8.0, 0.25)
                assert time_step(model, stage, data, transform, 3) == 0.25  # of the second step
            assert all(torch.equal(value, before[n]) for n, value in model.clone_state().items())
        train_stage(model, stage, data, transforms, 3, sampler=sampler)
        states.append(model.clone_state())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_a_step_without_remaining_time_is_measured_once(
    photos: Path, config: ExternalConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, model = open_photographs(photos, cache=photos.parent / "cache"), make_model(config)
    transform = model.eval_transform(24)
    for affordable, expected in ((1000.0, [8.0, 0.25]), (4.0, [8.0, 0.25]), (3.75, [8.0])):
        with monkeypatch.context() as patch:
            steps = fake_step_times(patch, 8.0, 0.25)
            seconds = time_step(model, make_stage(), data, transform, 3, None, affordable)
        assert seconds == expected[-1]
        assert steps == expected
    seen: list[float] = []
    fit_to_limit(
        make_stage(), limit_with(31.0), 40, 10, lambda s: seen.append(s) or 1.0, is_first=True
    )
    assert seen == [pytest.approx(31.0 / 5, abs=0.1)]


def test_a_stage_that_should_finish_ends_after_the_first_learning_rate_with_a_result(
    photos: Path, config: ExternalConfig
) -> None:
    data, model = open_photographs(photos, cache=photos.parent / "cache"), make_model(config)
    transform = model.eval_transform(24)
    recipe = Recipe(batch_size=8, steps=8, optimizer=Adam(lr=1e-2))
    probe = Stage(name="probe", augment="none", lrs=(1e-3, 1e-2, 1e-1), recipe=recipe)
    rates: list[str] = []
    result = train_stage(
        model,
        probe,
        data,
        {"train": transform, "test": transform},
        0,
        callbacks=StageCallbacks(should_finish=lambda: True, notify=rates.append),
    )
    assert (result.lr, result.complete, result.diverged) == (1e-3, False, False)
    assert len(result.epochs) == 1
    assert len(rates) == 1


def test_a_limit_that_is_exceeded_at_once_gives_a_usable_model_and_lists_the_cuts(
    photos: Path, backbone: Path
) -> None:
    messages: list[str] = []
    done = finetune(
        request(photos, backbone, recipe="full"), time_limit_seconds=1e-6, notify=messages.append
    )
    result = done.result
    assert [(item.name, item.complete) for item in result.stages] == [("probe", False)]
    assert [(cut.stage, cut.kind) for cut in result.time_limit_cuts] == [
        ("probe", "stopped"),
        ("all layers", "left out"),
    ]
    lines = [str(cut) for cut in result.time_limit_cuts]
    assert lines[0].startswith('the time limit stopped stage "probe" after ')
    assert lines[1].startswith('the time limit left stage "all layers" out after ')
    file = load_model_folder(done.model_folder).file
    for line in lines:
        assert line in messages
        assert line in result.caveats
        assert line in file.caveats
    assert result.test.images == 18
    assert result.time_limit_seconds == 1e-6


def test_a_stage_that_is_stopped_within_its_first_epoch_is_recorded_as_stopped(
    photos: Path, backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock jumps once the stage has begun, so that its estimate was wrong."""
    monkeypatch.setattr(stage_time_limit, "time_step", lambda *_: 1e-6)
    real, jumped = time.monotonic, [0.0]
    monkeypatch.setattr(time_limit.time, "monotonic", lambda: real() + jumped[0])

    def watch(line: str) -> None:
        if line.startswith("all layers: begins"):
            jumped[0] = 1e6

    done = finetune(request(photos, backbone, recipe="full"), time_limit_seconds=3600, notify=watch)
    assert [item.name for item in done.result.stages] == ["probe"]
    (cut,) = done.result.time_limit_cuts
    assert (cut.stage, cut.kind, cut.epochs, cut.planned_epochs) == ("all layers", "stopped", 0, 15)


def test_a_shortened_stage_is_reported_and_a_finished_one_is_not_measured_again(
    photos: Path, backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = 4  # 30 train images in batches of 8
    monkeypatch.setattr(stage_time_limit, "time_prediction", lambda *_: 0.0)
    monkeypatch.setattr(stage_time_limit, "time_step", lambda *_: 1000 / steps)
    recipe = photos.parent / "two.toml"
    recipe.write_text(
        Path(QUICK).read_text()
        + '\n[[stages]]\nname = "all"\ntrainable = "all"\n\n[stages.recipe]\nbatch_size = 8\n'
        "epochs = 6\n"
    )
    requested = request(photos, backbone, recipe=str(recipe))
    messages: list[str] = []
    done = finetune(requested, time_limit_seconds=2900, notify=messages.append)
    (cut,) = done.result.time_limit_cuts
    assert (cut.kind, cut.epochs, cut.planned_epochs, cut.epoch_seconds) == (
        "shortened",
        2,
        6,
        1000.0,
    )
    assert cut.needed == "115m"  # 6 epochs of 1,000 s, a tenth more, and the rest
    assert "all: 2 of 6 epochs fit into the time limit" in messages
    assert done.result.stages[1].epochs == 2
    full = finetune(replace(requested, name="full"), time_limit_seconds=None)
    assert (full.result.time_limit_cuts, full.result.stages[1].epochs) == ((), 6)
    again = finetune(replace(requested, name="again"), time_limit_seconds=2900)  # finds it finished
    assert (again.result.time_limit_cuts, again.result.stages[1].epochs) == ((), 6)


@pytest.mark.parametrize(
    ("remaining", "counts"),
    [
        (100.0, None),  # 60 train and 20 validation photographs of 1 s
        (80.0, None),
        (50.0, [20, 10]),
        (24.0, [5, 5]),  # a fifteenth would be 2 and 1
        (-5.0, [5, 5]),
    ],
)
def test_the_first_stage_gets_the_photographs_whose_features_can_be_computed(
    remaining: float, counts: list[int] | None
) -> None:
    labels = np.repeat([0, 1], [40, 20])
    limit = limit_with(remaining + 0.01, 1.0)
    result = limit.affordable_photographs(labels, 60, 20)
    assert (None if result is None else result.tolist()) == counts
    assert limit.affordable_photographs(labels, 0, 0) is None


def test_photographs_left_out_of_the_first_stage_are_in_the_record_and_the_cache_key(
    photos: Path, backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder(photos, {"train": 14})
    monkeypatch.setattr(stage_time_limit, "time_prediction", lambda *_: 1.0)
    requested, messages = request(photos, backbone, recipe=QUICK), list[str]()
    # Time for 18 test, 12 validation and 3 x 12 drawn photographs of 1 s, and 3 s to close.
    reserved = 18 + 12 + 36 + 3
    done = finetune(requested, time_limit_seconds=reserved + 35, notify=messages.append)
    (cut,) = done.result.time_limit_cuts
    assert (cut.kind, cut.planned_photographs) == ("fewer photographs", 42)
    assert 15 <= cut.photographs <= 21  # 12 of 35 s are for validation, some for loading torch
    line = str(cut)
    assert line.startswith(
        f'the time limit reduced stage "{cut.stage}" to {cut.photographs} of 42 train photographs'
    )
    assert line in done.result.caveats
    assert line in load_model_folder(done.model_folder).file.caveats
    assert any(text.startswith(f"{cut.stage}: the features of") for text in messages)
    # A later command has the features of these photographs, and trains on all.
    again = finetune(replace(requested, name="again"), time_limit_seconds=None)
    assert again.result.time_limit_cuts == ()


def test_without_remaining_time_fewer_train_photographs_are_stored_and_the_page_reports_it(
    photos: Path, backbone: Path
) -> None:
    folder(photos, {"train": 14, "val": 7})
    messages: list[str] = []
    requested = request(photos, backbone, recipe=QUICK)
    done = finetune(requested, time_limit_seconds=1e-6, notify=messages.append)
    note = "the time limit reduced the train photographs for the novelty to 30 of 42"
    assert note in done.result.caveats
    assert note in messages
    confidence = load_model_folder(done.model_folder).confidence
    assert confidence is not None
    assert np.bincount(confidence.reference_labels).tolist() == [10, 10, 10]
    full = finetune(replace(requested, name="full"), time_limit_seconds=None)
    assert note not in full.result.caveats
    confidence = load_model_folder(full.model_folder).confidence
    assert confidence is not None
    assert np.bincount(confidence.reference_labels).tolist() == [14, 14, 14]


def test_time_for_the_evaluation_after_training_is_reserved(photos: Path, backbone: Path) -> None:
    messages: list[str] = []
    finetune(
        request(photos, backbone, recipe=QUICK), time_limit_seconds=600, notify=messages.append
    )
    (line,) = [line for line in messages if line.startswith("time limit")]
    assert line.startswith("time limit 10 min 00 s: ")
    assert "are for the evaluation at the end" in line
    limit = TimeLimit(100.0, time.monotonic())
    limit.reserve(0.5, 40, 12)
    assert limit.remaining == pytest.approx(100 - 0.5 * (40 + 36) - 3, abs=1)


@pytest.mark.parametrize(
    ("seconds", "limit"), [(1, "5s"), (41, "45s"), (56, "1m"), (61, "2m"), (1201, "25m")]
)
def test_a_suggested_time_limit_is_rounded_up_and_long_enough(seconds: float, limit: str) -> None:
    assert suggest_time_limit(seconds) == limit


def test_a_cut_is_described_in_a_sentence_with_its_fix() -> None:
    cut = TimeLimitCut(
        stage="all layers",
        kind="left out",
        planned_epochs=15,
        epoch_seconds=180.0,
        elapsed_seconds=62.0,
        needed="50m",
    )
    assert str(cut) == (
        'the time limit left stage "all layers" out after 1 min 02 s; an epoch takes about '
        "3 min 00 s here; --time-limit 50m would do"
    )


def test_the_suggested_command_changes_only_the_time_limit() -> None:
    words = ["finetune", "my photos", "--time-limit", "3m", "--seed", "1"]
    assert (
        with_time_limit(words, "15m") == "resnetlab finetune 'my photos' --seed 1 --time-limit 15m"
    )
    assert (
        with_time_limit(["finetune", "a", "--time-limit=3m"], "1h")
        == "resnetlab finetune a --time-limit 1h"
    )


def test_a_time_limit_needs_a_unit() -> None:
    from resnetlab.cli.finetune.options import parse_time_limit

    assert [parse_time_limit(text) for text in ("90s", "10m", "1.5h", "0")] == [90, 600, 5400, None]
    with pytest.raises(InputError, match=r"a time without a unit.*--time-limit 5m for minutes"):
        parse_time_limit("5")
    with pytest.raises(InputError, match="not a time"):
        parse_time_limit("soon")
