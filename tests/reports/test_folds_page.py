"""The page of a cross-validation counts each photograph once, with the answer of the model that was
not trained on it.
"""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.pages import Page, layout
from helpers.sentences import PageText, english_left
from helpers.texture_photographs import QUICK, folder
from helpers.user_network import tiny
from resnetlab.api.folds_page import write_cross_validation_page
from resnetlab.checksums import check_files
from resnetlab.cli.finetune.output import without_option
from resnetlab.finetuning.cross_validation import FinetunedFolds, cross_validate
from resnetlab.finetuning.request import FinetuneRequest
from resnetlab.models.weights import write_weights

FOLDS = 3


@pytest.fixture(scope="module")
def folds(tmp_path_factory: pytest.TempPathFactory) -> FinetunedFolds:
    """Return a cross-validation of a folder without splits, with a network of five classes."""
    root = tmp_path_factory.mktemp("folds")
    photos = folder(root / "stripes", {"train": 7, "val": 3})
    for kind in (photos / "val").iterdir():
        for image in kind.iterdir():
            image.rename(photos / "train" / kind.name / f"more-{image.name}")
    shutil.rmtree(photos / "val")
    torch.manual_seed(0)
    write_weights(root / "tiny.safetensors", tiny(num_classes=5).state_dict(), {})
    (root / "tiny.toml").write_text(
        'source = "helpers.user_network:tiny"\nweights = "tiny.safetensors"\n'
        'license = "Apache-2.0"\n'
    )
    request = FinetuneRequest(
        folder=photos / "train",
        model=str(root / "tiny.toml"),
        recipe=QUICK,
        train_size=16,
        output=root / "out",
        trust_code=True,
        name="cv",
    )
    return cross_validate(request, FOLDS)


@pytest.fixture(scope="module")
def page(folds: FinetunedFolds) -> str:
    path = write_cross_validation_page(
        folds, command="resnetlab finetune p --folds 3", final_command="resnetlab finetune p"
    )
    return path.read_text(encoding="utf-8")


def words_of(page: str) -> str:
    return " ".join(PageText(page).texts).replace("\N{NO-BREAK SPACE}", " ")


def test_each_photograph_is_counted_once_with_the_answer_of_the_model_of_its_fold(
    folds: FinetunedFolds, page: str
) -> None:
    assert page
    scores = json.loads((folds.report_folder / "evaluation.json").read_text())
    assert (scores["model"], scores["top1"]["images"]) == ("cv-folds", 30)
    assert scores["top1"]["count"] == sum(fold.test.correct for fold in folds.result.folds)
    wrong = set()
    for model in folds.models:
        answers, images = model.predictions, model.photos.test.images
        wrong |= {images[k].name for k in np.flatnonzero(~answers.correct)}
    with (folds.report_folder / "mistakes.csv").open(encoding="utf-8") as file:
        listed = [row["path"] for row in csv.DictReader(file)]
    assert wrong
    assert sorted(listed) == sorted(wrong)
    check_files(folds.report_folder)


def test_the_page_has_the_mean_with_its_interval_and_a_row_for_each_fold(
    folds: FinetunedFolds, page: str
) -> None:
    result, words = folds.result, words_of(page)
    title = f"{result.mean_pct:.1f} % of the photographs of a fold are correctly classified"
    assert title in words
    assert f"[{result.low_pct:.1f}, {result.high_pct:.1f}]" in words
    rows = [row for row in Page(page).rows if row[-1][-1:] and row[-1][-1].startswith("models/")]
    assert [row[-1][0] for row in rows] == [f"models/cv-fold{fold}" for fold in range(FOLDS)]
    accuracies = [row[1][0].replace("\N{NO-BREAK SPACE}", " ") for row in rows]
    assert accuracies == [f"{fold.test.accuracy_pct:.1f} %" for fold in result.folds]
    assert 'alt="Grad-CAM of the class' in page
    assert "resnetlab finetune p --folds 3" in words


def test_the_page_has_the_notes_of_all_folds_and_counts_missing_heat_maps(
    folds: FinetunedFolds, page: str
) -> None:
    assert "has no validation split" in words_of(page)
    assert "Note fold" not in words_of(page)
    path = write_cross_validation_page(folds, max_drawing_seconds=-1.0)
    assert "heat maps of 0 of" in words_of(path.read_text(encoding="utf-8"))


def test_a_fold_that_was_stopped_is_marked_and_one_fold_has_no_interval(
    folds: FinetunedFolds,
) -> None:
    result = folds.result
    first = result.folds[0]
    stopped = replace(first, stages=(replace(first.stages[0], complete=False),))
    only = replace(result, folds=(stopped,), low_pct=0.0, high_pct=100.0)
    changed = replace(folds, result=only, models=folds.models[:1])
    words = words_of(write_cross_validation_page(changed).read_text(encoding="utf-8"))
    assert "stopped before its end" in words
    assert "Only 1 of 3 folds were trained" in words
    assert "[0.0, 100.0]" not in words
    assert only.lines()[0].endswith(", stopped before its end")
    assert only.lines()[1] == f"mean of 1 of 3 folds {result.mean_pct:.1f} %"


def test_the_command_of_the_final_model_has_no_folds() -> None:
    words = ["finetune", "p", "--folds", "5", "--seed", "1"]
    assert without_option(words, "--folds") == ["finetune", "p", "--seed", "1"]
    assert without_option(["finetune", "--folds=5", "p"], "--folds") == ["finetune", "p"]


def test_the_french_page_is_french(folds: FinetunedFolds, page: str) -> None:
    assert page
    path = write_cross_validation_page(folds, command="c", final_command="d", language="fr")
    text = PageText(path.read_text(encoding="utf-8"))
    assert text.language == "fr"
    names = {*folds.models[0].photos.notes, folds.result.folds[0].model}
    assert english_left(text, names) == []


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")
def test_a_long_name_of_a_doubtful_photograph_breaks_on_a_narrow_screen(
    page: str, tmp_path: Path
) -> None:
    long = "n02089973-English_foxhound/" + 40 * "1" + ".jpg"
    cells = f'<tr><th scope="row"><div class="cell">{long}</div></th></tr>'
    table = f'<div class="box cards doubtful"><table><tbody>{cells}</tbody></table></div>'
    measured = layout(page.replace("</main>", f"{table}</main>"), 390, tmp_path, ".doubtful th")
    assert measured["over"] == 0
    assert measured["right"] <= measured["room"]


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_never_scrolls_sideways(page: str, width: int, tmp_path: Path) -> None:
    measured = layout(page, width, tmp_path, ".folds td")
    assert measured["over"] == 0
    assert measured["right"] <= measured["room"]
