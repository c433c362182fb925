"""Progress of a study as one line: runs that are finished, training, waiting and missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from resnetlab.reports.format import format_duration
from resnetlab.studies.plan import StudyRecord, StudyRun
from resnetlab.studies.timing.time_estimate import TimeEstimator
from resnetlab.translation import tr, tr_count

MAX_NAMED_RUNS = 4
"""Number of training runs that the line names."""


@dataclass(frozen=True)
class TrainingRun:
    """Run that a process trains now."""

    condition: str
    seed: int
    epoch: float | None
    """Number of epochs before the last evaluation; None if the run records none."""
    epochs: float
    """Number of epochs of the whole run."""


@dataclass(frozen=True)
class StudyProgress:
    """Progress of a study. A run that several conditions share counts once."""

    planned: int
    finished: int
    waiting: int
    """Number of runs that have not started or were interrupted."""
    missing: int
    """Number of runs that failed and are not tried again."""
    training: tuple[TrainingRun, ...]
    seconds_left: float | None
    """Estimated time of all unfinished runs; None if nothing tells it."""

    @property
    def is_complete(self) -> bool:
        """True if no run is left to train."""
        return self.finished + self.missing == self.planned


def study_progress(record: StudyRecord) -> StudyProgress:
    """Return the progress of a study."""
    states = list(record.states.values())
    study_runs = list({study_run.planned.id: study_run for study_run in record.runs}.values())
    training = [study_run for study_run in study_runs if study_run.state == "running"]
    return StudyProgress(
        planned=len(states),
        finished=states.count("finished"),
        waiting=states.count("waiting"),
        missing=states.count("missing"),
        training=tuple(map(_training_run, training)),
        seconds_left=_seconds_left(study_runs, len(training)) if training else None,
    )


def status_line(progress: StudyProgress, refreshed: str, problems: Sequence[str] = ()) -> str:
    """Return the progress in one line, in the language in use.

    Args:
        progress: Progress of the study.
        refreshed: Time at which the page was written, or an empty text before that.
        problems: Files that could not be read.
    """
    finished = tr(
        "{finished} of {runs} finished",
        finished=progress.finished,
        runs=tr_count(progress.planned, "run"),
    )
    parts = [finished, *_training_parts(progress)]
    if progress.waiting:
        parts.append(tr("{count} waiting", count=progress.waiting))
    if progress.missing:
        parts.append(tr("{count} missing", count=progress.missing))
    if progress.seconds_left is not None:
        parts.append(tr("about {duration} left", duration=format_duration(progress.seconds_left)))
    if progress.is_complete:
        parts.append(tr("this is the final report"))
    elif not progress.training:
        parts.append(tr("no run is training now"))
    parts += [tr("not shown: {problem}", problem=problem) for problem in problems[:1]]
    if refreshed:
        parts.append(tr("refreshed at {time}", time=refreshed))
    return " · ".join(parts)


def _training_parts(progress: StudyProgress) -> list[str]:
    """Return the part of the line with the runs that are training, or none."""
    if not progress.training:
        return []
    names = [_describe(run) for run in progress.training[:MAX_NAMED_RUNS]]
    if more := len(progress.training) - len(names):
        names.append(tr("{count} more", count=more))
    return [tr("training: {runs}", runs="; ".join(names))]


def _describe(run: TrainingRun) -> str:
    name = tr("{condition}, seed {seed}", condition=run.condition, seed=run.seed)
    if run.epoch is None:
        return name
    return tr(
        "{run} (epoch {epoch:g} of {epochs:g})",
        run=name,
        epoch=round(run.epoch, 1),
        epochs=round(run.epochs, 1),
    )


def _training_run(study_run: StudyRun) -> TrainingRun:
    metrics = study_run.record.metrics if study_run.record else ()
    epochs = study_run.planned.config.recipe.num_epochs(study_run.planned.file.train_images)
    epoch = metrics[-1].epoch if metrics else None
    return TrainingRun(study_run.planned.condition, study_run.planned.seed, epoch, epochs)


def _seconds_left(study_runs: Sequence[StudyRun], parallel_runs: int) -> float | None:
    """Estimate the time of all unfinished runs from the steps that the files record."""
    finished = [
        study_run.planned.id
        for study_run in study_runs
        if study_run.state in ("finished", "missing")
    ]
    estimator = TimeEstimator(
        [study_run.planned for study_run in study_runs], finished, parallel_runs
    )
    for study_run in study_runs:
        steps, total, seconds = _steps(study_run)
        if steps:
            estimator.update(study_run.planned.id, 0, total, 0.0)
            estimator.update(study_run.planned.id, min(steps, total), total, seconds)
    return estimator.seconds_left()


def _steps(study_run: StudyRun) -> tuple[int, int, float]:
    """Return the steps of a run so far, those of the whole run, and the seconds so far."""
    file, record = study_run.planned.file, study_run.record
    total = file.run.recipe.total_steps(file.train_images)
    if record is None:
        return 0, total, 0.0
    if (result := record.result) is not None:
        seconds = result.train_seconds + result.evaluation_seconds
        return (result.step if seconds else 0), total, seconds
    if not record.metrics:
        return 0, total, 0.0
    last = record.metrics[-1]
    return last.step, total, last.seconds
