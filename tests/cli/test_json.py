"""Every command with --json prints valid JSON with the documented keys."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.texture_photographs import QUICK
from resnetlab.cli.main import build_command

Resnetlab = Callable[..., tuple[int, str, str]]

PAGE = Path(__file__).parents[2] / "docs" / "command-line.md"
TINY = ["--model", "tiny.toml"]
TRAIN = ["train", "cifar-resnet8", "--data", "bands.npz", "--recipe", "adam", "--epochs", "1"]

CASES = {
    "study list": ["study", "list"],
    "study new": ["study", "new", "--vary", "model.depth=8,20", "--out", "new.toml"],
    "study check": ["study", "check", "small.toml"],
    "study show": ["study", "show", "small.toml"],
    "study plan": ["study", "plan", "small.toml", "--data", "bands.npz"],
    "study run": ["study", "run", "small.toml", "--data", "bands.npz"],
    "study status": ["study", "status", "small.toml", "--data", "bands.npz"],
    "study report": ["study", "report", "small.toml", "--data", "bands.npz"],
    "study export": ["study", "export", "STUDY", "--light"],
    "study collect": ["study", "collect", "RUN", "--into", "STUDY"],
    "study answers": ["study", "answers", str(PAGE.parents[1] / "results" / "digits")],
    "study references": ["study", "references", "small.toml"],
    "judge": [
        "judge",
        str(PAGE.parents[1] / "results" / "digits" / "results.csv"),
        "--value",
        "test_error_pct",
        "--claim",
        "plain 8 > plain 56",
    ],
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
    "finetune --folds": [
        *("finetune", "photos", *TINY, "--recipe", QUICK, "--train-size", "16"),
        *("--folds", "2", "--name", "two-folds"),
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
    "extend": ["extend", "MODEL", "--add", "more"],
    "data check": ["data", "check", "photos"],
    "data describe": ["data", "describe", "photos"],
    "data show": ["data", "show", "bands.npz"],
    "data suspects": ["data", "suspects", "photos", "--model", "MODEL"],
    "data enough": ["data", "enough", "photos", "--model", "MODEL"],
    "data split": ["data", "split", "photos"],
    "data fetch": ["data", "fetch", "oxford-pets"],
    "predict": ["predict", "MODEL", "photos/test/down/00.png", "small.toml"],
    "evaluate": ["evaluate", "MODEL", "photos"],
    "ensemble": ["ensemble", "MODEL", "MODEL", "--data", "photos"],
    "explain": ["explain", "MODEL", "photos/test/down/00.png"],
    "explain --check": ["explain", "MODEL", "photos/test", "--check"],
    "export": ["export", "MODEL", "--to", "torch-export", "--out", "model.pt2"],
    "models": ["models"],
    "import-weights": ["import-weights", "net.pth", "--as", "cifar-resnet8"],
    "inspect model": ["inspect", "model", "cifar-resnet8"],
    "inspect conv": ["inspect", "conv", "--input", "32x32x3", "--kernel", "3"],
    "inspect pool": ["inspect", "pool", "--input", "32x32x3"],
    "inspect table": ["inspect", "table", "depth-report"],
    "inspect dropout": [
        "inspect",
        "dropout",
        "depth-report-plain8",
        "--data",
        "bands.npz",
        "--epochs",
        "0",
        "--masks",
        "2",
    ],
    "inspect modes": [
        "inspect",
        "modes",
        "depth-report-plain8",
        "--data",
        "bands.npz",
        "--epochs",
        "0",
    ],
    "inspect augmentation": ["inspect", "augmentation", "cifar", "--data", "bands.npz"],
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
    "inspect landscape": [
        *("inspect", "landscape", "RUN", "--data", "bands.npz"),
        *("--planes", "1", "--points", "5"),
    ],
    "inspect filters": ["inspect", "filters", "RUN", "--data", "bands.npz"],
    "course list": ["course", "list"],
    "course show": ["course", "show", "9"],
    "course seed": ["course", "seed", "Ada Lovelace"],
    "course answer": ["course", "answer", "Q8", "padding=2"],
    "course check": ["course", "check", "1"],
    "course report": ["course", "report"],
    "course class": ["course", "class", "students"],
    "data pack": ["data", "pack", "bands.npz"],
    "doctor": ["doctor"],
}


def options(command: Any, path: str = "") -> Iterator[tuple[str, list[str]]]:
    """Yield every command that help shows, with its options."""
    for name, subcommand in getattr(command, "commands", {}).items():
        if not subcommand.hidden:
            yield from options(subcommand, f"{path} {name}".strip())
    if path and not getattr(command, "commands", None):
        yield path, [word for param in command.params for word in param.opts]


def documented() -> dict[str, dict[str, set[str]]]:
    """Return the keys that the page names, by command, each with the keys of its inner tables."""
    section = PAGE.read_text(encoding="utf-8").partition("\n## JSON\n")[2].partition("\n## ")[0]
    keys: dict[str, dict[str, set[str]]] = {}
    for part in section.split("\n### ")[1:]:
        heading, _, text = part.partition("\n")
        rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", text, re.M)
        inner = {
            key: set(re.findall(r"`(\w+)`", meaning.partition("each with ")[2]))
            for key, meaning in rows
        }
        keys |= dict.fromkeys(re.findall(r"`([^`]+)`", heading), inner)
    return keys


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def test_every_command_except_serve_and_watch_has_json_that_the_page_documents() -> None:
    commands = dict(options(build_command()))
    assert {name for name in commands if "--json" not in commands[name]} == {"serve", "watch"}
    with_json = {name for name in commands if "--json" in commands[name]}
    assert set(documented()) == set(CASES) == with_json | {"explain --check", "finetune --folds"}


@pytest.mark.parametrize("name", CASES)
def test_json_has_the_documented_keys(
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
    if name in ("course report", "course class"):
        from resnetlab.course.student import register_student

        register_student("Ada Lovelace", Path("students/ada") if "class" in name else Path())
    known = {
        "RUN": next(iter(sorted(Path("runs").glob("*-resnet8*")))),
        "STUDY": next(path.parent for path in Path("studies").glob("small*/report.json")),
        "MODEL": min(path for path in Path("models").iterdir() if "fixres" not in path.name),
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
        for key, inner_keys in documented()[name].items():
            if inner_keys and row[key]:
                assert inner_keys == set(row[key][0]), key
