"""The page of a fine-tuning has the numbers of the record, loads nothing from other servers, and
fits the screen of a phone.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from helpers.pages import Page, layout
from helpers.sentences import PageText, english_left
from helpers.texture_photographs import KINDS, QUICK, folder
from helpers.user_network import tiny
from resnetlab.api.finetune_page import MAX_FINETUNE_MISTAKES, write_finetune_page
from resnetlab.checksums import check_files, read_checksums
from resnetlab.cli.finetune.output import use_commands
from resnetlab.finetuning.finetune_photos import FinetunedModel, finetune
from resnetlab.finetuning.request import FinetuneRequest
from resnetlab.finetuning.results import BackboneTrial, TimeLimitCut
from resnetlab.models.weights import write_weights

UNTESTED = "<script>rare</script> & ünusual"


@pytest.fixture(scope="module")
def finetuned(tmp_path_factory: pytest.TempPathFactory) -> FinetunedModel:
    """Return a model of four classes, of which one has a hostile name and no test image."""
    root = tmp_path_factory.mktemp("page")
    photos = folder(root / "stripes", {"train": 8, "val": 3, "test": 5})
    for split in ("train", "val"):
        shutil.copytree(photos / split / KINDS[0], photos / split / UNTESTED.replace("/", "\u2215"))
    torch.manual_seed(0)
    write_weights(root / "tiny.safetensors", tiny(num_classes=5).state_dict(), {})
    (root / "tiny.toml").write_text(
        'source = "helpers.user_network:tiny"\nweights = "tiny.safetensors"\n'
        'license = "Apache-2.0"\n'
    )
    return finetune(
        FinetuneRequest(
            folder=photos,
            model=str(root / "tiny.toml"),
            recipe=QUICK,
            train_size=16,
            output=root / "out",
            trust_code=True,
        )
    )


def write(finetuned: FinetunedModel) -> str:
    commands = use_commands(finetuned.model_folder, Path("photos") / finetuned.result.example)
    page = write_finetune_page(finetuned, commands=commands, command="resnetlab finetune photos")
    return page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(finetuned: FinetunedModel) -> str:
    return write(finetuned)


def plain(page: str) -> str:
    """Return the words of a page."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)).replace("\N{NO-BREAK SPACE}", " ")


def test_the_headline_and_its_interval_equal_the_record(
    finetuned: FinetunedModel, page: str
) -> None:
    test = finetuned.result.test
    words = plain(page)
    assert f"{test.accuracy_pct:.1f} % of 15 test photographs are correctly classified" in words
    assert f"between {test.low_pct:.1f} % and {test.high_pct:.1f} %" in words
    scores = json.loads((finetuned.report_folder / "evaluation.json").read_text())
    assert scores["top1"]["count"] == test.correct
    assert (scores["top1"]["low"], scores["top1"]["high"]) == pytest.approx(
        (test.low_pct, test.high_pct)
    )
    assert scores["loss_nats"] == pytest.approx(test.loss_nats)


def test_every_class_has_its_images_and_a_class_without_a_test_image_is_reported(
    finetuned: FinetunedModel, page: str
) -> None:
    classes = page[page.index('<h2 id="classes">') : page.index('<h2 id="confusions">')]
    by_class = {" ".join(row[0]): row for row in Page(classes).rows[1:]}
    scores = json.loads((finetuned.report_folder / "evaluation.json").read_text())
    for row in scores["classes"]:
        cells = by_class[row["name"]]
        recall = row["recall"]
        assert cells[1][0].startswith(f"{recall['pct']:.1f} % [")
        assert (cells[2], cells[3]) == (["5"], ["8"])
    order = [name for name in by_class if name in KINDS]
    accuracy = {row["name"]: row["recall"]["pct"] for row in scores["classes"]}
    assert [accuracy[name] for name in order[:3]] == sorted(accuracy.values())
    (name,) = finetuned.result.untested_classes
    assert by_class[name][1][0] == "unknown"
    assert (
        f"no test image of 1 class, whose accuracy is unknown: {name}" in finetuned.result.caveats
    )
    assert "Classes without a test photograph, whose accuracy is unknown:" in plain(page)


def test_the_page_names_the_stages_and_the_commands_that_use_the_model(
    finetuned: FinetunedModel, page: str
) -> None:
    words = plain(page)
    (stage,) = finetuned.result.stages
    assert f"{stage.trainable_parameters:,}" in words
    assert "used in the model" in words
    model = finetuned.model_folder
    for command in (
        f"resnetlab predict {model} photos/test/",
        f"resnetlab serve {model} --open",
        f"resnetlab export {model} --to onnx",
        "resnetlab finetune photos",
    ):
        assert command in words


def test_the_page_loads_no_external_file_and_escapes_names(page: str) -> None:
    assert "<script" not in page
    assert not re.search(r"""(src|href)="(?!data:|#)""", page)
    assert "default-src 'none'" in page


def test_the_files_beside_the_page_have_checksums(finetuned: FinetunedModel, page: str) -> None:
    assert page
    check_files(finetuned.report_folder)
    assert {"finetune.json", "evaluation.json", "classes.csv"} <= read_checksums(
        finetuned.report_folder
    ).keys()


def test_stages_that_the_time_limit_left_out_are_on_the_page_with_the_command_to_train_them(
    finetuned: FinetunedModel, tmp_path: Path
) -> None:
    cut = TimeLimitCut(
        stage="all layers",
        kind="left out",
        planned_epochs=15,
        epoch_seconds=180.0,
        elapsed_seconds=62.0,
        needed="50m",
    )
    result = replace(finetuned.result, time_limit_cuts=(cut,), time_limit_seconds=60.0)
    changed = replace(finetuned, result=result, report_folder=tmp_path)
    page = write_finetune_page(
        changed, full_command={"50m": "resnetlab finetune p --time-limit 50m"}
    )
    words = plain(page.read_text(encoding="utf-8"))
    assert "The time limit left stage &#34;all layers&#34; out after 1 min 02 s" in words
    assert "resnetlab finetune p --time-limit 50m" in words
    assert [row[0] for row in Page(page.read_text()).rows if row[0][:1] == ["all layers"]] == [
        ["all layers", "left out"]
    ]


def test_the_french_page_is_french_and_its_tables_are_english(
    finetuned: FinetunedModel, tmp_path: Path
) -> None:
    cut = TimeLimitCut(
        stage="tout", kind="stopped", epochs=2, planned_epochs=5, elapsed_seconds=62.0, needed="9m"
    )
    estimate = finetuned.result.validation
    result = replace(
        finetuned.result,
        time_limit_cuts=(cut,),
        time_limit_seconds=60.0,
        backbone_trials=(
            BackboneTrial(model="n1", origin="o1", selected=True, validation=estimate, license="L"),
            BackboneTrial(model="n2", origin="o1", left_out="the loss of its probe is not finite"),
        ),
    )
    for language in ("en", "fr"):
        write_finetune_page(
            replace(finetuned, result=result, report_folder=tmp_path / language),
            commands=use_commands(finetuned.model_folder, Path("a.jpg")),
            language=language,  # type: ignore[arg-type]
        )
    page = PageText((tmp_path / "fr" / "report.html").read_text(encoding="utf-8"))
    assert page.language == "fr"
    names = {UNTESTED, str(finetuned.model_folder), result.model, *finetuned.photos.notes}
    assert english_left(page, names) == []
    for path in (tmp_path / "en").glob("*.csv"):
        assert path.read_bytes() == (tmp_path / "fr" / path.name).read_bytes()


def test_heat_maps_omitted_because_of_the_time_limit_are_counted_on_the_page(
    finetuned: FinetunedModel, tmp_path: Path
) -> None:
    changed = replace(finetuned, report_folder=tmp_path)
    wrong = int((~finetuned.predictions.correct).sum())
    count = min(wrong, MAX_FINETUNE_MISTAKES)
    assert count > 0
    page = write_finetune_page(changed, max_drawing_seconds=-1.0)
    words = plain(page.read_text(encoding="utf-8"))
    sentence = f"heat maps of 0 of {count} mistakes: the time limit left no time for the others"
    assert sentence in words


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_never_scrolls_sideways_and_shows_the_accuracy_of_each_class(
    page: str, width: int, tmp_path: Path
) -> None:
    measured = layout(page, width, tmp_path, '.classes td[data-name="Correctly classified"]')
    assert measured["over"] == 0
    assert measured["right"] <= measured["room"]
