"""The libraries timm and huggingface_hub read a model folder, and timm gives the same logits."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from huggingface_hub import ModelCard
from PIL import Image
from timm.data import create_transform, resolve_model_data_config
from torch import nn

from helpers.pictures import picture
from resnetlab.data.transforms.eval_transform import EvalTransform, apply_eval_transform
from resnetlab.model_folder import store
from resnetlab.model_folder.model_file import License, Metric, ModelFile
from resnetlab.model_folder.store import load_model_folder, save_model_folder
from resnetlab.model_folder.timm_folder import TORCHVISION_IN_TIMM, crop_fraction, timm_architecture
from resnetlab.models.build import build_model
from resnetlab.models.configs import CifarConfig, ExternalConfig, ModelConfig

CLASSES = ("cat", "dog's", "ネコ")
TRANSFORM = EvalTransform(size=64, resize=71, mean=(0.5, 0.4, 0.3), std=(0.25, 0.2, 0.3))

NETWORKS = [
    ExternalConfig(source="timm/mobilenetv2_035", kwargs={"pad_type": "same"}),
    ExternalConfig(source="timm/resnet10t", kwargs={"num_classes": 5}),
    ExternalConfig(source="timm/vit_tiny_patch16_224", kwargs={"img_size": 64, "depth": 2}),
    ExternalConfig(source="timm/regnety_002.pycls_in1k"),
    ExternalConfig(source="torchvision/resnet18"),
]


def network(model: ModelConfig, channels: int = 3) -> nn.Module:
    """Return a network with weights and running statistics that differ from the initial ones."""
    with_classes = model
    if isinstance(model, ExternalConfig):
        with_classes = replace(model, kwargs=dict(model.kwargs) | {"num_classes": 3})
    module = build_model(with_classes, channels, 3, lambda _: torch.Generator().manual_seed(7))
    generator = torch.Generator().manual_seed(3)
    for name, tensor in module.state_dict().items():
        if name.endswith("running_var"):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return module.eval()


def model_file(model: ModelConfig, **fields: object) -> ModelFile:
    table: dict[str, Any] = {
        "name": "pets",
        "model": model,
        "classes": CLASSES,
        "eval_transform": TRANSFORM,
        "license": License(name="Apache-2.0"),
    }
    return ModelFile(**(table | fields))


@pytest.mark.parametrize("model", NETWORKS, ids=lambda model: model.source)
def test_timm_loads_the_folder_with_the_same_logits_and_the_same_preprocessing(
    tmp_path: Path, model: ExternalConfig
) -> None:
    module = network(model)
    save_model_folder(tmp_path / "pets", module, model_file(model))
    theirs = timm.create_model(f"local-dir:{tmp_path / 'pets'}", pretrained=True).eval()
    settings = resolve_model_data_config(theirs)
    transform = create_transform(**settings, is_training=False)
    photograph = picture(5, 90, 130)
    pixels = apply_eval_transform(photograph, TRANSFORM)
    ours = (pixels / 255 - np.array(TRANSFORM.mean)) / np.array(TRANSFORM.std)
    batch = transform(photograph)[None]
    assert np.allclose(batch[0].permute(1, 2, 0).numpy(), ours, atol=1e-6)
    with torch.inference_mode():
        loaded_model = load_model_folder(tmp_path / "pets")
        assert torch.allclose(theirs(batch), loaded_model.module(batch), atol=1e-5)
        assert torch.allclose(theirs(batch), module(batch), atol=1e-5)
    assert tuple(theirs.pretrained_cfg["label_names"]) == CLASSES
    assert theirs.num_classes == len(CLASSES)


def test_timm_fine_tunes_the_folder_for_other_classes(tmp_path: Path) -> None:
    """Timm then drops the classifier, whose name it has from the folder."""
    save_model_folder(tmp_path / "pets", network(NETWORKS[0]), model_file(NETWORKS[0]))
    theirs = timm.create_model(f"local-dir:{tmp_path / 'pets'}", pretrained=True, num_classes=9)
    assert theirs.get_classifier().out_features == 9
    stem = load_model_folder(tmp_path / "pets").module.state_dict()["conv_stem.weight"]
    assert torch.equal(theirs.state_dict()["conv_stem.weight"], stem)


def test_timm_loads_a_network_for_gray_images(tmp_path: Path) -> None:
    transform = EvalTransform(size=32, channels=1, mean=(0.5,), std=(0.25,))
    model = ExternalConfig(source="timm/resnet10t")
    save_model_folder(
        tmp_path / "gray", network(model, 1), model_file(model, eval_transform=transform)
    )
    theirs = timm.create_model(f"local-dir:{tmp_path / 'gray'}", pretrained=True).eval()
    images = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        logits = load_model_folder(tmp_path / "gray").module(images)
        assert torch.allclose(theirs(images), logits, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(TORCHVISION_IN_TIMM))
def test_each_listed_network_of_torchvision_is_equal_to_the_network_of_timm(name: str) -> None:
    ours = network(ExternalConfig(source=f"torchvision/{name}"))
    theirs = timm.create_model(name, num_classes=3).eval()
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.allclose(theirs(images), ours(images), atol=1e-5)


def test_timm_resizes_to_the_same_side_length_for_every_size() -> None:
    for size in range(16, 520):
        for side in {size, size + 1, int(256 / 224 * size), int(size / 0.9), 2 * size}:
            transform = replace(TRANSFORM, size=size, resize=side)
            assert math.floor(size / crop_fraction(transform)) == side, (size, side)


def test_a_network_that_timm_lacks_has_no_timm_file_and_a_note_in_its_card(tmp_path: Path) -> None:
    cifar = CifarConfig(blocks=(1, 1), widths=(4, 8))
    for model in (cifar, ExternalConfig(source="torchvision/squeezenet1_1")):
        folder = tmp_path / model.family
        save_model_folder(folder, network(model), model_file(model))
        assert not (folder / "config.json").exists()
        assert "timm cannot load this folder" in (folder / "README.md").read_text()
        assert ModelCard.load(folder / "README.md").data.library_name == "resnetlab"
    changed = {"replace_stride_with_dilation": [0, 0, 1]}
    assert timm_architecture(ExternalConfig(source="torchvision/resnet50", kwargs=changed)) == ""


def test_the_weights_are_one_file_and_an_older_folder_is_read_and_updated(tmp_path: Path) -> None:
    """Weights of an older version have another name; a save removes them."""
    folder, model = tmp_path / "pets", NETWORKS[0]
    save_model_folder(folder, network(model), model_file(model))
    names = ["README.md", "config.json", "model.json", "model.safetensors"]
    assert sorted(path.name for path in folder.iterdir()) == names
    expected = load_model_folder(folder).module.state_dict()
    (folder / "model.safetensors").rename(folder / "weights.safetensors")
    (folder / "config.json").unlink()
    old = load_model_folder(folder).module.state_dict()
    assert all(torch.equal(old[name], tensor) for name, tensor in expected.items())
    save_model_folder(folder, network(model), model_file(model, name="newer"))
    assert sorted(path.name for path in folder.iterdir()) == names
    assert load_model_folder(folder).file.name == "newer"


@pytest.mark.parametrize("step", range(5))
@pytest.mark.parametrize("old_name", ["model.safetensors", "weights.safetensors"])
def test_a_killed_save_never_leaves_a_description_beside_other_weights_for_timm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, old_name: str
) -> None:
    """Timm checks no hash, so that it must never find a description beside other weights."""
    folder, model, real, count = tmp_path / "pets", NETWORKS[1], store.replace_file, 0
    save_model_folder(folder, network(model), model_file(model, name="older"))
    (folder / "model.safetensors").rename(folder / old_name)
    newer = model_file(model, name="newer", classes=("a", "b", "c"))

    def killed(source: Path, target: Path) -> None:
        nonlocal count
        if count == step:
            raise KeyboardInterrupt
        count += 1
        real(source, target)

    monkeypatch.setattr(store, "replace_file", killed)
    with pytest.raises(KeyboardInterrupt):
        save_model_folder(folder, network(model), newer)
    name = load_model_folder(folder).file.name
    assert name == ("older" if step < 2 else "newer")
    if (folder / "config.json").exists():
        labels = json.loads((folder / "config.json").read_text())["label_names"]
        assert labels == (list(CLASSES) if step == 0 else ["a", "b", "c"])
    monkeypatch.setattr(store, "replace_file", real)
    save_model_folder(folder, network(model), newer)
    assert timm.create_model(f"local-dir:{folder}", pretrained=True).num_classes == 3


def test_the_card_has_the_front_matter_that_the_hugging_face_hub_reads(tmp_path: Path) -> None:
    metric = Metric(name="top1_accuracy_pct", value=87.5, data="cifar10", images=160)
    hostile = Metric(name="top1_error_pct", value=1.25, data='a"<b>: #\x85-', images=8)
    file = model_file(NETWORKS[0], metrics=(metric, hostile), name="<pets> 'x': [y]")
    save_model_folder(tmp_path / "pets", network(NETWORKS[0]), file)
    card = ModelCard.load(tmp_path / "pets" / "README.md")
    assert card.data.license == "apache-2.0"
    assert card.data.library_name == "timm"
    assert card.data.pipeline_tag == "image-classification"
    assert {"timm", "resnetlab", "image-classification"} <= set(card.data.tags)
    assert card.data.datasets == ["uoft-cs/cifar10"]
    results = card.data.eval_results
    assert [result.metric_value for result in results] == [87.5, 98.75]
    assert [result.dataset_name for result in results] == ["cifar10", 'a"<b>: #\x85-']
    assert card.data.model_name == "<pets> 'x': [y]"
    assert "timm.create_model" in card.text
    assert "<b>" not in (tmp_path / "pets" / "README.md").read_text()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("", ("unknown", None)),
        ("CC-BY-NC-4.0", ("cc-by-nc-4.0", None)),
        ("apple-amlr", ("apple-amlr", None)),
        ("DINOv3 license", ("other", "dinov3-license")),
    ],
)
def test_the_front_matter_names_each_license(
    tmp_path: Path, name: str, expected: tuple[str, str | None]
) -> None:
    file = model_file(NETWORKS[1], license=License(name=name))
    save_model_folder(tmp_path / "pets", network(NETWORKS[1]), file)
    data = ModelCard.load(tmp_path / "pets" / "README.md").data
    assert (data.license, data.to_dict().get("license_name")) == expected


def test_timm_loads_a_moved_copy_of_the_folder(tmp_path: Path) -> None:
    save_model_folder(tmp_path / "pets", network(NETWORKS[1]), model_file(NETWORKS[1]))
    shutil.copytree(tmp_path / "pets", tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "pets")
    model = timm.create_model(f"local-dir:{tmp_path / 'elsewhere'}", pretrained=True).eval()
    transform = create_transform(**resolve_model_data_config(model), is_training=False)
    with torch.inference_mode():
        assert model(transform(Image.new("RGB", (80, 70)))[None]).shape == (1, 3)
