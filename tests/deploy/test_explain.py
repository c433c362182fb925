"""Grad-CAM equals its formula, and the explained stage is chosen as documented."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torchvision import models
from typer.testing import CliRunner

from helpers.model_folders import CLASSES, write_model
from helpers.pictures import picture, save
from resnetlab.cli.deploy.explain import explain as explain_command
from resnetlab.cli.deploy.export import export as export_command
from resnetlab.cli.deploy.serve import serve as serve_command
from resnetlab.cli.main import app
from resnetlab.data.transforms.eval_transform import EvalTransform, apply_eval_transform
from resnetlab.deploy.explain.explainer import (
    Explainer,
    apply_colormap,
    explain,
    forward_with_features,
    grad_cam,
    last_spatial_layer,
    seen_box,
)
from resnetlab.deploy.predict import load_model
from resnetlab.errors import InputError
from resnetlab.model_folder.model_file import ModelFile
from resnetlab.model_folder.store import load_model_folder, save_model_folder
from resnetlab.models.build import build_model
from resnetlab.models.configs import ExternalConfig
from resnetlab.models.photo_predictions import make_predict_outputs

SWIN = {"embed_dim": 24, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 4, 8]}


def write_external(folder: Path, source: str, side: int, **kwargs: object) -> Path:
    """Return a model folder of a network of another package, with random weights."""
    config = ExternalConfig(source=source, kwargs=kwargs)  # type: ignore[arg-type]
    module = build_model(config, 3, 6, lambda _: torch.Generator().manual_seed(0))
    transform = EvalTransform(size=side, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    save_model_folder(
        folder, module, ModelFile(name="x", model=config, classes=CLASSES, eval_transform=transform)
    )
    return folder


def test_grad_cam_of_features_with_channels_last_uses_the_right_axes(
    tmp_path: Path,
) -> None:
    pytest.importorskip("timm")
    source = "timm/swin_tiny_patch4_window7_224"
    model = load_model(write_external(tmp_path / "swin", source, 224, **SWIN))
    explanation = explain(model, picture(3, 300, 260), "owl")
    layer = model.module.get_submodule(explanation.layer)
    features, logits = forward_with_features(
        model.module, layer, model.preprocess(explanation.input_pixels[None])
    )
    assert features.shape == (1, 7, 7, 192)  # height, width, channels
    (gradient,) = torch.autograd.grad(logits[0, CLASSES.index("owl")], features)
    heat = F.relu((gradient.mean((1, 2), keepdim=True) * features).sum(3))[0].detach()
    heat = F.interpolate(heat[None, None], size=(224, 224), mode="bilinear", align_corners=False)
    expected = heat[0, 0].numpy()
    correlation = np.corrcoef(explanation.heat_map.ravel(), expected.ravel())[0, 1]
    assert correlation > 0.99


def test_a_vision_transformer_is_refused_and_its_first_layer_is_not_used(
    tmp_path: Path,
) -> None:
    pytest.importorskip("timm")
    small = {"depth": 2, "embed_dim": 24, "num_heads": 2}
    source = "timm/vit_tiny_patch16_224"
    model = load_model(write_external(tmp_path / "vit", source, 224, **small))
    with pytest.raises(InputError, match="a sequence of tokens, not a map"):
        explain(model, picture(3))
    assert len(model.predict([picture(3)])[0].top_classes) == 5


class Rows(nn.Module):
    """A network whose output is a map, not a row of logits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.conv(images)
        return features


def test_outputs_that_are_not_logits_are_refused_by_name(pets: Path) -> None:
    model = load_model(pets)
    predict = make_predict_outputs(Rows(), model.file.eval_transform, torch.device("cpu"), "rows")
    with pytest.raises(InputError, match="rows: the network's output is a tensor of 4 axes"):
        predict(np.zeros((1, 1, 24, 24, 3), np.uint8))


def test_the_heat_map_equals_grad_cam_written_out(pets: Path) -> None:
    """Selvaraju et al. 2017, eq. 1 and 2, on the output of the last stage."""
    model, image = load_model(pets), picture(11, 60, 50)
    explanation = explain(model, image, "owl")
    module = load_model_folder(pets).module
    collected: list[torch.Tensor] = []
    stage = module.get_submodule(explanation.layer)
    hook = stage.register_forward_hook(lambda _, __, output: collected.append(output))
    images = model.preprocess(explanation.input_pixels[None]).requires_grad_(True)
    logits = module(images)
    hook.remove()
    (gradient,) = torch.autograd.grad(logits[0, CLASSES.index("owl")], collected[0])
    heat = F.relu(
        (gradient.mean((2, 3), keepdim=True) * collected[0]).sum(1, keepdim=True)
    ).detach()
    heat = F.interpolate(heat, size=(24, 24), mode="bilinear", align_corners=False)[0, 0].numpy()
    heat = (heat - heat.min()) / (heat.max() - heat.min() + 1e-7)
    assert explanation.heat_map.shape == (24, 24)
    assert np.abs(explanation.heat_map - heat).max() < 0.02
    assert explanation.label == "owl"


@pytest.mark.parametrize(
    ("network", "stage"),
    [
        (models.resnet18, "layer4"),
        (models.vgg11, "avgpool"),
        (models.densenet121, "features"),
        (models.mobilenet_v2, "features"),
    ],
)
def test_the_last_spatial_stage_of_well_known_networks_is_detected(
    network: object, stage: str
) -> None:
    module = network(weights=None).eval()  # type: ignore[operator]
    assert last_spatial_layer(module, torch.zeros(1, 3, 224, 224), "x").name == stage


def test_a_network_without_spatial_features_is_refused() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    with pytest.raises(InputError, match="no convolutional stage"):
        last_spatial_layer(flat, torch.zeros(1, 3, 2, 2), "flat")


def test_an_explanation_does_not_change_later_predictions(pets: Path) -> None:
    model, image = load_model(pets), picture(3, 60, 50)
    before = model.predict([image])
    explain(model, image)
    assert model.predict([image]) == before
    assert all(parameter.grad is None for parameter in model.module.parameters())


def test_the_heat_map_covers_only_the_pixels_that_the_network_gets(
    pets: Path, tmp_path: Path
) -> None:
    """The shorter side of 56 pixels becomes 28, of which the center 24 are the network's input."""
    photo = picture(4, 56, 100)
    save(tmp_path / "photo.png", photo)
    explain_command(pets, tmp_path / "photo.png", tmp_path / "why.png", "newt")
    with Image.open(tmp_path / "why.png") as file:
        drawn = np.asarray(file.convert("RGB")).astype(int)
    pixels = np.asarray(photo).astype(int)
    assert drawn.shape == (100, 112, 3)
    assert np.array_equal(drawn[:, :56], pixels)
    faded = 0.4 * pixels + 0.6 * 255
    outside = np.ones((100, 56), bool)
    outside[26:74, 4:52] = False  # 48 x 48, in the middle
    assert np.abs(drawn[:, 56:][outside] - faded[outside]).max() <= 1
    assert np.abs(drawn[:, 56:][~outside] - faded[~outside]).mean() > 20
    with pytest.raises(InputError, match="not a name that ends in"):
        explain_command(pets, tmp_path / "photo.png", tmp_path / "why.pdf")
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(InputError, match=r"text\.jpg: not an image"):
        explain_command(pets, tmp_path / "text.jpg", tmp_path / "no.png")
    assert not (tmp_path / "no.png").exists()


@pytest.mark.parametrize("mode", ["crop", "square", "whole"])
@pytest.mark.parametrize("size", [(300, 200), (200, 300), (224, 224), (1001, 333)])
def test_pixels_outside_of_the_visible_box_do_not_change_the_input(
    mode: Literal["crop", "square", "whole"], size: tuple[int, int]
) -> None:
    """The input is that of the image in which everything else was made black."""
    transform = EvalTransform(crop_mode=mode, size=96, mean=(0.5,) * 3, std=(0.5,) * 3)
    image = picture(5, *size)
    box = seen_box(size, transform)
    rest = Image.new("RGB", size)
    rest.paste(image.crop(box), box[:2])
    seen, alone = (apply_eval_transform(each, transform).astype(int) for each in (image, rest))
    inner = (slice(2, -2), slice(2, -2))  # at the rim, resizing mixes pixels from outside
    assert np.abs(seen[inner] - alone[inner]).max() <= 1
    inverse = image.copy()
    inverse.paste((0, 0, 0), box)
    assert apply_eval_transform(inverse, transform)[inner].max() <= 1


def test_a_large_photograph_is_drawn_smaller(pets: Path) -> None:
    model = load_model(pets)
    photo = picture(3, 3000, 1500)
    drawn = explain(model, photo).on_photograph(photo, model.file.eval_transform)
    assert drawn.size == (2048, 512)


def test_a_class_that_the_model_lacks_is_reported_with_the_nearest(pets: Path) -> None:
    with pytest.raises(InputError, match='did you mean "newt"'):
        explain(load_model(pets), picture(0), "newts")


def test_a_gray_model_is_explained_with_a_color_overlay(tmp_path: Path, small_npz: Path) -> None:
    import resnetlab as rl
    from resnetlab.models.configs import CifarConfig

    net = CifarConfig(blocks=(1, 1), widths=(4, 8))
    record = rl.train(net, str(small_npz), "adam", settings=["recipe.epochs=1"], output=tmp_path)
    explanation = explain(load_model(tmp_path / "runs" / record.id), picture(0, 30, 30))
    assert explanation.overlay().mode == "RGB"


def test_a_missing_extra_is_reported_with_its_pip_command(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(InputError, match=r'pip install "resnetlab\[openvino\]"'):
        export_command(pets, "openvino", tmp_path / "pets.xml")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(InputError, match=r'pip install "resnetlab\[export\]"'):
        export_command(pets, "onnx", tmp_path / "pets.onnx")
    monkeypatch.setitem(sys.modules, "fastapi", None)
    with pytest.raises(InputError, match=r'pip install "resnetlab\[serve\]"'):
        serve_command(pets)


def test_an_evaluation_of_a_network_without_spatial_features_has_no_heat_maps(
    pets: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resnetlab as rl
    from resnetlab.deploy.explain import explainer as explaining

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
    reason = "no convolutional stage with more than one position, which Grad-CAM needs"
    assert f"without heat maps: pets: {reason}. Fix: give a larger image" in messages


def test_a_model_of_whole_photographs_is_explained(tmp_path: Path) -> None:
    from resnetlab.data.transforms.eval_transform import EvalTransform

    transform = EvalTransform(crop_mode="whole", size=40, mean=(0.5,) * 3, std=(0.5,) * 3)
    explanation = explain(
        load_model(write_model(tmp_path / "whole", eval_transform=transform)), picture(1, 60, 45)
    )
    assert explanation.heat_map.shape == (30, 40)


@pytest.mark.parametrize("network", [models.resnet18, models.vgg11, models.mobilenet_v2])
def test_the_heat_map_equals_torchcam(network: object) -> None:
    """torchcam, which the package does not need, on two images at once, before the enlargement."""
    from torchcam.methods import GradCAM

    torch.manual_seed(0)
    module = network(weights=None, num_classes=7).eval()  # type: ignore[operator]
    images = torch.randn(2, 3, 96, 128)
    stage = last_spatial_layer(module, images, "x").module
    features, logits = forward_with_features(module, stage, images)
    ours = grad_cam(features, logits, [3, 5], tuple(features.shape[2:]))  # type: ignore[arg-type]
    with GradCAM(module, target_layer=stage) as method:
        (theirs,) = method([3, 5], module(images))
    assert ours.shape == theirs.shape
    for one, other in zip(ours, theirs.numpy(), strict=True):  # they add another small number
        assert np.abs(one / one.max() - other / other.max()).max() < 1e-4


def test_the_colors_of_heat_maps_are_the_turbo_colormap() -> None:
    from matplotlib import colormaps

    heat = np.linspace(0, 1, 256, dtype=np.float32)[None]
    assert np.abs(apply_colormap(heat)[0] - 255 * colormaps["turbo"](heat[0])[:, :3]).max() < 2.5


def test_several_photographs_have_the_same_explanations_as_single_ones(pets: Path) -> None:
    model = load_model(pets)
    inputs = [
        apply_eval_transform(picture(seed, 60, 50), model.file.eval_transform) for seed in range(11)
    ]
    labels = [CLASSES[seed % len(CLASSES)] for seed in range(10)] + [""]
    together = list(Explainer(model).explain(inputs, labels))
    for pixels, label, one in zip(inputs, labels, together, strict=True):
        (alone,) = Explainer(model).explain([pixels], [label])
        assert (one.label, one.layer) == (alone.label, alone.layer)
        assert np.array_equal(one.input_pixels, pixels)
        assert np.abs(one.heat_map - alone.heat_map).max() < 1e-4
        assert one.probability == pytest.approx(alone.probability, abs=1e-6)


def test_an_evaluation_searches_for_the_explained_layer_only_once(
    pets: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resnetlab as rl
    from resnetlab.deploy.explain import explainer as explaining

    calls: list[str] = []
    monkeypatch.setattr(
        explaining,
        "last_spatial_layer",
        lambda *given: calls.append(given[2]) or last_spatial_layer(*given),
    )
    result = rl.evaluate(
        rl.load_model(pets), str(photos), cache=tmp_path / "cache", out=tmp_path / "out"
    )
    assert len(result.mistakes) > 1
    assert calls == ["pets"]


def test_explanations_of_two_photographs_with_the_same_name_have_different_names(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for seed in (1, 2):
        save(tmp_path / str(seed) / "cat.png", picture(seed, 40, 30))
    for folder, count in (("1", 1), ("2", 2), ("1", 2)):
        done = CliRunner().invoke(app, ["explain", str(pets), f"{folder}/cat.png"])
        assert done.exit_code == 0, done.output
        assert len(list(tmp_path.glob("cat-explained-*.png"))) == count
