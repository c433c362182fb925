"""Files for other programs: the same outputs for any batch, all that is needed inside, none kept
that differs.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torchvision.transforms import CenterCrop, Compose, Normalize, Resize, ToTensor

from helpers.pictures import picture
from helpers.small import CLASSES, write_model
from resnetlab.bundle.spec import License
from resnetlab.cli import deploy as commands
from resnetlab.data.transforms.eval_transform import EvalTransform
from resnetlab.deploy import export as module
from resnetlab.deploy.export import export
from resnetlab.deploy.predict import load_model
from resnetlab.errors import InputError

THEIRS = Compose(
    [Resize(28), CenterCrop(24), ToTensor(), Normalize((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))]
)


@pytest.fixture(scope="module")
def exported(pets: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "pets.onnx"
    found = export(load_model(pets, device="cpu"), "onnx", path, photos)
    assert (found.image_kind, found.num_images) == ("photographs", 8)
    assert found.max_difference < 1e-4
    return path


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_another_program_names_photographs_as_predict_does(
    pets: Path, exported: Path, batch: int
) -> None:
    """Preprocessing by torchvision, network by onnxruntime: nothing of ours but the file."""
    images = [picture(seed, 50 + seed, 60 - seed) for seed in range(batch)]
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    logits = session.run(
        None, {"images": torch.stack([THEIRS(image) for image in images]).numpy()}
    )[0]
    probabilities = torch.from_numpy(logits).double().softmax(1).numpy()
    for row, found in zip(probabilities, load_model(pets).predict(images, top=6), strict=True):
        given = {item.label: item.probability for item in found.top_classes}
        assert np.allclose([given[name] for name in CLASSES], row, atol=1e-4)


def test_the_file_says_how_it_is_used_and_under_which_license(tmp_path: Path) -> None:
    folder = write_model(
        tmp_path / "wsl",
        license=License(name="CC-BY-NC-4.0"),
        caveats=("Has seen the test images.",),
    )
    export(load_model(folder, device="cpu", accept_license=True), "onnx", tmp_path / "wsl.onnx")
    saved = onnx.load(tmp_path / "wsl.onnx", load_external_data=False)
    values = {item.key: item.value for item in saved.metadata_props}
    assert json.loads(values["classes"]) == list(CLASSES)
    assert json.loads(values["eval_transform"])["resize"] == 28
    assert values["license"] == "CC-BY-NC-4.0"
    assert json.loads(values["non_commercial"]) is True
    assert json.loads(values["caveats"]) == ["Has seen the test images."]
    assert all(not tensor.external_data for tensor in saved.graph.initializer)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["wsl.onnx"]


def test_a_program_of_torch_export_gives_the_same_for_any_batch(pets: Path, tmp_path: Path) -> None:
    export(load_model(pets, device="cpu"), "torch-export", tmp_path / "pets.pt2")
    extra = {"classes": "", "model.json": ""}
    program = torch.export.load(tmp_path / "pets.pt2", extra_files=extra).module()
    images = torch.randn(5, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.allclose(program(images), load_model(pets).module(images), atol=1e-5)
        assert program(images[:1]).shape == (1, 6)
    assert json.loads(extra["classes"]) == list(CLASSES)
    assert json.loads(extra["model.json"])["license"]["name"] == "MIT"


@pytest.mark.parametrize("by", [1e-3, float("nan")])
def test_a_file_that_differs_is_not_kept(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: float
) -> None:
    model = load_model(pets, device="cpu")

    def other(raw: bytes) -> Any:
        program = torch.export.load(io.BytesIO(raw)).module()
        return lambda images: program(torch.from_numpy(images)).detach().numpy() + np.float32(by)

    monkeypatch.setattr(module, "_read_program", other)
    (tmp_path / "pets.pt2").write_text("the old file")
    with pytest.raises(InputError, match="differs from PyTorch"):
        export(model, "torch-export", tmp_path / "pets.pt2")
    assert (tmp_path / "pets.pt2").read_text() == "the old file"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_that_nobody_named_is_called_like_the_model_and_replaces_none(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    commands.export(pets, "torch-export")
    assert [path.name for path in tmp_path.iterdir()] == ["pets.pt2"]
    assert capsys.readouterr().out.startswith("pets.pt2: 8 generated images in batches of ")
    with pytest.raises(InputError, match=r"pets\.pt2: exists\. Fix: --out pets\.pt2 replaces it"):
        commands.export(pets, "torch-export")


def test_what_cannot_be_exported_is_a_line(pets: Path, tmp_path: Path) -> None:
    whole = EvalTransform(crop_mode="whole", size=40, mean=(0.5,) * 3, std=(0.5,) * 3)
    folder = write_model(tmp_path / "whole", eval_transform=whole)
    with pytest.raises(InputError, match="takes whole images"):
        commands.export(folder, "onnx", tmp_path / "a.onnx")
    with pytest.raises(InputError, match="allowed: onnx, torch-export"):
        commands.export(pets, "tflite", tmp_path / "a.tflite")
    (tmp_path / "few").mkdir()
    with pytest.raises(InputError, match="has 0 photographs; the comparison needs 8"):
        commands.export(pets, "onnx", tmp_path / "a.onnx", tmp_path / "few")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["few", "whole"]
