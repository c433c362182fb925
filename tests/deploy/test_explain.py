"""Where a network looked: Grad-CAM against its formula written out, and how its stage is found."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torchvision import models

from helpers.pictures import picture, save
from helpers.small import CLASSES, write_model
from resnetlab.bundle.store import load_bundle
from resnetlab.cli import deploy as commands
from resnetlab.data.transforms.eval_transform import apply_eval_transform
from resnetlab.deploy.explain import (
    Explainer,
    apply_colormap,
    explain,
    forward_with_features,
    grad_cam,
    last_spatial_layer,
)
from resnetlab.deploy.predict import load_model
from resnetlab.errors import InputError


def test_the_heat_is_grad_cam(pets: Path) -> None:
    """Selvaraju et al. 2017, eq. 1 and 2, on the output of the last stage."""
    model, image = load_model(pets), picture(11, 60, 50)
    found = explain(model, image, "owl")
    module = load_bundle(pets).module
    collected: list[torch.Tensor] = []
    stage = module.get_submodule(found.layer)
    hook = stage.register_forward_hook(lambda _, __, output: collected.append(output))
    images = model.preprocess(found.input_pixels[None]).requires_grad_(True)
    logits = module(images)
    hook.remove()
    (gradient,) = torch.autograd.grad(logits[0, CLASSES.index("owl")], collected[0])
    heat = F.relu(
        (gradient.mean((2, 3), keepdim=True) * collected[0]).sum(1, keepdim=True)
    ).detach()
    heat = F.interpolate(heat, size=(24, 24), mode="bilinear", align_corners=False)[0, 0].numpy()
    heat = (heat - heat.min()) / (heat.max() - heat.min() + 1e-7)
    assert found.heat_map.shape == (24, 24)
    assert np.abs(found.heat_map - heat).max() < 0.02
    assert found.label == "owl"


@pytest.mark.parametrize(
    ("network", "stage"),
    [
        (models.resnet18, "layer4"),
        (models.vgg11, "avgpool"),
        (models.densenet121, "features"),
        (models.mobilenet_v2, "features"),
    ],
)
def test_the_last_stage_with_places_is_found_in_well_known_networks(
    network: object, stage: str
) -> None:
    module = network(weights=None).eval()  # type: ignore[operator]
    assert last_spatial_layer(module, torch.zeros(1, 3, 224, 224), "x")[0] == stage


def test_a_network_without_places_is_reported() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    with pytest.raises(InputError, match="no convolutional stage"):
        last_spatial_layer(flat, torch.zeros(1, 3, 2, 2), "flat")


def test_an_explanation_changes_no_later_prediction(pets: Path) -> None:
    model, image = load_model(pets), picture(3, 60, 50)
    before = model.predict([image])
    explain(model, image)
    assert model.predict([image]) == before
    assert all(parameter.grad is None for parameter in model.module.parameters())


def test_the_picture_shows_what_the_network_saw_beside_the_heat(pets: Path, tmp_path: Path) -> None:
    save(tmp_path / "photo.png", picture(4, 48, 90))
    commands.explain(pets, tmp_path / "photo.png", tmp_path / "why.png", "newt")
    with Image.open(tmp_path / "why.png") as drawn:
        assert drawn.size == (48, 24)
    with pytest.raises(InputError, match="not a name that ends in"):
        commands.explain(pets, tmp_path / "photo.png", tmp_path / "why.pdf")
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(InputError, match=r"text\.jpg: not an image"):
        commands.explain(pets, tmp_path / "text.jpg", tmp_path / "no.png")
    assert not (tmp_path / "no.png").exists()


def test_a_class_that_the_model_lacks_is_reported_with_the_nearest(pets: Path) -> None:
    with pytest.raises(InputError, match='did you mean "newt"'):
        explain(load_model(pets), picture(0), "newts")


def test_a_gray_model_explains_in_color(tmp_path: Path, small_npz: Path) -> None:
    import resnetlab as rl
    from resnetlab.models.configs import CifarConfig

    net = CifarConfig(blocks=(1, 1), widths=(4, 8))
    record = rl.train(net, str(small_npz), "adam", settings=["recipe.epochs=1"], output=tmp_path)
    found = explain(load_model(tmp_path / "runs" / record.id), picture(0, 30, 30))
    assert found.overlay().mode == "RGB"


def test_a_missing_extra_is_a_line_with_the_pip_command(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(InputError, match=r'pip install "resnetlab\[export\]"'):
        commands.export(pets, "onnx", tmp_path / "pets.onnx")
    monkeypatch.setitem(sys.modules, "fastapi", None)
    with pytest.raises(InputError, match=r'pip install "resnetlab\[serve\]"'):
        commands.serve(pets)


def test_an_evaluation_of_a_network_without_places_has_a_page_without_heat(
    pets: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resnetlab as rl
    from resnetlab.deploy import explain as explaining

    def without(_: nn.Module, __: torch.Tensor, where: str) -> tuple[str, nn.Module]:
        return last_spatial_layer(nn.Sequential(nn.Flatten()), torch.zeros(1, 3, 2, 2), where)

    monkeypatch.setattr(explaining, "last_spatial_layer", without)
    messages: list[str] = []
    rl.evaluate(
        rl.load_model(pets),
        str(photos),
        cache=tmp_path / "cache",
        out=tmp_path / "out",
        notify=messages.append,
    )
    page = (tmp_path / "out" / "report.html").read_text()
    assert '<img src="data:image/jpeg' in page
    assert "Grad-CAM" not in page
    assert any("without heat maps" in line for line in messages)


def test_a_model_of_whole_photographs_is_explained_too(tmp_path: Path) -> None:
    from resnetlab.data.transforms.eval_transform import EvalTransform

    whole = EvalTransform(crop_mode="whole", size=40, mean=(0.5,) * 3, std=(0.5,) * 3)
    found = explain(
        load_model(write_model(tmp_path / "whole", eval_transform=whole)), picture(1, 60, 45)
    )
    assert found.heat_map.shape == (30, 40)


@pytest.mark.parametrize("network", [models.resnet18, models.vgg11, models.mobilenet_v2])
def test_the_heat_is_that_of_an_independent_library(network: object) -> None:
    """pytorch_grad_cam, which the package does not need, on two images at once."""
    torch.manual_seed(0)
    module = network(weights=None, num_classes=7).eval()  # type: ignore[operator]
    images = torch.randn(2, 3, 96, 128)
    _, stage = last_spatial_layer(module, images, "x")
    features, logits = forward_with_features(module, stage, images)
    ours = grad_cam(features, logits, [3, 5], (96, 128))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pytorch_grad_cam import GradCAM
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    with GradCAM(model=module, target_layers=[stage]) as method:
        theirs = method(input_tensor=images, targets=[ClassifierOutputTarget(k) for k in (3, 5)])
    assert ours.shape == theirs.shape == (2, 96, 128)
    assert np.abs(ours - theirs).max() < 1e-4


def test_the_colors_of_heat_are_the_turbo_map() -> None:
    from matplotlib import colormaps

    heat = np.linspace(0, 1, 256, dtype=np.float32)[None]
    assert np.abs(apply_colormap(heat)[0] - 255 * colormaps["turbo"](heat[0])[:, :3]).max() < 2.5


def test_several_photographs_are_explained_as_each_alone(pets: Path) -> None:
    model = load_model(pets)
    shown = [
        apply_eval_transform(picture(seed, 60, 50), model.file.eval_transform) for seed in range(11)
    ]
    labels = [CLASSES[seed % len(CLASSES)] for seed in range(10)] + [""]
    together = list(Explainer(model).explain(shown, labels))
    for pixels, label, one in zip(shown, labels, together, strict=True):
        (alone,) = Explainer(model).explain([pixels], [label])
        assert (one.label, one.layer) == (alone.label, alone.layer)
        assert np.array_equal(one.input_pixels, pixels)
        assert np.abs(one.heat_map - alone.heat_map).max() < 1e-4
        assert one.probability == pytest.approx(alone.probability, abs=1e-6)


def test_the_stage_of_an_evaluation_s_mistakes_is_looked_for_once(
    pets: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resnetlab as rl
    from resnetlab.deploy import explain as explaining

    calls: list[str] = []
    monkeypatch.setattr(
        explaining,
        "last_spatial_layer",
        lambda *given: calls.append(given[2]) or last_spatial_layer(*given),
    )
    found = rl.evaluate(
        rl.load_model(pets), str(photos), cache=tmp_path / "cache", out=tmp_path / "out"
    )
    assert len(found.mistakes) > 1
    assert calls == ["pets"]
