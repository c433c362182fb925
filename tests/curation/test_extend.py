"""The extension of a model writes another folder, evaluates the old test photographs before and
after, and does not leak.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.special import softmax
from sklearn.metrics import log_loss

from helpers.commands import Ended, check_error_lines, run_command
from helpers.texture_photographs import texture
from resnetlab.data.transforms.eval_transform import apply_eval_transform
from resnetlab.deploy.predict import load_model
from resnetlab.model_folder.read import read_model_file
from resnetlab.model_folder.store import load_model_folder
from resnetlab.stats.exact import mcnemar, paired_interval


def checks(seed: int) -> Image.Image:
    """Draw a checkerboard, a texture that the model does not know."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:32, :40]
    wave = np.sign(np.sin(x / 2) * np.sin(y / 2))
    shade = 128 + 90 * wave[..., None] * generator.uniform(0.6, 1, 3)
    shade = shade + generator.normal(0, 12, (32, 40, 3))
    return Image.fromarray(shade.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def workplace(finetuned: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the fine-tuned model, and a folder `more` with a new class and more of an old one."""
    root = tmp_path_factory.mktemp("extend") / "here"
    shutil.copytree(finetuned, root)
    # The record of the fine-tuning has the path of the photographs, which stay where they are.
    for name, count in (("checks", 14), ("plain", 8)):
        (root / "more" / name).mkdir(parents=True)
        for number in range(count):
            image = checks(number) if name == "checks" else texture("plain", 5000 + number)
            image.save(root / "more" / name / f"{number:02}.png")
    return root


def extend(root: Path, *more: object) -> Ended:
    return run_command("extend", "models/textures", "--add", "more", *more, folder=root)


@pytest.fixture(scope="module")
def extended(workplace: Path) -> dict[str, Any]:
    ended = extend(workplace, "--json")
    assert ended.code == 0, ended.text
    result: dict[str, Any] = json.loads(ended.output)
    return result


def file_hashes(folder: Path) -> dict[str, str]:
    files = sorted(folder.iterdir())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_earlier_model_is_unchanged_and_the_extended_model_has_its_own_folder(
    finetuned: Path, workplace: Path, extended: dict[str, Any]
) -> None:
    old = workplace / "models/textures"
    assert file_hashes(old) == file_hashes(finetuned / "models/textures")
    file = read_model_file(workplace / str(extended["model_folder"]))
    assert file.classes == (*read_model_file(old).classes, "checks")
    assert extended["new_classes"] == ["checks"]
    assert str(extended["model"]).startswith("textures-extended-")
    assert extended["old_images"] == [30, 12, 18]
    assert sum(extended["added_images"]) == 22  # type: ignore[call-overload]


def test_the_accuracies_equal_the_values_that_evaluate_measures(
    workplace: Path, extended: dict[str, Any]
) -> None:
    paths = sorted((workplace / "stripes/test").glob("*/*.png"))
    right = []
    for folder in ("models/textures", extended["model_folder"]):
        model = load_model(workplace / str(folder), device="cpu")
        top = model.predict(paths, top=1)
        names = [one.top_classes[0].label for one in top]
        right.append([name == path.parent.name for name, path in zip(names, paths, strict=True)])
    before, after = (np.array(row) for row in right)
    assert extended["before"]["correct"] == before.sum()  # type: ignore[index]
    assert extended["after"]["correct"] == after.sum()  # type: ignore[index]
    gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
    low, high = paired_interval(gained, lost, len(paths))
    ends = extended["change_low_points"], extended["change_high_points"]
    assert ends == pytest.approx((low, high))
    assert extended["p"] == pytest.approx(mcnemar(gained, lost))
    (new,) = [row for row in extended["by_class"] if row["is_new"]]
    assert new["name"] == "checks"
    assert new["correct"] == new["images"] > 0


def test_evaluate_predict_and_a_second_extension_read_the_extended_model(
    workplace: Path, extended: dict[str, Any]
) -> None:
    folder = extended["model_folder"]
    ended = run_command("evaluate", folder, "stripes", "--json", folder=workplace)
    assert ended.code == 0, ended.text
    assert json.loads(ended.output)["top1"]["count"] == extended["after"]["correct"]  # type: ignore[index]
    (workplace / "again" / "across").mkdir(parents=True)
    for number in range(6):
        texture("across", 9000 + number).save(workplace / f"again/across/{number}.png")
    ended = run_command("extend", folder, "--add", "again", "--json", folder=workplace)
    assert ended.code == 0, ended.text
    result = json.loads(ended.output)
    assert sum(result["old_images"]) == 60 + 22
    assert result["new_classes"] == []


def test_the_same_command_gives_the_same_model(workplace: Path, extended: dict[str, Any]) -> None:
    before = read_model_file(workplace / str(extended["model_folder"])).weights_sha256
    ended = extend(workplace, "--json")
    assert json.loads(ended.output)["model_folder"] == extended["model_folder"]
    assert read_model_file(workplace / str(extended["model_folder"])).weights_sha256 == before


def test_a_model_without_a_record_needs_its_photographs(workplace: Path, tmp_path: Path) -> None:
    model, more = workplace / "models/textures", workplace / "more"
    ended = run_command("extend", model, "--add", more, folder=tmp_path)
    check_error_lines(ended)
    assert "--data DIR" in ended.errors
    words = ("extend", model, "--add", more, "--data", workplace / "stripes", "--json")
    ended = run_command(*words, folder=tmp_path)
    assert ended.code == 0, ended.text
    assert json.loads(ended.output)["old_images"] == [30, 12, 18]


def test_photographs_other_than_the_ones_of_the_model_are_refused(
    workplace: Path, tmp_path: Path
) -> None:
    shutil.copytree(workplace / "stripes", tmp_path / "changed")
    texture("down", 1).save(tmp_path / "changed/train/down/new.png")
    words = ("extend", workplace / "models/textures", "--add", workplace / "more")
    ended = run_command(*words, "--data", "changed", folder=tmp_path)
    check_error_lines(ended)
    assert "not the photographs, labels and splits" in ended.errors


def test_the_folder_of_the_model_is_refused_as_the_target(workplace: Path) -> None:
    ended = extend(workplace, "--name", "textures")
    check_error_lines(ended)
    assert "never overwritten" in ended.errors


@pytest.mark.parametrize("name", ["../../escaped", "{parent}/escaped", "a/b", "..", "x" * 101])
def test_a_name_that_leaves_the_folder_of_models_is_refused(workplace: Path, name: str) -> None:
    ended = extend(workplace, "--name", name.format(parent=workplace.parent))
    check_error_lines(ended)
    assert "--name: not a name of a folder" in ended.errors
    assert not (workplace.parent / "escaped").exists()


def test_the_extended_model_has_its_own_confidence_values(workplace: Path, tmp_path: Path) -> None:
    """Temperature and sets follow from the validation photographs, old and added."""
    validation = sorted((workplace / "stripes/val").glob("*/*.png"))
    for split, count in (("train", 10), ("val", 9), ("test", 6)):
        (tmp_path / f"checks/{split}/checks").mkdir(parents=True)
        for number in range(count):
            path = tmp_path / f"checks/{split}/checks/{number:02}.png"
            checks(len(split) * 100 + number).save(path)
            if (split, number) == ("val", 0):  # one wrong label, so that no network is perfect
                texture("plain", 9000).save(path)
            validation += [path] * (split == "val")
    words = ("extend", "models/textures", "--add", tmp_path / "checks", "--name", "confident")
    ended = run_command(*words, "--json", folder=workplace)
    assert ended.code == 0, ended.text
    folder = workplace / "models/confident"
    loaded_model = load_model_folder(folder)
    assert loaded_model.confidence is not None
    assert len(loaded_model.confidence.labels) == 12 + 9
    assert set(loaded_model.confidence.reference_labels.tolist()) == {0, 1, 2, 3}
    # An independent fit: the logits of the written model, and a search over temperatures.
    transform = loaded_model.file.eval_transform
    pixels = [
        apply_eval_transform(Image.open(path).convert("RGB"), transform) for path in validation
    ]
    images = (torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
    with torch.no_grad():
        logits = loaded_model.module(images).double().numpy()
    labels = np.array([loaded_model.file.classes.index(path.parent.name) for path in validation])
    assert not (logits.argmax(1) == labels).all()
    grid = np.exp(np.linspace(np.log(0.05), np.log(20), 4001))
    losses = [log_loss(labels, softmax(logits / t, 1)) for t in grid]
    assert loaded_model.confidence.temperature == pytest.approx(
        grid[int(np.argmin(losses))], rel=0.01
    )
    scaled = softmax(logits / loaded_model.confidence.temperature, 1)
    right = np.sort(scaled[np.arange(len(labels)), labels])
    # The second smallest of 21: ceil(22 x 0.9) = 20 of them are at least as probable. No class has
    # the 39 photographs for a threshold of its own.
    assert loaded_model.confidence.thresholds(0.9) == pytest.approx(np.full(4, right[1]), abs=1e-6)
    # Not the photograph at the threshold, which the last bit of its probability decides.
    chosen = np.flatnonzero(scaled[np.arange(len(labels)), labels] != right[1])[-3:]
    paths = [validation[k] for k in chosen]
    ended = run_command("predict", folder, *paths, "--coverage", ".9", "--json", folder=workplace)
    assert ended.code == 0, ended.text
    for line, k in zip(ended.output.splitlines(), chosen, strict=True):
        classes = [
            loaded_model.file.classes[c] for c in np.argsort(-scaled[k]) if scaled[k, c] >= right[1]
        ]
        assert json.loads(line)["prediction_set"] == classes


def test_an_extended_model_without_validation_photographs_has_no_confidence_values(
    workplace: Path, extended: dict[str, Any]
) -> None:
    ended = extend(workplace)
    assert ended.code == 0, ended.text
    assert "too few for a temperature and for prediction sets" in ended.errors
    words = ("predict", extended["model_folder"], "more/plain/00.png", "--coverage", ".9")
    ended = run_command(*words, folder=workplace)
    check_error_lines(ended)
    assert "the model has no stored confidence values" in ended.errors
    assert "resnetlab finetune" in ended.errors
