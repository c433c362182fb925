"""Weights of well-known repositories are imported with our names, and no code in them runs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor, nn

from resnetlab.errors import InputError
from resnetlab.models.build import build_model
from resnetlab.models.configs import ModelConfig
from resnetlab.models.convert import CIFAR10_CLASSES, ImportOptions, import_weights
from resnetlab.models.parse import parse_model
from resnetlab.models.weights import load_weights, read_weights
from resnetlab.schema import decode
from resnetlab.training.rng import make_generator


class TheirBlock(nn.Module):
    """Block of those repositories; its shortcut takes every second pixel and pads with zeros."""

    def __init__(self, taken: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(taken, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.shortcut = nn.Sequential()
        self.more, self.stride = (out - taken) // 2, stride

    def forward(self, x: Tensor) -> Tensor:
        way = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.more, self.more))
        return F.relu(way + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


class TheirNetwork(nn.Module):
    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        for stage, (taken, out) in enumerate(((16, 16), (16, 32), (32, 64)), 1):
            first = TheirBlock(taken, out, 1 if stage == 1 else 2)
            others = [TheirBlock(out, out, 1) for _ in range(blocks - 1)]
            self.add_module(f"layer{stage}", nn.Sequential(first, *others))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


@pytest.fixture(scope="module")
def theirs() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = TheirNetwork(3).eval()
        with torch.no_grad():
            for key, tensor in model.state_dict().items():
                if "running" in key:
                    tensor.uniform_(0.9, 1.1) if "var" in key else tensor.normal_(0, 0.1)
    return model


def built(name: str, path: Path, classes: int = 10) -> nn.Module:
    model = build_model(parse_model(name, ""), 3, classes, lambda n: make_generator(7, "init", n))
    load_weights(model, read_weights(path)[0], "")
    return model.eval()


def error_text(file: Path, name: str, out: Path) -> str:
    with pytest.raises(InputError) as caught:
        import_weights(file, name, out)
    return str(caught.value)


@pytest.mark.parametrize("prefix", ["module.", ""])
@pytest.mark.parametrize("older", [True, False])
def test_an_imported_cifar_checkpoint_gives_the_same_logits(
    theirs: nn.Module, tmp_path: Path, prefix: str, older: bool
) -> None:
    state = {prefix + key: tensor for key, tensor in theirs.state_dict().items()}
    if older:  # before torch counted batches
        state = {key: tensor for key, tensor in state.items() if "num_batches" not in key}
    torch.save({"state_dict": state, "best_prec1": 91.7}, tmp_path / "resnet20.th")
    path = import_weights(
        tmp_path / "resnet20.th", "cifar-resnet20", tmp_path / "out" / "deep"
    ).path
    assert path == tmp_path / "out" / "deep" / "weights.safetensors"
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(
            built("cifar-resnet20", path)(images), theirs(images), rtol=1e-5, atol=1e-5
        )


def test_class_names_preprocessing_and_origin_are_stored_with_the_weights(
    theirs: nn.Module, tmp_path: Path
) -> None:
    torch.save(theirs.state_dict(), tmp_path / "resnet20.th")
    options = ImportOptions(repository="akamaster")
    imported = import_weights(tmp_path / "resnet20.th", "cifar-resnet20", tmp_path, options)
    path = imported.path
    assert imported.assumed == ()
    with safe_open(path, framework="pt") as file:
        result = json.loads(file.metadata()["resnetlab"])
    assert decode(ModelConfig, result["model"], "") == parse_model("cifar-resnet20", "")
    assert tuple(result["classes"]) == CIFAR10_CLASSES
    assert (result["channels"], result["side"], result["mean"]) == (3, 32, [0.485, 0.456, 0.406])
    assert (result["imported_from"], len(result["imported_sha256"])) == ("resnet20.th", 64)
    assert read_weights(path)[1].class_names == CIFAR10_CLASSES


def test_torchvision_checkpoints_are_imported(tmp_path: Path) -> None:
    from torchvision.models import resnet18

    theirs = resnet18(weights=None).eval()
    torch.save(theirs.state_dict(), tmp_path / "resnet18.pth")
    path = import_weights(tmp_path / "resnet18.pth", "resnet18", tmp_path).path
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(
            built("resnet18", path, 1000)(images), theirs(images), rtol=1e-5, atol=1e-5
        )
    assert read_weights(path)[1].class_names[:2] == ("tench", "goldfish")


def test_a_checkpoint_of_another_network_is_refused_with_five_names_and_their_number(
    theirs: nn.Module, tmp_path: Path
) -> None:
    torch.save(theirs.state_dict(), tmp_path / "resnet20.th")
    (line,) = error_text(tmp_path / "resnet20.th", "cifar-resnet32", tmp_path / "out").splitlines()
    assert line.startswith(f"{tmp_path / 'resnet20.th'}: is missing stages.0.3.conv1.weight, ")
    assert line.count("stages.") == 5
    assert "(60 tensors). Fix: " in line
    (line,) = error_text(tmp_path / "resnet20.th", "cifar-resnet14", tmp_path / "out").splitlines()
    assert "is unknown to the network: stages.0.2.conv1.weight" in line
    assert "(36 tensors)" in line
    assert not (tmp_path / "out").exists()


class Trap:
    def __reduce__(self) -> Any:
        return os.system, ("touch trapped",)


def test_a_file_with_code_is_refused_and_the_code_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Trap()}, "bad.th")
    line = error_text(Path("bad.th"), "cifar-resnet20", tmp_path / "out")
    assert line == (
        "bad.th: contains more than weights, or is not a file of torch; nothing in it was "
        "executed. Fix: save it again as a state_dict, with torch.save"
    )
    assert not Path("trapped").exists()


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04rest", None])
def test_a_file_that_is_not_a_checkpoint_is_refused_in_one_line(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "x.th"
    if content is not None:
        path.write_bytes(content)
    line = error_text(path, "cifar-resnet20", tmp_path / "out")
    assert line.startswith(f"{path}: ")
    assert ". Fix: " in line
    assert len(line.splitlines()) == 1


@pytest.mark.parametrize(
    "values", [{}, [], {"a": 1}, {"state_dict": {"x": "y"}}, {"conv1.weight": torch.zeros(1)}]
)
def test_a_checkpoint_without_a_network_is_refused(tmp_path: Path, values: Any) -> None:
    torch.save(values, tmp_path / "x.th")
    assert ". Fix: " in error_text(tmp_path / "x.th", "cifar-resnet20", tmp_path / "out")


def test_a_family_without_known_repositories_is_refused(tmp_path: Path) -> None:
    assert error_text(tmp_path / "x.th", "lenet5", tmp_path).startswith(
        "--as: no weights of this family are known"
    )


def test_the_license_of_imported_weights_is_stored_and_checked(
    theirs: nn.Module, tmp_path: Path
) -> None:
    torch.save(theirs.state_dict(), tmp_path / "theirs.th")
    options = ImportOptions(license="CC-BY-NC-4.0")
    path = import_weights(tmp_path / "theirs.th", "cifar-resnet20", tmp_path / "out", options).path
    with safe_open(path, framework="pt") as file:
        assert json.loads(file.metadata()["resnetlab"])["license"] == "CC-BY-NC-4.0"
    from resnetlab.deploy.predict import load_model

    with pytest.raises(InputError, match="forbids commercial use"):
        load_model(tmp_path / "out")
