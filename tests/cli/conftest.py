"""Fixtures that run the command line in this process and make a folder with files for every
command.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

Resnetlab = Callable[..., tuple[int, str, str]]


@pytest.fixture
def resnetlab(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Resnetlab:
    """Return a function that runs a command in an empty folder: exit code, output and errors."""
    from resnetlab.cli.main import main

    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["resnetlab", *map(str, arguments)])
        with pytest.raises(SystemExit) as done:
            main()
        out, err = capfd.readouterr()
        return int(done.value.code or 0), out, err

    return call


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory, small_npz: Path, study_text: str) -> Path:
    """Return a folder with a finished study, photographs, a fine-tuned model and a pre-trained
    network.
    """
    import torch

    from helpers.texture_photographs import QUICK
    from helpers.texture_photographs import folder as stripes
    from helpers.user_network import tiny
    from resnetlab.cli.main import main
    from resnetlab.models.weights import write_weights

    root = tmp_path_factory.mktemp("workspace")
    (root / "small.toml").write_text(study_text)
    stripes(root / "photos", {"train": 10, "val": 4, "test": 6})
    stripes(root / "more", {"": 8})
    torch.manual_seed(0)
    write_weights(root / "tiny.safetensors", tiny(num_classes=5).state_dict(), {})
    (root / "tiny.toml").write_text(
        'source = "helpers.user_network:tiny"\nweights = "tiny.safetensors"\n'
        'license = "Apache-2.0"\n'
        "mean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]\n"
    )
    np.savez(root / "bands.npz", **np.load(small_npz))
    before, arguments = Path.cwd(), sys.argv
    os.chdir(root)
    try:
        for words in (
            ["study", "run", "small.toml", "--data", "bands.npz"],
            [
                "finetune",
                "photos",
                "--model",
                "tiny.toml",
                "--recipe",
                QUICK,
                "--train-size",
                "16",
                "--test-size",
                "16",
            ],
        ):
            sys.argv = ["resnetlab", *words]
            with pytest.raises(SystemExit) as done, contextlib.redirect_stdout(io.StringIO()):
                main()
            assert not done.value.code, words
    finally:
        os.chdir(before)
        sys.argv = arguments
    return root
