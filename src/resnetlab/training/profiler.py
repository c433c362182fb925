"""Profiler of a run: time by phase over the whole run, time by operator over some steps.

Changes no bit.
"""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.profiler import profile

from resnetlab.files import replace_file, write_text
from resnetlab.training.state import Batches, Trainee
from resnetlab.training.steps import Steps

SKIPPED, RECORDED = 5, 20
"""Numbers of steps: those before the trace begins, while allocators and kernels settle, and those
in the trace.
"""

OPERATORS = 12

OTHER = "all else"
OF_A_STEP = ("forward", "backward", "optimiser", "rest of a step")
PHASES = ("data", *OF_A_STEP, "evaluation", "checkpoints", OTHER)

TABLE, TRACE = "table.txt", "trace.json.gz"


class Phases:
    """No-op profiler with the interface of `Profile`."""

    def __enter__(self) -> Phases:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    @contextlib.contextmanager
    def phase(self, _: str) -> Iterator[None]:
        """Mark the `with` block as one of PHASES."""
        yield

    def timed(self, steps: Steps[Any]) -> Steps[Any]:
        """Return the steps unchanged."""
        return steps


class Profile(Phases):
    """Profiler of the phases of a run.

    It measures `learner` while the context is open and writes its results to `folder`. On an
    accelerator it waits for the device between phases, so the same work takes a little longer. A
    captured step is one replay, so all of its time counts as "rest of a step".
    """

    def __init__(self, learner: Trainee[Any], folder: Path) -> None:
        self.learner, self.folder = learner, folder
        self.seconds: dict[str, float] = defaultdict(float)
        self.now, self.at, self.taken = OTHER, time.monotonic(), 0
        activities = [torch.profiler.ProfilerActivity.CPU]
        activities += (
            [torch.profiler.ProfilerActivity.CUDA] if learner.device.type == "cuda" else []
        )
        self.trace, self.tracing, self.traced = profile(activities=activities), False, 0
        self.undo = contextlib.ExitStack()

    def __enter__(self) -> Profile:
        learner = self.learner
        for handle in (
            learner.model.register_forward_pre_hook(lambda *_: self._switch_within_step("forward")),
            learner.optimiser.register_step_pre_hook(
                lambda *_: self._switch_within_step("optimiser")
            ),
            learner.optimiser.register_step_post_hook(
                lambda *_: self._switch_within_step("rest of a step")
            ),
        ):
            self.undo.callback(handle.remove)
        for name, timed in (("batches", self._batches), ("loss", self._loss)):
            setattr(learner, name, timed(getattr(learner, name)))
            self.undo.callback(delattr, learner, name)
        return self

    def __exit__(self, *_: object) -> None:
        self._switch(OTHER)
        self._end_trace()
        self.undo.close()
        if self.traced:
            part = self.folder / f".{TRACE}"
            self.folder.mkdir(parents=True, exist_ok=True)
            self.trace.export_chrome_trace(str(part))
            replace_file(part, self.folder / TRACE)
        write_text(self.folder / TABLE, "\n".join(self._lines()) + "\n")

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time of the `with` block for `name`, one of PHASES; then go back to the phase
        before.
        """
        before = self.now
        self._switch(name)
        try:
            yield
        finally:
            self._switch(before)

    def _switch(self, name: str) -> None:
        """Add the time since the last switch to the current phase and begin the phase `name`."""
        if self.learner.device.type == "cuda":
            if torch.cuda.is_current_stream_capturing():
                return
            torch.cuda.synchronize()
        now = time.monotonic()
        self.seconds[self.now] += now - self.at
        self.now, self.at = name, now

    def _switch_within_step(self, name: str) -> None:
        """Switch the phase unless the model runs outside a training step, for example in an
        evaluation.
        """
        if self.now in OF_A_STEP:
            self._switch(name)

    def _batches(self, batches: Callable[[Any, int], Batches]) -> Callable[[Any, int], Batches]:
        """Wrap `batches` so that its time counts as data."""

        def timed(images: Any, epoch: int) -> Batches:
            with self.phase("data"):
                next_batch = batches(images, epoch)

            def batch(part: slice) -> tuple[Tensor, Tensor]:
                with self.phase("data"):
                    return next_batch(part)

            return batch

        return timed

    def _loss(self, loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
        """Wrap `loss` so that the backward phase begins when it returns."""

        def timed(logits: Tensor, labels: Tensor) -> Tensor:
            value = loss(logits, labels)
            self._switch_within_step("backward")
            return value

        return timed

    def timed(self, steps: Steps[Any]) -> Steps[Any]:
        """Return the steps with a `take` that is counted, timed, and traced for RECORDED steps."""
        take = steps.take

        def timed_take(part: slice, size: int) -> None:
            if self.taken == SKIPPED:
                self.trace.start()
                self.tracing = True
            with self.phase("rest of a step"):
                take(part, size)
            self.taken += 1
            self.traced += self.tracing
            if self.traced == RECORDED:
                self._end_trace()

        steps.take = timed_take  # type: ignore[method-assign]
        return steps

    def _end_trace(self) -> None:
        if self.tracing:
            self.tracing = False
            self.trace.stop()

    def _lines(self) -> Iterator[str]:
        total_seconds = sum(self.seconds.values())
        yield f"{total_seconds:9.2f} s  100.0 %  the run, {self.taken:,} steps"
        for name in PHASES:
            yield (
                f"{self.seconds[name]:9.2f} s  {100 * self.seconds[name] / total_seconds:5.1f} %  "
                f"{name}"
            )
        if not self.traced:
            yield f"No trace: it begins after {SKIPPED} steps."
            return
        yield ""
        averages = self.trace.key_averages()
        on_device = self.learner.device.type == "cuda"
        own_time = {
            item.key: float(item.self_device_time_total if on_device else item.self_cpu_time_total)
            for item in averages
        }
        calls, total = {item.key: item.count for item in averages}, sum(own_time.values()) or 1.0
        yield f"a step        share  calls  operator (of {self.traced} steps, its own time alone)"
        for name in sorted(own_time, key=lambda name: -own_time[name])[:OPERATORS]:
            milliseconds, count = own_time[name] / 1e3 / self.traced, calls[name] / self.traced
            yield (
                f"{milliseconds:9.3f} ms  {100 * own_time[name] / total:5.1f} %  {count:5.0f}  "
                f"{name[:60]}"
            )
