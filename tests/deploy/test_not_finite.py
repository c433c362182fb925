"""NaN and infinity in weights or outputs are reported as an error and never as a score."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

from helpers.model_folders import NET, write_model
from helpers.pictures import encoded, picture
from resnetlab import files
from resnetlab.data.device_images import DeviceImages
from resnetlab.deploy.ensemble import evaluate_ensemble
from resnetlab.deploy.evaluate import predict_all
from resnetlab.deploy.explain.explainer import explain
from resnetlab.deploy.export.network import export
from resnetlab.deploy.inputs import open_labeled_images
from resnetlab.deploy.predict import load_model
from resnetlab.deploy.serve.server import create_app
from resnetlab.errors import InputError
from resnetlab.models.build import build_model
from resnetlab.models.weights import load_weights, read_weights, write_weights
from resnetlab.training.evaluate import evaluate


def change_weights(folder: Path, name: str, value: float) -> Path:
    """Set the first number of a tensor of a model folder, whose SHA-256 is then unknown."""
    tensors, _ = read_weights(folder / "model.safetensors")
    tensors[name].view(-1)[0] = value
    write_weights(folder / "model.safetensors", tensors, {})
    table = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(table | {"weights_sha256": "", "sha256": ""}))
    return folder


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_single_nan_or_infinity_in_the_weights_is_reported_by_name(
    tmp_path: Path, value: float
) -> None:
    folder = change_weights(write_model(tmp_path / "pets"), "head.bias", value)
    with pytest.raises(InputError) as caught:
        load_model(folder)
    weights = folder / "model.safetensors"
    assert str(caught.value).startswith(f"{weights}: has NaN or infinity in head.bias. Fix: ")


def test_an_infinite_mask_inside_a_network_is_accepted() -> None:
    model = torch.nn.Linear(2, 2)
    model.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    load_weights(model, tensors, "w")
    tensors["mask"][0] = -torch.inf
    with pytest.raises(InputError, match="NaN or infinity in mask"):
        load_weights(model, tensors, "w")


def test_no_command_scores_outputs_that_are_not_finite(
    photos: Path, pets: Path, tmp_path: Path
) -> None:
    model, good = load_model(write_model(tmp_path / "huge")), load_model(pets)
    with torch.no_grad():
        model.module.get_parameter("head.weight").fill_(3e38)
    data = open_labeled_images(str(photos), "test", tmp_path / "cache")
    calls = [
        lambda: model.predict([picture(0)]),
        lambda: predict_all(model, data),
        lambda: evaluate_ensemble([good, model], data),
        lambda: explain(model, picture(0)),
        lambda: export(model, "torch-export", tmp_path / "huge.pt2"),
    ]
    for call in calls:
        with pytest.raises(InputError, match=r"^huge: the outputs for .* are not finite"):
            call()
    assert not (tmp_path / "huge.pt2").exists()
    with TestClient(create_app(model), base_url="http://127.0.0.1") as client:
        response = client.post("/predict", content=encoded(picture(0)))
    assert response.status_code == 500
    assert "not finite" in response.json()["error"]


def test_an_output_that_is_not_finite_never_counts_as_correct_in_training() -> None:
    model = build_model(NET, 3, 12, lambda _: torch.Generator().manual_seed(0))
    images = DeviceImages(
        torch.zeros(4, 8, 8, 3, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64)
    )
    result = evaluate(model, lambda pixels: torch.full((len(pixels), 12), torch.nan), images)
    assert (result.top1_error_pct, result.top5_error_pct, result.is_finite) == (100, 100, False)

    def one_infinite(pixels: torch.Tensor) -> torch.Tensor:
        return torch.tensor([[1.0, -torch.inf, *[0.0] * 10]]).repeat(len(pixels), 1)

    result = evaluate(model, one_infinite, images)
    assert np.isfinite(result.loss_nats)
    assert not result.is_finite


def test_the_written_json_files_contain_no_nan_or_infinity(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", {"loss": float("nan"), "all": [1.5, float("-inf")]})

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    content = json.loads((tmp_path / "a.json").read_text(), parse_constant=refuse)
    assert content == {"loss": None, "all": [1.5, None]}
