"""Promise: every command that reads images uses each file or lists it with a reason: none is lost,
none is replaced, and none ends a command with a traceback.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from helpers.bad_photographs import put
from helpers.commands import Ended, check_error_lines, run_command
from helpers.model_folders import write_model
from helpers.texture_photographs import KINDS
from helpers.texture_photographs import folder as stripes
from helpers.trials import TrialServer
from resnetlab.deploy.predict import load_model
from resnetlab.deploy.serve.server import create_app

SKIPPED = 6
"""Files that are no candidates: links, a pipe and hidden files."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[str], set[str]]:
    """Folder of photographs, and the names of the odd and of the bad ones among them."""
    root = stripes(tmp_path_factory.mktemp("odd") / "photos", {"train": 4, "val": 3, "test": 3})
    used, bad = put(root)
    assert (len(used), len(bad)) == (15, 9)
    return root, used, bad


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "textures", classes=KINDS)


def reasons(text: str, names: set[str]) -> dict[str, str]:
    """Return the line of the output that names each file."""
    lines = text.splitlines()
    return {name: next(line for line in lines if name in line) for name in names}


def check_quiet(ended: Ended) -> None:
    assert "Traceback" not in ended.text
    assert "Warning" not in ended.text, ended.text


def test_data_check_lists_each_bad_file(
    photos: tuple[Path, set[str], set[str]], tmp_path: Path
) -> None:
    root, _, bad = photos
    ended = run_command("data", "check", root, folder=tmp_path)
    check_quiet(ended)
    assert ended.code == 5
    (listed,) = (tmp_path / "cache").glob("*-bad.csv")
    assert len(reasons(listed.read_text(), bad)) == len(bad)


@pytest.mark.parametrize("kind", ["train", "finetune"])
def test_training_refuses_bad_files_or_skips_them_on_request(
    photos: tuple[Path, set[str], set[str]], server: TrialServer, tmp_path: Path, kind: str
) -> None:
    root, _, bad = photos
    commands = {
        "train": ["train", "cifar-plain8", "--data", root, "--img-size", "16", "--epochs", "1"],
        "finetune": ["finetune", root, "--split", ".6,.2,.2"],
    }
    ended = run_command(*commands[kind], folder=tmp_path)
    check_quiet(ended)
    if kind == "finetune" and "bad files" not in ended.errors:
        pytest.skip(
            "without pre-trained weights; tests/finetuning/test_bad_photographs.py has some"
        )
    check_error_lines(ended)
    assert f"of {len(bad)} bad files, listed in" in ended.errors
    (listed,) = (tmp_path / "cache").glob("*-bad.csv")
    assert len(reasons(listed.read_text(), bad)) == len(bad)
    if kind == "train":
        trained = server.run(*commands[kind], "--skip-bad", folder=tmp_path)
        assert trained.code == 0, trained.output
        assert f"{len(bad)} bad files skipped" in trained.output
        assert "Traceback" not in trained.output


def test_predict_and_evaluate_count_and_list_bad_files(
    photos: tuple[Path, set[str], set[str]],
    model: Path,
    tmp_path: Path,
    figures: Callable[[str], None],
) -> None:
    root, used, bad = photos
    ended = run_command("predict", model, root / "train/plain", "--csv", folder=tmp_path)
    check_quiet(ended)
    assert ended.code == 3
    assert f"not an image: {len(bad)} of {4 + len(used) + len(bad)} files" in ended.errors
    assert len(reasons(ended.errors, bad)) == len(bad)
    assert len(reasons(ended.output, used)) == len(used)
    ended = run_command("evaluate", model, root, "--split", "train", folder=tmp_path)
    check_quiet(ended)
    assert ended.code == 3
    assert len(reasons(ended.text, bad)) == len(bad)
    figures(f"{len(used)} odd images used, {len(bad)} bad ones listed by each command")


def test_explain_and_serve_report_each_bad_file_in_one_line(
    photos: tuple[Path, set[str], set[str]], model: Path, tmp_path: Path
) -> None:
    root, used, bad = photos
    image_folder = root / "train/plain"
    for name in sorted(bad):
        ended = run_command("explain", model, image_folder / name, folder=tmp_path)
        check_quiet(ended)
        check_error_lines(ended)
        assert name in ended.errors
    assert list(tmp_path.iterdir()) == []
    with TestClient(create_app(load_model(model)), base_url="http://localhost") as client:
        for name in sorted(bad):
            response = client.post("/predict", content=(image_folder / name).read_bytes())
            assert response.status_code in (400, 413, 422), f"{name}: {response.text}"
            assert "\n" not in response.json()["error"]
        for name in sorted(used):
            response = client.post("/predict", content=(image_folder / name).read_bytes())
            assert response.status_code == 200, f"{name}: {response.text}"


@pytest.mark.slow
def test_export_compares_its_outputs_only_on_good_photographs(
    photos: tuple[Path, set[str], set[str]], model: Path, tmp_path: Path
) -> None:
    root, _, bad = photos
    image_folder = root / "train/plain"
    only_bad = tmp_path / "bad"
    only_bad.mkdir()
    for name in bad:
        shutil.copy(image_folder / name, only_bad)
    options = ("--to", "onnx", "--out", "model.onnx", "--check-on")
    ended = run_command("export", model, *options, only_bad, folder=tmp_path)
    check_quiet(ended)
    check_error_lines(ended)
    assert not (tmp_path / "model.onnx").exists()
    ended = run_command("export", model, *options, image_folder, folder=tmp_path)
    check_quiet(ended)
    assert ended.code == 0, ended.text
