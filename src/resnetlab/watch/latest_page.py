"""Latest page of a study, which one thread writes and the connections of browsers read."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class LivePage:
    """Report of a study at one time, with the line above it."""

    status: str
    """Progress of the study, in one line."""
    version: str = ""
    """Hash of the report; empty before the first one."""
    report: str = ""
    """Report as HTML, as `study report` writes it."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Content of the report's files, by the path that its links have."""


class LatestPage:
    """The latest page. `wait` blocks until it changes."""

    def __init__(self, page: LivePage) -> None:
        self.page = page
        self._changed = threading.Condition()
        self._number = 0

    def publish(self, **changes: Any) -> None:
        """Replace fields of the page, and wake up the connections if that changes it."""
        with self._changed:
            page = replace(self.page, **changes)
            if page != self.page:
                self.page, self._number = page, self._number + 1
                self._changed.notify_all()

    def wait(self, number: int, seconds: float) -> tuple[int, LivePage]:
        """Return the number and the page of the first change after `number`.

        After `seconds` without a change the number is the same. Numbers begin with 0.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._number != number, seconds)
            return self._number, self.page
