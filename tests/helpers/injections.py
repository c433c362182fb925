"""Faults that a trial injects into its process before the command: `prepare=` of `TrialServer`."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from resnetlab.runs import session
from resnetlab.runs.checkpoint import Checkpoint
from resnetlab.studies.executors import launcher
from resnetlab.training.from_scratch_state import FromScratchState


def out_of_memory(step: str) -> None:
    """Let the memory be exhausted at a training step."""

    def fail(_: FromScratchState) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    _at_step(int(step), fail)


def out_of_host_memory(step: str) -> None:
    """Let the memory of the processor be exhausted at a training step."""

    def fail(_: FromScratchState) -> None:
        raise MemoryError("no memory")

    _at_step(int(step), fail)


def nonfinite_weight(step: str, log: str) -> None:
    """Set a weight to NaN at a training step, so that the next losses are NaN.

    `log` is a file that lists the checkpoints that are written, and whether they are finite.
    """

    def spoil(state: FromScratchState) -> None:
        next(state.model.parameters()).data.view(-1)[0] = float("nan")

    _at_step(int(step), spoil)
    _log_checkpoints(Path(log))


def infinite_loss(step: str, log: str) -> None:
    """Make the loss of a training step infinite, and no weight; `log` as above."""
    _log_checkpoints(Path(log))
    plain, calls = FromScratchState.record_step, itertools.count(1)

    def record(self: FromScratchState, metrics: torch.Tensor) -> Any:
        if next(calls) == int(step):
            metrics = metrics.clone()
            metrics[0] = float("inf")
        return plain(self, metrics)

    FromScratchState.record_step = record  # type: ignore[method-assign]


def slow_steps(seconds: str) -> None:
    """Let each training step take that much longer, so that a kill finds it."""
    plain = FromScratchState.record_step

    def record(self: FromScratchState, metrics: torch.Tensor) -> Any:
        time.sleep(float(seconds))
        return plain(self, metrics)

    FromScratchState.record_step = record  # type: ignore[method-assign]


def without_checkpoints() -> None:
    """Write no checkpoint."""
    session.RunSession._should_save = lambda *_: False  # type: ignore[method-assign]


def fork_launcher() -> None:
    """Let the launcher of a study's workers be a copy of this process, which has imported torch."""

    def start(_: object, *, pass_fds: list[int], stdout: Any, **__: object) -> ForkedProcess:
        pid = os.fork()
        if pid == 0:
            os.setsid()
            os.dup2(stdout.fileno(), 2)
            os.closerange(3, pass_fds[0])
            os.closerange(pass_fds[0] + 1, 1000)
            launcher.main(pass_fds[0])
        return ForkedProcess(pid)

    fake = SimpleNamespace(
        Popen=start, DEVNULL=subprocess.DEVNULL, TimeoutExpired=subprocess.TimeoutExpired
    )
    launcher.subprocess = fake  # type: ignore[assignment]


class ForkedProcess:
    """Process with the part of the `subprocess.Popen` interface that the launcher needs."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def wait(self, timeout: float | None = None) -> int:  # noqa: ARG002
        """Wait for the end of the process."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def kill(self) -> None:
        """End the process at once."""
        os.kill(self.pid, 9)


def _at_step(step: int, action: Any) -> None:
    plain = FromScratchState.record_step

    def record(self: FromScratchState, metrics: torch.Tensor) -> Any:
        plain(self, metrics)
        if self.step == step:
            action(self)

    FromScratchState.record_step = record  # type: ignore[method-assign]


def _log_checkpoints(log: Path) -> None:
    plain, entries = session.save_checkpoint, list[dict[str, Any]]()
    log.write_text("[]")

    def save(folder: Path, checkpoint: Checkpoint) -> None:
        finite = all(
            bool(tensor.isfinite().all())
            for group in checkpoint.tensors.values()
            for tensor in group.values()
            if tensor.is_floating_point()
        )
        entries.append({"step": checkpoint.metadata["step"], "finite": finite})
        log.write_text(json.dumps(entries))
        plain(folder, checkpoint)

    session.save_checkpoint = save
