"""Partial reports of a study, while its runs are executed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from resnetlab.errors import InputError, UnfinishedError
from resnetlab.studies.executors.messages import RunEvent

REPORT_TIME_FRACTION = 0.02
"""Largest share of the time since the last partial report that writing the next one may take."""


def with_partial_reports(
    events: Iterable[RunEvent], write_report: Callable[[], object]
) -> Iterator[RunEvent]:
    """Yield the events, and write a report in another thread after a run that has ended.

    No report is written if that would take too large a share of the time since the last one.
    """
    written, cost = time.monotonic(), 0.0

    def timed() -> tuple[float, float]:
        start = time.monotonic()
        # Another process may be writing a file that the report reads. The next report has it.
        with contextlib.suppress(InputError, UnfinishedError):
            write_report()
        return time.monotonic(), time.monotonic() - start

    with ThreadPoolExecutor(1) as pool:
        report: Future[tuple[float, float]] | None = None
        for event in events:
            yield event
            if report is not None and report.done():
                (written, cost), report = report.result(), None
            affordable = cost <= REPORT_TIME_FRACTION * (time.monotonic() - written)
            if event.kind in ("finished", "missing") and affordable and report is None:
                report = pool.submit(timed)
