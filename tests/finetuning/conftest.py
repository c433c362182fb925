"""Fixtures of a tiny network with its own weights, and of photographs of three kinds of texture
that it can learn to distinguish.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from helpers.texture_photographs import folder
from helpers.threads import one_thread
from resnetlab.models.configs import ExternalConfig
from resnetlab.models.weights import write_weights


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten of each kind to learn from, four to choose by, six to test."""
    return folder(tmp_path / "stripes", {"train": 10, "val": 4, "test": 6})


def pretrained(root: Path) -> Path:
    """Return a model file with pre-trained weights beside it: a network that was made for five
    classes.
    """
    from helpers.user_network import tiny

    torch.manual_seed(0)
    model = tiny(num_classes=5)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    write_weights(root / "tiny.safetensors", model.state_dict(), {})
    file = root / "tiny.toml"
    file.write_text(
        'source = "helpers.user_network:tiny"\nweights = "tiny.safetensors"\n'
        'license = "Apache-2.0"\n'
        "mean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]\n"
    )
    return file


@pytest.fixture
def backbone(tmp_path: Path) -> Path:
    return pretrained(tmp_path)


@pytest.fixture(scope="module")
def fitting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with both, `stripes` and `tiny.toml`, for what tests of a module only look
    at.
    """
    root = tmp_path_factory.mktemp("fitting")
    folder(root / "stripes", {"train": 10, "val": 4, "test": 6})
    pretrained(root)
    return root


@pytest.fixture
def config(backbone: Path) -> ExternalConfig:
    """Model config of the pre-trained network."""
    return ExternalConfig(
        source="helpers.user_network:tiny",
        weights=str(backbone.with_suffix(".safetensors")),
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
    )


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield
