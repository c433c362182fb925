"""One run, one folder: its files, who may write them, and how they are read. Free of torch."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnetlab.codec import decode, encode
from resnetlab.errors import InputError, mistake
from resnetlab.files import append_lines, create_once, is_locked, locked, read_json, read_lines, write_json, write_text
from resnetlab.inspection.measured import DroppedBlocks, Gradients
from resnetlab.models.families.words import BagOfWords
from resnetlab.runs.places import LOCK, located
from resnetlab.runs.record import Evaluation, Result, RunFile, RunRecord
from resnetlab.runs.spec import SCHEMA

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


PROFILE = "profile"
"""Of a run's folder: where its time went, of its last attempt that was asked."""


@dataclass(frozen=True)
class RunDirectory:
    """The folder `runs/<slug>-<hash>` of a run."""

    path: Path

    @classmethod
    def of(cls, root: Path, run_id: str) -> RunDirectory:
        """The run's folder under `root`. A run is its hash: one that has another slug there is the same run."""
        path = root / "runs" / run_id
        return cls(path if path.exists() else located(root, [run_id])[run_id])

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @contextlib.contextmanager
    def claimed(self) -> Iterator[bool]:
        """Hold the run for this process; false when another holds it. The system lets go when a process dies."""
        self.path.mkdir(parents=True, exist_ok=True)
        with locked(self.path / LOCK) as mine:
            yield mine

    def busy(self) -> bool:
        """Whether a process works on the run now."""
        return is_locked(self.path / LOCK)

    def open(self, file: RunFile) -> None:
        """Write run.json, or hold what is there against `file`; where the data lie may differ."""
        path = self.path / "run.json"
        if not path.exists():
            write_json(path, encode(file))
            return
        held = self.file()
        if held.run.identity != file.run.identity:
            differing = ", ".join(_differing(encode(held.run), encode(file.run)))
            raise mistake(str(self.path), f"is another run: {differing}", "remove the folder, or use another --output")
        if held.instruments != file.instruments:  # what is asked of a run may change on its way
            write_json(path, encode(replace(held, instruments=file.instruments)))

    def file(self) -> RunFile:
        """run.json. Raises InputError when it is absent or not of this schema."""
        table = read_json(self.path / "run.json")
        schema = table.get("schema") if isinstance(table, dict) else None
        if schema != SCHEMA:
            fix = "read it with the resnetlab that wrote it"
            raise mistake(str(self.path / "run.json"), "another schema", fix, got=schema, allowed=str(SCHEMA))
        file: RunFile = decode(RunFile, table, str(self.path / "run.json"))
        return file

    def result(self) -> Result | None:
        """The result of a finished run."""
        path = self.path / "result.json"
        return decode(Result, read_json(path), str(path)) if path.exists() else None

    def commit(self, result: Result) -> bool:
        """Write the result, once; false when another process did. Checkpoints are not needed after it."""
        text = json.dumps(encode(result), indent=1) + "\n"
        won = create_once(self.path / "result.json", text)
        shutil.rmtree(self.checkpoints, ignore_errors=True)
        return won

    def metrics(self) -> list[Evaluation]:
        """The evaluations so far; a line that a kill tore is passed over."""
        evaluations = []
        for line in read_lines(self.path / "metrics.jsonl"):
            with contextlib.suppress(InputError):
                evaluations.append(decode(Evaluation, line, "metrics.jsonl"))
        return evaluations

    def append(self, *evaluations: Evaluation) -> None:
        """Add lines to metrics.jsonl."""
        if evaluations:
            append_lines(self.path / "metrics.jsonl", *map(encode, evaluations))

    def rewind(self, step: int) -> list[Evaluation]:
        """Forget the evaluations after `step`: the run goes on from a checkpoint there. Gives those that stay."""
        kept = [evaluation for evaluation in self.metrics() if evaluation.step <= step]
        if (self.path / "metrics.jsonl").exists():
            text = "".join(json.dumps(encode(evaluation)) + "\n" for evaluation in kept)
            write_text(self.path / "metrics.jsonl", text)
        for held in self.gradients():
            if held.step > step:
                self._gradients(held).unlink()
        return kept

    def gradients(self) -> tuple[Gradients, ...]:
        """The norms by layer that the run has saved, by epoch."""
        paths = (self.path / "instruments").glob("gradients-*.json")
        held: list[Gradients] = [decode(Gradients, read_json(path), str(path)) for path in paths]
        return tuple(sorted(held, key=lambda gradients: gradients.step))

    def save_gradients(self, gradients: Gradients) -> None:
        """Write the norms by layer after an epoch, whole or not at all."""
        write_json(self._gradients(gradients), encode(gradients))

    def dropped(self) -> DroppedBlocks | None:
        """What each block is worth, where the run has measured it."""
        path = self.path / "instruments" / "drop-blocks.json"
        return decode(DroppedBlocks, read_json(path), str(path)) if path.exists() else None

    def save_dropped(self, dropped: DroppedBlocks) -> None:
        """Write what each block is worth, whole or not at all."""
        write_json(self.path / "instruments" / "drop-blocks.json", encode(dropped))

    def profile(self) -> str:
        """Where the time of the last attempt went that was profiled; empty where none was."""
        path = self.path / PROFILE / "table.txt"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def answers(self) -> tuple[NDArray[np.float64], NDArray[np.int64]] | None:
        """Probabilities (N, K) that the finished run gave the test images, and their classes (N,); None without."""
        path = self.path / "logits-test.safetensors"
        if not path.exists():
            return None
        from safetensors.numpy import load_file
        from scipy.special import softmax

        held = load_file(path)
        return softmax(held["logits"].astype("float64"), axis=1), held["labels"]

    def lacks(self, file: RunFile) -> bool:
        """Whether the run has no result, or was not asked for its blocks until it had one.

        Norms need the training, and a bag of words has no blocks.
        """
        if not (self.path / "result.json").exists():
            return True
        there = (self.path / "weights.safetensors").exists()
        asked = file.instruments.drop_blocks and not isinstance(file.run.model, BagOfWords)
        return asked and there and not (self.path / "instruments" / "drop-blocks.json").exists()

    def _gradients(self, gradients: Gradients) -> Path:
        return self.path / "instruments" / f"gradients-{gradients.epoch:g}.json"

    def note(self, line: dict[str, Any]) -> None:
        """Add a line to provenance.jsonl."""
        self.path.mkdir(parents=True, exist_ok=True)
        append_lines(self.path / "provenance.jsonl", line)

    def record(self) -> RunRecord | None:
        """All that the folder holds; None when the run has not begun."""
        if not (self.path / "run.json").exists():
            return None
        return RunRecord(
            id=self.path.name, file=self.file(), metrics=tuple(self.metrics()),
            provenance=tuple(read_lines(self.path / "provenance.jsonl")), result=self.result(),
            gradients=self.gradients(), dropped=self.dropped(), folder=str(self.path),
        )  # fmt: skip


def free_bytes(folder: Path) -> int:
    """Bytes that may still be written where `folder` is, or will be; without end where the system does not say."""
    while not folder.exists():
        folder = folder.parent
    try:
        return shutil.disk_usage(folder).free
    except (AttributeError, OSError):
        return sys.maxsize


def _differing(left: Any, right: Any, path: str = "") -> list[str]:
    """The dotted fields in which two tables differ, with both values."""
    if isinstance(left, dict) and isinstance(right, dict):
        names = sorted(left.keys() | right.keys())
        return [line for name in names for line in _differing(left.get(name), right.get(name), f"{path}{name}.")]
    return [] if left == right else [f"{path.rstrip('.')} is {json.dumps(left)} there, {json.dumps(right)} here"]


def check_finished(folder: Path) -> None:
    """Raise InputError unless `folder` is that of a finished run which kept its weights."""
    if not (folder / "weights.safetensors").exists():
        raise mistake(str(folder), "no finished run", "give the folder of a run that has weights.safetensors")
