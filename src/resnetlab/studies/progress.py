"""Progress of training runs: live on a terminal, one output in a notebook, plain lines elsewhere.

Free of torch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from resnetlab.messages import format_count, format_duration, format_estimate
from resnetlab.notebook import Bar, NotebookOutput, is_notebook
from resnetlab.runs.records import Result
from resnetlab.runs.run_folder import RunFolder
from resnetlab.studies.executors.base import Executor
from resnetlab.studies.executors.messages import Job, RunEvent
from resnetlab.studies.plan import Plan, PlannedRun
from resnetlab.studies.timing.time_estimate import TimeEstimator

LINE_SECONDS = 60.0
"""Time between two progress lines if the output is neither a terminal nor a notebook."""


class Screen(Protocol):
    """Output of a progress display."""

    is_live: bool
    """True if bars are shown; otherwise the display prints lines."""

    def start(self) -> None:
        """Begin the output."""

    def print_line(self, line: str) -> None:
        """Print a line that remains."""

    def update(self, bars: Sequence[Bar]) -> None:
        """Show bars in place of those before."""

    def stop(self) -> None:
        """End the output."""


class TerminalScreen:
    """Output on standard error: live bars on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.is_live = self.console.is_terminal
        self.live = Live(console=self.console, auto_refresh=False, transient=True)

    def start(self) -> None:
        """Begin the live output, on a terminal."""
        if self.is_live:
            self.live.start()

    def print_line(self, line: str) -> None:
        """Print a line above the bars."""
        self.console.print(line, soft_wrap=True, markup=False)

    def update(self, bars: Sequence[Bar]) -> None:
        """Draw the bars."""
        rows = Table.grid(padding=(0, 2))
        for number, bar in enumerate(bars):
            label = Text(f"  {bar.label}") if number else Text(bar.label, style="bold")
            text = Text(bar.text, style="dim" if number else "")
            rows.add_row(label, ProgressBar(1.0, bar.share, width=24), text)
        self.live.update(rows, refresh=True)

    def stop(self) -> None:
        """Remove the bars."""
        if self.is_live:
            self.live.stop()


class NotebookScreen:
    """Output of a cell: one bar for all runs, and a line for each run that ended."""

    is_live = True

    def __init__(self) -> None:
        self.output = NotebookOutput()

    def start(self) -> None:
        """Show nothing before the first line."""

    def print_line(self, line: str) -> None:
        """Show a line above the bar."""
        self.output.print_line(line)

    def update(self, bars: Sequence[Bar]) -> None:
        """Draw the bar of all runs."""
        self.output.update(bars[:1])

    def stop(self) -> None:
        """Remove the bar."""
        self.output.update(())


def default_screen() -> Screen:
    """Return the output of this process: that of a notebook's cell, or standard error."""
    return NotebookScreen() if is_notebook() else TerminalScreen()


@dataclass
class _RunProgress:
    """Progress of a run that is training."""

    step: int = 0
    total: int = 1
    epoch: float = 0.0
    images_per_second: float = 0.0
    error_pct: float | None = None
    split: str = ""


class Display:
    """Progress display of a plan: `with Display(...) as display: display.update(event)`."""

    def __init__(
        self,
        title: str,
        runs: tuple[PlannedRun, ...],
        finished: set[str],
        parallel_runs: int,
        load_result: Callable[[str], Result | None],
        screen: Screen | None = None,
        quiet: bool = False,
    ) -> None:
        self.title, self.load_result = title, load_result
        self.runs = {run.id: run for run in runs}
        self.finished = set(finished)
        self.active: dict[str, _RunProgress] = {}
        self.time_estimator = TimeEstimator(runs, finished, parallel_runs)
        self.start_time = self.last_line_time = time.monotonic()
        self.estimate_printed = False
        self.screen, self.quiet = screen or default_screen(), quiet
        self.is_live = self.screen.is_live and not quiet

    def __enter__(self) -> Display:
        remaining = len(self.runs) - len(self.finished)
        note = f", {len(self.finished)} already finished" if self.finished else ""
        self.print_line(
            f"{self.title}: {remaining} of {format_count(len(self.runs), 'run')} to do{note}"
        )
        if self.is_live:
            self.screen.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self.is_live:
            self.screen.stop()

    def print_line(self, line: str) -> None:
        """Print a line that remains on the screen, unless the display is quiet."""
        if not self.quiet:
            self.screen.print_line(line)

    def update(self, event: RunEvent) -> None:
        """Update the display with an event."""
        now = time.monotonic()
        if event.kind == "progress":
            self._note_progress(event, now)
        elif event.kind != "idle":
            self.active.pop(event.id, None)
            if event.kind in ("finished", "missing"):
                self.finished.add(event.id)
                self.time_estimator.mark_finished(event.id)
            is_failure = event.kind in ("failed", "missing")
            print_line = self.screen.print_line if is_failure else self.print_line
            print_line(self._end_line(event))
        if (
            not self.estimate_printed
            and (seconds := self.time_estimator.seconds_left()) is not None
        ):
            self.estimate_printed = True
            self.print_line(f"about {format_estimate(seconds)} for all runs")
        if self.is_live:
            self.screen.update(self._bars())
        elif now - self.last_line_time >= LINE_SECONDS and self.active:
            self.last_line_time = now
            self.print_line(self._summary())
            for run_id, active in self.active.items():
                self.print_line(f"  {self._run_name(run_id)}: {_progress_text(active)}")

    def _note_progress(self, event: RunEvent, now: float) -> None:
        active = self.active.setdefault(event.id, _RunProgress())
        active.step, active.total, active.epoch = event.step, event.total_steps, event.epoch
        active.images_per_second = event.images_per_second
        self.time_estimator.update(event.id, event.step, event.total_steps, now)
        for evaluation in event.evaluations:
            if evaluation.split in ("validation", "test", "train epoch"):
                if evaluation.split == "train epoch" and active.split not in ("", "train epoch"):
                    continue
                active.error_pct, active.split = evaluation.top1_error_pct, evaluation.split

    def _run_name(self, run_id: str) -> str:
        run = self.runs.get(run_id)
        return f"{run.condition}, seed {run.seed}" if run else run_id

    def _end_line(self, event: RunEvent) -> str:
        count = f"[{len(self.finished):>{len(str(len(self.runs)))}}/{len(self.runs)}]"
        if event.kind == "interrupted":
            return f"{self._run_name(event.id)}: interrupted; it can be continued"
        if event.kind == "failed":
            return f"{self._run_name(event.id)}: an attempt failed and is repeated ({event.reason})"
        if event.kind == "missing":
            return f"{count} {self._run_name(event.id)}: missing ({event.reason})"
        result = self.load_result(event.id)
        test = f", test {result.test.top1_accuracy_pct:.1f} %" if result and result.test else ""
        took = (
            f", {format_duration(result.train_seconds + result.evaluation_seconds)}"
            if result
            else ""
        )
        return f"{count} {self._run_name(event.id)}: {event.status}{test}{took}"

    def _summary(self) -> str:
        speed = sum(active.images_per_second for active in self.active.values())
        seconds = self.time_estimator.seconds_left()
        remaining = (
            f"about {format_estimate(seconds)} left"
            if seconds is not None
            else f"{format_duration(time.monotonic() - self.start_time)} elapsed"
        )
        parts = [f"{len(self.finished)} of {format_count(len(self.runs), 'run')}", remaining]
        parts += [f"{speed:,.0f} images/s"] if speed else []
        return ", ".join(parts) if self.active else f"{parts[0]}, starting"

    def _bars(self) -> list[Bar]:
        """Return the bar of all runs, weighted by their cost, and then one for each active run."""
        macs = {run.id: run.train_macs for run in self.runs.values()}
        done: float = sum(macs[run_id] for run_id in self.finished if run_id in macs)
        done += sum(macs.get(i, 0) * a.step / a.total for i, a in self.active.items())
        bars = [Bar(self.title, done / max(1, sum(macs.values())), self._summary())]
        for run_id, active in self.active.items():
            share, text = active.step / active.total, _progress_text(active)
            bars.append(Bar(self._run_name(run_id), share, text))
        return bars


def _progress_text(active: _RunProgress) -> str:
    score = (
        f", {active.split} {100 - active.error_pct:.1f} %" if active.error_pct is not None else ""
    )
    return f"epoch {active.epoch:.1f}{score}, {active.images_per_second:,.0f} images/s"


def plan_display(
    plan: Plan,
    pending: Sequence[PlannedRun],
    executor: Executor,
    root: Path,
    quiet: bool = False,
) -> Display:
    """Return the display of a plan, of which the runs `pending` are to be trained."""
    finished = {run.id for run in plan.runs} - {run.id for run in pending}
    count = executor.max_parallel([Job(run.id, run.file) for run in pending])
    load_result = _result_loader(root)
    return Display(plan.study.name, plan.unique_runs, finished, count, load_result, quiet=quiet)


def run_display(job: Job, root: Path, quiet: bool = False) -> Display:
    """Return the display of one run without a study."""
    run = job.file.run
    planned = PlannedRun(condition=run.model.title, seed=run.seed, id=job.id, file=job.file)
    return Display(job.id, (planned,), set(), 1, _result_loader(root), quiet=quiet)


def _result_loader(root: Path) -> Callable[[str], Result | None]:
    """Return a function that reads the result of a run under `root`."""
    return lambda run_id: RunFolder.find(root, run_id).result()
