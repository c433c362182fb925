"""Fine-tuning makes a usable model folder from a folder of photographs, with the same bits each
time, and does not choose by the test split.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.finetuning import request
from helpers.processes import environment
from helpers.texture_photographs import KINDS, QUICK, folder, texture
from resnetlab.cli.finetune.output import summary_lines
from resnetlab.data.transforms.eval_transform import apply_eval_transform
from resnetlab.errors import InputError
from resnetlab.finetuning.cross_validation import cross_validate
from resnetlab.finetuning.dataset import open_photographs
from resnetlab.finetuning.evaluation import compare
from resnetlab.finetuning.finetune_photos import finetune, folder_name, prepare_job
from resnetlab.finetuning.results import StoppedError
from resnetlab.model_folder.store import load_model_folder
from resnetlab.models.photo_predictions import SplitPredictions
from resnetlab.recipes.finetune import (
    finetune_recipe_names,
    load_finetune_recipe,
)


def test_a_folder_is_fine_tuned_into_a_model_that_loads_and_classifies(
    photos: Path, backbone: Path
) -> None:
    messages: list[str] = []
    done = finetune(request(photos, backbone, recipe="probe"), notify=messages.append)
    assert sorted(path.name for path in done.model_folder.iterdir()) == [
        "README.md",
        "model.json",
        "model.safetensors",
    ]
    loaded_model = load_model_folder(done.model_folder)
    assert loaded_model.file.classes == KINDS
    assert loaded_model.file.license.name == "Apache-2.0"
    assert [metric.split for metric in loaded_model.file.metrics] == ["validation", "test"]
    transform = loaded_model.file.eval_transform
    with torch.no_grad():
        right = 0
        for number, kind in enumerate(KINDS):
            for seed in range(5):
                pixels = apply_eval_transform(texture(kind, 900 + seed), transform)
                images = (torch.from_numpy(pixels).float() / 255 - 0.5).permute(2, 0, 1)[None] / 0.5
                right += int(loaded_model.module(images).argmax() == number)
    assert right >= 12
    assert done.result.test.images == 18
    assert done.result.test.low_pct < done.result.test.accuracy_pct <= done.result.test.high_pct
    assert done.result.test.accuracy_pct > done.result.chance_pct + 20
    assert "usable from now on" in " ".join(messages)
    assert json.loads((done.report_folder / "finetune.json").read_text())["test"]["images"] == 18


def test_the_labels_of_the_test_split_do_not_change_the_weights(
    photos: Path, backbone: Path
) -> None:
    """With other labels on the test images, the same weights come out."""
    first = finetune(request(photos, backbone, recipe="fixres", epochs=2))
    weights = (first.model_folder / "model.safetensors").read_bytes()
    names = sorted((photos / "test" / "across").iterdir())
    for path in names:
        path.rename(photos / "test" / "down" / f"moved-{path.name}")
    texture("across", 1).save(photos / "test" / "across" / "one.png")
    again = finetune(
        replace(
            request(photos, backbone, recipe="fixres", epochs=2), output=photos.parent / "again"
        )
    )
    assert (again.model_folder / "model.safetensors").read_bytes() == weights
    assert again.result.test.correct < first.result.test.correct


def test_an_earlier_model_is_compared_on_the_same_images(photos: Path, backbone: Path) -> None:
    first = finetune(request(photos, backbone, recipe=QUICK))
    second = finetune(
        request(photos, backbone, recipe="proof-of-concept", epochs=1), baseline=first.model_folder
    )
    comparison = second.result.comparison
    assert comparison is not None
    assert comparison.baseline == first.model_folder.name
    assert comparison.baseline_accuracy_pct == pytest.approx(first.result.test.accuracy_pct)
    difference = second.result.test.correct - first.result.test.correct
    assert comparison.only_this - comparison.only_baseline == difference


def test_a_baseline_that_was_trained_on_the_test_images_gives_a_caveat(
    photos: Path, backbone: Path
) -> None:
    """Two photographs of train and one of validation are test images of the second fine-tuning."""
    first = finetune(request(photos, backbone, recipe=QUICK, name="first"))
    same = finetune(
        request(photos, backbone, recipe=QUICK, name="same"), baseline=first.model_folder
    )
    assert not [line for line in same.result.caveats if "first was trained" in line]
    for split, name in (("train", "00.png"), ("train", "01.png"), ("val", "00.png")):
        (photos / split / "across" / name).rename(photos / "test" / "across" / f"{split}-{name}")
    second = finetune(
        request(photos, backbone, recipe=QUICK, name="second"), baseline=first.model_folder
    )
    assert second.result.comparison is not None
    (caveat,) = [line for line in second.result.caveats if "first was trained" in line]
    assert "trained on 2 and selected by 1 of the 21 images of this comparison" in caveat


def test_a_mistyped_baseline_is_refused_before_the_photographs_are_read(
    photos: Path, backbone: Path
) -> None:
    lines = list[str]()
    with pytest.raises(InputError, match="nosuch: contains no model"):
        finetune(request(photos, backbone), baseline=photos.parent / "nosuch", notify=lines.append)
    assert lines == []


def test_mcnemar_counts_the_images_that_only_one_model_classifies_correctly() -> None:
    labels = np.array([0, 0, 1, 1, 0])
    ours = SplitPredictions(np.eye(2)[[0, 0, 1, 0, 1]], labels)
    theirs = SplitPredictions(np.eye(2)[[1, 1, 1, 1, 1]], labels)
    comparison = compare(ours, theirs)
    assert (comparison.only_this, comparison.only_baseline) == (2, 1)
    assert comparison.p == 1.0  # of three coins, two or more one way or the other


def test_each_stage_and_each_long_step_is_announced(photos: Path, backbone: Path) -> None:
    messages: list[str] = []
    seen: dict[str, list[tuple[int, int]]] = {}
    requested = request(photos, backbone, recipe="full", epochs=2)
    finetune(
        requested,
        time_limit_seconds=600,
        notify=messages.append,
        on_item=lambda task, done, total: seen.setdefault(task, []).append((done, total)),
    )
    begins = [line for line in messages if "begins at 24 pixels" in line]
    assert [line.partition(":")[0] for line in begins] == ["probe", "all layers"]
    assert any(line.startswith("all layers: an epoch takes about ") for line in messages)
    assert messages.index("evaluating 18 test images") > messages.index(begins[-1])
    assert {"features computed", "all layers: steps"} <= seen.keys()
    for steps in seen.values():
        assert steps[-1][0] == steps[-1][1]


def test_assumed_preprocessing_is_printed_and_stored(photos: Path, backbone: Path) -> None:
    text = backbone.read_text()
    backbone.write_text("".join(line + "\n" for line in text.splitlines() if "0.5" not in line))
    messages: list[str] = []
    done = finetune(request(photos, backbone, recipe=QUICK), notify=messages.append)
    line = (
        "the weights do not state the mean and std of their images: those of ImageNet are assumed"
    )
    assert f"note: {line}" in messages
    assert line in done.result.caveats
    assert line in load_model_folder(done.model_folder).file.caveats


def test_a_fine_tuning_that_is_stopped_before_its_first_epoch_writes_nothing(
    photos: Path, backbone: Path
) -> None:
    requested = request(photos, backbone, recipe="proof-of-concept")
    with pytest.raises(StoppedError, match="nothing was written"):
        finetune(requested, should_stop=lambda: True)
    assert not (requested.output / "models").exists()


def test_every_recipe_of_the_catalog_runs(photos: Path, backbone: Path) -> None:
    assert finetune_recipe_names() == [
        "fixres",
        "full",
        "full-cutmix",
        "full-mixup",
        "full-random-erasing",
        "full-trivialaugment",
        "probe",
        "proof-of-concept",
        "proof-of-concept-as-run",
        "stage-one",
    ]
    for name in ("fixres", "full", "full-mixup", "full-trivialaugment", "proof-of-concept"):
        done = finetune(request(photos, backbone, recipe=name, epochs=1))
        assert len(done.result.stages) == len(load_finetune_recipe(name).stages)
        assert sum(item.selected for item in done.result.stages) == 1


def test_the_model_of_another_fine_tuning_is_never_replaced(
    photos: Path, backbone: Path, tmp_path: Path
) -> None:
    first_request = replace(
        request(photos, backbone, recipe="proof-of-concept", epochs=1), output=tmp_path
    )
    first = finetune(first_request).model_folder
    weights = (first / "model.safetensors").read_bytes()
    with pytest.raises(InputError, match=r"another fine-tuning \(.*, seed 0\).*--name"):
        finetune(replace(first_request, seed=1))
    with pytest.raises(InputError, match="another fine-tuning"):
        finetune(replace(first_request, epochs=2))
    assert (first / "model.safetensors").read_bytes() == weights
    assert finetune(first_request).model_folder == first  # the same may be repeated
    second = finetune(replace(first_request, seed=1, name="second"))
    assert (second.model_folder.name, second.report_folder.name) == ("second", "second")
    with pytest.raises(InputError, match="--name: not a name of a folder"):
        finetune(replace(first_request, name="../up"))


def test_a_model_folder_is_named_in_the_script_of_its_data_folder(
    photos: Path, backbone: Path
) -> None:
    job = prepare_job(request(photos, backbone, recipe="probe"), lambda _: None)
    names = {
        folder_name(replace(job, photos=replace(job.photos, name=name))) for name in ("花", "鳥")
    }
    assert {name[:1] for name in names} == {"花", "鳥"}


def test_without_a_test_split_no_image_is_reserved_for_it_and_the_record_states_it(
    photos: Path, backbone: Path, tmp_path: Path
) -> None:
    root = tmp_path / "pics"
    shutil.copytree(photos, root)
    shutil.rmtree(root / "test", ignore_errors=True)
    count = sum(1 for path in (root / "train").rglob("*") if path.is_file())
    first_request = replace(
        request(root, backbone, recipe="proof-of-concept", epochs=1), output=tmp_path / "out"
    )
    done = finetune(replace(first_request, no_test=True))
    result = done.result
    has_validation = (root / "validation").is_dir() or (root / "val").is_dir()
    assert result.train_images + (0 if has_validation else result.validation.images) == count
    assert not result.has_test
    assert result.test.images == result.validation.images
    file = load_model_folder(done.model_folder).file
    assert [metric.split for metric in file.metrics] == ["validation"]
    assert any("nothing is independent" in line for line in file.caveats)
    (line,) = [text for text in summary_lines(result, root, root) if "exact 95 %" in text]
    assert line.startswith("validation, no test ")
    for path in sorted((root / "train").glob("*/*"))[::4]:
        target = root / "testing" / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    with pytest.raises(InputError, match="has a test split"):
        finetune(replace(first_request, no_test=True))


def test_a_folder_without_splits_is_split_and_validation_is_drawn_from_train(
    tmp_path: Path,
) -> None:
    flat = folder(tmp_path / "flat", {"": 20})
    data = open_photographs(flat, cache=tmp_path / "cache")
    assert (len(data.train), len(data.validation), len(data.test)) == (42, 9, 9)
    two = folder(tmp_path / "two", {"train": 20, "test": 4})
    cut = open_photographs(two, cache=tmp_path / "cache")
    assert (len(cut.train), len(cut.validation), len(cut.test)) == (51, 9, 12)
    assert np.bincount(cut.validation.labels).tolist() == [3, 3, 3]


def test_classes_with_imagenet_names_give_a_caveat_in_the_model(
    tmp_path: Path, backbone: Path
) -> None:
    root = folder(tmp_path / "stripes", {"train": 6, "val": 2, "test": 2})
    for split in ("train", "val", "test"):
        for number, kind in enumerate(KINDS):
            (root / split / kind).rename(root / split / f"n0208562{number}-{kind}")
    done = finetune(request(root, backbone, recipe=QUICK))
    assert "ImageNet" in load_model_folder(done.model_folder).file.caveats[0]
    assert "ImageNet" in (done.model_folder / "README.md").read_text()


def test_the_command_without_a_model_option_prints_the_command_that_uses_the_model(
    photos: Path, backbone: Path
) -> None:
    weights = photos.parent / "weights"
    weights.mkdir()
    for path in (backbone, backbone.with_suffix(".safetensors")):
        path.rename(weights / path.name)
    env = environment(RESNETLAB_WEIGHTS=str(weights))
    command = [
        sys.executable,
        "-m",
        "resnetlab",
        "finetune",
        str(photos),
        "--train-size",
        "24",
        "--time-limit",
        "1s",
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=photos.parent, env=env, timeout=250
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert any(line.startswith("test ") and "95 % interval over images" in line for line in lines)
    assert lines[-2].startswith("resnetlab predict models/stripes-tiny-full ")
    assert "RESNETLAB_WEIGHTS: tiny.toml" in done.stderr
    evaluation = "evaluate models/stripes-tiny-full stripes --out mistakes --json"
    again = [sys.executable, "-m", "resnetlab", *evaluation.split()]
    scored = subprocess.run(
        again, capture_output=True, text=True, cwd=photos.parent, env=env, timeout=120
    )
    assert scored.returncode == 0, scored.stderr
    test = json.loads(
        (photos.parent / "reports" / "stripes-tiny-full" / "finetune.json").read_text()
    )["test"]
    top1 = json.loads(scored.stdout)["top1"]
    assert (top1["pct"], top1["low"], top1["high"]) == pytest.approx(
        (test["accuracy_pct"], test["low_pct"], test["high_pct"])
    )
    printed = subprocess.run(
        again[:-1], capture_output=True, text=True, cwd=photos.parent, env=env, timeout=120
    ).stdout
    (interval,) = [line.partition(" of ")[0] for line in lines if line.startswith("test ")]
    assert f"top-1 {interval.removeprefix('test ')}, " in printed
    assert (photos.parent / "mistakes" / "report.html").exists()
    assert lines[-1] == "Page: reports/stripes-tiny-full/report.html"
    assert (photos.parent / lines[-1].removeprefix("Page: ")).is_file()


def test_whole_photographs_can_be_used_in_a_probe_recipe(
    photos: Path, backbone: Path, tmp_path: Path
) -> None:
    text = (
        '[[stages]]\nname = "probe"\naugment = "none"\nsize = "test"\nrecipe = { batch_size = 8, '
        "steps = 20 }\n"
    )
    recipe = tmp_path / "whole.toml"
    recipe.write_text('crop_mode = "whole"\n' + text)
    texture("plain", 77, 80, 33).save(photos / "train" / "plain" / "wide.png")
    done = finetune(request(photos, backbone, recipe=str(recipe)))
    assert load_model_folder(done.model_folder).file.eval_transform.crop_mode == "whole"


def test_each_fold_of_a_cross_validation_is_tested_by_a_model_trained_without_it(
    photos: Path, backbone: Path
) -> None:
    folds = cross_validate(request(photos, backbone, recipe="probe", name="cv"), 3)
    table, results = folds.result, folds.result.folds
    assert [result.folder for result in results] == ["cv-fold0", "cv-fold1", "cv-fold2"]
    data = open_photographs(photos, cache=photos.parent / "cache", folds=3)
    assert results[0].test.images == len(data.test)
    accuracies = [result.test.accuracy_pct for result in results]
    assert table.mean_pct == pytest.approx(sum(accuracies) / 3)
    assert table.low_pct <= table.mean_pct <= table.high_pct
    assert (folds.report_folder / "folds.json").is_file()
    assert len(table.lines()) == 4
    with pytest.raises(InputError, match="given together with --no-test"):
        finetune(request(photos, backbone, folds=3, no_test=True))
