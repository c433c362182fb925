"""Assignment of run folders to the exercises of a lesson. Free of torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from resnetlab.course.lessons import Exercise, lessons
from resnetlab.errors import ResnetlabError
from resnetlab.files import read_json
from resnetlab.runs.records import RunFile
from resnetlab.schema import decode

MIN_SIMILARITY = 2
"""Smallest number of parts (network, recipe, settings of the data) that a run has in common with
its exercise, if the folder was not given.
"""

EXACT = 3
"""Similarity of a run that is exactly the exercise: network, recipe and settings of the data."""


def assign_runs(
    exercises: Sequence[Exercise], folders: Sequence[Path], min_similarity: int
) -> list[tuple[Exercise, Path | None]]:
    """Assign each folder to the exercise that it is most similar to.

    Args:
        exercises: Exercises of a lesson.
        folders: Folders of runs.
        min_similarity: Smallest number of parts that a run has in common with its exercise; 0 for
            folders that a user gave, of which an exercise may have several. Otherwise it has at
            most one, the most similar and newest one, and no run of another exercise.

    Returns:
        Pairs of an exercise and a folder, or None for an exercise without a run.
    """
    chosen: dict[str, list[tuple[int, float, Path]]] = {item.name: [] for item in exercises}
    for folder in folders:
        scores = {exercise.name: _similarity(exercise, folder) for exercise in exercises}
        best = max(scores, key=lambda name: scores[name])
        if scores[best] < min_similarity:
            continue
        if min_similarity and scores[best] < EXACT and _is_exercise(folder):
            continue
        chosen[best].append((scores[best], folder.stat().st_mtime, folder))
    pairs: list[tuple[Exercise, Path | None]] = []
    for exercise in exercises:
        runs = [folder for _, _, folder in sorted(chosen[exercise.name])]
        for run in runs[-1:] if min_similarity else runs:
            pairs.append((exercise, run))
        if not runs:
            pairs.append((exercise, None))
    return pairs


def _is_exercise(folder: Path) -> bool:
    """Return True if a run is exactly that of an exercise of any lesson."""
    return any(
        _similarity(exercise, folder) == EXACT
        for lesson in lessons()
        for exercise in lesson.exercise
    )


def _similarity(exercise: Exercise, folder: Path) -> int:
    """Count what a run has in common with an exercise: network, recipe, settings of the data.

    A file that cannot be read has nothing in common.
    """
    file = _read_config(folder)
    if file is None:
        return 0
    protocol, run = exercise.protocol, file.run
    same_data = run.data == protocol.data.identity(run.data.sha256)
    return sum((run.model == protocol.model, run.recipe == protocol.recipe, same_data))


def _read_config(folder: Path) -> RunFile | None:
    path = folder / "run.json"
    try:
        file: RunFile = decode(RunFile, read_json(path), str(path))
    except ResnetlabError:
        return None
    return file
