"""Folder of a run: its files, its lock, and how to read and write them. Free of torch."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnetlab.checksums import (
    check_file,
    check_files,
    renewed_checksum,
    write_checksums,
)
from resnetlab.errors import InputError, input_error
from resnetlab.files import (
    append_jsonl,
    json_sha256,
    read_json,
    read_jsonl,
    remove_tree,
    try_lock,
    write_json,
    write_once,
    write_text,
)
from resnetlab.models.configs.external import record_origin
from resnetlab.runs.config import RunConfig
from resnetlab.runs.measurements import RunMeasurements
from resnetlab.runs.paths import (
    LOCK,
    LOGITS,
    WEIGHTS,
    check_run_id,
    locate_runs,
)
from resnetlab.runs.recorded_logits import read_logits
from resnetlab.runs.records import Evaluation, Result, RunFile, RunRecord
from resnetlab.schema import check_schema, decode, decode_lines, encode

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CHECKED_FILES = ("run.json", "metrics.jsonl", "provenance.jsonl", "result.json")
LARGE_FILES = (WEIGHTS, LOGITS)

_HASH_IN_NAME = re.compile(r"-s[0-9]+-([0-9a-f]{10})$")
"""End of a run's id: its seed and the hash of its config."""

PROFILE = "profile"
"""Subfolder with the profile of the last session that was profiled."""


def utc_now() -> str:
    """Return the present time in UTC, in ISO format to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class RunFolder:
    """Folder `runs/<data>-<model>-s<seed>-<hash>` of a run."""

    path: Path

    @classmethod
    def find(cls, root: Path, run_id: str) -> RunFolder:
        """Return the folder of a run under `root`.

        A folder with the same hash and another slug is the same run.
        """
        check_run_id(run_id)
        path = root / "runs" / run_id
        return cls(path if path.exists() else locate_runs(root, [run_id])[run_id])

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def measurements(self) -> RunMeasurements:
        """Diagnostics of the run that were requested, in its subfolder `diagnostics`."""
        return RunMeasurements(self.path)

    @contextlib.contextmanager
    def lock(self) -> Iterator[bool]:
        """Acquire the lock of the run for the `with` block. Yields False if another process has it.

        The system releases the lock when a process dies.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with try_lock(self.path / LOCK) as acquired:
            yield acquired

    def write_config(self, file: RunFile) -> None:
        """Write run.json, or into an existing one the requested measurements, which may change
        between sessions. The path of the data may differ.

        Raises InputError if the folder belongs to another run.
        """
        path = self.path / "run.json"
        self._check_name(file.run)
        if not path.exists():
            write_json(path, encode(file))
            return
        existing = self.file()
        if existing.diagnostics != file.diagnostics:
            write_json(path, encode(replace(existing, diagnostics=file.diagnostics)))

    def file(self) -> RunFile:
        """Read run.json.

        Raises InputError when it is absent, has another schema version, or was edited, so that its
        config does not hash to the id in the folder's name.
        """
        where = str(self.path / "run.json")
        table = read_json(self.path / "run.json")
        check_schema(table, where)
        file: RunFile = decode(RunFile, table, where)
        self._check_name(file.run)
        record_origin(file.run.model, where)
        return file

    def _check_name(self, run: RunConfig) -> None:
        """Raise InputError if the name of the folder has another hash than the config `run`."""
        expected = _HASH_IN_NAME.search(self.path.resolve().name)
        if expected and expected[1] != run.hash:
            where = str(self.path / "run.json")
            message = "was edited: its config is not that of the run in the folder's name"
            fix = "restore the file, or start a run with this config by train or study run"
            raise input_error(where, message, fix, got=run.hash, allowed=expected[1])

    def result(self) -> Result | None:
        """Read the result of a finished run; return None for an unfinished run."""
        path = self.path / "result.json"
        if not path.exists():
            return None
        table = read_json(path)
        check_schema(table, str(path))
        result: Result = decode(Result, table, str(path))
        return result

    def commit(self, result: Result) -> bool:
        """Write the result once, with the checksums of all files, and remove the checkpoints.

        Return False if another process wrote it before.
        """
        text = json.dumps(encode(result), indent=1, allow_nan=False) + "\n"
        written = write_once(self.path / "result.json", text)
        if written:
            write_checksums(
                self.path, (*CHECKED_FILES, *LARGE_FILES, *self.measurements.file_names())
            )
        with contextlib.suppress(OSError):  # the result counts, whatever is left of them
            remove_tree(self.checkpoints)
        return written

    def metrics(self) -> list[Evaluation]:
        """Read the evaluations so far.

        Skip incomplete lines, which a killed process may have left.
        """
        path = self.path / "metrics.jsonl"
        lines = path.read_bytes().splitlines() if path.exists() else []
        complete: list[Evaluation] | None = decode_lines(Evaluation, lines)
        if complete is not None:
            return complete
        evaluations = []
        for line in read_jsonl(path):
            with contextlib.suppress(InputError):
                evaluations.append(decode(Evaluation, line, "metrics.jsonl"))
        return evaluations

    def append_metrics(self, *evaluations: Evaluation) -> None:
        """Append evaluations to metrics.jsonl."""
        if evaluations:
            append_jsonl(self.path / "metrics.jsonl", *map(encode, evaluations))

    def discard_after(self, step: int) -> None:
        """Remove the evaluations and measurements after `step`, from which the run is resumed."""
        evaluations = [evaluation for evaluation in self.metrics() if evaluation.step <= step]
        if (self.path / "metrics.jsonl").exists():
            text = "".join(
                json.dumps(encode(evaluation), allow_nan=False) + "\n" for evaluation in evaluations
            )
            write_text(self.path / "metrics.jsonl", text)
        self.measurements.discard_after(step)

    def read_profile(self) -> str:
        """Read the time table of the last profiled session; return an empty string if there is
        none.
        """
        path = self.path / PROFILE / "table.txt"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def read_test_probabilities(self) -> tuple[NDArray[np.float64], NDArray[np.int64]] | None:
        """Return predicted probabilities (N, K) and labels (N,) of the test images, or None without
        a result.
        """
        path = self.path / LOGITS
        if not path.exists():
            return None
        check_file(path)
        from scipy.special import softmax

        recorded = read_logits(self.path)
        return softmax(recorded.logits.astype("float64"), axis=1), recorded.labels

    def needs_work(self, file: RunFile) -> bool:
        """Return True if the run has no result, or lacks a measurement that `file` requests.

        The weights of a finished run can still be measured: block ablation, loss landscapes, and
        final scores in training mode. Gradient norms can only be measured during training,
        and a bag of words has no diagnostics.
        """
        if not (self.path / "result.json").exists():
            return True
        if not file.run.kind.has_diagnostics or not (self.path / WEIGHTS).exists():
            return False
        return self.measurements.lacks_any(file)

    def metrics_sha256(self, step: int) -> str:
        """Return the SHA-256 of the evaluations up to `step`, which a checkpoint records."""
        lines = [encode(line) for line in self.metrics() if line.step <= step]
        return hashlib.sha256(json.dumps(lines).encode()).hexdigest()

    def check_metadata(self) -> None:
        """Raise InputError if run.json changed since an unfinished run started.

        Its identity is checked by the name of the folder. This is about the other fields, except
        the path of the data and the requested measurements, which may change.
        """
        recorded = {
            event["run_file_sha256"]
            for event in read_jsonl(self.path / "provenance.jsonl")
            if "run_file_sha256" in event
        }
        if recorded - {self.run_file_sha256()}:
            raise input_error(
                str(self.path / "run.json"),
                "changed since the run started (its SHA-256 is in provenance.jsonl)",
                "restore both files, or remove the folder of the run and train it again",
            )

    def run_file_sha256(self) -> str:
        """Return the SHA-256 of run.json without the fields that may change between sessions."""
        table = read_json(self.path / "run.json")
        table.pop("diagnostics", None)
        table["data"].pop("source", None)
        return json_sha256(table)

    def log_event(self, event: dict[str, Any]) -> None:
        """Append a line to provenance.jsonl."""
        self.path.mkdir(parents=True, exist_ok=True)
        with renewed_checksum(self.path, "provenance.jsonl"):
            append_jsonl(self.path / "provenance.jsonl", event)

    def record(self) -> RunRecord | None:
        """Read the whole record of the run; return None if the run has not started.

        Raises InputError if a file of a finished run changed since. The weights and the outputs for
        the test images are checked where they are read.
        """
        if not (self.path / "run.json").exists():
            return None
        if (self.path / "result.json").exists():
            check_files(self.path, LARGE_FILES)
        return RunRecord(
            id=self.path.name,
            file=self.file(),
            metrics=tuple(self.metrics()),
            provenance=tuple(read_jsonl(self.path / "provenance.jsonl")),
            result=self.result(),
            gradient_norms=self.measurements.read_gradient_norms(),
            block_ablation=self.measurements.read_block_ablation(),
            loss_landscape=self.measurements.read_loss_landscape(),
            train_mode=self.measurements.read_train_mode_evaluation(),
            folder=str(self.path),
        )


def free_bytes(folder: Path) -> int:
    """Return the free bytes of the disk where `folder` is or will be; sys.maxsize if they are
    unknown.
    """
    while not folder.exists():
        folder = folder.parent
    try:
        return shutil.disk_usage(folder).free
    except (AttributeError, OSError):
        return sys.maxsize
