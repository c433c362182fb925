"""Commands that write files, for the tests of file faults."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.numpy
import torch

from helpers.model_folders import write_model
from helpers.outcomes import CLOCKS
from helpers.texture_photographs import KINDS, QUICK
from helpers.texture_photographs import folder as stripes
from helpers.trials import Trial, TrialServer
from helpers.user_network import tiny
from resnetlab.models.weights import write_weights


@dataclass(frozen=True)
class Writer:
    """Command that writes files."""

    name: str
    words: str
    """Command; `{here}` is the folder of its input, and it writes into its current folder."""
    code: int = 0
    """Its exit code with enough space."""
    replaced: tuple[str, ...] = ()
    """Files that it writes twice, with other content."""
    before: str = ""
    """Folder of the input that it finds in its current folder."""
    part: str = ""
    """Text in the paths of the files that are meant; empty for all."""

    def prepare(self, here: Path, folder: Path) -> None:
        """Create `folder` with what the command finds there."""
        folder.mkdir()
        if self.before:
            shutil.copytree(here / self.before, folder / self.before)

    def run(self, server: TrialServer, here: Path, folder: Path, **fault: Any) -> Trial:
        """Run it in `folder`; a fault is one of its file operations there."""
        if not folder.exists():
            self.prepare(here, folder)
        words = [word.format(here=here, quick=QUICK) for word in self.words.split()]
        return server.run(*words, folder=folder, root=folder, part=self.part, **fault)


STUDY = Writer("study run", "study run {here}/small.toml", before="runs", part="/studies/")
FINETUNE = Writer(
    "finetune",
    "finetune {here}/photos --model {here}/tiny.toml --recipe {quick} --train-size 16",
    replaced=("model.json", "README.md"),
)
WRITERS = (
    Writer("train", "train cifar-plain8 --data {here}/photos --img-size 16 -b 8 --epochs 1"),
    STUDY,
    FINETUNE,
    Writer("evaluate", "evaluate {here}/textures {here}/photos --out scores"),
    Writer("explain", "explain {here}/textures {here}/photos/test/plain/00.png --out why.png"),
    Writer(
        "import-weights",
        "import-weights {here}/tiny.safetensors --as helpers.user_network:tiny --out model",
    ),
    Writer("export", "export {here}/textures --to torch-export --out textures.pt2"),
    Writer("data check", "data check {here}/odd", code=5),
    Writer("data describe", "data describe {here}/photos --out page"),
    Writer("data split", "data split {here}/photos --out splits.csv"),
)


REPORT = Writer(
    "study report", "study report {here}/small.toml --latex", before="runs", part="/studies/"
)
"""Writes the files of `study run`, and some as LaTeX."""


def write_inputs(root: Path, server: TrialServer, study: str) -> Path:
    """Write photographs, a model, weights and a study with its finished runs into `root`."""
    stripes(root / "photos", {"train": 6, "val": 3, "test": 3})
    stripes(root / "odd", {"train": 3, "test": 2})
    (root / "odd/train/plain/bad.png").write_bytes(b"words")
    write_model(root / "textures", classes=KINDS)
    torch.manual_seed(0)
    write_weights(root / "tiny.safetensors", tiny(num_classes=5).state_dict(), {})
    (root / "tiny.toml").write_text(
        'source = "helpers.user_network:tiny"\nweights = "tiny.safetensors"\n'
        'license = "Apache-2.0"\n'
        "mean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]\n"
    )
    (root / "small.toml").write_text(study)
    command = ("study", "run", root / "small.toml", "--output", root, "-j", "2")
    trained = server.run(*command, prepare="helpers.injections:fork_launcher")
    assert trained.code == 0, trained.output
    return root


def check_failed(trial: Trial, where: str) -> None:
    """Check that a command ended with the code of a full or broken disk and one line."""
    assert trial.code == 4, f"{where}: {trial.output}"
    errors = [line for line in trial.output.splitlines() if "resnetlab: error: " in line]
    assert len(errors) == 1, f"{where}: {trial.output}"
    assert "Traceback" not in trial.output, f"{where}: {trial.output}"


def assert_same(actual: dict[str, Any], expected: dict[str, Any], where: str) -> None:
    """Check that two results of `contents` are equal, with the names of the files that differ."""
    assert actual.keys() == expected.keys(), where
    different = [name for name in expected if actual[name] != expected[name]]
    assert not different, f"{where}: {', '.join(different)} differ"


def contents(folder: Path) -> dict[str, Any]:
    """Return the content of each file without what a clock changes.

    Files that have not got their name yet, locks and logs are left out.
    """
    files: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        hidden = any(part.startswith(".") and part.endswith(".part") for part in path.parts)
        if not path.is_file() or hidden or path.suffix in (".lock", ".log", ".jsonl"):
            continue
        if path.name in ("lock", "checksums.json"):
            continue
        files[name] = _content(path)
    return files


def _content(path: Path) -> Any:
    content = path.read_bytes()
    if path.suffix == ".json":
        return without_clocks(json.loads(content))
    if path.suffix == ".html":  # durations, and the time at which the page was written
        return re.sub(rb"[0-9.]+ (s|min|h)\b|20[0-9]{2}-[0-9:T+-]+", b"", content)
    if path.suffix == ".md":
        varying = (b"- time: ", b"- commit: ", b"- dirty: ")  # of the source, which may be edited
        return [line for line in content.splitlines() if not line.startswith(varying)]
    if path.suffix == ".safetensors":  # the metadata have times
        return {name: tensor.tobytes() for name, tensor in safetensors.numpy.load(content).items()}
    return content


def without_clocks(value: Any) -> Any:
    """Return a value without its times, and without hashes of texts that have some."""
    if isinstance(value, dict):
        return {
            key: without_clocks(item)
            for key, item in value.items()
            if not key.endswith((*CLOCKS, "time")) and key not in ("sha256", "commit", "dirty")
        }
    return [without_clocks(item) for item in value] if isinstance(value, list) else value
