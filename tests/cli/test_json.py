"""Every command that has --json prints one documented shape, which every JSON reader takes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.stripes import QUICK
from resnetlab.cli.main import build_command

Resnetlab = Callable[..., tuple[int, str, str]]

PAGE = Path(__file__).parents[2] / "docs" / "command-line.md"
TINY = ["--model", "tiny.toml"]
TRAIN = ["train", "cifar-resnet8", "--data", "bands.npz", "--recipe", "adam", "--epochs", "1"]

CASES = {
    "study list": ["study", "list"],
    "study new": ["study", "new", "--vary", "model.depth=8,20", "--out", "new.toml"],
    "study check": ["study", "check", "small.toml"],
    "study plan": ["study", "plan", "small.toml", "--data", "bands.npz"],
    "study run": ["study", "run", "small.toml", "--data", "bands.npz"],
    "study status": ["study", "status", "small.toml", "--data", "bands.npz"],
    "study report": ["study", "report", "small.toml", "--data", "bands.npz"],
    "study references": ["study", "references", "small.toml"],
    "train": TRAIN,
    "resume": ["resume", "RUN"],
    "compare": ["compare", "runs/*-resnet8+*", "runs/*-plain8+*"],
    "verify": ["verify", "STUDY", "--runs", "1", "--data", "bands.npz"],
    "finetune": [
        "finetune",
        "photos",
        *TINY,
        "--recipe",
        QUICK,
        "--train-size",
        "16",
        "--test-size",
        "16",
    ],
    "fixres": [
        "fixres",
        "photos",
        *TINY,
        "--train-sizes",
        "16",
        "--test-sizes",
        "16",
        "--epochs",
        "1",
    ],
    "data check": ["data", "check", "photos"],
    "data describe": ["data", "describe", "photos"],
    "data split": ["data", "split", "photos"],
    "data fetch": ["data", "fetch", "oxford-pets"],
    "predict": ["predict", "MODEL", "photos/test/down/00.png", "small.toml"],
    "evaluate": ["evaluate", "MODEL", "photos"],
    "ensemble": ["ensemble", "MODEL", "MODEL", "--data", "photos"],
    "explain": ["explain", "MODEL", "photos/test/down/00.png"],
    "export": ["export", "MODEL", "--to", "torch-export", "--out", "model.pt2"],
    "models": ["models"],
    "import-weights": ["import-weights", "net.pth", "--as", "cifar-resnet8"],
    "inspect model": ["inspect", "model", "cifar-resnet8"],
    "inspect conv": ["inspect", "conv", "--input", "32x32x3", "--kernel", "3"],
    "inspect pool": ["inspect", "pool", "--input", "32x32x3"],
    "inspect table": ["inspect", "table", "depth-report"],
    "inspect fully-convolutional": [
        "inspect",
        "fully-convolutional",
        "lenet5",
        "--input",
        "1x40x40",
    ],
    "inspect identity": ["inspect", "identity", "--seeds", "1", "--steps", "1"],
    "inspect block-ablation": ["inspect", "block-ablation", "RUN", "--data", "bands.npz"],
    "inspect gradients": ["inspect", "gradients", "cifar-resnet8", "--data", "bands.npz"],
    "inspect filters": ["inspect", "filters", "RUN", "--data", "bands.npz"],
    "doctor": ["doctor"],
}


def options(command: Any, path: str = "") -> Iterator[tuple[str, list[str]]]:
    """Every command that is shown, with its options."""
    for name, below in getattr(command, "commands", {}).items():
        if not below.hidden:
            yield from options(below, f"{path} {name}".strip())
    if path and not getattr(command, "commands", None):
        yield path, [word for param in command.params for word in param.opts]


def documented() -> dict[str, list[str]]:
    """The keys that the page names, by command."""
    section = PAGE.read_text(encoding="utf-8").partition("\n## JSON\n")[2].partition("\n## ")[0]
    found: dict[str, list[str]] = {}
    for part in section.split("\n### ")[1:]:
        head, _, text = part.partition("\n")
        for name in re.findall(r"`([^`]+)`", head):
            found[name] = re.findall(r"^\| `(\w+)` \|", text, re.M)
    return found


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def test_every_command_that_prints_a_result_has_json_and_a_section_in_the_page() -> None:
    every = dict(options(build_command()))
    assert {name for name in every if "--json" not in every[name]} == {"serve"}
    assert set(documented()) == set(CASES) == {name for name in every if "--json" in every[name]}


@pytest.mark.parametrize("name", CASES)
def test_a_result_as_json_has_the_keys_of_the_page(
    resnetlab: Resnetlab, workspace: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(workspace)
    monkeypatch.setattr("resnetlab.data.download.download_dataset", lambda *_: Path("oxford-pets"))
    if name == "import-weights":
        from resnetlab.models.build import build_model
        from resnetlab.models.parse import parse_model
        from resnetlab.training.rng import make_generator

        net = build_model(
            parse_model("cifar-resnet8", "", ""),
            3,
            10,
            lambda part: make_generator(0, "init", part),
        )
        torch.save(net.state_dict(), "net.pth")
    known = {
        "RUN": next(iter(sorted(Path("runs").glob("*-resnet8*")))),
        "STUDY": next(path.parent for path in Path("studies").glob("small*/report.json")),
        "MODEL": next(iter(Path("models").iterdir())),
    }
    words = [known.get(word, word) for word in CASES[name]]
    code, out, err = resnetlab(*words, "--json")
    assert code == (3 if name == "predict" else 0), err
    texts = out.splitlines() if name == "predict" else [out]
    values = [json.loads(text, parse_constant=refuse) for text in texts]
    rows = values[0] if isinstance(values[0], list) else values
    assert rows
    for row in rows:
        assert set(row) == set(documented()[name])
        assert all(re.fullmatch(r"[a-z0-9_]+", key) for key in row)
