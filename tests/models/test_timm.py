"""Networks of timm are built by name without its hub, with the parameter counts and outputs of
timm, and of our own networks where both exist.
"""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch

from resnetlab.connection import connection_problem
from resnetlab.errors import InputError
from resnetlab.files import sha256
from resnetlab.models.build import build_model, build_uninitialized
from resnetlab.models.configs import ExternalConfig
from resnetlab.models.convert import convert_key
from resnetlab.models.external import hub_weights, local_weights_path, weights_metadata
from resnetlab.models.model_cost import model_cost
from resnetlab.models.parse import parse_model
from resnetlab.models.weights import load_weights, write_weights
from resnetlab.training.rng import make_generator

SMALL = ExternalConfig(
    source="timm/mobilenetv2_035", kwargs={"num_classes": 11, "pad_type": "same"}
)


def build(config: ExternalConfig, seed: int = 0, channels: int = 3) -> torch.nn.Module:
    return build_model(config, channels, 7, lambda name: make_generator(seed, "init", name)).eval()


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "resnet34",
        "resnet50",
        "resnet101",
        "resnet152",
        "resnext50_32x4d",
        "resnext101_32x8d",
        "vgg16",
    ],
)
def test_our_parameter_counts_and_multiply_adds_equal_timm(name: str) -> None:
    ours, theirs = (
        model_cost(parse_model(source, ""), 3, 1000, 224) for source in (name, f"timm/{name}")
    )
    assert ours == theirs


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_timm_weights_load_and_give_the_logits_of_timm(name: str) -> None:
    torch.manual_seed(0)
    theirs = timm.create_model(name, num_classes=10).eval()
    with torch.no_grad():
        for key, tensor in theirs.state_dict().items():
            if "running" in key:  # as initialized they would hide a norm in another's place
                tensor.uniform_(0.9, 1.1) if "var" in key else tensor.normal_(0, 0.1)
            elif key.endswith("bn3.weight") or (name == "resnet18" and key.endswith("bn2.weight")):
                tensor.uniform_(0.5, 1)  # timm starts them at 0, which would hide the branch
        with torch.device("meta"):
            ours = build_uninitialized(parse_model(name, ""), 3, 10)
        ours = ours.to_empty(device="cpu").eval()
        load_weights(
            ours, {convert_key(key): tensor for key, tensor in theirs.state_dict().items()}, name
        )
        images = torch.randn(2, 3, 64, 64)
        expected = theirs(images)
        assert float(expected.std()) > 0.01
        torch.testing.assert_close(ours(images), expected, rtol=1e-5, atol=1e-5)


def test_a_timm_network_is_built_with_the_arguments_of_the_config() -> None:
    model, images = build(SMALL), torch.randn(2, 3, 64, 64)
    ours = timm.create_model("mobilenetv2_035", num_classes=11, pad_type="same").eval()
    load_weights(ours, dict(model.state_dict()), "own")
    with torch.no_grad():
        assert torch.equal(model(images), ours(images))
    assert type(model.conv_stem).__name__ == "Conv2dSame"
    assert model_cost(SMALL, 3, 7, 64)[0] == sum(p.numel() for p in ours.parameters())
    gray = build(ExternalConfig(source="timm/resnet18"), channels=1)
    assert gray(torch.zeros(1, 1, 32, 32)).shape == (1, 7)


def test_a_local_weights_file_gives_the_same_outputs_and_class_names(tmp_path: Path) -> None:
    model, path, images = build(SMALL), tmp_path / "w.safetensors", torch.randn(1, 3, 64, 64)
    write_weights(
        path, model.state_dict(), {"classes": ["a", "b"], "mean": [0.5] * 3, "std": [0.5] * 3}
    )
    config = replace(SMALL, weights=str(path), sha256=sha256(path))
    with torch.no_grad():
        assert torch.equal(build(config, seed=9)(images), model(images))
        assert not torch.equal(build(SMALL, seed=9)(images), model(images))
    assert weights_metadata(config).class_names == ("a", "b")


def test_the_metadata_of_timm_weights_contain_mean_deviation_and_size() -> None:
    metadata = weights_metadata(ExternalConfig(source="timm/resnet50", weights="hub"))
    assert (metadata.mean, metadata.std, metadata.side) == (
        (0.485, 0.456, 0.406),
        (0.229, 0.224, 0.225),
        224,
    )


def test_an_unreachable_hub_is_reported_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("resnetlab.models.external.connection_problem", lambda _: "")
    monkeypatch.setenv("RESNETLAB_CACHE", str(tmp_path))
    config = ExternalConfig(source="timm/resnet18", weights="hub")
    with pytest.raises(InputError) as caught:
        build(config)
    line = str(caught.value)
    assert line.startswith("timm/resnet18+: the hub of timm cannot be reached: ")
    assert line.endswith(
        f"Fix: place resnet18.safetensors in {local_weights_path(config).parent}, or give its "
        "path as weights"
    )
    assert len(line.splitlines()) == 1


def test_an_absent_server_is_reported_in_one_line_without_the_retries_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert connection_problem(f"http://127.0.0.1:{port}") == ""
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        assert connection_problem("http://no.such.host.invalid") == ""  # the proxy is there
        monkeypatch.delenv("http_proxy")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("timm.create_model", lambda *_, **__: pytest.fail("asked the hub"))
    monkeypatch.setenv("RESNETLAB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=r"the hub of timm cannot be reached: 127\.0\.0\.1: "):
        hub_weights(ExternalConfig(source="timm/resnet18", weights="hub"))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("name", "kwargs"), [("nonet", {}), ("resnet18", {"nowidth": 3})])
def test_a_network_that_timm_cannot_build_is_refused_in_one_line(
    name: str, kwargs: dict[str, int]
) -> None:
    with pytest.raises(InputError) as caught:
        build(ExternalConfig(source=f"timm/{name}", kwargs=dict(kwargs)))
    assert "cannot be built: " in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
