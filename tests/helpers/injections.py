"""Faults that a trial injects into its process before the command: `prepare=` of `TrialServer`."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import torch

from resnetlab.runs import session
from resnetlab.runs.checkpoint import Checkpoint
from resnetlab.training.state import ScratchTrainState


def out_of_memory(step: str) -> None:
    """Let the memory be exhausted at a training step."""

    def fail(_: ScratchTrainState) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    _at_step(int(step), fail)


def out_of_host_memory(step: str) -> None:
    """Let the memory of the processor be exhausted at a training step."""

    def fail(_: ScratchTrainState) -> None:
        raise MemoryError("no memory")

    _at_step(int(step), fail)


def nonfinite_weight(step: str, log: str) -> None:
    """Set a weight to NaN at a training step, so that the next losses are NaN.

    `log` is a file that lists the checkpoints that are written, and whether they are finite.
    """

    def spoil(state: ScratchTrainState) -> None:
        next(state.model.parameters()).data.view(-1)[0] = float("nan")

    _at_step(int(step), spoil)
    _log_checkpoints(Path(log))


def infinite_loss(step: str, log: str) -> None:
    """Make the loss of a training step infinite, and no weight; `log` as above."""
    _log_checkpoints(Path(log))
    plain, calls = ScratchTrainState.record, itertools.count(1)

    def record(self: ScratchTrainState, metrics: torch.Tensor) -> Any:
        if next(calls) == int(step):
            metrics = metrics.clone()
            metrics[0] = float("inf")
        return plain(self, metrics)

    ScratchTrainState.record = record  # type: ignore[method-assign]


def _at_step(step: int, action: Any) -> None:
    plain = ScratchTrainState.record

    def record(self: ScratchTrainState, metrics: torch.Tensor) -> Any:
        plain(self, metrics)
        if self.step == step:
            action(self)

    ScratchTrainState.record = record  # type: ignore[method-assign]


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
