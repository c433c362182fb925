"""The report on an ensemble states its gain over the single models, with a confidence interval."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import typer
from scipy.stats import binomtest

from helpers.model_folders import CLASSES, write_model
from resnetlab.cli.deploy import evaluate as commands
from resnetlab.deploy.ensemble import evaluate_ensemble
from resnetlab.deploy.inputs import open_labeled_images
from resnetlab.deploy.predict import load_model
from resnetlab.errors import InputError
from resnetlab.files import sha256
from resnetlab.model_folder.photo_record import (
    PhotoRecord,
    RecordedFolder,
    RecordedPhoto,
    save_photo_record,
)
from resnetlab.model_folder.read import read_model_file
from resnetlab.stats.ensembles import ensemble_result
from resnetlab.stats.exact import paired_interval


def test_the_gain_equals_a_count_over_the_images() -> None:
    """Three members, four images of two classes; worked out by hand."""
    truth = np.array([0, 0, 1, 1])
    members = [
        np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.9, 0.1]]),  # right, wrong, right, wrong
        np.array([[0.6, 0.4], [0.7, 0.3], [0.6, 0.4], [0.2, 0.8]]),  # right, right, wrong, right
        np.array([[0.2, 0.8], [0.8, 0.2], [0.1, 0.9], [0.8, 0.2]]),  # wrong, right, right, wrong
    ]
    result = ensemble_result(["a", "b", "c"], members, truth)
    # Means of class 0: .567, .633, .333, .633: right, right, right, wrong.
    assert (result.ensemble.count, [one.count for one in result.members], result.best) == (
        3,
        [2, 3, 2],
        1,
    )
    assert (
        result.over_best.points == 0
    )  # it alone is right on the third image, the best alone on the fourth
    assert result.p == binomtest(1, 2).pvalue
    assert result.over_mean.points == pytest.approx(100 * (3 - 7 / 3) / 4)
    assert result.agreement.count == 0


def test_members_are_matched_by_class_name_and_not_by_the_order_of_outputs(
    tmp_path: Path, photos: Path
) -> None:
    """A model and itself with its outputs renamed back to front disagree; with rows in another
    order they do not.
    """
    import torch

    from resnetlab.model_folder.store import load_model_folder, save_model_folder

    first = load_model_folder(write_model(tmp_path / "a"))
    order = [3, 1, 5, 0, 2, 4]
    with torch.no_grad():
        for name in ("head.weight", "head.bias"):
            parameter = first.module.get_parameter(name)
            parameter.copy_(parameter[order].clone())
    from dataclasses import replace

    save_model_folder(
        tmp_path / "b",
        first.module,
        replace(first.file, name="b", classes=tuple(CLASSES[k] for k in order)),
    )
    data = open_labeled_images(str(photos), "test", tmp_path / "cache")
    result = evaluate_ensemble([load_model(tmp_path / "a"), load_model(tmp_path / "b")], data)
    assert result.agreement.count == 14
    assert result.over_best.points == result.over_mean.points == 0


def test_models_with_other_classes_are_refused_as_an_ensemble(
    pets: Path, photos: Path, tmp_path: Path
) -> None:
    other = write_model(tmp_path / "other", classes=("cat", "dog", "emu", "newt", "owl", "pig"))
    data = open_labeled_images(str(photos), "test", tmp_path / "cache")
    with pytest.raises(InputError, match="have different classes: emu, rat"):
        evaluate_ensemble([load_model(pets), load_model(other)], data)
    with pytest.raises(InputError, match="needs two models"):
        evaluate_ensemble([load_model(pets)], data)


def test_the_paired_interval_has_its_stated_coverage_if_few_images_differ() -> None:
    """Share of 4,000 draws whose interval holds the truth, at 200 images and small differences."""
    generator = np.random.default_rng(0)
    for only_a, only_b in ((0.03, 0.01), (0.01, 0.01), (0.10, 0.06)):
        rest = 1 - only_a - only_b
        counts = generator.multinomial(200, [only_a, only_b, rest], 4_000)
        truth = 100 * (only_a - only_b)
        collected = [
            low <= truth <= high
            for low, high in (paired_interval(a, b, 200) for a, b, _ in counts.tolist())
        ]
        assert np.mean(collected) > 0.94
    low, high = paired_interval(0, 0, 50)
    assert low < 0 < high  # nothing differed, and that is not certainty


def test_the_command_prints_the_gain_or_writes_it_as_json(
    pets: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_model(tmp_path / "pets-2", seed=9)
    commands.ensemble(models=[pets, other], data=str(photos), output=tmp_path)
    output = capsys.readouterr().out
    assert "against the best member" in output
    assert "McNemar p" in output
    commands.ensemble(models=[pets, other], data=str(photos), output=tmp_path, json=True)
    result = json.loads(capsys.readouterr().out)
    assert result["names"] == ["pets", "pets-2"]
    assert result["ensemble"]["images"] == 14


def test_damaged_photographs_and_train_images_are_named_and_the_exit_code_is_3(
    pets: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_model(tmp_path / "pets-2", seed=9)
    shutil.copytree(photos, tmp_path / "photos")
    (tmp_path / "photos/test/cat/000.jpg").write_bytes(b"hello")
    truncated = tmp_path / "photos/test/dog/001.jpg"
    truncated.write_bytes(truncated.read_bytes()[:-300])
    seen = sorted((tmp_path / "photos/test").rglob("00[2-4].jpg"))
    train = tuple(
        RecordedPhoto(
            path=path.name, label="cat", split="train", sha256=sha256(path), height=1, width=1
        )
        for path in seen
    )
    folder = RecordedFolder(root="photos", follow_links=False, photographs=train)
    record = PhotoRecord(folders=(folder,))
    save_photo_record(tmp_path / "cache", read_model_file(other).weights_sha256, record)
    data = str(tmp_path / "photos")
    with pytest.raises(typer.Exit) as ended:
        commands.ensemble(models=[pets, other], data=data, output=tmp_path)
    assert ended.value.exit_code == 3
    lines = capsys.readouterr().out.splitlines()
    assert "note: 6 of these images are train images of the model" in lines
    skipped = [line for line in lines if line.startswith("skipped: ")]
    assert [line.split(":")[1] for line in skipped] == [" test/cat/000.jpg", " test/dog/001.jpg"]
    with pytest.raises(typer.Exit) as ended:
        commands.ensemble(models=[pets, other], data=data, output=tmp_path, json=True)
    result = json.loads(capsys.readouterr().out)
    assert [name for name, _ in result["bad_files"]] == ["test/cat/000.jpg", "test/dog/001.jpg"]
    assert "6 of these images are train images of the model" in result["notes"]
    assert result["ensemble"]["images"] == 12
