"""Ensembles of runs: accuracy of the mean of their probabilities on the test images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from resnetlab.runs.run_folder import RunFolder
from resnetlab.schema import strict_dataclass
from resnetlab.studies.plan import StudyRun
from resnetlab.studies.study import Ensemble

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    TestOutputs = tuple[NDArray[np.float64], NDArray[np.int64]]


@strict_dataclass
class EnsembleRow:
    """Ensemble of runs: a line of ensembles.csv, if the study declares ensembles."""

    ensemble: int
    """Index of the ensemble in the study, from 0."""
    condition: str = ""
    """Condition whose seeds are the members; empty if the members are conditions of one seed."""
    seed: int | None = None
    """Seed of the members if they are one run of each condition."""
    members: int
    """Number of networks whose probabilities are averaged."""
    images: int
    """Number of evaluated test images."""
    accuracy_pct: float
    """Accuracy of the mean of the probabilities on the test images."""
    members_pct: float
    """Mean accuracy of the members."""
    gain_low: float
    """Lower end of the 95 % interval of `gain`, in points, paired over the test images."""
    gain_high: float
    """Upper end of that interval."""

    @property
    def gain(self) -> float:
        """Gain over the mean accuracy of the members, in points."""
        return self.accuracy_pct - self.members_pct


def ensemble_rows(
    ensembles: Sequence[Ensemble], study_runs: Sequence[StudyRun]
) -> tuple[EnsembleRow, ...]:
    """Return the ensembles of a study, made from the trained runs among `study_runs`."""
    return tuple(
        joint
        for index, ensemble in enumerate(ensembles)
        for joint in _rows_of_ensemble(index, ensemble.conditions, study_runs)
    )


def _rows_of_ensemble(
    index: int, labels: tuple[str, ...], study_runs: Sequence[StudyRun]
) -> Iterator[EnsembleRow]:
    """Yield an ensemble for each condition, then one for each seed trained in every condition."""
    outputs: dict[str, dict[int, TestOutputs]] = {label: {} for label in labels}
    for study_run in study_runs:
        run_outputs = (
            _test_probabilities(study_run) if study_run.planned.condition in outputs else None
        )
        if run_outputs is not None:
            outputs[study_run.planned.condition][study_run.planned.seed] = run_outputs
    for label, runs in outputs.items():
        if len(runs) > 1:
            yield _ensemble_row(index, list(runs.values()), condition=label)
    if len(outputs) > 1:
        for seed in next(iter(outputs.values())):
            if all(seed in runs for runs in outputs.values()):
                yield _ensemble_row(index, [runs[seed] for runs in outputs.values()], seed=seed)


def _test_probabilities(study_run: StudyRun) -> TestOutputs | None:
    record = study_run.record
    trained = record is not None and record.result is not None and record.result.status == "trained"
    if record is not None and trained and record.folder:
        return RunFolder(Path(record.folder)).read_test_probabilities()
    return None


def _ensemble_row(
    index: int, members: list[TestOutputs], *, condition: str = "", seed: int | None = None
) -> EnsembleRow:
    from resnetlab.stats.ensembles import ensemble_result

    result = ensemble_result(
        [""] * len(members), [probabilities for probabilities, _ in members], members[0][1]
    )
    interval = result.over_mean.interval
    assert interval is not None, "a test split of one image"
    return EnsembleRow(
        ensemble=index,
        condition=condition,
        seed=seed,
        members=len(members),
        images=result.ensemble.images,
        accuracy_pct=result.ensemble.pct,
        members_pct=result.ensemble.pct - result.over_mean.points,
        gain_low=interval.low,
        gain_high=interval.high,
    )
