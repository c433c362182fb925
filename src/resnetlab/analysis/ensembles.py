"""Runs that answer together, from what each said of the test images: the mean of their probabilities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from resnetlab.runs.directory import RunDirectory
from resnetlab.schema import spec
from resnetlab.studies.plan import Cell
from resnetlab.studies.study import Ensemble

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Answers = tuple[NDArray[np.float64], NDArray[np.int64]]


@spec
class Joint:
    """Runs that answer together: a line of ensembles.csv, where the study asked for it."""

    ensemble: int
    """Which of the study's, from 0."""
    condition: str = ""
    """Whose runs of all seeds they are; empty: one run of each of the ensemble's conditions."""
    seed: int | None = None
    """Of those."""
    members: int
    images: int
    accuracy_pct: float
    """By the mean of the probabilities, on the test images."""
    members_pct: float
    """The mean accuracy of the members."""
    gain_low: float
    """In points over that mean: the 95 % interval, paired over the test images."""
    gain_high: float

    @property
    def gain(self) -> float:
        """Points over the mean of the members."""
        return self.accuracy_pct - self.members_pct


def joints(ensembles: Sequence[Ensemble], cells: Sequence[Cell]) -> tuple[Joint, ...]:
    """What the converged runs among `cells` reach together, as the study asks."""
    return tuple(joint for place, ensemble in enumerate(ensembles) for joint in _of(place, ensemble.of, cells))


def _of(place: int, labels: tuple[str, ...], cells: Sequence[Cell]) -> Iterator[Joint]:
    """The converged runs of each condition together, then those of each seed where every condition has one."""
    held: dict[str, dict[int, Answers]] = {label: {} for label in labels}
    for cell in cells:
        found = _answers(cell) if cell.run.condition in held else None
        if found is not None:
            held[cell.run.condition][cell.run.seed] = found
    for label, runs in held.items():
        if len(runs) > 1:
            yield _joint(place, list(runs.values()), condition=label)
    if len(held) > 1:
        for seed in next(iter(held.values())):
            if all(seed in runs for runs in held.values()):
                yield _joint(place, [runs[seed] for runs in held.values()], seed=seed)


def _answers(cell: Cell) -> Answers | None:
    record = cell.record
    converged = record is not None and record.result is not None and record.result.status == "converged"
    return RunDirectory(Path(record.folder)).answers() if record is not None and converged and record.folder else None


def _joint(place: int, members: list[Answers], *, condition: str = "", seed: int | None = None) -> Joint:
    from resnetlab.deploy.ensemble_stats import weigh

    found = weigh([""] * len(members), [probabilities for probabilities, _ in members], members[0][1])
    interval = found.over_mean.interval
    assert interval is not None, "a test split of one image"
    return Joint(
        ensemble=place, condition=condition, seed=seed, members=len(members), images=found.together.images,
        accuracy_pct=found.together.pct, members_pct=found.together.pct - found.over_mean.points,
        gain_low=interval.low, gain_high=interval.high,
    )  # fmt: skip
