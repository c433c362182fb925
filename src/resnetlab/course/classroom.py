"""View of a class: the submissions of all students, checked, and a study of their honest runs.

A submission is a folder with `course` and `runs`. Each student trained one seed, so a class of
thirty is a study with thirty seeds. No run is trained again; `resnetlab verify` repeats a drawn
few.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnetlab.course.check import RANK, CheckedRun, check_lesson
from resnetlab.course.copies import find_copies
from resnetlab.course.findings import RESULT_TEXTS, CheckFinding, CheckResult, failed
from resnetlab.course.lessons import Exercise, Lesson, all_questions
from resnetlab.course.student import STUDENT_FILE, Answer, Student, read_answers, read_student
from resnetlab.course.texts import Text
from resnetlab.errors import InputError, ResnetlabError, input_error
from resnetlab.messages import Notify, silent
from resnetlab.torch_check import has_torch

if TYPE_CHECKING:
    from resnetlab.course.recompute import DatasetCache


@dataclass(frozen=True)
class Submission:
    """Submission of one student: the folder, the answers and the checked runs."""

    folder: Path
    student: Student | None
    problem: str
    """Reason why the folder cannot be read; empty if it can."""
    answers: Mapping[str, Answer]
    checked: tuple[CheckedRun, ...] = ()

    @property
    def name(self) -> str:
        """Name of the student, or that of the folder."""
        return self.student.name if self.student else self.folder.name

    @property
    def result(self) -> CheckResult:
        """Worst result of the runs; `failed` if the folder cannot be read."""
        if self.problem:
            return "failed"
        results = [item.result for item in self.checked]
        return max(results, key=RANK.__getitem__, default="not checked")

    def reasons(self) -> list[tuple[str, Text]]:
        """Return the exercise and the sentence of each check that was not passed."""
        if self.problem:
            return [("", Text(self.problem, self.problem))]
        return [
            (item.exercise.name, finding.text)
            for item in self.checked
            for finding in item.findings
            if finding.result != "passed"
        ]

    def run(self, exercise: Exercise) -> CheckedRun | None:
        """Return the checked run of an exercise."""
        runs = [item for item in self.checked if item.exercise.name == exercise.name]
        return runs[0] if runs and runs[0].folder else None


def read_class(
    folder: Path,
    lessons: Sequence[Lesson],
    *,
    pack: Path | None = None,
    data: str = "",
    notify: Notify = silent,
) -> list[Submission]:
    """Check the submissions in a folder.

    Args:
        folder: Folder with one folder for each student.
        lessons: Lessons whose exercises are checked.
        pack: Folder of `resnetlab data pack` with the data sets of the class.
        data: Location of the data; empty for that of the exercises.
        notify: Function that gets a line about each submission.

    Returns:
        The submissions in the order of the folders' names.

    Raises:
        InputError: There is no submission in the folder.
    """
    if not folder.is_dir():
        raise input_error(str(folder), "no such folder", "give the folder of the submissions")
    folders = sorted(path for path in folder.iterdir() if is_submission(path))
    if not folders:
        fix = "give a folder with one folder for each student, each with course/ and runs/"
        raise input_error(str(folder), "has no submissions", fix)
    datasets = _dataset_cache(folder / "cache", notify) if has_torch() else None
    submissions = []
    for path in folders:
        notify(f"checking {path.name}")
        submissions.append(_read_submission(path, lessons, datasets, pack, data))
    submissions = _mark_equal_names(submissions)
    for lesson in lessons:
        for exercise in lesson.exercise:
            submissions = _mark_copies(submissions, exercise)
    return submissions


def _dataset_cache(folder: Path, notify: Notify) -> DatasetCache:
    from resnetlab.course.recompute import DatasetCache

    return DatasetCache(folder, notify)


def is_submission(path: Path) -> bool:
    """Return True for a folder with the files of a student."""
    return (path / STUDENT_FILE).is_file() or (path / "runs").is_dir()


def _read_submission(
    path: Path,
    lessons: Sequence[Lesson],
    datasets: DatasetCache | None,
    pack: Path | None,
    data: str,
) -> Submission:
    try:
        student, answers = read_student(path), read_answers(path)
    except ResnetlabError as error:
        return Submission(path, None, str(error).splitlines()[0], {})
    if student is None:
        return Submission(path, None, f"no {STUDENT_FILE}: the student gave no name", answers)
    checked: list[CheckedRun] = []
    for lesson in lessons:
        checked += check_lesson(
            lesson, (), path, seed=student.seed, pack=pack, datasets=datasets, data=data
        )
    return Submission(path, student, "", answers, tuple(checked))


def _mark_equal_names(submissions: Sequence[Submission]) -> list[Submission]:
    """Mark submissions with the seed of another one, whose runs cannot be told from copies."""
    marked = []
    for item in submissions:
        others = [
            other.folder.name
            for other in submissions
            if other is not item and _seed(other) is not None and _seed(other) == _seed(item)
        ]
        shared = "the same name, or by chance the same seed, as in"
        problem = f"{shared} {', '.join(others)}" if others else item.problem
        marked.append(Submission(item.folder, item.student, problem, item.answers, item.checked))
    return marked


def _seed(submission: Submission) -> int | None:
    return submission.student.seed if submission.student else None


def _mark_copies(submissions: Sequence[Submission], exercise: Exercise) -> list[Submission]:
    """Add the finding about copies to the run of an exercise in each submission."""
    folders = {}
    for item in submissions:
        run = item.run(exercise)
        if run is not None and run.run is not None and run.folder is not None:
            folders[item.folder.name] = run.folder
    try:
        findings = find_copies(folders)
    except InputError as error:
        message = str(error).splitlines()[0]
        findings = {name: failed("copies", message, message) for name in folders}
    marked = []
    for item in submissions:
        finding = findings.get(item.folder.name)
        checked = item.checked
        if finding is not None:
            runs = list(checked)
            for index, run in enumerate(runs):
                if run.exercise.name == exercise.name:
                    runs[index] = run.with_finding(_weigh(finding, run))
            checked = tuple(runs)
        marked.append(Submission(item.folder, item.student, item.problem, item.answers, checked))
    return marked


def _weigh(finding: CheckFinding, run: CheckedRun) -> CheckFinding:
    """Return the finding about copies; only unusual if the weights come from the run's own seed.

    Then the others have copied this run, and a person decides how they got it.
    """
    from_seed = any(
        item.check == "initial weights" and item.result == "passed" for item in run.findings
    )
    if finding.result != "failed" or not from_seed:
        return finding
    text = Text(
        f"{finding.text.en}; they come from this student's seed",
        f"{finding.text.fr} ; ils viennent de la graine de cet étudiant",
    )
    return CheckFinding(finding.check, "unusual", text)


def class_rows(
    submissions: Sequence[Submission], lessons: Sequence[Lesson]
) -> list[dict[str, Any]]:
    """Return a row for each submission as plain values, for a table and for `--json`."""
    numbers = sum(
        len(question.numbers)
        for lesson, question in all_questions()
        if lesson.number in {item.number for item in lessons}
    )
    questions = sum(len(lesson.question) for lesson in lessons)
    keys = {question.key for lesson in lessons for question in lesson.question}
    rows = []
    for item in submissions:
        relevant = {key: answer for key, answer in item.answers.items() if key in keys}
        correct = sum(n.correct for answer in relevant.values() for n in answer.numbers.values())
        rows.append(
            {
                "student": item.name,
                "folder": item.folder.name,
                "seed": _seed(item),
                "result": item.result,
                "answered": len(relevant),
                "questions": questions,
                "correct_numbers": correct,
                "numbers": numbers,
                "runs": [run.to_dict() for run in item.checked],
                "reasons": [
                    {"exercise": exercise, "en": text.en, "fr": text.fr}
                    for exercise, text in item.reasons()
                ],
            }
        )
    return rows


def result_counts(submissions: Sequence[Submission]) -> dict[str, int]:
    """Return the number of submissions by result."""
    return {name: sum(item.result == name for item in submissions) for name in RESULT_TEXTS}
