"""A study can fine-tune: its runs share stages, their ids contain what decides the result, and the
report states the protocol.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from torchvision.transforms.v2 import functional as TF

import resnetlab as rl
from helpers.processes import import_path
from helpers.user_network import tiny
from resnetlab.analysis.collect import collect_study_data
from resnetlab.api.loaded_study import LoadedStudy
from resnetlab.api.studies import load_study
from resnetlab.cli.plan_forecast import print_forecast
from resnetlab.cli.study.commands import study_status
from resnetlab.data.transforms.eval_transform import EvalTransform, resize_image, ten_crops
from resnetlab.errors import InputError
from resnetlab.finetuning import pipeline
from resnetlab.finetuning.dataset import load_photographs, open_photographs
from resnetlab.finetuning.evaluation import predict_photos
from resnetlab.finetuning.session import run_finetune_attempt
from resnetlab.model_folder.licenses import find_license
from resnetlab.model_folder.store import load_model_folder
from resnetlab.models.configs import ExternalConfig
from resnetlab.models.model_cost import traced_cost
from resnetlab.models.parse import parse_model
from resnetlab.recipes.numerics import Placement
from resnetlab.reports.render.latex import write_latex
from resnetlab.reports.write import write_report
from resnetlab.runs.attempt import RunAttempt
from resnetlab.runs.damage import check_run
from resnetlab.runs.load import open_run
from resnetlab.runs.records import Result, RunFile
from resnetlab.runs.run_folder import RunFolder
from resnetlab.schema import decode, encode
from resnetlab.stats.chance import is_at_chance
from resnetlab.studies.compare import compare, format_lines
from resnetlab.studies.execution import read_record
from resnetlab.studies.executors.messages import RunEvent, make_request
from resnetlab.studies.executors.worker import JobRunner
from resnetlab.studies.parsing.overrides import Overrides
from resnetlab.studies.parsing.study_file import parse_study
from resnetlab.studies.plan import Plan
from resnetlab.studies.single_run import plan_run, resume_job
from resnetlab.training.round_robin import round_robin

FIXRES = {"base": "fixres", "epochs": 1, "train_size": 16}
LEARNS = {"batch_size": 8, "optimizer": {"name": "adam", "lr": 0.05}}
RECIPE: dict[str, Any] = {
    "name": "mine",
    "train_size": 16,
    "stages": [
        {"name": "stage one", "patience": 9, "recipe": LEARNS | {"epochs": 8}},
        {
            "name": "stage two",
            "trainable": "last norm",
            "size": "test",
            "augment": "test-like",
            "recipe": LEARNS | {"epochs": 1, "optimizer": {"name": "adam"}},
        },
    ],
}
TABLES = {
    "name": "sizes",
    "question": "Which sizes?",
    "seeds": [0, 1],
    "recipe": RECIPE,
    "grid": {"recipe.test_size": [16, 24]},
    "claim": [
        {
            "statement": "Larger is better.",
            "left": {"recipe.test_size": 24},
            "right": {"recipe.test_size": 16},
        },
    ],
}


def loaded(photos: Path, model: Path | str | dict[str, str], **changed: object) -> LoadedStudy:
    tables = (
        TABLES
        | {"data": str(photos), "model": model if isinstance(model, dict) else str(model)}
        | changed
    )
    return LoadedStudy(
        parse_study(tables, "sizes.toml", Overrides()), "resnetlab study run sizes.toml"
    )


def do(plan: Plan, root: Path, stop: Callable[[], bool] = lambda: False) -> list[Result | None]:
    """Return the runs of a plan in this process, in their order."""
    photos = load_photographs(plan.runs[0].file.data, root / "cache")
    attempts = (
        run_finetune_attempt(
            RunAttempt(run.id, run.file, root, Placement(), stop, lambda *_: None), photos
        )
        for run in plan.runs
    )
    return [result for attempt in attempts for _, result in round_robin([attempt])]


def test_workers_run_a_study_of_sizes_share_first_stages_and_report_the_protocol(
    photos: Path,
    backbone: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PYTHONPATH", import_path())
    study, root = loaded(photos, backbone), tmp_path / "out"
    outcome = study.run(root, workers=2)
    assert outcome.is_finished
    assert (
        len(list((root / "cache" / "stages").glob("*.safetensors"))) == 2 + 4
    )  # one a seed, then one a cell
    folder = outcome.report.parent
    with (folder / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["condition"] for row in rows} == {"test 16", "test 24"}
    assert {row["epochs"] for row in rows} == {"9.0"}  # of both stages
    text = (folder / "report.md").read_text()
    for expected_text in (
        "Stage one: the classifier learns at the train size, on random crops",
        "Stage two: the classifier and the last batch norm learn at the test size",
        "for at most 8 epochs, ended after 9 epochs without a lower validation loss",
        r"Apache-2.0 (the pre-trained weights of helpers.user\_network:tiny+)",
        "the validation images selected the epoch",
        "30 train, 12 validation and 18 test images",
    ):
        assert expected_text in text, expected_text
    assert str(tmp_path) not in text + (folder / "report.json").read_text()
    plan = study.plan(root)
    study_status(str(folder))
    print_forecast(plan, root, 1)
    expected_text = capsys.readouterr().out
    assert "test 16                  2 planned: " in expected_text
    assert "4 runs, 4 finished" in expected_text
    runs = {run.condition: RunFolder.find(root, run.id).path for run in plan.runs if run.seed == 0}
    output = format_lines(compare(str(runs["test 24"]), str(runs["test 16"])))
    assert any(line == "different recipe.test_size: 24 against 16" for line in output)
    job, where = resume_job(runs["test 16"])
    events: list[RunEvent] = []
    JobRunner(lambda: False, events.append).run(
        make_request(replace(job, from_step=7), where, Placement())
    )
    assert events[-1].kind == "failed"
    assert "goes on from its stages, not from a step" in events[-1].reason
    with pytest.raises(InputError, match=r"is not profiled\. Fix: leave --profile out"):
        list(
            run_finetune_attempt(
                RunAttempt(
                    job.id,
                    job.file,
                    where,
                    Placement(profile=True),
                    lambda: False,
                    lambda *_: None,
                ),
                None,  # type: ignore[arg-type]
            )
        )


def test_a_finished_run_is_loaded_as_a_model_with_the_stored_predictions(
    photos: Path, backbone: Path, tmp_path: Path
) -> None:
    plan = loaded(photos, backbone).plan(tmp_path)
    for result in do(plan, tmp_path):
        assert result is not None
        assert result.status in ("trained", "at chance")
        assert result.validation is not None
        assert result.validation.images == 12
    folder = RunFolder.find(tmp_path, plan.runs[0].id).path
    loaded_model = load_model_folder(folder)
    assert loaded_model.file.license.name == "Apache-2.0"
    saved = load_file(folder / "logits-test.safetensors")
    test = open_photographs(photos, cache=tmp_path / "cache").test
    again = predict_photos(
        loaded_model.module, test, loaded_model.file.eval_transform, torch.device("cpu")
    )
    np.testing.assert_allclose(np.log(again.probabilities), saved["logits"], atol=1e-4)
    assert (saved["labels"] == test.labels).all()
    splits = [
        json.loads(line)["split"] for line in (folder / "metrics.jsonl").read_text().splitlines()
    ]
    assert splits == ["validation", "train epoch"] * 9
    with pytest.raises(InputError, match=r"a fine-tuning run.*resnetlab predict"):
        open_run(folder)


def test_runs_of_one_frozen_network_store_it_once_and_load_with_the_same_bits(
    photos: Path, backbone: Path, tmp_path: Path
) -> None:
    """Three runs: the folder has one backbone, and in each run only what its training changed."""
    study = LoadedStudy(replace(loaded(photos, backbone).study, seeds=(0, 1, 2)))
    plan = study.plan(tmp_path)
    do(plan, tmp_path)
    stored = list((tmp_path / "backbones").iterdir())
    assert [path.suffix for path in stored] == [".safetensors"]
    frozen, pretrained = load_file(stored[0]), load_file(backbone.with_suffix(".safetensors"))
    assert frozen.keys() < pretrained.keys()
    assert all((frozen[name] == pretrained[name]).all() for name in frozen)
    for run in plan.runs:
        folder = RunFolder.find(tmp_path, run.id).path
        tensors = load_file(folder / "weights.safetensors")
        changed = {name for name in tensors if name in frozen}
        assert {name.rpartition(".")[0] for name in changed} <= {"blocks.1.norm2"}
        state = load_model_folder(folder).module.state_dict()
        assert state.keys() == pretrained.keys()
        for name, tensor in state.items():
            expected = tensors[name] if name in tensors else frozen[name]
            assert (tensor.numpy() == expected).all()
        assert not check_run(folder).damage
    stored[0].rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"no such file.*lack its frozen part"):
        load_model_folder(folder)
    assert [damage.kind for damage in check_run(folder).damage] == ["missing"]
    frozen[next(iter(frozen))][...] += 1
    save_file(frozen, stored[0])
    with pytest.raises(InputError, match="differs from its SHA-256"):
        load_model_folder(folder)


def test_a_run_that_trains_every_layer_stores_its_complete_network(
    photos: Path, backbone: Path, tmp_path: Path
) -> None:
    custom = {"name": "all", "train_size": 16, "test_size": 16} | {
        "stages": [{"name": "all", "trainable": "all", "recipe": LEARNS | {"epochs": 1}}]
    }
    study = loaded(photos, backbone, recipe=custom, seeds=[0], grid={}, claim=[])
    plan = study.plan(tmp_path)
    do(plan, tmp_path)
    folder = RunFolder.find(tmp_path, plan.runs[0].id).path
    assert not (tmp_path / "backbones").exists()
    pretrained = load_file(backbone.with_suffix(".safetensors"))
    assert load_file(folder / "weights.safetensors").keys() == pretrained.keys()


def test_a_run_is_at_chance_if_neither_validation_nor_test_accuracy_exceeds_guessing(
    photos: Path, backbone: Path, tmp_path: Path
) -> None:
    """Twelve validation images alone would call a network dead that gets most of the test right."""
    plan = loaded(photos, backbone, seeds=[0, 1, 2]).plan(tmp_path)
    for run, result in zip(plan.runs, do(plan, tmp_path), strict=True):
        assert result is not None
        assert result.test is not None
        lines = (RunFolder.find(tmp_path, run.id).path / "metrics.jsonl").read_text().splitlines()
        looks = [
            100 - content["top1_error_pct"]
            for content in map(json.loads, lines)
            if content["split"] == "validation"
        ]
        lucky = (
            is_at_chance(max(looks), 1 / 3, 12, len(looks)),
            is_at_chance(100 - result.test.top1_error_pct, 1 / 3, 18, 1),
        )
        assert result.status == ("at chance" if all(lucky) else "trained")


def test_a_run_ends_with_the_stage_of_the_highest_validation_accuracy(
    photos: Path, backbone: Path, tmp_path: Path
) -> None:
    first, second = RECIPE["stages"]
    spoiled = second | {"recipe": LEARNS | {"epochs": 2, "optimizer": {"name": "adam", "lr": 40.0}}}
    grid = {"recipe.test_size": [24]}
    plan = loaded(
        photos,
        backbone,
        recipe=RECIPE | {"stages": [first, spoiled]},
        seeds=[0],
        grid=grid,
        claim=[],
    ).plan(tmp_path)
    (result,) = do(plan, tmp_path)
    assert result is not None
    assert (
        result.selected_step <= 8 * 4 < result.step
    )  # in the first stage, of four batches an epoch
    loaded_model = load_model_folder(RunFolder.find(tmp_path, plan.runs[0].id).path)
    parts = open_photographs(photos, cache=tmp_path / "cache")
    for part, scores in ((parts.validation, result.validation), (parts.test, result.test)):
        assert scores is not None
        again = predict_photos(
            loaded_model.module, part, loaded_model.file.eval_transform, torch.device("cpu")
        )
        assert scores.top1_error_pct == pytest.approx(100 * (1 - again.correct.mean()))


def test_the_progress_of_a_run_increases_from_stage_to_stage(
    photos: Path, backbone: Path, tmp_path: Path
) -> None:
    run = loaded(photos, backbone).plan(tmp_path).runs[0]
    data = load_photographs(run.file.data, tmp_path / "cache")
    seen: list[tuple[int, float]] = []
    attempt = RunAttempt(
        run.id,
        run.file,
        tmp_path,
        Placement(),
        lambda: False,
        lambda event, _: seen.append((event.step, event.epoch)),
    )
    ((_, result),) = round_robin([run_finetune_attempt(attempt, data)])
    assert result is not None
    assert [epoch for _, epoch in seen] == sorted(epoch for _, epoch in seen)
    assert seen[-1][1] == 9.0  # eight epochs of the first stage and one of the second


def test_a_run_has_the_weights_of_the_same_fine_tuning_command(
    photos: Path, backbone: Path, tmp_path: Path
) -> None:
    from resnetlab.finetuning.finetune_photos import FinetuneRequest, finetune

    done = finetune(
        FinetuneRequest(
            folder=photos,
            model=str(backbone),
            recipe="fixres",
            train_size=16,
            test_size=24,
            epochs=1,
            seed=1,
            output=tmp_path / "command",
        )
    )
    study = loaded(photos, backbone, seeds=[1], recipe=FIXRES)
    plan = study.plan(tmp_path)
    do(plan, tmp_path)
    run = next(run for run in plan.runs if run.condition == "test 24")
    theirs, ours = (
        load_model_folder(folder).module.state_dict()
        for folder in (done.model_folder, RunFolder.find(tmp_path, run.id).path)
    )
    for name, tensor in theirs.items():
        torch.testing.assert_close(
            tensor, ours[name], rtol=1e-4, atol=1e-5
        )  # numerics may differ in threads


def test_only_settings_that_change_the_result_change_the_run_id(
    photos: Path, backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hashes(model: Path | str = backbone, **changed: object) -> set[str]:
        return {run.config.hash for run in loaded(photos, model, **changed).plan(tmp_path).runs}

    before = hashes()
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (moved / "other.safetensors").write_bytes(backbone.with_suffix(".safetensors").read_bytes())
    text = (
        backbone.read_text()
        .replace("tiny.safetensors", "other.safetensors")
        .replace("Apache-2.0", "MIT")
    )
    (moved / "other.toml").write_text(text)
    assert hashes(moved / "other.toml") == before  # where weights lie, and their license
    assert (
        hashes(recipe=RECIPE | {"name": "other", "about": "?"}) == before
    )  # what a recipe is called
    for field, value in (
        ("epochs", 2),
        ("train_size", 24),
        ("crops", 10),
        ("class_weights", "balanced"),
        ("sampler", "balanced"),
    ):
        assert not before & hashes(recipe=RECIPE | {field: value}), field
    assert not before & hashes(data={"source": str(photos), "split": ".6,.2,.2"})
    with (
        monkeypatch.context() as later
    ):  # what the code of fine-tuning means, apart from that of other runs
        later.setattr("resnetlab.runs.config.FINETUNE_VERSION", 99)
        assert not before & hashes()
        later.undo()
        later.setattr("resnetlab.runs.config.ALGORITHM_VERSION", 99)
        assert hashes() == before
    file = loaded(photos, backbone).plan(tmp_path).runs[0].file
    assert decode(RunFile, encode(file), "run.json") == file


def test_an_interrupted_run_continues_after_its_last_stage_and_out_of_memory_is_a_result(
    photos: Path, backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = loaded(photos, backbone, seeds=[0], grid={"recipe.test_size": [24]}, claim=[]).plan(
        tmp_path
    )
    stages = tmp_path / "cache" / "stages"
    assert do(plan, tmp_path, stop=lambda: any(stages.glob("*.safetensors"))) == [None]
    (cached,) = stages.glob("*.safetensors")
    written = cached.stat().st_mtime_ns
    (result,) = do(plan, tmp_path)
    assert result is not None
    assert result.test is not None
    assert cached.stat().st_mtime_ns == written
    events = [
        line["event"] for line in RunFolder.find(tmp_path, plan.runs[0].id).record().provenance
    ]  # type: ignore[union-attr]
    assert events == ["start", "stopped", "resume"]

    def short(*_: object, **__: object) -> None:
        raise RuntimeError(
            "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
        )

    monkeypatch.setattr(pipeline, "train_stage", short)
    plan = loaded(photos, backbone, seeds=[5]).plan(tmp_path)
    assert [result.status for result in do(plan, tmp_path) if result] == ["out of memory"] * 2
    statuses = [
        study_run.record.result.status
        for study_run in read_record(plan, tmp_path).runs
        if study_run.record
    ]  # type: ignore[union-attr]
    assert statuses == ["out of memory"] * 2


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"model": "torchvision/resnet18", "data": "digits"},
            r"data\.source: arrays, but a fine-tuning recipe",
        ),
        (
            {"model": "cifar-resnet20"},
            r"model: has no pre-trained weights.*timm/NAME, torchvision/NAME",
        ),
        ({"model": "helpers.user_network:tiny"}, r"model: has no pre-trained weights"),
        (
            {"data": {"source": "photos", "image_size": 32}},
            r"data\.image_size: not available.*recipe\.train_size",
        ),
        (
            {"data": {"source": "photos", "validation": 0.2}},
            r"data\.validation: not available.*data\.split splits",
        ),
        (
            {"diagnostics": {"ablate_blocks": True}},
            "diagnostics: not available with a fine-tuning recipe",
        ),
        (
            {"recipe": {"base": "fixres", "train_sise": 16}},
            r"recipe\.train_sise: unknown field.*train_size",
        ),
        ({"recipe": {"base": "fixres", "crops": 5}}, r"recipe\.crops"),
        ({"recipe": "fixers"}, r"unknown recipe.*fixres"),
        (
            {"recipe": "adam", "data": {"source": "x", "split": ".6,.2,.2"}, "grid": {}},
            r"data\.split: only for fine-tuning recipes",
        ),
    ],
)
def test_incompatible_parts_of_a_study_are_refused_with_a_fix(
    changed: dict[str, object], message: str
) -> None:
    tables = TABLES | {"data": "photos", "model": "torchvision/resnet18"} | changed
    with pytest.raises(InputError, match=message):
        parse_study(tables, "x.toml", Overrides())


def test_an_absent_folder_is_refused_with_the_command_that_fetches_datasets(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such name, file or folder.*resnetlab data fetch"):
        loaded(Path("stanford-dogs"), "torchvision/resnet18", claim=[]).plan(tmp_path)


def test_absent_weights_are_reported_before_the_data_are_opened(tmp_path: Path) -> None:
    study = loaded(
        tmp_path,
        {
            "family": "external",
            "source": "helpers.user_network:tiny",
            "weights": "absent.safetensors",
        },
    )
    with pytest.raises(
        InputError, match=r"model\.weights: no such file of weights \(got absent\.safetensors\)"
    ):
        study.plan(tmp_path)


def test_the_network_of_the_source_study_has_the_parameter_count_of_its_report() -> None:
    (model,) = {condition.model for condition in load_study("fixres").study.conditions}
    assert isinstance(model, ExternalConfig)
    assert traced_cost(model, 3, 120, 224)[0] == 826_608_056
    assert find_license(model).name == "CC-BY-NC-4.0"
    conditions = {
        pair.value.label: pair.condition for pair in load_study("fixres").study.references
    }
    assert conditions["train 320, test 224"] == "proof-of-concept, train 320, test 224"
    assert conditions["train 320, test 224, validation"] == conditions["train 320, test 224"]
    assert len(conditions) == 9


def test_a_named_library_network_starts_from_its_weights_and_an_option_replaces_it(
    photos: Path,
) -> None:
    tables = TABLES | {"data": str(photos), "model": "torchvision/resnet18"}
    assert {c.model.weights for c in parse_study(tables, "x", Overrides()).conditions} == {"hub"}  # type: ignore[union-attr]
    changed = parse_study(
        tables, "x", Overrides(settings=("model=torchvision/resnet34", "recipe.train_size=32"))
    )
    assert {c.model.slug for c in changed.conditions} == {"torchvision/resnet34+"}
    assert tuple(map(str, changed.overrides)) == (
        "model = torchvision/resnet34 (was torchvision/resnet18)",
        "recipe.train_size = 32 (was 16)",
    )
    trained = parse_study(tables | {"recipe": "adam", "grid": {}, "claim": []}, "x", Overrides())
    assert trained.conditions[0].model.weights == ""  # type: ignore[union-attr]


def test_non_commercial_weights_are_fine_tuned_only_with_consent(
    photos: Path, backbone: Path, tmp_path: Path
) -> None:
    backbone.write_text(backbone.read_text().replace("Apache-2.0", "CC-BY-NC-4.0"))
    study = loaded(photos, backbone)
    with pytest.raises(
        InputError, match=r"forbids commercial use: CC-BY-NC-4\.0.*Fix: --accept-license"
    ):
        next(study.plan_looks(tmp_path))
    assert len(next(study.plan_looks(tmp_path, accept_license=True)).runs) == 4
    with pytest.raises(InputError, match="--accept-license"):
        plan_run(str(backbone), str(photos), "probe", output=tmp_path)
    with pytest.raises(InputError, match="--accept-license"):
        next(load_study("fixres").plan_looks(tmp_path))


def test_networks_are_plotted_against_their_cost_beside_published_ones(
    photos: Path, backbone: Path, tmp_path: Path
) -> None:
    other = backbone.with_name("other.toml")
    other.write_text(f'{backbone.read_text()}class_names = ["a"]\n')
    probe = RECIPE | {"stages": RECIPE["stages"][:1]}  # type: ignore[index]
    study = loaded(
        photos,
        backbone,
        recipe=probe,
        grid={"model": [str(backbone), str(other)]},
        claim=[],
        references=["fixres-imagenet", "fixres-figure1"],
    )
    assert {pair.value.label for pair in study.study.unmatched_references} >= {
        "FixEfficientNet-L2",
        "ResNeXt-101 32x48d",
    }
    plan = study.plan(tmp_path)
    do(plan, tmp_path)
    study_data = collect_study_data(read_record(plan, tmp_path))
    first = study_data.rows[0].condition
    rows = tuple(
        replace(
            row,
            parameters=(10 if row.condition == first else 30) * 1_000_000,
            status="trained",
            evaluation_seconds=2.0 if row.condition == first else 4.0,
        )
        for row in study_data.rows
    )
    page = write_report(replace(study_data, rows=rows), tmp_path / "report")
    labels = {}
    for key in ("parameters", "speed", "published-imagenet"):
        with (page.parent / "figures" / f"{key}.csv").open() as file:
            labels[key] = list(csv.reader(file))[1:]
        assert (page.parent / "figures" / f"{key}.svg").is_file()
    assert [float(line[1]) for line in labels["parameters"]] == [10_000_000, 30_000_000]
    assert [float(line[1]) for line in labels["speed"]] == [9.0, 4.5]  # 18 photographs
    known = {line[0]: (float(line[1]), float(line[2])) for line in labels["published-imagenet"]}
    assert known["FixEfficientNet-L2"] == (480e6, 88.5)
    assert known["ResNeXt-101 32x48d"] == (829e6, 85.4)
    text = (page.parent / "report.md").read_text()
    assert "Published results without a measurement" in text
    assert write_latex(replace(study_data, rows=rows), tmp_path / "latex").is_file()


def test_a_recipe_axis_compares_protocols_and_their_shared_stage_is_trained_once(
    photos: Path, backbone: Path, tmp_path: Path
) -> None:
    grid = {"recipe": ["stage-one", "fixres"], "recipe.test_size": [24]}
    study = loaded(photos, backbone, recipe="fixres", grid=grid, seeds=[0], claim=[])
    assert [c.label for c in study.study.conditions] == ["stage-one, test 24", "fixres, test 24"]
    shorter = LoadedStudy(
        replace(
            study.study,
            conditions=tuple(
                replace(c, recipe=replace(c.recipe, epochs=1, train_size=16))
                for c in study.study.conditions
            ),
        )
    )
    do(shorter.plan(tmp_path), tmp_path)
    assert len(list((tmp_path / "cache" / "stages").glob("*.safetensors"))) == 2


def test_train_accepts_a_recipe_of_fine_tuning(
    photos: Path, backbone: Path, tmp_path: Path
) -> None:
    with backbone.open("a") as file:
        file.write("kwargs = { num_classes = 5 }\n")
    plan = plan_run(
        str(backbone), str(photos), "probe", settings=["recipe.train_size=16"], output=tmp_path
    )
    assert plan.runs[0].file.train_images == 30
    assert plan.runs[0].file.parameters == sum(p.numel() for p in tiny(3).parameters())
    assert plan.runs[0].id.startswith("stripes-helpers.user-network-tiny")


def test_the_ten_crops_equal_torchvision_and_their_probabilities_are_averaged(
    photos: Path, config: ExternalConfig, tmp_path: Path
) -> None:
    test = open_photographs(photos, cache=tmp_path / "cache").test
    model = load_network(config)
    transform = EvalTransform(size=16, mean=config.mean, std=config.std)
    ours = predict_photos(model, test, transform, torch.device("cpu"), crops=10).probabilities
    for index in range(len(test)):
        image = test.load(index)
        crops = TF.ten_crop(resize_image(image, transform), [16, 16])
        assert np.array_equal(
            ten_crops(image, transform), np.stack([np.asarray(crop) for crop in crops])
        )
        pixels = torch.stack(
            [TF.to_dtype(TF.to_image(crop), torch.float32, scale=True) for crop in crops]
        )
        with torch.no_grad():
            expected = model((pixels - 0.5) / 0.5).double().softmax(1).mean(0)
        np.testing.assert_allclose(ours[index], expected.numpy(), atol=1e-5)


def load_network(config: ExternalConfig) -> torch.nn.Module:
    from resnetlab.models.transfer import build_with_new_head
    from resnetlab.training.rng import make_generator

    return build_with_new_head(config, 3, lambda name: make_generator(0, "init", name)).eval()


def test_a_model_file_beside_a_study_file_is_resolved_relative_to_the_study(
    photos: Path, backbone: Path
) -> None:
    assert parse_model("tiny.toml", str(backbone.parent / "study.toml")) == parse_model(
        str(backbone), ""
    )
    assert rl.load_study is load_study
    assert photos.is_dir()
