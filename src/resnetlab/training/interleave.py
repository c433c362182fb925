"""Several runs side by side in one process: each takes a step in turn, and has the bits that it has alone.

Nothing passes between them. On a GPU each queues its steps on a stream of its own, so that the small kernels of one
fill what those of another leave idle.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def take_turns(runs: Iterable[Generator[None, None, T]]) -> Iterator[tuple[int, T]]:
    """Go on with each of `runs` in turn until all have ended; the place of each and what it returned, as it ends.

    What one raises ends them all.
    """
    going = dict(enumerate(runs))
    try:
        while going:
            for place, run in list(going.items()):
                try:
                    next(run)
                except StopIteration as ended:
                    del going[place]
                    yield place, ended.value
    finally:
        for run in going.values():
            run.close()
