"""Round robin over several runs in one process.

Each run takes one step in turn and gets the same bits as when it runs alone. The runs share no
state. On a GPU each run queues its steps on its own stream, so that the small kernels of one run
fill the gaps that another leaves.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def round_robin(runs: Iterable[Generator[None, None, T]]) -> Iterator[tuple[int, T]]:
    """Advance `runs` in turn until all have ended; yield (index, return value) of each.

    An exception in one run ends them all.
    """
    active = dict(enumerate(runs))
    try:
        while active:
            for index, run in list(active.items()):
                try:
                    next(run)
                except StopIteration as finished:
                    del active[index]
                    yield index, finished.value
    finally:
        for run in active.values():
            run.close()
