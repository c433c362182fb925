"""Profiler of a run: time by phase over the run, by operator over some steps. Changes no bit."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import torch
from torch.profiler import profile

from resnetlab.files import replace_file, write_text
from resnetlab.messages import format_count
from resnetlab.training.batches import Batch, BatchLoader
from resnetlab.training.state import TrainState
from resnetlab.training.training_step import TrainingStep

SKIPPED_STEPS, TRACED_STEPS = 5, 20
"""Steps before the trace, while allocators and kernels settle, and steps in the trace."""

MAX_OPERATORS = 12

OTHER_PHASE = "all else"
STEP_PHASES = ("forward", "backward", "optimizer", "rest of a step")
PHASES = ("data", *STEP_PHASES, "evaluation", "checkpoints", OTHER_PHASE)

TABLE_FILE, TRACE_FILE = "table.txt", "trace.json.gz"


class NullProfiler:
    """No-op profiler with the interface of `RunProfiler`."""

    def __enter__(self) -> NullProfiler:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    @contextlib.contextmanager
    def phase(self, _: str) -> Iterator[None]:
        """Mark the `with` block as one of PHASES."""
        yield

    def wrap_step(self, step: TrainingStep) -> TrainingStep:
        """Return the step unchanged."""
        return step


class RunProfiler(NullProfiler):
    """Profiler of the phases of a run.

    It measures `state` while the context is open and writes its results to `folder`. On an
    accelerator it waits for the device between phases, so the same work takes a little longer. The
    phase "backward" begins when the network has returned, so it includes the loss. A captured step
    is one replay, so all of its time counts as "rest of a step".
    """

    def __init__(self, state: TrainState, folder: Path) -> None:
        self.state, self.folder = state, folder
        self.seconds: dict[str, float] = defaultdict(float)
        self.current_phase, self.phase_start = OTHER_PHASE, time.monotonic()
        self.num_steps, self.num_traced_steps, self.is_tracing = 0, 0, False
        activities = [torch.profiler.ProfilerActivity.CPU]
        activities += [torch.profiler.ProfilerActivity.CUDA] if state.device.type == "cuda" else []
        self.torch_profiler = profile(activities=activities)
        self.exit_stack = contextlib.ExitStack()

    def __enter__(self) -> RunProfiler:
        state = self.state
        for handle in (
            state.model.register_forward_pre_hook(lambda *_: self._switch_within_step("forward")),
            state.model.register_forward_hook(lambda *_: self._switch_within_step("backward")),
            state.optimizer.register_step_pre_hook(
                lambda *_: self._switch_within_step("optimizer")
            ),
            state.optimizer.register_step_post_hook(
                lambda *_: self._switch_within_step("rest of a step")
            ),
        ):
            self.exit_stack.callback(handle.remove)
        return self

    def __exit__(self, *_: object) -> None:
        self._switch(OTHER_PHASE)
        self._end_trace()
        self.exit_stack.close()
        if self.num_traced_steps:
            part = self.folder / f".{TRACE_FILE}"
            self.folder.mkdir(parents=True, exist_ok=True)
            self.torch_profiler.export_chrome_trace(str(part))
            replace_file(part, self.folder / TRACE_FILE)
        write_text(self.folder / TABLE_FILE, "\n".join(self._table_lines()) + "\n")

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time of the `with` block for `name`, one of PHASES."""
        before = self.current_phase
        self._switch(name)
        try:
            yield
        finally:
            self._switch(before)

    def _switch(self, name: str) -> None:
        """Add the time since the last switch to the current phase and begin the phase `name`."""
        if self.state.device.type == "cuda":
            if torch.cuda.is_current_stream_capturing():
                return
            torch.cuda.synchronize()
        elif self.state.device.type == "mps":
            torch.mps.synchronize()
        now = time.monotonic()
        self.seconds[self.current_phase] += now - self.phase_start
        self.current_phase, self.phase_start = name, now

    def _switch_within_step(self, name: str) -> None:
        """Switch the phase unless the model runs outside a training step."""
        if self.current_phase in STEP_PHASES:
            self._switch(name)

    def wrap_step(self, step: TrainingStep) -> TrainingStep:
        """Return a step that takes `step`, times it, and traces TRACED_STEPS of them."""
        return ProfiledStep(step, self)

    def timed_load(self, load: BatchLoader) -> BatchLoader:
        """Return a loader that counts the time of `load` for the data."""

        def timed(positions: slice, part: slice) -> Batch:
            with self.phase("data"):
                return load(positions, part)

        return timed

    @contextlib.contextmanager
    def traced_step(self) -> Iterator[None]:
        """Count the `with` block as a step, and trace it if its turn has come."""
        if self.num_steps == SKIPPED_STEPS:
            self.torch_profiler.start()
            self.is_tracing = True
        with self.phase("rest of a step"):
            yield
        self.num_steps += 1
        self.num_traced_steps += self.is_tracing
        if self.num_traced_steps == TRACED_STEPS:
            self._end_trace()

    def _end_trace(self) -> None:
        if self.is_tracing:
            self.is_tracing = False
            self.torch_profiler.stop()

    def _table_lines(self) -> Iterator[str]:
        total_seconds = sum(self.seconds.values())
        yield f"{total_seconds:9.2f} s  100.0 %  the run, {format_count(self.num_steps, 'step')}"
        for name in PHASES:
            yield (
                f"{self.seconds[name]:9.2f} s  {100 * self.seconds[name] / total_seconds:5.1f} %  "
                f"{name}"
            )
        if not self.num_traced_steps:
            yield f"No trace: it begins after {SKIPPED_STEPS} steps."
            return
        yield ""
        averages = self.torch_profiler.key_averages()
        on_device = self.state.device.type == "cuda"
        self_time = {
            item.key: float(item.self_device_time_total if on_device else item.self_cpu_time_total)
            for item in averages
        }
        calls, total = {item.key: item.count for item in averages}, sum(self_time.values()) or 1.0
        yield (
            f"a step        share  calls  operator (of {self.num_traced_steps} steps, its own "
            "time alone)"
        )
        for name in sorted(self_time, key=lambda name: -self_time[name])[:MAX_OPERATORS]:
            milliseconds = self_time[name] / 1e3 / self.num_traced_steps
            count = calls[name] / self.num_traced_steps
            yield (
                f"{milliseconds:9.3f} ms  {100 * self_time[name] / total:5.1f} %  {count:5.0f}  "
                f"{name[:60]}"
            )


class ProfiledStep(TrainingStep):
    """Step that takes another one and reports its batches and its steps to a profiler."""

    def __init__(self, step: TrainingStep, profiler: RunProfiler) -> None:
        super().__init__(step.state, step.load_epoch)
        self.step, self.profiler = step, profiler

    def start_epoch(self, epoch: int) -> None:
        """Begin an epoch of the step, whose batches are then timed."""
        with self.profiler.phase("data"):
            self.step.start_epoch(epoch)
        self.step.load = self.profiler.timed_load(self.step.load)

    def load_and_train(self, positions: slice) -> None:
        """Take the step on the images at these positions of the epoch's order."""
        with self.profiler.traced_step():
            self.step.load_and_train(positions)

    def synchronize(self) -> None:
        """Wait until the device has finished the queued steps."""
        self.step.synchronize()

    def wait_for_current_stream(self) -> None:
        """Let the step wait for the work that the caller queued meanwhile."""
        self.step.wait_for_current_stream()
