"""Replication of some runs of a committed result from Python: the command `verify`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from resnetlab.api import replication
from resnetlab.api.loaded_study import LoadedStudy
from resnetlab.api.replication import Replication
from resnetlab.messages import silent
from resnetlab.notebook import ObjectSummary, print_note, with_summary
from resnetlab.recipes.numerics import Placement
from resnetlab.studies.executors.local import LocalExecutor
from resnetlab.studies.plan import Plan


@with_summary
@dataclass(frozen=True)
class Verification:
    """Outcome of `verify`: each reported run with its replication here."""

    replications: tuple[Replication, ...]

    @property
    def is_consistent(self) -> bool:
        """True if every replication agrees with the reported run."""
        return all(item.is_consistent is True for item in self.replications)

    def __iter__(self) -> Iterator[Replication]:
        return iter(self.replications)

    def _summary(self) -> ObjectSummary:
        lines = [replication.format_replication(item) for item in self.replications]
        return ObjectSummary(replication.summary(self.replications), lines=lines)


def verify(
    result: str | Path,
    *,
    runs: int = 2,
    seed: int = 0,
    data: str = "",
    output: str | Path | None = None,
    progress: bool = True,
) -> Verification:
    """Repeat some runs of a report, and check them against its prediction intervals.

    Args:
        result: Folder of a report, such as `results/digits`.
        runs: Number of runs to repeat.
        seed: Seed of the draw of these runs.
        data: Path of the data on this machine; empty for that of the study.
        output: Folder for `runs` and `cache`; None for one in the cache, which is removed at the
            end.
        progress: Show the progress: a bar in a notebook and on a terminal, lines elsewhere.

    Returns:
        The pairs of a reported run and its replication.

    Raises:
        InputError: There is no report, or the data cannot be read.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(result)
        root = (
            Path(output)
            if output is not None
            else stack.enter_context(replication.replication_folder(folder))
        )

        def train(loaded: LoadedStudy, plan: Plan) -> bool:
            executor = LocalExecutor(root, Placement())
            loaded.execute_with_progress(plan, root, executor, progress=progress)
            return True

        notify = print_note if progress else silent
        repeated = replication.replicate_runs(
            folder, root, num_runs=runs, seed=seed, data=data, notify=notify, train=train
        )
        return Verification(tuple(repeated))
