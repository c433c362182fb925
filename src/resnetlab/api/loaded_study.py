"""Loaded studies: plan, execute and report a study that was read and checked."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from resnetlab.analysis.collect import collect_study_data
from resnetlab.analysis.looks import with_looks
from resnetlab.api.plan_looks import plan_looks
from resnetlab.api.study_summary import StudySummary, curves_table, runs_table
from resnetlab.files import write_text
from resnetlab.messages import Notify, shared_runs_note, silent
from resnetlab.notebook import ObjectSummary, print_note, with_summary
from resnetlab.recipes.numerics import Placement
from resnetlab.reports.partial import with_partial_reports
from resnetlab.reports.render.latex import write_latex
from resnetlab.reports.run_page.write import MAX_DEFAULT_PAGES, write_run_pages
from resnetlab.reports.study.assemble import build_report
from resnetlab.reports.write import write_report
from resnetlab.schema import encode
from resnetlab.signals import ShouldStop, never_stop
from resnetlab.studies.command_lines import study_command, study_file_path
from resnetlab.studies.execution import execute_runs, pending_runs, read_record, save_plan
from resnetlab.studies.executors.base import Executor
from resnetlab.studies.executors.local import LocalExecutor
from resnetlab.studies.executors.messages import RunEvent
from resnetlab.studies.plan import Plan, PlannedRun, StudyRecord, folder_name
from resnetlab.studies.planning import check_licenses, plan_study
from resnetlab.studies.study import Study
from resnetlab.table import Table
from resnetlab.torch_check import check_torch
from resnetlab.tracking.tracker_copy import (
    BackgroundCopies,
    TrackerCopy,
    copy_reports,
    open_tracker_copies,
)
from resnetlab.translation import Language


@with_summary
@dataclass(frozen=True)
class LoadedStudy:
    """Study that was read and checked, ready to run: `rl.load_study("digits").run()`."""

    study: Study
    command: str = ""
    """Command line that repeats the study; the report prints it."""
    resume_command: str = ""
    """Command line that continues the study on this machine, with all paths."""
    source_sha256: str = ""
    """SHA-256 of the study file and of the files that it names."""
    language: Language = "en"
    """Language of the reports. Texts of the study file stay as they are."""
    file_text: str = ""
    """Text of the study file, for a study from a dictionary, which has no file yet."""

    def plan(
        self,
        output: str | Path = ".",
        notify: Notify = silent,
        executor: Executor | None = None,
        download: bool = True,
    ) -> Plan:
        """Open the data and list the runs of the study. Trains and writes nothing.

        Args:
            output: Folder that contains `runs` and `studies`.
            notify: Function that gets a line about the data.
            executor: Machines of the runs, which resolve `auto` in the numerics; None for this
                machine.
            download: Download data that are not on this machine. Otherwise the ids of their runs
                are not final.

        Returns:
            The plan: every run with its id.

        Raises:
            InputError: The data cannot be read, or a network does not fit them.
        """
        plan = plan_study(
            self.study,
            Path(output),
            executor or _local_executor(output),
            notify,
            self.command,
            resume_command=self._continue_command(output),
            download=download,
        )
        return replace(plan, source_sha256=self.source_sha256)

    def plan_looks(
        self,
        output: str | Path = ".",
        notify: Notify = silent,
        max_seeds: int | None = None,
        executor: Executor | None = None,
        accept_license: bool = False,
    ) -> Iterator[Plan]:
        """Yield the plans of the study. The caller executes each plan before it asks for the next.

        Without `max_seeds` there is one plan. With it there is one plan for each interim look,
        at 3, 5 and 10 seeds per condition: only conditions of claims that are still undecided get
        more seeds.

        Args:
            output: Folder that contains `runs` and `studies`.
            notify: Function that gets a line about the data.
            max_seeds: Largest number of seeds per condition; None for the seeds of the study.
            executor: Machines of the runs; None for this machine.
            accept_license: Accept pre-trained weights whose license forbids commercial use.

        Raises:
            InputError: The data are invalid, or a license was not accepted.
        """
        if not accept_license:
            check_licenses(self.study)
        if max_seeds is None:
            yield self.plan(output, notify, executor)
            return
        for plan in plan_looks(
            with_looks(self.study, max_seeds),
            Path(output),
            executor or _local_executor(output),
            notify,
            f"{self.command} --until-decided --max-seeds {max_seeds}",
            self._continue_command(output, max_seeds),
        ):
            yield replace(plan, source_sha256=self.source_sha256)

    def execute(
        self,
        plan: Plan,
        output: str | Path = ".",
        executor: Executor | None = None,
        should_stop: ShouldStop = never_stop,
        pending: Sequence[PlannedRun] | None = None,
    ) -> Iterator[RunEvent]:
        """Execute the missing runs of a plan, yield their events, and keep the report up to date.

        A partial report follows each run, unless writing it would take more than 2 % of the time
        since the last one. Another thread writes it, so that no worker waits for its next run.

        Args:
            plan: Plan of this study.
            output: Folder that contains `runs` and `studies`.
            executor: Machines of the runs; None for worker processes on this machine.
            should_stop: Function that is called between steps. If it returns True, each run writes
                a checkpoint and the iterator ends.
            pending: Missing runs of the plan, if the caller has determined them.

        Yields:
            Progress, ends and failures of the runs.

        Raises:
            ResourceError: The disk is full. Finished runs are not lost.
        """
        check_torch()
        root = Path(output)
        self._save(plan, root)
        runs = pending_runs(plan, root) if pending is None else pending
        events = execute_runs(runs, executor or _local_executor(root), should_stop)
        yield from with_partial_reports(events, lambda: self.report(plan, root, run_pages=False))

    def execute_with_progress(
        self,
        plan: Plan,
        output: str | Path,
        executor: Executor,
        should_stop: ShouldStop = never_stop,
        *,
        progress: bool = True,
        tracker_copies: Sequence[TrackerCopy] = (),
    ) -> None:
        """Execute the missing runs of a plan to the end and show their progress.

        Args:
            plan: Plan of this study.
            output: Folder that contains `runs` and `studies`.
            executor: Machines of the runs.
            should_stop: Function as in `execute`.
            progress: Show the progress of the runs; otherwise only failed attempts are shown.
            tracker_copies: Trackers that get a copy of the runs.

        Raises:
            ResourceError: The disk is full. Finished runs are not lost.
        """
        from resnetlab.studies.progress import plan_display  # it imports rich

        root = Path(output)
        pending = pending_runs(plan, root)
        if progress and (shared := len(plan.runs) - len(plan.unique_runs)):
            print_note(shared_runs_note(shared))
        with (
            plan_display(plan, pending, executor, root, quiet=not progress) as display,
            BackgroundCopies(
                tracker_copies, display.print_line if progress else warnings.warn
            ) as copies,
        ):
            for event in self.execute(plan, root, executor, should_stop, pending):
                display.update(event)
                copies.update(event)

    def report(
        self,
        plan: Plan,
        output: str | Path = ".",
        language: Language | None = None,
        run_pages: bool | None = None,
    ) -> StudySummary:
        """Write the report of the runs that are finished now.

        Args:
            plan: Plan of this study.
            output: Folder that contains `runs` and `studies`.
            language: Language of the report; None for that of this study. The summary is English.
            run_pages: Write a page for each finished run, which the report links; None for a study
                of at most 200 runs.

        Returns:
            The summary: the state of every run, the answer, the claims and the path of the report.
        """
        root = Path(output)
        record = read_record(plan, root)
        study_data = collect_study_data(record, plan.command)
        language = language or self.language
        report = build_report(study_data)
        folder = root / "studies" / folder_name(plan)
        if not (folder / "plan.json").exists():
            self._save(plan, root)
        translated = report if language == "en" else build_report(study_data, language)
        if run_pages is None:
            run_pages = len(record.states) <= MAX_DEFAULT_PAGES
        if run_pages:
            write_run_pages(record, translated, root, folder)
        page = write_report(study_data, folder, translated, english=report, has_run_pages=True)
        claims = tuple(
            encode(verdict) | {"explanation": item.note}
            for verdict, item in zip(report.claim_verdicts, report.verdicts, strict=True)
        )
        first_loss = tuple(f"first loss {text}" for text in report.first_loss)
        return StudySummary(record, report.answer, page, claims, first_loss)

    def latex(self, plan: Plan, output: str | Path = ".", language: Language | None = None) -> Path:
        """Write the report as LaTeX with booktabs tables and PDF figures.

        Args:
            plan: Plan of this study.
            output: Folder that contains `runs` and `studies`.
            language: Language of the report; None for that of this study.

        Returns:
            Path of the .tex file.
        """
        root = Path(output)
        study_data = collect_study_data(read_record(plan, root), plan.command)
        report = build_report(study_data, language or self.language)
        return write_latex(report, root / "studies" / folder_name(plan))

    def run(
        self,
        output: str | Path = ".",
        *,
        workers: int = 0,
        should_stop: ShouldStop = never_stop,
        max_seeds: int | None = None,
        executor: Executor | None = None,
        accept_license: bool = False,
        track: Sequence[str] = (),
        progress: bool = True,
    ) -> StudySummary:
        """Run the missing runs of the study under `output`/runs and write its report under
        `output`/studies.

        Finished runs are read, not run again. An interrupted run continues from its last
        checkpoint.

        Args:
            output: Folder that contains `runs` and `studies`.
            workers: Number of processes on this machine; 0 chooses it from the number of cores.
            should_stop: Function that is called between steps; training ends with a checkpoint once
                it returns True.
            max_seeds: Largest number of seeds per condition. Seeds are added at interim looks
                until every claim is decided.
            executor: Machines of the runs, instead of processes on this machine.
            accept_license: Accept pre-trained weights whose license forbids commercial use.
            track: Trackers that get a copy of the runs and of the report: `tensorboard`, `mlflow`,
                `wandb`, `trackio`.
            progress: Show the progress: a bar in a notebook and on a terminal, lines elsewhere.

        Returns:
            The summary: the state of every run, the answer, the claims and the path of the report.

        Raises:
            InputError: The study, its data or an option is invalid.
            ResourceError: The disk is full.
        """
        executor = executor or LocalExecutor(Path(output), Placement(workers=workers))
        *_, last = self.run_looks(
            output,
            executor,
            should_stop,
            max_seeds=max_seeds,
            accept_license=accept_license,
            track=track,
            progress=progress,
        )
        return last

    def run_looks(
        self,
        output: str | Path,
        executor: Executor,
        should_stop: ShouldStop = never_stop,
        *,
        max_seeds: int | None = None,
        accept_license: bool = False,
        track: Sequence[str] = (),
        progress: bool = True,
        warn: Notify = warnings.warn,
    ) -> Iterator[StudySummary]:
        """Run the missing runs and write the report, one interim look after another.

        The arguments are those of `run`; `warn` receives the line of a tracker that failed. Without
        `max_seeds` there is one look.

        Yields:
            The summary of each look. If the study was stopped, the caller leaves the loop.
        """
        check_torch()
        notify = print_note if progress else silent
        for plan in self.plan_looks(output, notify, max_seeds, executor, accept_license):
            tracker_copies = open_tracker_copies(track, plan, Path(output))
            self.execute_with_progress(
                plan,
                output,
                executor,
                should_stop,
                progress=progress,
                tracker_copies=tracker_copies,
            )
            summary = self.report(plan, output)
            copy_reports(tracker_copies, warn)
            yield summary

    def events(
        self,
        output: str | Path = ".",
        *,
        workers: int = 0,
        should_stop: ShouldStop = never_stop,
        max_seeds: int | None = None,
        executor: Executor | None = None,
        accept_license: bool = False,
    ) -> Iterator[RunEvent]:
        """Run the missing runs of the study as `run` does, and yield each event of a run.

        The loop that asks for the events may log them, stop, or ignore them. The report is written
        before the loop ends; `run` then trains nothing and returns the summary.

        Args:
            output: Folder that contains `runs` and `studies`.
            workers: Number of processes on this machine; 0 chooses it from the number of cores.
            should_stop: Function as in `run`.
            max_seeds: Largest number of seeds per condition, as in `run`.
            executor: Machines of the runs, instead of processes on this machine.
            accept_license: Accept pre-trained weights whose license forbids commercial use.

        Yields:
            Progress with the evaluations since the last event, ends and failures of the runs. An
            `idle` event marks only that time has passed.

        Raises:
            InputError: The study, its data or an option is invalid.
            ResourceError: The disk is full.
        """
        check_torch()
        executor = executor or LocalExecutor(Path(output), Placement(workers=workers))
        for plan in self.plan_looks(output, silent, max_seeds, executor, accept_license):
            yield from self.execute(plan, output, executor, should_stop)
            self.report(plan, output)

    def runs(self, output: str | Path = ".") -> Table:
        """Return the planned runs and their present results as a table; see `StudySummary.runs`.

        Args:
            output: Folder that contains `runs` and `studies`.
        """
        return runs_table(self._record(output))

    def curves(self, output: str | Path = ".") -> Table:
        """Return the evaluations so far as a table; see `StudySummary.curves`.

        Args:
            output: Folder that contains `runs` and `studies`.
        """
        return curves_table(self._record(output))

    def _record(self, output: str | Path) -> StudyRecord:
        return read_record(self.plan(output, download=False), Path(output))

    def _summary(self) -> ObjectSummary:
        return self.study._summary()

    def _save(self, plan: Plan, root: Path) -> None:
        """Write the plan, and the study file of a study from a dictionary."""
        save_plan(plan, root)
        if self.file_text:
            write_text(root / study_file_path(self.study.name), self.file_text)

    def _continue_command(self, output: str | Path, max_seeds: int | None = None) -> str:
        name = self.study.name if self.file_text else ""
        return study_command(self.resume_command, output, name, max_seeds)


def _local_executor(output: str | Path) -> Executor:
    return LocalExecutor(Path(output), Placement())
