"""Fixtures of a model that was fine-tuned on textures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from helpers.commands import run_command
from helpers.texture_photographs import QUICK, folder
from helpers.threads import one_thread
from helpers.user_network import tiny
from resnetlab.models.weights import write_weights


@pytest.fixture(scope="session")
def finetuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with `stripes`, `tiny.toml` and a model of the three textures in
    `models/`.
    """
    root = tmp_path_factory.mktemp("curation")
    folder(root / "stripes", {"train": 10, "val": 4, "test": 6})
    torch.manual_seed(0)
    write_weights(root / "tiny.safetensors", tiny(num_classes=5).state_dict(), {})
    (root / "tiny.toml").write_text(
        'source = "helpers.user_network:tiny"\nweights = "tiny.safetensors"\n'
        'license = "Apache-2.0"\n'
        "mean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]\n"
    )
    words = ("finetune", "stripes", "--model", "tiny.toml", "--recipe", QUICK)
    ended = run_command(*words, "--train-size", "16", "--name", "textures", folder=root)
    assert ended.code == 0, ended.text
    return root


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield
