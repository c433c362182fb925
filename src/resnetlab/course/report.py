"""Report of a student: numbered answers with the student's runs and figures. Free of torch.

It contains what the student wrote and measured, never a model answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from resnetlab.course.assignment import EXACT, assign_runs
from resnetlab.course.lessons import Exercise, Lesson, LessonQuestion, lessons
from resnetlab.course.run_checks import RunFiles, read_run
from resnetlab.course.student import Answer, read_answers, read_student
from resnetlab.course.texts import Text, localize
from resnetlab.errors import InputError, input_error
from resnetlab.files import read_text
from resnetlab.reports.plot_data import LearningCurves, Line, Panel
from resnetlab.runs.records import Evaluation
from resnetlab.translation import Language

MAX_PAGES = 10
"""Number of pages that the practical's report stays below."""

CHARS_PER_LINE, LINES_PER_PAGE = 95, 52
"""Letters in a line and lines on a page of A4, for the estimated number of pages."""
LINES_PER_FIGURE, LINES_PER_HEADING = 15, 3

FREE_SECTIONS = {
    "introduction": Text("Context and methods", "Contexte et méthodes"),
    "discussion": Text("Discussion and limits", "Discussion et limites"),
}
"""Sections that the student writes into `course/introduction.md` and `course/discussion.md`."""


@dataclass(frozen=True)
class RunLine:
    """Run of an exercise in the report."""

    exercise: str
    text: str


@dataclass(frozen=True)
class AnswerSection:
    """Answer to one question."""

    label: str
    mark: str
    question: str
    text: str
    """Answer of the student in words; empty without one."""
    numbers: tuple[tuple[str, str], ...]
    """Meaning and value of each number."""
    runs: tuple[RunLine, ...]

    @property
    def is_answered(self) -> bool:
        """True if there are words or numbers of the student."""
        return bool(self.text or self.numbers)


@dataclass(frozen=True)
class ReportPart:
    """Part of the report: the questions of one lesson."""

    title: str
    sections: tuple[AnswerSection, ...]
    figure: LearningCurves | None


@dataclass(frozen=True)
class StudentReport:
    """Report of a student in one language."""

    student: str
    seed: int
    language: Language
    stars: bool
    """True for the short report of the starred questions after the session."""
    free_sections: tuple[tuple[str, str], ...]
    """Heading and text of the sections that the student wrote freely."""
    parts: tuple[ReportPart, ...]

    @property
    def sections(self) -> list[AnswerSection]:
        """Sections of all parts."""
        return [section for part in self.parts for section in part.sections]

    @property
    def figures(self) -> list[LearningCurves]:
        """Figures of all parts."""
        return [part.figure for part in self.parts if part.figure]

    @property
    def answered(self) -> int:
        """Number of questions with an answer."""
        return sum(section.is_answered for section in self.sections)

    @property
    def pages(self) -> int:
        """Estimated number of pages of A4."""
        lines = LINES_PER_FIGURE * len(self.figures)
        lines += LINES_PER_HEADING * (len(self.parts) + len(self.free_sections) + 2)
        texts = [text for _, text in self.free_sections]
        for section in self.sections:
            numbers = "; ".join(f"{name}: {value}" for name, value in section.numbers)
            texts += [section.label + section.question, section.text, numbers]
            texts += [run.text for run in section.runs]
        paragraphs = [part for text in texts for part in text.splitlines() if part.strip()]
        lines += sum(1 + math.ceil(len(part) / CHARS_PER_LINE) for part in paragraphs)
        return math.ceil(lines / LINES_PER_PAGE)


def build_student_report(root: Path, language: Language, stars: bool = False) -> StudentReport:
    """Return the report of the student in `root`.

    Args:
        root: Folder with `course` and `runs`.
        language: Language of the report.
        stars: True for the starred questions alone.

    Raises:
        InputError: No name was given, or a file of the student is not valid.
    """
    student = read_student(root)
    if student is None:
        fix = 'give your name first: resnetlab course seed "Ada Lovelace"'
        raise input_error(str(root), "no name of a student", fix)
    answers, parts = read_answers(root), []
    for lesson in lessons():
        questions = [item for item in lesson.question if item.mark == "star" or not stars]
        if questions:
            runs = student_runs(lesson, root)
            sections = tuple(
                _section(question, answers.get(question.key), runs, language)
                for question in questions
            )
            title = f"{lesson.number}. {lesson.title.in_language(language)}"
            parts.append(ReportPart(title, sections, _figure(lesson, runs, language)))
    free = () if stars else tuple(_free_sections(root, language))
    return StudentReport(student.name, student.seed, language, stars, free, tuple(parts))


def student_runs(lesson: Lesson, root: Path) -> dict[str, RunFiles]:
    """Return the finished runs of a lesson's exercises by the name of the exercise."""
    if not lesson.exercise:
        return {}
    folders = sorted(path.parent for path in (root / "runs").glob("*/result.json"))
    finished = {}
    for exercise, folder in assign_runs(lesson.exercise, folders, min_similarity=EXACT):
        try:
            run = read_run(folder) if folder else None
        except InputError:  # `course check` prints the reason
            run = None
        if run is not None:
            finished[exercise.name] = run
    return finished


def _free_sections(root: Path, language: Language) -> Iterator[tuple[str, str]]:
    for name, title in FREE_SECTIONS.items():
        path = root / "course" / f"{name}.md"
        text = read_text(path).strip() if path.is_file() else ""
        if text:
            yield title.in_language(language), text


def _section(
    question: LessonQuestion, answer: Answer | None, runs: dict[str, RunFiles], language: Language
) -> AnswerSection:
    numbers = []
    for part in question.numbers:
        given = answer.numbers.get(part.name) if answer else None
        if given is not None:
            meaning = Text(part.en, part.fr).in_language(language)
            numbers.append((meaning, localize(given.value, language)))
    lines = [
        RunLine(name, describe_run(name, runs[name], language))
        for name in question.runs
        if name in runs
    ]
    return AnswerSection(
        label=question.label,
        mark=question.mark,
        question=question.text.in_language(language),
        text=answer.text if answer else "",
        numbers=tuple(numbers),
        runs=tuple(lines),
    )


def describe_run(name: str, run: RunFiles, language: Language) -> str:
    """Return a sentence with the scores of a run."""
    result, file = run.result, run.file
    if result.test is None:
        status = {"en": result.status, "fr": STATUSES_FR[result.status]}[language]
        return f"{name}: {status}"
    test = localize(result.test.top1_accuracy_pct, language, 1)
    train = localize(result.train.top1_accuracy_pct, language, 1) if result.train else ""
    first, classes = first_loss(run.run_folder.metrics()), len(file.classes)
    title, seed = file.run.model.title, file.run.seed
    start = localize(first, language, 3) if first is not None else ""
    uniform = localize(math.log(classes), language, 3)
    en = f"{name} ({title}, seed {seed}): test accuracy {test} %"
    fr = f"{name} ({title}, graine {seed}) : précision de test {test} %"
    if train:
        en += f", train accuracy {train} %"
        fr += f", précision d'entraînement {train} %"
    if start:
        en += f"; first loss {start} nats (ln {classes} = {uniform})"
        fr += f" ; première perte {start} nats (ln {classes} = {uniform})"
    return Text(f"{en}.", f"{fr}.").in_language(language)


STATUSES_FR = {
    "trained": "entraîné",
    "at chance": "au niveau du hasard",
    "diverged": "divergence",
    "out of memory": "mémoire insuffisante",
}
"""Statuses of a run in French."""


def first_loss(metrics: Sequence[Evaluation]) -> float | None:
    """Return the loss in training mode before the first step, in nats, or None."""
    losses = [line.loss_nats for line in metrics if line.step == 0 and line.split == "train epoch"]
    return losses[0] if losses else None


def _figure(lesson: Lesson, runs: dict[str, RunFiles], language: Language) -> LearningCurves | None:
    """Return the error of each run by epoch, or None without runs."""
    panels = [
        panel
        for index, exercise in enumerate(lesson.exercise)
        if exercise.name in runs and (panel := _panel(index, exercise, runs[exercise.name]))
    ]
    if not panels:
        return None
    caption = Text(
        "Error in percent by epoch. Thick line: test images; thin dashed line: train images.",
        "Erreur en pourcentage par époque. Trait épais : images de test ; tirets fins : images "
        "d'entraînement.",
    ).in_language(language)
    names = ", ".join(panel.label for panel in panels)
    highest = max(y for panel in panels if panel.mean for y in panel.mean.y)
    return LearningCurves(
        key=f"lesson-{lesson.number:02d}",
        title=Text("Error by epoch", "Erreur par époque").in_language(language),
        caption=caption,
        alt=f"{caption} {names}.",
        unit="%",
        panels=tuple(panels),
        uniform_loss=None,
        uniform_loss_label="",
        y_max=min(100.0, highest * 1.05 + 1),
    )


def _panel(index: int, exercise: Exercise, run: RunFiles) -> Panel | None:
    metrics = run.run_folder.metrics()
    test, train = (_error_line(metrics, split) for split in ("test", "train"))
    if test is None:
        return None
    return Panel(
        label=exercise.name,
        series_index=index,
        runs=(test,),
        mean=test,
        band=None,
        other_split_mean=train,
    )


def _error_line(metrics: Sequence[Evaluation], split: str) -> Line | None:
    points = [(line.epoch, line.top1_error_pct) for line in metrics if line.split == split]
    if len(points) < 2:
        return None
    x, y = zip(*points, strict=True)
    return Line("trained", tuple(x), tuple(y))


def unanswered(report: StudentReport) -> list[str]:
    """Return the labels of the questions without an answer."""
    return [section.label for section in report.sections if not section.is_answered]
