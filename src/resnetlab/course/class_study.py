"""Study of a class: the honest runs of all students as the seeds of one study.

Its report is the lesson on variance: the same network, the same data and the same recipe give
another accuracy for each student.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from resnetlab.analysis.collect import collect_study_data
from resnetlab.checksums import read_checksums
from resnetlab.course.classroom import Submission
from resnetlab.course.lessons import Lesson
from resnetlab.course.texts import Text, localize
from resnetlab.files import remove_tree
from resnetlab.recipes.numerics import Numerics
from resnetlab.reports.study.assemble import build_report
from resnetlab.reports.write import write_report
from resnetlab.runs.records import RunRecord
from resnetlab.runs.run_folder import RunFolder
from resnetlab.stats.intervals import mean, variance
from resnetlab.studies.claims import Better
from resnetlab.studies.plan import PlannedRun, StudyRecord, StudyRun
from resnetlab.studies.study import Condition, Study

MIN_STUDENTS = 2
"""Smallest number of students with honest runs for a study."""


def honest_submissions(submissions: Sequence[Submission], lesson: Lesson) -> list[Submission]:
    """Return the submissions whose required runs of a lesson are there and not failed."""
    chosen = []
    for item in submissions:
        runs = [item.run(exercise) for exercise in lesson.required_exercises]
        if not item.problem and all(run and run.result in ("passed", "unusual") for run in runs):
            chosen.append(item)
    return chosen


def write_class_study(submissions: Sequence[Submission], lesson: Lesson, out: Path) -> Path | None:
    """Write the report of the study of a lesson's honest runs into `out`/studies.

    The runs are linked or copied into `out`/runs, so that `resnetlab verify` and other commands
    read them.

    Returns:
        Path of the HTML report, or None if fewer than two students have all runs of the lesson.
    """
    honest = honest_submissions(submissions, lesson)
    if not lesson.required_exercises or len(honest) < MIN_STUDENTS:
        return None
    records = _records(honest, lesson, out)
    study_runs = []
    for exercise in lesson.required_exercises:
        for record in records[exercise.name]:
            planned = PlannedRun(
                condition=exercise.name,
                seed=record.config.seed,
                id=record.id,
                file=record.file,
            )
            study_runs.append(StudyRun(planned, "finished", record))
    study = _study(lesson, [item.student.seed for item in honest if item.student])
    study_data = collect_study_data(
        StudyRecord(study, tuple(study_runs)), "resnetlab course class SUBMISSIONS"
    )
    return write_report(study_data, out / "studies" / study.name, build_report(study_data))


def _records(honest: Sequence[Submission], lesson: Lesson, out: Path) -> dict[str, list[RunRecord]]:
    records: dict[str, list[RunRecord]] = {}
    for exercise in lesson.required_exercises:
        for item in honest:
            run = item.run(exercise)
            assert run is not None
            assert run.folder is not None
            target = out / "runs" / run.folder.name
            _copy_run(run.folder, target)
            record = RunFolder(target).record()
            assert record is not None
            records.setdefault(exercise.name, []).append(record)
    return records


def _copy_run(folder: Path, target: Path) -> None:
    """Link or copy a run as a whole, unless the same run is there; replace one that has changed."""
    if target.exists():
        if read_checksums(target) == read_checksums(folder):
            return
        remove_tree(target)
    partial = target.with_name(f".{target.name}.part")
    if partial.exists():
        remove_tree(partial)
    partial.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(folder, partial, copy_function=_link_or_copy)
    partial.rename(target)


def _link_or_copy(source: str, target: str) -> None:
    """Link a file; copy it where the disk has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _study(lesson: Lesson, seeds: Sequence[int]) -> Study:
    conditions = []
    for exercise in lesson.required_exercises:
        protocol = exercise.protocol
        conditions.append(
            Condition(
                label=exercise.name,
                values={"exercise": exercise.name},
                model=protocol.model,
                data=protocol.data,
                recipe=protocol.recipe,
            )
        )
    claims = tuple(
        Better(statement=claim.statement, left=claim.left, right=claim.right)
        for claim in lesson.claim
    )
    return Study(
        name=f"class-lesson-{lesson.number:02d}",
        question=f"How much do the runs of lesson {lesson.number} vary from student to student?",
        about="Each student of the class trained every exercise once, with a seed of the name.",
        limits="Only submissions that passed all checks are seeds of this study.",
        conditions=tuple(conditions),
        seeds=tuple(sorted(seeds)),
        claims=claims,
        numerics=Numerics(precision="fp32"),
    )


def variance_sentences(submissions: Sequence[Submission], lesson: Lesson) -> list[Text]:
    """Return sentences about the variation between students, for each exercise and claim."""
    honest = honest_submissions(submissions, lesson)
    accuracies: dict[str, list[float]] = {}
    for exercise in lesson.required_exercises:
        runs = [item.run(exercise) for item in honest]
        measured = [run.test_accuracy_pct for run in runs if run is not None]
        accuracies[exercise.name] = [value for value in measured if value is not None]
    sentences = []
    for name, values in accuracies.items():
        if len(values) >= MIN_STUDENTS:
            sentences.append(_spread(name, values))
    for claim in lesson.claim:
        left, right = accuracies[claim.left], accuracies[claim.right]
        if min(len(left), len(right)) >= MIN_STUDENTS:
            sentences.append(reversal_sentence(claim.left, claim.right, left, right))
    return sentences


def _spread(name: str, values: Sequence[float]) -> Text:
    center, sd = mean(values), float(variance(values) ** 0.5)
    low, high, count = min(values), max(values), len(values)
    return Text(
        f"{name}: {count} students, mean {center:.1f} %, standard deviation {sd:.2f} points, "
        f"from {low:.1f} to {high:.1f} %.",
        f"{name} : {count} étudiants, moyenne {localize(center, 'fr', 1)} %, écart-type "
        f"{localize(sd, 'fr', 2)} point(s), de {localize(low, 'fr', 1)} à "
        f"{localize(high, 'fr', 1)} %.",
    )


def reversal_sentence(
    better: str, worse: str, left: Sequence[float], right: Sequence[float]
) -> Text:
    """Return a sentence about the pairs of students whose two runs show the opposite order.

    Args:
        better: Name of the exercise that the claim puts above.
        worse: Name of the other exercise.
        left: Test accuracies of `better` in percent, one of each student.
        right: Test accuracies of `worse` in percent, of the same students in the same order.
    """
    pairs = [
        (a, b) for (i, a), (j, b) in itertools.product(enumerate(left), enumerate(right)) if i != j
    ]
    opposite = sum(a <= b for a, b in pairs)
    share = 100 * opposite / len(pairs)
    return Text(
        f"{better} against {worse}: if one student trained one and another student the other, "
        f"{opposite} of {len(pairs)} pairs ({share:.0f} %) would not show {better} above.",
        f"{better} contre {worse} : si un étudiant entraînait l'un et un autre étudiant l'autre, "
        f"{opposite} paires sur {len(pairs)} ({localize(share, 'fr', 0)} %) ne montreraient pas "
        f"{better} au-dessus.",
    )
