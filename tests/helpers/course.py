"""A short exercise of the course, and students who train it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import resnetlab as rl
from resnetlab.course.lessons import Exercise, ExerciseClaim, Lesson, load_lesson

SHORT = Exercise(
    name="short",
    en="A short training.",
    fr="Un court apprentissage.",
    model="cifar-resnet8",
    data="digits",
    recipe="digits",
    settings=(
        "recipe.epochs=1",
        "data.train_images=300",
        "data.validation=0.0",
        "data.test_curve=true",
        "numerics.precision=fp32",
        "numerics.threads=1",
    ),
)
NAMES = ("Ada Lovelace", "Emmy Noether", "Sophie Germain")


def lesson_of(*exercises: Exercise, claims: tuple[ExerciseClaim, ...] = ()) -> Lesson:
    return replace(load_lesson(9), exercise=exercises, claim=claims)


def train_exercise(exercise: Exercise, seed: int, root: Path) -> rl.RunRecord:
    return rl.train(
        exercise.model,
        exercise.data,
        exercise.recipe,
        seed=seed,
        settings=exercise.settings,
        output=root,
    )


def run_folder(submission: Path) -> Path:
    (path,) = (submission / "runs").iterdir()
    return path
