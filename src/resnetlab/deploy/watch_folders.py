"""Watch of folders for new photographs, by looking again and again. Free of torch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from resnetlab.data.config import FollowLinks
from resnetlab.data.paths import is_folder
from resnetlab.data.photo_loader import LazyImage, image_from_file
from resnetlab.deploy.inputs import find_image_paths
from resnetlab.errors import InputError, Problem

POLL_SECONDS = 1.0
"""Seconds between two readings of the folders."""

WAIT_SECONDS = 0.1
"""Longest time until a wait ends after the flag to stop was set."""

FileState = tuple[int, int]
"""Size in bytes and time of the last change in ns."""


def check_watched_folders(folders: Sequence[Path]) -> None:
    """Raise InputError unless all paths are folders."""
    problems = [
        Problem(str(path), "not a folder, which --watch needs", "give a folder")
        for path in folders
        if not is_folder(path)
    ]
    if problems:
        raise InputError(*problems)


def watch_folders(
    folders: Sequence[Path], follow_links: FollowLinks, should_stop: Callable[[], bool]
) -> Iterator[list[LazyImage]]:
    """Yield the photographs of folders as they come, those that are there first.

    A file is complete when its size and its time are those of the reading before, and it is not
    empty. Each complete file comes once; a file that changes later is a new one. Ends when
    `should_stop` returns True. Raises InputError if a folder is removed.
    """
    before: dict[Path, FileState] = {}
    finished: dict[Path, FileState] = {}
    while not should_stop():
        now = file_states(folders, follow_links)
        complete = {
            path: state
            for path, state in now.items()
            if before.get(path) == state and finished.get(path) != state
        }
        before = now
        finished |= complete
        if complete:
            yield [image_from_file(path, follow_links=follow_links != "no") for path in complete]
        end = time.monotonic() + POLL_SECONDS
        while not should_stop() and time.monotonic() < end:
            time.sleep(WAIT_SECONDS)


def file_states(folders: Sequence[Path], follow_links: FollowLinks) -> dict[Path, FileState]:
    """Return the size in bytes and the time of change of each photograph that is not empty.

    Args:
        folders: Folders that are searched with their subfolders.
        follow_links: Links that are followed, as in `find_image_paths`.
    """
    check_watched_folders(folders)
    states: dict[Path, FileState] = {}
    for path in find_image_paths(folders, follow_links)[0]:
        try:
            status = path.stat()
        except OSError:  # removed since it was listed
            continue
        if status.st_size:
            states[path] = status.st_size, status.st_mtime_ns
    return states
