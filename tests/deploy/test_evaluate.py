"""The evaluation of a model equals scikit-learn, values computed by hand, and the measurement of a
run.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, log_loss, top_k_accuracy_score

import resnetlab as rl
from helpers.model_folders import CLASSES, NET, write_model
from helpers.pages import layout
from helpers.pictures import picture, save, tree
from helpers.sentences import PageText, english_left
from resnetlab.data.config import FolderChoices
from resnetlab.data.photo_loader import LazyImage
from resnetlab.data.sources.folder import manifest
from resnetlab.deploy.evaluate import PredictionsWithImages, evaluate, predict_all
from resnetlab.deploy.inputs import EvaluationImages, open_labeled_images
from resnetlab.deploy.mistakes import draw_mistakes
from resnetlab.deploy.predict import load_model
from resnetlab.errors import InputError
from resnetlab.messages import silent
from resnetlab.reports.evaluation import (
    class_rows,
    make_confusion_matrix,
    render_evaluation_page,
    write_evaluation_page,
)


class Known:
    """A model of which the scores alone ask for its names."""

    classes = CLASSES
    confidence = None
    confidence_note = ""

    def __init__(self, folder: Path) -> None:
        self.file = load_model(folder).file


def planted(
    folder: Path, images: int = 400, seed: int = 0
) -> tuple[Known, EvaluationImages, PredictionsWithImages]:
    """Answers drawn at random, better than chance."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 4, images)  # of six classes, the data has four
    logits = generator.normal(size=(images, 6))
    logits[np.arange(images), truth] += 1
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    pictures = tuple(LazyImage(f"{k}.jpg", lambda: picture(0)) for k in range(images))
    labels = tuple(CLASSES[k] for k in truth)
    data = EvaluationImages("planted", "test", CLASSES[:4], pictures, labels)
    return Known(folder), data, PredictionsWithImages(probabilities, truth, pictures)


def test_the_scores_equal_scikit_learn(pets: Path) -> None:
    model, data, answers = planted(pets)
    result = evaluate(model, data, answers)  # type: ignore[arg-type]
    truth, p = answers.labels, answers.probabilities
    assert result.top1.pct == pytest.approx(100 * (p.argmax(1) == truth).mean())
    assert (result.top1.low, result.top1.high) == pytest.approx(
        tuple(100 * x for x in binomtest(result.top1.count, 400).proportion_ci(method="exact"))
    )
    assert result.top5.pct == pytest.approx(
        100 * top_k_accuracy_score(truth, p, k=5, labels=range(6))
    )
    assert result.loss_nats == pytest.approx(log_loss(truth, p, labels=range(6)))
    table = confusion_matrix(truth, p.argmax(1), labels=range(6))
    assert {(one.true, one.predicted): one.images for one in result.confusions} == {
        (CLASSES[t], CLASSES[s]): table[t, s]
        for t in range(6)
        for s in range(6)
        if t != s and table[t, s]
    }
    assert {
        one.name: (one.recall.count, one.recall.images, one.predicted) for one in result.classes
    } == {CLASSES[k]: (table[k, k], table[k].sum(), table[:, k].sum()) for k in range(4)}
    assert len(result.mistakes) == 400 - result.top1.count
    assert result.mistakes[0].probability == max(one.probability for one in result.mistakes)


def test_the_calibration_error_is_the_weighted_sum_over_the_bins(pets: Path) -> None:
    """Guo et al. 2017, eq. 3, written out picture by picture."""
    model, data, answers = planted(pets, 300, seed=3)
    result = evaluate(model, data, answers)  # type: ignore[arg-type]
    confidence, right = (
        answers.probabilities.max(1),
        answers.probabilities.argmax(1) == answers.labels,
    )
    error = 0.0
    for k in range(15):
        members = [
            i
            for i in range(300)
            if k / 15 <= confidence[i] < (k + 1) / 15 or (k == 14 and confidence[i] == 1)
        ]
        if members:
            error += len(members) / 300 * abs(right[members].mean() - confidence[members].mean())
    assert result.ece_pct == pytest.approx(100 * error)
    assert sum(one.images for one in result.bins) == 300


def test_predictions_of_classes_that_the_data_lacks_share_one_column_of_the_confusion_matrix(
    pets: Path,
) -> None:
    model, data, answers = planted(pets)
    table = make_confusion_matrix(evaluate(model, data, answers))  # type: ignore[arg-type]
    assert table is not None
    assert table.columns == (*CLASSES[:4], "another class")
    assert sum(count for _, cells in table.rows for count, _, _ in cells) == 400


@pytest.mark.parametrize("precision", ["fp32", "bf16-emulated"])
def test_evaluate_gives_the_test_error_that_the_run_recorded(
    precision: str, tmp_path: Path, small_npz: Path
) -> None:
    settings = ["recipe.epochs=3", f"numerics.precision={precision}"]
    record = rl.train(NET, str(small_npz), "adam", settings=settings, output=tmp_path)
    result = rl.evaluate(
        rl.load_model(tmp_path / "runs" / record.id), str(small_npz), cache=tmp_path / "cache"
    )
    assert record.result is not None
    assert record.result.test is not None
    assert result.top1.images == 60
    assert 100 - result.top1.pct == pytest.approx(record.result.test.top1_error_pct)
    assert result.loss_nats == pytest.approx(record.result.test.loss_nats, abs=1e-5)


def test_a_run_in_bf16_is_evaluated_in_fp32_with_a_note_if_bf16_is_emulated(
    tmp_path: Path, small_npz: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = rl.train(NET, str(small_npz), "adam", settings=["recipe.epochs=1"], output=tmp_path)
    path = tmp_path / "runs" / record.id / "run.json"
    table = json.loads(path.read_text())
    table["run"]["numerics"]["precision"] = "bf16"
    path.write_text(json.dumps(table))
    for fast in (True, False):
        monkeypatch.setattr("resnetlab.training.resolve.processor_has_bf16", lambda fast=fast: fast)
        model = rl.load_model(path.parent, device="cpu")
        result = rl.evaluate(model, str(small_npz), cache=tmp_path / "cache")
        assert model.numerics.precision == ("bf16" if fast else "fp32")
        note = "the run evaluated itself in bf16, and this evaluation is in fp32 on this device"
        assert (note in result.notes) is not fast


def test_an_evaluation_writes_a_page_and_its_tables(
    pets: Path, photos: Path, tmp_path: Path
) -> None:
    evaluation = rl.evaluate(
        rl.load_model(pets), str(photos), cache=tmp_path / "cache", out=tmp_path / "out"
    )
    assert (evaluation.top1.images, evaluation.split, evaluation.outputs) == (14, "test", 6)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "checksums.json",
        "classes.csv",
        "confusions.csv",
        "evaluation.json",
        "mistakes.csv",
        "report.html",
    ]
    result = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert result["top1"]["images"] == 14
    assert result["license"]["name"] == "MIT"
    page = (tmp_path / "out" / "report.html").read_text()
    count = min(24, len(evaluation.mistakes))
    assert page.count('<img src="data:image/jpeg;base64,') == 2 * count  # each with its heat
    assert "http://" not in page
    assert "https://" not in page
    assert "<script" not in page


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_shows_the_accuracy_of_each_class_without_scrolling(
    pets: Path, tmp_path: Path, width: int
) -> None:
    model, data, answers = planted(pets)
    page = render_evaluation_page(evaluate(model, data, answers), {})  # type: ignore[arg-type]
    columns = '.classes td[data-name="Correctly classified"], .pairs td'
    measured = layout(page, width, tmp_path, columns)
    assert measured["over"] == 0
    assert measured["right"] <= measured["room"]


def test_the_class_table_is_sorted_by_ascending_accuracy(pets: Path) -> None:
    model, data, answers = planted(pets)
    result = evaluate(model, data, answers)  # type: ignore[arg-type]
    rows = class_rows(result, dict.fromkeys((*CLASSES[:4], "unicorn"), 3))
    assert (rows[0].name, rows[0].recall, rows[0].train_images) == ("unicorn", None, 3)
    accuracy = {row.name: row.recall.pct for row in result.classes}
    assert [row.name for row in rows[1:]] == sorted(accuracy, key=lambda n: (accuracy[n], n))


def test_heat_maps_end_after_the_batch_in_which_their_time_limit_is_reached(
    pets: Path, photos: Path, tmp_path: Path
) -> None:
    model, messages = load_model(pets), list[str]()
    data = open_labeled_images(str(photos), "test", tmp_path / "cache")
    answers = predict_all(model, data)
    result = evaluate(model, data, answers)
    assert len(result.mistakes) > 8
    drawings = draw_mistakes(model, result.mistakes, answers, messages.append, silent, 0.0)
    with_heat = [mistake.name for mistake in result.mistakes if drawings[mistake.name].heat_map]
    assert with_heat == [mistake.name for mistake in result.mistakes[:8]]
    assert f"heat maps: 8 of {len(result.mistakes)}, for want of time" in messages
    assert len(drawings) == len(result.mistakes)
    none = draw_mistakes(model, result.mistakes, answers, messages.append, silent, -1.0)
    assert len(none) == len(result.mistakes)
    assert not any(drawing.heat_map for drawing in none.values())
    assert f"heat maps: 0 of {len(result.mistakes)}, for want of time" in messages
    page = render_evaluation_page(result, drawings, command="resnetlab evaluate a b")
    assert page.count('<img src="data:image/jpeg;base64,') == 8 + len(result.mistakes)
    assert "resnetlab evaluate a b" in page


def test_each_class_that_the_model_lacks_is_reported_in_one_line(
    pets: Path, tmp_path: Path
) -> None:
    data = tree(
        tmp_path / "photos",
        {
            "train/cat": 1,
            "train/dgo": 1,
            "train/yak": 1,
            "test/cat": 1,
            "test/dgo": 1,
            "test/yak": 1,
        },
    )
    with pytest.raises(InputError) as caught:
        rl.evaluate(rl.load_model(pets), str(data), cache=tmp_path / "cache")
    lines = str(caught.value).splitlines()
    assert lines[0].startswith(
        'photos: class "dgo" is not one of the model\'s 6 classes. Fix: did you mean "dog"?'
    )
    assert len(lines) == 2


def test_a_folder_without_splits_is_evaluated_on_the_test_split_of_the_training(
    tmp_path: Path,
) -> None:
    from resnetlab.data.sources.folder.scan import scan_folder

    root = tree(tmp_path / "flat", {"cat": 12, "dog": 10})
    cache = tmp_path / "cache"
    test_paths = {
        row.path
        for row in scan_folder(root, image_size=16, cache=cache).rows
        if row.split == "test"
    }
    opened = open_labeled_images(str(root), "test", cache)
    assert {one.name for one in opened.images} == test_paths
    (note,) = opened.notes
    (listed,) = cache.glob("flat-*-splits.csv")
    assert note == (
        f"{root} has no test split: 15 % test and 15 % validation were set apart, by class, by "
        f"seed 0; listed in {listed} (--split all uses all images, if none was trained on)"
    )
    assert len(open_labeled_images(str(root), "all", cache).images) == 22


def test_a_file_that_does_not_decode_leaves_the_test_split_of_the_training(tmp_path: Path) -> None:
    """Its header is right, so that only decoding shows the damage."""
    from resnetlab.finetuning.dataset import open_photographs

    root, cache = tree(tmp_path / "flat", {"cat": 40, "dog": 40}), tmp_path / "cache"
    broken = sorted((root / "cat").iterdir())[5]
    broken.write_bytes(broken.read_bytes()[:-40])
    photos = open_photographs(root, cache=cache, skip_bad=True)
    opened = open_labeled_images(str(root), "test", cache)
    assert [one.name for one in opened.images] == [row.path for row in photos.test.rows]
    assert [name for name, _ in opened.bad_files] == [f"cat/{broken.name}"]
    cut = tmp_path / "cut.csv"
    manifest.write_manifest(cut, [*photos.train.rows, *photos.validation.rows, *photos.test.rows])
    again = open_labeled_images(str(root), "test", cache, manifest_path=cut)
    assert [one.name for one in again.images] == [row.path for row in photos.test.rows]


@pytest.mark.parametrize(
    "options",
    [
        {"folder_choices": FolderChoices(group="regex:^(?:.*)/0*([0-9])")},
        {"no_test": True},
        {"folds": 5, "fold": 0},
        {"split_spec": manifest.SplitSpec.parse(".5,.2,.3", seed=4)},
    ],
)
def test_a_model_is_not_tested_on_its_train_images(options: dict[str, Any], tmp_path: Path) -> None:
    """The folder was split by the default rule before, and the model by another one."""
    from resnetlab.finetuning.dataset import open_photographs
    from resnetlab.finetuning.photo_record import record_dataset
    from resnetlab.model_folder.photo_record import save_photo_record

    root, cache = tree(tmp_path / "flat", {"cat": 40, "dog": 40}), tmp_path / "cache"
    open_photographs(root, cache=cache)
    photos = open_photographs(root, cache=cache, **options)
    save_photo_record(cache, "a" * 64, record_dataset(photos))
    save(root / "cat" / "new.png", Image.new("RGB", (24, 16), "red"))
    opened = open_labeled_images(str(root), "test", cache, weights=["a" * 64])
    expected = {row.path for row in photos.test.rows} if photos.has_test else set()
    assert {one.name for one in opened.images} == expected | {"cat/new.png"}
    assert not any("train images of the model" in note for note in opened.notes)
    seen = open_labeled_images(str(root), "all", cache, weights=["a" * 64])
    assert f"{len(photos.train)} of these images are train images of the model" in seen.notes
    validation = open_labeled_images(str(root), "validation", cache, weights=["a" * 64])
    assert {one.name for one in validation.images} == {row.path for row in photos.validation.rows}


def test_a_manifest_selects_the_images_of_the_split(tmp_path: Path) -> None:
    from resnetlab.data.sources.folder.scan import scan_folder

    root = tree(tmp_path / "flat", {"cat": 12, "dog": 10})
    cut = manifest.SplitSpec.parse(".5,.2,.3", seed=4)
    rows = scan_folder(root, image_size=16, cache=tmp_path / "cache", split=cut).rows
    manifest.write_manifest(tmp_path / "split.csv", rows)
    opened = open_labeled_images(
        str(root), "validation", tmp_path / "cache", manifest_path=tmp_path / "split.csv"
    )
    assert {one.name for one in opened.images} == {
        row.path for row in rows if row.split == "validation"
    }
    with pytest.raises(InputError, match="is not a folder"):
        open_labeled_images(
            "digits", "test", tmp_path / "cache", manifest_path=tmp_path / "split.csv"
        )


def test_broken_files_are_listed_and_not_counted(pets: Path, photos: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(photos, tmp_path / "photos")
    (tmp_path / "photos" / "test" / "cat" / "000.jpg").write_text("no image")
    content = (tmp_path / "photos" / "test" / "dog" / "000.jpg").read_bytes()
    (tmp_path / "photos" / "test" / "dog" / "000.jpg").write_bytes(content[: len(content) // 2])
    (tmp_path / "photos" / "train" / "dog" / "000.jpg").write_text("of another split")
    result = rl.evaluate(rl.load_model(pets), str(tmp_path / "photos"), cache=tmp_path / "cache")
    assert result.top1.images == 12
    assert [name for name, _ in result.bad_files] == ["test/cat/000.jpg", "test/dog/000.jpg"]


def test_the_name_of_a_dataset_has_priority_over_a_folder_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree(tmp_path / "digits", {"test/cat": 2, "test/dog": 3})
    monkeypatch.chdir(tmp_path)
    named = open_labeled_images("digits", "test", tmp_path / "cache")
    assert named.classes == tuple("0123456789")
    assert any("the folder of the same name is ./digits" in note for note in named.notes)
    folder = open_labeled_images("./digits", "test", tmp_path / "cache")
    assert folder.classes == ("cat", "dog")


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux alone")
def test_a_folder_whose_name_is_not_utf8_has_a_page(pets: Path, tmp_path: Path) -> None:
    from helpers.commands import run_command

    root = tree(tmp_path / os.fsdecode(b"caf\xe9"), {"test/cat": 2, "test/dog": 3})
    ended = run_command("evaluate", pets, root, "--out", "page", folder=tmp_path)
    assert ended.code == 0, ended.text
    assert "caf\\udce9" in (tmp_path / "page/report.html").read_text(encoding="utf-8")


def test_an_absent_split_is_reported(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no validation images"):
        open_labeled_images(str(photos), "validation", tmp_path)
    with pytest.raises(InputError, match="unknown split"):
        open_labeled_images(str(photos), "tset", tmp_path)  # type: ignore[arg-type]


def test_a_model_name_cannot_inject_markup_into_the_page(photos: Path, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "pets", name="</title><script>alert(1)</script>")
    page = render_evaluation_page(
        rl.evaluate(rl.load_model(folder), str(photos), cache=tmp_path / "cache"), {}
    )
    assert "<script" not in page


def test_the_french_page_is_french_and_its_tables_are_english(pets: Path, tmp_path: Path) -> None:
    model, data, answers = planted(pets)
    result = evaluate(model, data, answers)  # type: ignore[arg-type]
    for language in ("en", "fr"):
        write_evaluation_page(result, {}, tmp_path / language, language=language)  # type: ignore[arg-type]
    page = PageText((tmp_path / "fr" / "report.html").read_text(encoding="utf-8"))
    assert page.language == "fr"
    assert english_left(page) == []
    assert any("images sont bien classées" in text for text in page.texts)
    for name in ("evaluation.json", "classes.csv", "confusions.csv", "mistakes.csv"):
        assert (tmp_path / "fr" / name).read_bytes() == (tmp_path / "en" / name).read_bytes()
