"""Files of a study's runs, as another process writes them: their state, and the records in them.

Nothing here writes to a folder of a run.
"""

from __future__ import annotations

from pathlib import Path

from resnetlab.errors import ResnetlabError
from resnetlab.files import is_locked
from resnetlab.runs.killed import has_open_session
from resnetlab.runs.paths import LOCK, locate_runs
from resnetlab.runs.records import RunRecord
from resnetlab.runs.run_folder import CHECKED_FILES, RunFolder
from resnetlab.studies.plan import Plan, StudyRecord, make_record

FileState = tuple[int, int]
"""Size in bytes and time of the last change in ns."""

FolderState = tuple[FileState | None, ...]
"""States of the files of a run that training writes; None for a file that is absent."""


class WatchedRunFiles:
    """Run folders of a plan, read again only where a file changed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.problems: tuple[str, ...] = ()
        """Files that the last record lacks because they could not be read, each with the reason."""
        self._records: dict[Path, tuple[FolderState, RunRecord | None, str]] = {}

    def states(self, plan: Plan, running: frozenset[str]) -> dict[Path, tuple[FolderState, bool]]:
        """Return the state of each run's folder, and whether a process still trains the run.

        `running` has the ids of the runs that were training at the last reading. Only their locks
        are tried: this takes a free lock for an instant, and must not take it from a process that
        starts a run.
        """
        folders = locate_runs(self.root, [run.id for run in plan.runs])
        return {
            folder: (_folder_state(folder), run_id in running and is_locked(folder / LOCK))
            for run_id, folder in folders.items()
        }

    def record(self, plan: Plan) -> tuple[StudyRecord, frozenset[str]]:
        """Return the record of the study as it is now, and the ids of the runs that are training.

        A run whose files cannot be read counts as one that has not started; `problems` names it.
        """
        folders = locate_runs(self.root, [run.id for run in plan.runs])
        running = frozenset(run_id for run_id, folder in folders.items() if _is_training(folder))
        problems: list[str] = []

        def read_run(run_id: str) -> RunRecord | None:
            record, problem = self._read(folders[run_id])
            problems.extend([problem] if problem else [])
            return record

        study_record = make_record(plan, read_run, running)
        self.problems = tuple(dict.fromkeys(problems))
        return study_record, running

    def _read(self, folder: Path) -> tuple[RunRecord | None, str]:
        """Return the record in a folder, and the first problem of its files or an empty text."""
        state = _folder_state(folder)
        if folder in self._records and self._records[folder][0] == state:
            return self._records[folder][1:]
        record, problem = None, ""
        try:
            record = RunFolder(folder).record()
        except ResnetlabError as error:
            problem = f"{error.problems[0].where}: {error.problems[0].message}"
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            problem = f"{folder}: {type(error).__name__}: {error}"
        self._records[folder] = state, record, problem
        return record, problem


def _folder_state(folder: Path) -> FolderState:
    """Return the states of a run's files, and of its folder of diagnostics."""
    return tuple(_file_state(folder / name) for name in (*CHECKED_FILES, "diagnostics"))


def _file_state(path: Path) -> FileState | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _is_training(folder: Path) -> bool:
    """Return True if the last session of a run has no end and a process has the lock."""
    if (folder / "result.json").exists():
        return False
    try:
        return has_open_session(folder) and is_locked(folder / LOCK)
    except OSError:  # somebody removes the folder
        return False
