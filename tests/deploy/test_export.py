"""Exported files give the model's outputs for every batch size and contain all metadata. A file
with other outputs is not written.
"""

from __future__ import annotations

import ast
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import PIL.Image
import pytest
import torch
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, Normalize, Resize, ToTensor

from helpers.model_folders import CLASSES, write_model
from helpers.pictures import picture
from resnetlab.cli.deploy import export as commands
from resnetlab.data.transforms.eval_transform import EvalTransform
from resnetlab.deploy.export import photos as export_photos
from resnetlab.deploy.export.network import export
from resnetlab.deploy.predict import load_model
from resnetlab.errors import InputError
from resnetlab.model_folder.model_file import License

THEIRS = Compose(
    [Resize(28), CenterCrop(24), ToTensor(), Normalize((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))]
)


@pytest.fixture(scope="module")
def exported(pets: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "pets.onnx"
    result = export(load_model(pets, device="cpu"), "onnx", path, photos)
    assert (result.image_kind, result.num_images) == ("photographs", 8)
    assert result.max_difference < 1e-4
    return path


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_an_onnx_runtime_gives_the_classes_of_predict(
    pets: Path, exported: Path, batch: int
) -> None:
    """Preprocessing by torchvision, network by onnxruntime: nothing of ours but the file."""
    images = [picture(seed, 50 + seed, 60 - seed) for seed in range(batch)]
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    logits = session.run(
        None, {"images": torch.stack([THEIRS(image) for image in images]).numpy()}
    )[0]
    probabilities = torch.from_numpy(logits).double().softmax(1).numpy()
    for row, prediction in zip(probabilities, load_model(pets).predict(images, top=6), strict=True):
        given = {item.label: item.probability for item in prediction.top_classes}
        assert np.allclose([given[name] for name in CLASSES], row, atol=1e-4)


def test_the_file_contains_its_usage_and_its_license(tmp_path: Path) -> None:
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


def test_a_torch_export_program_gives_the_same_outputs_for_any_batch_size(
    pets: Path, tmp_path: Path
) -> None:
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
def test_an_export_that_differs_from_pytorch_is_not_written(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: float
) -> None:
    model = load_model(pets, device="cpu")

    load = torch.export.load

    def load_other(file: io.BytesIO) -> SimpleNamespace:
        program = load(file).module()
        return SimpleNamespace(module=lambda: lambda images: program(images) + by)

    monkeypatch.setattr(torch.export, "load", load_other)
    (tmp_path / "pets.pt2").write_text("the old file")
    with pytest.raises(InputError, match="differs from PyTorch"):
        export(model, "torch-export", tmp_path / "pets.pt2")
    assert (tmp_path / "pets.pt2").read_text() == "the old file"
    assert len(list(tmp_path.iterdir())) == 1


def test_the_default_file_name_is_the_model_name_and_no_existing_file_is_replaced(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    commands.export(pets, "torch-export")
    assert [path.name for path in tmp_path.iterdir()] == ["pets.pt2"]
    assert capsys.readouterr().out.startswith("pets.pt2: 8 generated images in batches of ")
    with pytest.raises(InputError, match=r"pets\.pt2: exists\. Fix: --out pets\.pt2 replaces it"):
        commands.export(pets, "torch-export")


def test_an_impossible_export_is_refused_in_one_line(pets: Path, tmp_path: Path) -> None:
    transform = EvalTransform(crop_mode="whole", size=40, mean=(0.5,) * 3, std=(0.5,) * 3)
    folder = write_model(tmp_path / "whole", eval_transform=transform)
    with pytest.raises(InputError, match="takes whole images"):
        commands.export(folder, "onnx", tmp_path / "a.onnx")
    (tmp_path / "few").mkdir()
    with pytest.raises(InputError, match="has 0 photographs; the comparison needs 8"):
        commands.export(pets, "onnx", tmp_path / "a.onnx", tmp_path / "few")
    for name, pattern in (("missing", "no such folder"), ("whole/model.json", "not a folder")):
        with pytest.raises(InputError, match=f"{name}: --check-on: {pattern}"):
            commands.export(pets, "onnx", tmp_path / "a.onnx", tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["few", "whole"]


TRANSFORMS = {
    "bilinear": EvalTransform(size=24, resize=28, mean=(0.4,) * 3, std=(0.2, 0.25, 0.3)),
    "bicubic": EvalTransform(
        size=24, resize=29, interpolation="bicubic", mean=(0.4,) * 3, std=(0.2,) * 3
    ),
    "no margin": EvalTransform(size=24, resize=24, mean=(0.4,) * 3, std=(0.2,) * 3),
    "square": EvalTransform(size=24, crop_mode="square", mean=(0.4,) * 3, std=(0.2,) * 3),
    "gray": EvalTransform(size=24, channels=1, mean=(0.5,), std=(0.25,)),
}
SIZES = [
    (5, 4),
    (24, 24),
    (28, 61),
    (61, 28),
    (29, 29),
    (500, 333),
    (333, 501),
    (900, 12),
    (7, 400),
]


def smooth(width: int, height: int, seed: int) -> Image.Image:
    """Return a picture as a photograph is: neighbors are similar, and no two pictures are."""
    coarse = picture(seed, max(3, width // 6), max(3, height // 6))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("kind", TRANSFORMS)
def test_a_file_with_preprocessing_predicts_photographs_of_any_size_as_predict_does(
    kind: str, tmp_path: Path
) -> None:
    folder = write_model(tmp_path / "pets", eval_transform=TRANSFORMS[kind])
    sizes = [(side, side) for side in (5, 24, 25, 61, 500)] if kind == "square" else SIZES
    images = [smooth(*size, seed) for seed in range(4) for size in sizes]
    assert commands.export(folder, out=tmp_path / "pets.onnx", with_preprocessing=True) is None
    session = onnxruntime.InferenceSession(
        (tmp_path / "pets.onnx").read_bytes(), providers=["CPUExecutionProvider"]
    )
    expected = load_model(folder, device="cpu").predict(images, top=6)
    for image, prediction in zip(images, expected, strict=True):
        row, names = session.run(["probabilities", "classes"], {"image": np.asarray(image)})
        assert names.tolist() == list(CLASSES)
        theirs = dict(zip(names.tolist(), row.tolist(), strict=True))
        assert max(theirs, key=theirs.__getitem__) == prediction.top_classes[0].label
        for item in prediction.top_classes:
            assert abs(theirs[item.label] - item.probability) < 0.02
        assert abs(sum(theirs.values()) - 1) < 1e-5


def test_a_file_with_preprocessing_gives_the_probabilities_of_the_torchvision_transform(
    pets: Path, tmp_path: Path
) -> None:
    """Another implementation of the transform, on the network of the model."""
    commands.export(pets, out=tmp_path / "pets.onnx", with_preprocessing=True)
    session = onnxruntime.InferenceSession(tmp_path / "pets.onnx")
    module = load_model(pets, device="cpu").module
    for seed, (width, height) in enumerate(SIZES[1:7]):
        image = smooth(width, height, seed)
        with torch.inference_mode():
            expected = module(THEIRS(image)[None]).softmax(1)[0].numpy()
        row = session.run(["probabilities"], {"image": np.asarray(image)})[0]
        assert np.allclose(row, expected, atol=0.01)


def test_a_file_with_preprocessing_has_metadata_under_common_names(tmp_path: Path) -> None:
    names = ("cat", 'd\'og "big"', "ネコ", "a, b: {c}", "pig", "rat")
    folder = write_model(tmp_path / "pets", classes=names, license=License(name="Apache-2.0"))
    commands.export(folder, out=tmp_path / "pets.onnx", with_preprocessing=True)
    saved = onnx.load(tmp_path / "pets.onnx")
    onnx.checker.check_model(saved, full_check=True)
    values = {item.key: item.value for item in saved.metadata_props}
    assert ast.literal_eval(values["names"]) == dict(enumerate(names))
    assert json.loads(values["id2label"]) == {str(k): name for k, name in enumerate(names)}
    assert json.loads(values["imgsz"]) == [24, 24]
    assert values["task"] == "classify"
    assert values["Image.BitmapPixelFormat"] == "Rgb8"
    assert values["model_license"] == "Apache-2.0"
    (image,) = saved.graph.input
    assert image.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    row, labels = onnxruntime.InferenceSession(saved.SerializeToString()).run(
        None, {"image": np.zeros((30, 40, 3), np.uint8)}
    )
    assert (row.shape, labels.tolist()) == ((6,), list(names))


def test_an_export_with_another_predicted_class_is_not_written(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = export_photos.read_photo_onnx
    monkeypatch.setattr(
        export_photos, "read_photo_onnx", lambda raw: lambda pixels: real(raw)(pixels)[::-1]
    )
    with pytest.raises(InputError, match=r"names another class than predict for .* of 22 images"):
        commands.export(pets, out=tmp_path / "pets.onnx", with_preprocessing=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "pets.onnx"),
        ({"with_preprocessing": True}, "pets.onnx"),
        ({"to": "torch-export"}, "pets.pt2"),
    ],
)
def test_an_export_without_a_name_is_named_after_the_model_and_its_printed_command_runs(
    pets: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: dict[str, Any],
    name: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    picture(1, 40, 30).save("photo.jpg")
    commands.export(pets, **options)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{name}: ")
    code = lines[1].removeprefix("Use it: ").removeprefix("logits = ")
    images = torch.randn(2, 3, 24, 24)
    values = {"onnxruntime": onnxruntime, "numpy": np, "PIL": PIL, "torch": torch}
    values["images"] = images if name == "pets.pt2" else images.numpy()  # type: ignore[assignment]
    result = eval(code, values)
    first = result if isinstance(result, torch.Tensor) else result[0]
    assert first.shape == ((6,) if options.get("with_preprocessing") else (2, 6))


def test_incompatible_export_options_are_refused_in_one_line(pets: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"takes normalized images only\. Fix: --to onnx"):
        commands.export(pets, "torch-export", tmp_path / "a.pt2", with_preprocessing=True)
    with pytest.raises(InputError, match=r"only a page contains it\. Fix: --to html"):
        commands.export(pets, "onnx", tmp_path / "a.onnx", onnxruntime_web=tmp_path)


def test_openvino_needs_only_the_two_files_and_gives_the_same_outputs_for_any_batch_size(
    pets: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Preprocessing by torchvision, network by OpenVINO, as another program would use it."""
    openvino = pytest.importorskip("openvino")
    commands.export(pets, "openvino", tmp_path / "pets.xml", photos)
    assert "8 photographs in batches of 1, 3, 8" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pets.bin", "pets.xml"]
    network = openvino.Core().read_model(tmp_path / "pets.xml")
    information = {
        name: network.get_rt_info(["framework", name]).astype(str)
        for name in ("classes", "license")
    }
    assert json.loads(information["classes"]) == list(CLASSES)
    assert information["license"] == "MIT"
    compiled = openvino.compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for batch in (1, 2, 7):
        images = torch.stack([THEIRS(picture(seed, 50 + seed, 60 - seed)) for seed in range(batch)])
        with torch.inference_mode():
            expected = load_model(pets).module(images).numpy()
        assert np.allclose(compiled(images.numpy())[0], expected, atol=1e-4)


def test_openvino_replaces_no_file_that_another_program_wrote(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    from resnetlab.deploy.export import openvino as export_openvino

    monkeypatch.chdir(tmp_path)
    (tmp_path / "pets.bin").write_text("a file of mine")
    with pytest.raises(InputError, match=r"pets\.bin: exists\. Fix: --out pets\.xml replaces it"):
        commands.export(pets, "openvino")
    with pytest.raises(InputError, match=r"not a name that ends in \.xml"):
        commands.export(pets, "openvino", tmp_path / "pets.onnx")
    with pytest.raises(InputError, match="takes normalized images only"):
        commands.export(pets, "openvino", with_preprocessing=True)
    real = export_openvino.read_openvino
    monkeypatch.setattr(
        export_openvino, "read_openvino", lambda files: lambda images: real(files)(images) + 1e-2
    )
    with pytest.raises(InputError, match="differs from PyTorch"):
        commands.export(pets, "openvino", tmp_path / "pets.xml")
    assert [path.name for path in tmp_path.iterdir()] == ["pets.bin"]
    assert (tmp_path / "pets.bin").read_text() == "a file of mine"
