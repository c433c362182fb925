"""Assignment of run folders to the exercises of a lesson. Free of torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from resnetlab.course.lessons import Exercise
from resnetlab.errors import ResnetlabError
from resnetlab.files import read_json
from resnetlab.runs.records import RunFile
from resnetlab.schema import decode

MIN_SIMILARITY = 2
"""Smallest number of parts (network, recipe, settings of the data) that a run has in common with
its exercise, if the folder was not given.
"""


def assign_runs(
    exercises: Sequence[Exercise], folders: Sequence[Path], strict: bool
) -> list[tuple[Exercise, Path | None]]:
    """Assign each folder to the exercise that it is most similar to.

    Args:
        exercises: Exercises of a lesson.
        folders: Folders of runs.
        strict: True if a run with little in common with an exercise belongs to none; then an
            exercise has at most one run, the most similar and newest one.

    Returns:
        Pairs of an exercise and a folder, or None for an exercise without a run.
    """
    chosen: dict[str, list[tuple[int, float, Path]]] = {item.name: [] for item in exercises}
    for folder in folders:
        scores = {exercise.name: _similarity(exercise, folder) for exercise in exercises}
        best = max(scores, key=lambda name: scores[name])
        if not strict or scores[best] >= MIN_SIMILARITY:
            chosen[best].append((scores[best], folder.stat().st_mtime, folder))
    pairs: list[tuple[Exercise, Path | None]] = []
    for exercise in exercises:
        runs = [folder for _, _, folder in sorted(chosen[exercise.name])]
        for run in runs[-1:] if strict else runs:
            pairs.append((exercise, run))
        if not runs:
            pairs.append((exercise, None))
    return pairs


def _similarity(exercise: Exercise, folder: Path) -> int:
    """Count what a run has in common with an exercise: network, recipe, settings of the data.

    A file that cannot be read has nothing in common.
    """
    file = _read_config(folder)
    if file is None:
        return 0
    protocol, run = exercise.protocol, file.run
    same_data = run.data == protocol.identity(run.data.sha256)
    return sum((run.model == protocol.model, run.recipe == protocol.recipe, same_data))


def _read_config(folder: Path) -> RunFile | None:
    path = folder / "run.json"
    try:
        file: RunFile = decode(RunFile, read_json(path), str(path))
    except ResnetlabError:
        return None
    return file
