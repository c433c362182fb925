"""A cross-validation is checked before its first fold, and a stop writes the table of the finished
folds.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers.finetuning import request
from helpers.texture_photographs import QUICK, texture
from resnetlab.errors import InputError
from resnetlab.finetuning.cross_validation import cross_validate
from resnetlab.finetuning.results import StoppedError


def test_a_stop_in_the_first_epoch_of_a_later_fold_writes_the_table_of_the_finished_folds(
    photos: Path, backbone: Path
) -> None:
    lines = list[str]()
    folds = cross_validate(
        request(photos, backbone, recipe=QUICK, name="cv"),
        3,
        should_stop=lambda: "fold 2 of 3, counted from 0" in lines,
        notify=lines.append,
    )
    assert [fold.folder for fold in folds.result.folds] == ["cv-fold0", "cv-fold1"]
    assert folds.result.lines()[-1].startswith("mean of 2 of 3 folds ")
    written = json.loads((folds.report_folder / "folds.json").read_text())
    accuracies = [fold["test"]["accuracy_pct"] for fold in written["folds"]]
    assert written["mean_pct"] == pytest.approx(sum(accuracies) / 2)
    assert lines[-1] == "fold 2 was stopped before its first epoch and is left out"


def test_a_stop_in_the_first_epoch_of_the_first_fold_writes_no_table(
    photos: Path, backbone: Path
) -> None:
    requested = request(photos, backbone, recipe=QUICK, name="cv")
    with pytest.raises(StoppedError, match="nothing was written"):
        cross_validate(requested, 3, should_stop=lambda: True)
    assert not (requested.output / "reports").exists()


def test_a_class_with_too_few_images_for_a_later_fold_is_refused_before_the_first_fold(
    photos: Path, backbone: Path
) -> None:
    """The only image of a class is the test image of one fold, which has none to train on."""
    (photos / "train" / "rare").mkdir()
    texture("plain", 777).save(photos / "train" / "rare" / "one.png")
    requested, lines = request(photos, backbone, recipe=QUICK, name="cv"), list[str]()
    with pytest.raises(InputError, match=r'folds.*too few images.*class "rare".*fewer folds'):
        cross_validate(requested, 5, notify=lines.append)
    assert not [line for line in lines if line.startswith("fold ")]
    assert not (requested.output / "models").exists()
