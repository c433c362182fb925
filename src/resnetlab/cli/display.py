"""Progress display of training runs: live on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from resnetlab.cli.manners import VERBOSITY, notify
from resnetlab.messages import format_count, shared_runs_note
from resnetlab.runs.directory import RunDirectory
from resnetlab.runs.records import Result
from resnetlab.studies.eta import TimeEstimator
from resnetlab.studies.executors.base import Executor, Job, RunEvent
from resnetlab.studies.plan import Plan, PlannedRun
from resnetlab.studies.run import pending_runs
from resnetlab.tracking.mirror import BackgroundCopies, Mirror

if TYPE_CHECKING:
    from resnetlab.loaded_study import LoadedStudy

LINE_SECONDS = 60.0
"""Time between two progress lines if the output is not a terminal."""


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
        workers: int,
        load_result: Callable[[str], Result | None],
    ) -> None:
        self.title, self.load_result = title, load_result
        self.runs = {run.id: run for run in runs}
        self.finished = set(finished)
        self.active: dict[str, _RunProgress] = {}
        self.time_estimator = TimeEstimator(runs, finished, workers)
        self.start_time = self.last_line_time = time.monotonic()
        self.estimate_printed = False
        self.console = Console(stderr=True, highlight=False)
        is_live = self.console.is_terminal and not VERBOSITY.quiet
        self.live = (
            Live(console=self.console, auto_refresh=False, transient=True) if is_live else None
        )

    def __enter__(self) -> Display:
        remaining = len(self.runs) - len(self.finished)
        note = f", {len(self.finished)} already finished" if self.finished else ""
        self.print_line(
            f"{self.title}: {remaining} of {format_count(len(self.runs), 'run')} to do{note}"
        )
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self.live:
            self.live.stop()

    def print_line(self, line: str) -> None:
        """Print a line that remains on the screen, unless the command is quiet."""
        if not VERBOSITY.quiet:
            self._print(line)

    def _print(self, line: str) -> None:
        self.console.print(line, soft_wrap=True, markup=False)

    def update(self, event: RunEvent) -> None:
        """Update the display with an event."""
        now = time.monotonic()
        if event.kind == "progress":
            active = self.active.setdefault(event.id, _RunProgress())
            active.step, active.total, active.epoch = event.step, event.total, event.epoch
            active.images_per_second = event.images_per_second
            self.time_estimator.update(event.id, event.step, event.total, now)
            for evaluation in event.evaluations:
                if evaluation.split in ("validation", "test", "train epoch"):
                    if evaluation.split == "train epoch" and active.split not in (
                        "",
                        "train epoch",
                    ):
                        continue
                    active.error_pct, active.split = evaluation.top1_error_pct, evaluation.split
        elif event.kind != "tick":
            self.active.pop(event.id, None)
            if event.kind in ("finished", "missing"):
                self.finished.add(event.id)
                self.time_estimator.mark_finished(event.id)
            (self._print if event.kind in ("failed", "missing") else self.print_line)(
                self._end_line(event)
            )
        if (
            not self.estimate_printed
            and (seconds := self.time_estimator.seconds_left()) is not None
        ):
            self.estimate_printed = True
            self.print_line(f"about {format_clock(seconds)} for all runs")
        if self.live:
            self.live.update(self._render(), refresh=True)
        elif now - self.last_line_time >= LINE_SECONDS and self.active:
            self.last_line_time = now
            self.print_line(self._summary())
            for run_id, active in self.active.items():
                self.print_line(f"  {self._run_name(run_id)}: {_progress_text(active)}")

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
        test = f", test {100 - result.test.top1_error_pct:.1f} %" if result and result.test else ""
        took = (
            f", {format_clock(result.train_seconds + result.evaluation_seconds)}" if result else ""
        )
        return f"{count} {self._run_name(event.id)}: {event.status}{test}{took}"

    def _summary(self) -> str:
        speed = sum(active.images_per_second for active in self.active.values())
        seconds = self.time_estimator.seconds_left()
        pace = (
            f"about {format_clock(seconds)} left"
            if seconds is not None
            else f"{format_clock(time.monotonic() - self.start_time)} elapsed"
        )
        parts = [f"{len(self.finished)} of {format_count(len(self.runs), 'run')}", pace]
        parts += [f"{speed:,.0f} images/s"] if speed else []
        return ", ".join(parts) if self.active else f"{parts[0]}, starting"

    def _render(self) -> Group:
        done = sum(run.macs for run in self.runs.values() if run.id in self.finished)
        done += int(
            sum(
                self.runs[i].macs * a.step / a.total
                for i, a in self.active.items()
                if i in self.runs
            )
        )
        total = sum(run.macs for run in self.runs.values())
        rows = Table.grid(padding=(0, 2))
        rows.add_row(
            Text(self.title, style="bold"),
            ProgressBar(total, done, width=24),
            Text(self._summary()),
        )
        for run_id, active in self.active.items():
            bar = ProgressBar(active.total, active.step, width=24)
            rows.add_row(
                Text("  " + self._run_name(run_id)), bar, Text(_progress_text(active), style="dim")
            )
        return Group(rows)


def _progress_text(active: _RunProgress) -> str:
    score = (
        f", {active.split} {100 - active.error_pct:.1f} %" if active.error_pct is not None else ""
    )
    return f"epoch {active.epoch:.1f}{score}, {active.images_per_second:,.0f} images/s"


def format_clock(seconds: float) -> str:
    """Format a duration: `8 s`, `1:05 min`, `2:03 h`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{int(seconds) // 60}:{int(seconds) % 60:02d} min"
    return f"{int(seconds) // 3600}:{int(seconds) % 3600 // 60:02d} h"


def result_loader(root: Path) -> Callable[[str], Result | None]:
    """Return a function that reads the result of a run under `root`."""
    return lambda run_id: RunDirectory.find(root, run_id).result()


def execute_with_display(
    loaded: LoadedStudy,
    plan: Plan,
    root: Path,
    executor: Executor,
    should_stop: Callable[[], bool],
    mirrors: Sequence[Mirror] = (),
) -> None:
    """Execute the missing runs of a plan, display their progress and copy them to trackers."""
    pending = pending_runs(plan, root)
    finished = {run.id for run in plan.runs} - {run.id for run in pending}
    count = executor.max_parallel([Job(run.id, run.file) for run in pending])
    if shared := len(plan.runs) - len(plan.unique_runs):
        notify(shared_runs_note(shared))
    with (
        Display(plan.study.name, plan.unique_runs, finished, count, result_loader(root)) as display,
        BackgroundCopies(mirrors, display.print_line) as copies,
    ):
        for event in loaded.execute(plan, root, executor, should_stop, pending):
            display.update(event)
            copies.update(event)
