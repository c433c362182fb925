"""The commands fit the confidence values of a fine-tuned model, and use them in every answer."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from fastapi.testclient import TestClient

import resnetlab as rl
from helpers.commands import Ended, check_error_lines, run_command
from helpers.pictures import picture, save
from helpers.texture_photographs import KINDS, QUICK, folder, texture
from helpers.user_network import tiny
from resnetlab.data.photo_loader import image_from_file
from resnetlab.data.transforms.eval_transform import apply_eval_transform
from resnetlab.deploy.predict import load_model
from resnetlab.deploy.serve.server import create_app
from resnetlab.finetuning.dataset import open_photographs
from resnetlab.finetuning.evaluation import predict_photos
from resnetlab.model_folder.confidence import CONFIDENCE_FILE, Confidence
from resnetlab.model_folder.store import load_model_folder
from resnetlab.models.weights import write_weights

VALIDATION = 16


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a fine-tuned model, its photographs, and photographs of other things."""
    root = tmp_path_factory.mktemp("knows")
    folder(root / "stripes", {"train": 10, "val": VALIDATION, "test": 8})
    for number in range(12):
        save(root / "others" / f"{number:02}.png", picture(number, 40, 32))
    torch.manual_seed(0)
    write_weights(root / "tiny.safetensors", tiny(num_classes=5).state_dict(), {})
    (root / "tiny.toml").write_text(
        'source = "helpers.user_network:tiny"\nweights = "tiny.safetensors"\n'
        'license = "Apache-2.0"\n'
        "mean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]\n"
    )
    sizes = ("--train-size", "24", "--test-size", "24", "--name", "stripes")
    ended = run_command(
        *("finetune", "stripes", "--model", "tiny.toml", "--recipe", QUICK, *sizes), folder=root
    )
    assert ended.code == 0, ended.text
    return root


def confidence_of(here: Path) -> Confidence:
    confidence = load_model_folder(here / "models" / "stripes").confidence
    assert confidence is not None
    return confidence


def predict(here: Path, *words: object) -> Ended:
    return run_command("predict", "models/stripes", *words, folder=here)


def test_the_file_is_fitted_on_validation_and_on_the_features_of_train(here: Path) -> None:
    confidence = confidence_of(here)
    photos = open_photographs(here / "stripes", cache=here / "cache")
    assert confidence.labels.tolist() == photos.validation.labels.tolist()
    assert sorted(confidence.reference_labels.tolist()) == sorted(photos.train.labels.tolist())
    loaded_model = load_model_folder(here / "models" / "stripes")
    transform, device = loaded_model.file.eval_transform, torch.device("cpu")
    raw = predict_photos(loaded_model.module, photos.validation, transform, device)
    expected = confidence.calibrate(raw.probabilities)[np.arange(len(raw.labels)), raw.labels]
    assert np.allclose(confidence.label_probabilities, expected, atol=1e-6)
    lengths = np.linalg.norm(confidence.reference.astype(np.float64), axis=1)
    assert np.allclose(lengths, 1, atol=2e-3)


def test_probabilities_are_those_after_the_temperature(here: Path) -> None:
    path = here / "stripes" / "test" / "down" / "00.png"
    loaded_model, confidence = load_model_folder(here / "models" / "stripes"), confidence_of(here)
    model = load_model(here / "models" / "stripes", device="cpu")
    probabilities = next(iter(model.predict_images([image_from_file(path)]))).probabilities
    assert probabilities is not None
    pixels = apply_eval_transform(image_from_file(path).load(), loaded_model.file.eval_transform)
    images = ((torch.from_numpy(pixels).float() / 255 - 0.5) / 0.5).permute(2, 0, 1)[None]
    with torch.inference_mode():
        expected = torch.softmax(loaded_model.module(images).double() / confidence.temperature, 1)[
            0
        ]
    assert np.allclose(probabilities, expected.numpy(), atol=1e-5)
    (explained,) = [json.loads(explain(here, path).output)]
    assert explained["probability"] == pytest.approx(float(expected.max()), abs=1e-4)


def explain(here: Path, path: Path) -> Ended:
    return run_command("explain", "models/stripes", path, "--json", folder=here)


def test_predict_prints_prediction_sets_and_the_answer_none_of_these(here: Path) -> None:
    ended = predict(here, "stripes/test", "others", "--coverage", "0.9", "--json")
    assert ended.code == 0, ended.text
    lines = [json.loads(line) for line in ended.output.splitlines()]
    confidence = confidence_of(here)
    thresholds = dict(zip(KINDS, confidence.thresholds(0.9).tolist(), strict=True))
    for line in lines:
        probabilities = {item["class"]: item["probability"] for item in line["predictions"]}
        expected = {name for name in KINDS if probabilities[name] >= thresholds[name]}
        assert set(line["prediction_set"]) == expected
        assert line["none_of_these"] in (True, False)
    known = [line for line in lines if "others" not in line["path"]]
    ood = [line for line in lines if "others" in line["path"]]
    assert sum(line["none_of_these"] for line in ood) >= 9
    assert sum(line["none_of_these"] for line in known) <= 6
    text = predict(here, "stripes/test", "others", "--coverage", "0.9").output
    summary = text.splitlines()[-1]
    count = sum(line["none_of_these"] for line in lines)
    assert f"{count} none of these" in summary
    assert text.count("none of these  ") == count
    single = predict(here, "others/00.png").output.splitlines()
    if ood[0]["none_of_these"]:
        assert (
            single[0] == "others/00.png: none of these, since it is unlike the training photographs"
        )


def test_csv_and_json_have_the_same_answers(here: Path) -> None:
    words = ("stripes/test/plain", "others", "--coverage", "0.8")
    table = list(csv.DictReader(io.StringIO(predict(here, *words, "--csv").output)))
    lines = [json.loads(line) for line in predict(here, *words, "--json").output.splitlines()]
    for line in lines:
        rows = [row for row in table if row["path"] == line["path"]]
        assert {row["class"] for row in rows if row["in_set"] == "true"} == set(
            line["prediction_set"]
        )
        assert {row["none_of_these"] for row in rows} == {str(line["none_of_these"]).lower()}
    without = next(csv.DictReader(io.StringIO(predict(here, *words[:2], "--csv").output)))
    assert without["in_set"] == ""


def test_photographs_are_sorted_into_folders_by_their_predictions(
    here: Path, tmp_path: Path
) -> None:
    words = ("stripes/test", "others", "--coverage", "0.9")
    lines = [json.loads(line) for line in predict(here, *words, "--json").output.splitlines()]
    expected: dict[str, int] = {}
    for line in lines:
        members = line["prediction_set"]
        name = members[0] if len(members) == 1 else "_unsure"
        name = "_none_of_these" if line["none_of_these"] else name
        expected[name] = expected.get(name, 0) + 1
    into = tmp_path / "sorted"
    assert predict(here, *words, "--sort-into", into, "--write").code == 0
    counts = {path.name: len(list(path.iterdir())) for path in into.iterdir() if path.is_dir()}
    assert counts == expected
    assert predict(here, "--sort-into", into, "--undo").code == 0
    assert not into.exists()


def test_evaluate_measures_the_coverage_that_predict_gives(here: Path, tmp_path: Path) -> None:
    words = ("evaluate", "models/stripes", "stripes", "--ood", "others")
    ended = run_command(
        *words, "--coverage", "0.8", "--out", tmp_path / "out", "--json", folder=here
    )
    assert ended.code == 0, ended.text
    result = json.loads(ended.output)
    lines = [
        json.loads(line)
        for line in predict(
            here, "stripes/test", "others", "--coverage", "0.8", "--json"
        ).output.splitlines()
    ]
    known = [line for line in lines if "others" not in line["path"]]
    covered = [Path(line["path"]).parent.name in line["prediction_set"] for line in known]
    assert result["sets"]["covered"]["count"] == sum(covered)
    assert result["sets"]["coverage_pct"] == pytest.approx(80)
    sizes = [len(line["prediction_set"]) for line in known]
    assert result["sets"]["mean_size"] == pytest.approx(np.mean(sizes))
    novelty = result["novelty"]
    assert novelty["known_rejected"]["count"] == sum(line["none_of_these"] for line in known)
    ood = [line for line in lines if "others" in line["path"]]
    assert novelty["ood"]["rejected"]["images"] == len(ood) == 12
    assert novelty["ood"]["rejected"]["count"] == sum(line["none_of_these"] for line in ood)
    assert novelty["ood"]["roc_auc"] > 0.7
    calibration = result["calibration"]
    assert calibration["temperature"] == confidence_of(here).temperature
    assert calibration["ece_after_pct"] == result["ece_pct"]
    assert calibration["loss_after_nats"] == pytest.approx(result["loss_nats"])
    best = sorted((item for item in known), key=lambda line: -line["predictions"][0]["probability"])
    for share in result["answered"]:
        chosen = best[: int(np.ceil(share["answered_pct"] * len(best) / 100))]
        right = [
            line["predictions"][0]["class"] == Path(line["path"]).parent.name for line in chosen
        ]
        assert share["accuracy"]["count"] == sum(right)
    page = (tmp_path / "out" / "report.html").read_text().replace("\N{NO-BREAK SPACE}", " ")
    for text in (
        "Stated coverage 80 %",
        "Images of other things (others)",
        "after the temperature",
    ):
        assert text in page


def test_the_page_of_a_fine_tuning_has_the_calibration_before_and_after(here: Path) -> None:
    page = (here / "reports" / "stripes" / "report.html").read_text()
    assert "These are the values after the temperature of" in page
    assert "When the model does not know" in page
    scores = json.loads((here / "reports" / "stripes" / "evaluation.json").read_text())
    words = ("evaluate", "models/stripes", "stripes", "--json")
    again = json.loads(run_command(*words, folder=here).output)
    for name in ("temperature", "ece_before_pct", "ece_after_pct", "loss_before_nats"):
        assert scores["calibration"][name] == pytest.approx(again["calibration"][name], abs=1e-4)
    assert scores["sets"]["covered"] == again["sets"]["covered"]


def test_an_exported_file_contains_the_temperature(here: Path, tmp_path: Path) -> None:
    out = tmp_path / "stripes.onnx"
    words = ("export", "models/stripes", "--with-preprocessing", "--out", out)
    assert run_command(*words, folder=here).code == 0
    session = onnxruntime.InferenceSession(out.read_bytes(), providers=["CPUExecutionProvider"])
    path = here / "stripes" / "test" / "across" / "01.png"
    (line,) = [json.loads(line) for line in predict(here, path, "--json").output.splitlines()]
    expected = {item["class"]: item["probability"] for item in line["predictions"]}
    row, names = session.run(None, {"image": np.asarray(image_from_file(path).load())})
    assert confidence_of(here).temperature != 1
    for name, value in zip(names.tolist(), row.tolist(), strict=True):
        assert value == pytest.approx(expected[name], abs=0.02)


def test_the_service_gives_the_answer_none_of_these_as_predict_does(here: Path) -> None:
    model = load_model(here / "models" / "stripes", device="cpu")
    lines = [json.loads(line) for line in predict(here, "others", "--json").output.splitlines()]
    with TestClient(create_app(model), base_url="http://localhost:8000") as service:
        for line in lines[:4]:
            response = service.post("/predict", content=(here / line["path"]).read_bytes()).json()
            assert response["none_of_these"] == line["none_of_these"]
            assert response["note"].startswith("None of these: ") == line["none_of_these"]
        assert "is called none of these" in service.get("/").text


def test_a_model_without_confidence_values_is_reported_in_one_line_with_the_fix(
    here: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(here / "models" / "stripes", bare)
    (bare / CONFIDENCE_FILE).unlink()
    path = here / "stripes" / "test" / "down" / "00.png"
    ended = run_command("predict", bare, path, folder=here)
    assert ended.code == 0
    assert ended.errors.count("the model has no stored confidence values") == 1
    for words in (
        ("predict", bare, path, "--coverage", "0.9"),
        ("evaluate", bare, "stripes", "--coverage", "0.9"),
        ("evaluate", bare, "stripes", "--ood", "others"),
        ("predict", "models/stripes", path, "--coverage", "90"),
        ("predict", "models/stripes", path, "--coverage", "0.999"),
        ("predict", "models/stripes", path, "--coverage", "0.9", "--tta", "flip"),
        ("evaluate", "models/stripes", "stripes", "--ood", "nosuch"),
        ("evaluate", "models/stripes", "stripes", "--ood", "others", "--tta", "flip"),
    ):
        check_error_lines(run_command(*words, folder=here))
    damaged = bytearray((here / "models" / "stripes" / CONFIDENCE_FILE).read_bytes())
    damaged[-1] ^= 1
    (bare / CONFIDENCE_FILE).write_bytes(damaged)
    ended = run_command("predict", bare, path, folder=here)
    check_error_lines(ended)
    assert "differs from its SHA-256" in ended.errors


def test_too_few_validation_photographs_give_a_model_without_the_file(
    here: Path, tmp_path: Path
) -> None:
    folder(tmp_path / "few", {"train": 6, "val": 2, "test": 2})
    sizes = ("--train-size", "24", "--test-size", "24", "--name", "few")
    ended = run_command(
        *("finetune", tmp_path / "few", "--model", "tiny.toml", "--recipe", QUICK, *sizes),
        folder=here,
    )
    assert ended.code == 0, ended.text
    assert "6 validation photographs: too few for a temperature" in ended.errors
    assert not (here / "models" / "few" / CONFIDENCE_FILE).exists()


def test_the_python_api_has_the_same_answers(here: Path) -> None:
    model = rl.load_model(here / "models" / "stripes", device="cpu")
    image = texture("across", 7)
    (prediction,) = model.predict([image], coverage=0.9)
    assert prediction.prediction_set is not None
    assert prediction.none_of_these in (True, False)
    assert model.predict([image], tta="flip")[0].none_of_these is None
    result = rl.evaluate(
        model, str(here / "stripes"), cache=here / "cache", coverage=0.9, ood=here / "others"
    )
    assert result.novelty is not None
    assert result.novelty.ood is not None
