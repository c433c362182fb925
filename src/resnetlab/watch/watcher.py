"""Loop that reads the files of a study and writes its report again when they change."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from resnetlab.analysis.collect import collect_study_data
from resnetlab.errors import InputError, first_line
from resnetlab.reports.run_page.write import MAX_DEFAULT_PAGES, write_run_pages
from resnetlab.reports.study.assemble import build_report
from resnetlab.reports.write import write_report
from resnetlab.studies.execution import read_plan
from resnetlab.studies.plan import Plan, StudyRecord
from resnetlab.translation import Language, tr, use_language
from resnetlab.watch.latest_page import LatestPage, LivePage
from resnetlab.watch.progress import status_line, study_progress
from resnetlab.watch.run_files import WatchedRunFiles

POLL_SECONDS = 1.0
"""Seconds between two readings of the files."""

MIN_REPORT_SECONDS = 3.0
"""Shortest time between two reports."""

POLL_SHARE, REPORT_SHARE = 0.05, 0.1
"""Largest shares of a core's time that reading, and reports while runs train, may take."""


class StudyWatcher:
    """Watcher of one study. It writes nothing into the folders of the study and of its runs.

    Args:
        plan: Plan of the study; the one that a study writes when it starts replaces it.
        find_folder: Function that returns the folder of the study's report, where a study that was
            started has its plan, or None before that.
        root: Folder that contains `runs` and `studies`.
        language: Language of the page.
    """

    def __init__(
        self, plan: Plan, find_folder: Callable[[], Path | None], root: Path, language: Language
    ) -> None:
        self.plan, self.find_folder, self.language = plan, find_folder, language
        self.folder = find_folder()
        self.root, self.run_files = root, WatchedRunFiles(root)
        with use_language(language):
            self.latest_page = LatestPage(LivePage(tr("the report is being written")))
        self._plan_state: object = None
        self._seen: object = None
        self._record: StudyRecord | None = None
        self._running: frozenset[str] = frozenset()
        self._reported: StudyRecord | None = None
        self._refreshed, self._problem = "", ""
        self.next_report = 0.0
        """Time of `time.monotonic` before which the report is not written again."""

    def watch(self, should_stop: Callable[[], bool] = lambda: False) -> None:
        """Read the files again and again, until `should_stop` returns True."""
        while not should_stop():
            start = time.thread_time()
            self.poll()
            spent = time.thread_time() - start
            self.refresh_report()
            time.sleep(max(POLL_SECONDS, spent / POLL_SHARE))

    def poll(self) -> None:
        """Read the files that have changed since the last reading, and publish the progress."""
        self._read_plan()
        states = (self._plan_state, self.run_files.states(self.plan, self._running))
        if states != self._seen:
            self._record, self._running = self.run_files.record(self.plan)
            self._seen = (states[0], self.run_files.states(self.plan, self._running))
            self._publish()

    def refresh_report(self) -> None:
        """Write the report again if the runs have changed and it is time to do so."""
        record = self._record
        if record is None or record == self._reported or time.monotonic() < self.next_report:
            return
        self._reported = record
        start = time.thread_time()
        try:
            page, files = self._build(record)
            self._problem = ""
        except Exception as error:  # the next change of the files may end it
            self._problem = first_line(error)
            self._publish()
        else:
            self._refreshed = time.strftime("%H:%M:%S")
            version = hashlib.sha256(page.encode()).hexdigest()[:16]
            self.latest_page.publish(
                status=self._status(record), version=version, report=page, files=files
            )
        cost = (time.thread_time() - start) / (REPORT_SHARE if self._running else 1.0)
        self.next_report = time.monotonic() + max(MIN_REPORT_SECONDS, cost)

    def _read_plan(self) -> None:
        """Read the plan again if a study that runs has written another one."""
        try:
            self.folder = self.folder or self.find_folder()
            if self.folder is None:
                return
            status = (self.folder / "plan.json").stat()
            if (state := (status.st_size, status.st_mtime_ns)) != self._plan_state:
                self._plan_state = state
                self.plan = read_plan(self.folder)
        except (OSError, InputError):  # removed, or not valid: the plan that is known stays
            return

    def _build(self, record: StudyRecord) -> tuple[str, dict[str, bytes]]:
        """Return the report as `study report` writes it, and the content of all its files.

        The pages of runs are written when the study has ended, as `study run` does.
        """
        study_data = collect_study_data(record, self.plan.command)
        report = build_report(study_data, self.language)
        with tempfile.TemporaryDirectory(prefix="resnetlab-watch-") as name:
            folder = Path(name)
            has_ended = all(run.state in ("finished", "missing") for run in record.runs)
            if has_ended and len(record.states) <= MAX_DEFAULT_PAGES:
                write_run_pages(record, report, self.root, folder)
            path = write_report(study_data, folder, report, has_run_pages=True)
            page = path.read_text(encoding="utf-8")
            files = {
                path.relative_to(folder).as_posix(): path.read_bytes()
                for path in folder.rglob("*")
                if path.is_file()
            }
        return page, files

    def _publish(self) -> None:
        if self._record is not None:
            self.latest_page.publish(status=self._status(self._record))

    def _status(self, record: StudyRecord) -> str:
        problems = [*self.run_files.problems, *([self._problem] if self._problem else [])]
        with use_language(self.language):
            return status_line(study_progress(record), self._refreshed, problems)
