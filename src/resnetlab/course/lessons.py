"""Lessons of the course as data: reading, exercises and questions. Free of torch.

This module defines the files of `catalog/course`. A text may contain values in braces, such as
`{conv1.weights}`; `resnetlab.course.values` replaces them by numbers that commands printed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

from resnetlab.course.texts import Text
from resnetlab.data.config import DataConfig
from resnetlab.errors import input_error, suggest
from resnetlab.models.configs import ModelConfig
from resnetlab.recipes.finetune import AnyRecipe
from resnetlab.schema import (
    Name,
    NonNegativeFloat,
    PositiveInt,
    decode,
    parse_toml,
    strict_dataclass,
)
from resnetlab.schema_errors import FieldError
from resnetlab.shell import command_line
from resnetlab.studies.parsing.overrides import Overrides
from resnetlab.studies.parsing.questions import Question as StudyQuestion
from resnetlab.studies.parsing.questions import load_questions
from resnetlab.studies.parsing.study_file import parse_study

NUMBER_OF_LESSONS = 10
PRACTICAL_NUMBER = 5
"""Number of the practical 5-6 in the labels of its questions: `Q5.1` is its question 1."""


@dataclass(frozen=True)
class LessonProtocol:
    """Training that an exercise asks for."""

    model: ModelConfig
    data: DataConfig
    recipe: AnyRecipe


@strict_dataclass
class Exercise:
    """Training run of a lesson, which `course check` checks."""

    name: Name
    en: str
    """Task in English."""
    fr: str
    """Task in French."""
    model: str
    data: str
    recipe: str
    settings: tuple[str, ...] = ()
    """Fields that the command sets, such as `recipe.epochs=2`."""
    bonus: bool = False
    """True for an exercise that a student may leave out."""

    def command(self, seed: int | str) -> str:
        """Return the command that trains the run; `seed` may be a word in a text."""
        words = ["resnetlab", "train", self.model, "--data", self.data, "--recipe", self.recipe]
        for setting in self.settings:
            words += ["--set", setting]
        return command_line([*words, "--seed", str(seed)])

    @property
    def protocol(self) -> LessonProtocol:
        """Network, data and recipe of the run."""
        return _protocol(self)


@cache
def _protocol(exercise: Exercise) -> LessonProtocol:
    tables = {"model": exercise.model, "data": exercise.data, "recipe": exercise.recipe}
    study = parse_study(
        tables | {"name": "train", "question": "", "seeds": [0]},
        "",
        Overrides(settings=exercise.settings),
    )
    (condition,) = study.conditions
    return LessonProtocol(condition.model, condition.data, condition.recipe)


@strict_dataclass
class NumberPart:
    """Number that a question asks for."""

    name: Name
    en: str
    """Meaning in English."""
    fr: str
    value: str
    """Name of the value in `catalog/course/values.toml`."""
    formula: str
    """Formula that is shown after the second wrong answer."""
    tolerance: NonNegativeFloat = 0.0
    """Largest accepted relative difference."""


@strict_dataclass
class LessonQuestion:
    """Question of a lesson."""

    number: str
    """`1` to `34` for a question of the practical, `8a` for one of the course."""
    study: str = ""
    """File of `catalog/questions` that has the question and its explanation."""
    study_number: str = ""
    """Number of the question in that file, if it is not `question N`."""
    mark: Literal["", "star", "bonus"] = ""
    en: str = ""
    """Question in English; empty to take that of `study`."""
    fr: str = ""
    hint_en: str
    hint_fr: str
    numbers: tuple[NumberPart, ...] = ()
    runs: tuple[Name, ...] = ()
    """Exercises whose runs help to answer the question."""
    answer_en: str = ""
    """Model answer in English, with values in braces, before the explanation of `study`."""
    answer_fr: str = ""
    evidence: str = ""
    """Committed result, a folder of `results`, whose answer by rule belongs to the solution."""

    def __post_init__(self) -> None:
        if not self.study and not (self.en and self.fr and self.answer_en and self.answer_fr):
            problem = "a question without a study needs its texts and its answer in both languages"
            raise FieldError("study", problem, "give en, fr, answer_en and answer_fr, or study")

    @property
    def label(self) -> str:
        """Label of the question: `Q5.1` for question 1 of the practical 5-6, else `L8a`."""
        return f"Q{PRACTICAL_NUMBER}.{self.number}" if self.number.isdigit() else f"L{self.number}"

    @property
    def key(self) -> str:
        """Name of the question in commands and files: `Q1`, `L8a`."""
        return f"Q{self.number}" if self.number.isdigit() else f"L{self.number}"

    @property
    def catalog_question(self) -> StudyQuestion | None:
        """Question of the study's file, or None."""
        if not self.study:
            return None
        number = self.study_number or f"question {self.number}"
        return next(item for item in load_questions(self.study) if item.number == number)

    @property
    def text(self) -> Text:
        """Question in both languages."""
        known = self.catalog_question
        if self.en or known is None:
            return Text(self.en, self.fr)
        return Text(known.en, known.fr)

    @property
    def answer(self) -> Text:
        """Model answer with its values in braces, without the evidence of runs."""
        known = self.catalog_question
        parts = [(self.answer_en, self.answer_fr)]
        if known is not None:
            parts.append((known.why_en, known.why_fr))
        en, fr = (" ".join(filter(None, texts)) for texts in zip(*parts, strict=True))
        return Text(en, fr)

    @property
    def hint(self) -> Text:
        """Hint in both languages."""
        return Text(self.hint_en, self.hint_fr)

    def part(self, name: str) -> NumberPart:
        """Return the number of that name. Raises InputError if there is none."""
        for part in self.numbers:
            if part.name == name:
                return part
        names = ", ".join(part.name for part in self.numbers) or "none: answer in words"
        fix = suggest(name, [part.name for part in self.numbers]) or "give one of these names"
        raise input_error(self.key, "has no number of that name", fix, got=name, allowed=names)


@strict_dataclass
class Picture:
    """Picture of a lesson, which a command draws."""

    file: Name
    command: str
    """Command that draws the picture; `{file}` stands for the name of the file."""
    en: str
    """Text alternative and caption in English."""
    fr: str


@strict_dataclass
class ExerciseClaim:
    """Claim about two exercises of a lesson, which the runs of a class test."""

    statement: str
    left: Name
    """Exercise that is claimed to be more accurate."""
    right: Name


@strict_dataclass
class Lesson:
    """Lesson: a goal, a reading, exercises and questions."""

    number: PositiveInt
    minutes: PositiveInt
    """Planned minutes, of which ten are for reading."""
    title_en: str
    title_fr: str
    goal_en: str
    goal_fr: str
    reading_en: str
    """Markdown with values in braces and pictures as `[picture FILE]`."""
    reading_fr: str
    practice_en: str
    """Practice in English, Markdown."""
    practice_fr: str
    picture: tuple[Picture, ...] = ()
    exercise: tuple[Exercise, ...] = ()
    claim: tuple[ExerciseClaim, ...] = ()
    question: tuple[LessonQuestion, ...]

    @property
    def required_exercises(self) -> tuple[Exercise, ...]:
        """Exercises that every student trains."""
        return tuple(exercise for exercise in self.exercise if not exercise.bonus)

    @property
    def title(self) -> Text:
        """Title in both languages."""
        return Text(self.title_en, self.title_fr)

    @property
    def goal(self) -> Text:
        """Goal in both languages."""
        return Text(self.goal_en, self.goal_fr)


@strict_dataclass
class CourseIndex:
    """Texts of the first page of the course, Markdown."""

    introduction_en: str
    introduction_fr: str
    rules_en: str
    rules_fr: str

    @property
    def introduction(self) -> Text:
        """Introduction in both languages."""
        return Text(self.introduction_en.strip(), self.introduction_fr.strip())

    @property
    def rules(self) -> Text:
        """Rules of the checks in both languages."""
        return Text(self.rules_en.strip(), self.rules_fr.strip())


@cache
def course_index() -> CourseIndex:
    """Return the texts of the first page of the course."""
    index: CourseIndex = decode(CourseIndex, _catalog_tables("index.toml"), "index.toml")
    return index


def _catalog_tables(name: str) -> dict[str, Any]:
    path = resources.files("resnetlab.catalog") / "course" / name
    return parse_toml(path.read_text(encoding="utf-8"), name)


@cache
def load_lesson(number: int) -> Lesson:
    """Return a lesson of the catalog. Raises InputError for a number that no lesson has."""
    if not 1 <= number <= NUMBER_OF_LESSONS:
        allowed = f"1 to {NUMBER_OF_LESSONS}"
        raise input_error("LESSON", "no such lesson", "course list", got=number, allowed=allowed)
    name = f"lesson-{number:02d}.toml"
    lesson: Lesson = decode(Lesson, _catalog_tables(name), name)
    return lesson


def lessons() -> tuple[Lesson, ...]:
    """Return all lessons in order."""
    return tuple(load_lesson(number) for number in range(1, NUMBER_OF_LESSONS + 1))


def all_questions() -> Iterator[tuple[Lesson, LessonQuestion]]:
    """Yield every question with its lesson, in the order of the lessons."""
    for lesson in lessons():
        for question in lesson.question:
            yield lesson, question


def find_question(name: str) -> tuple[Lesson, LessonQuestion]:
    """Return the question that a user names: `Q10`, `10`, `Q5.10` or `L8a`.

    Raises InputError if there is none.
    """
    key = name.strip().upper().removeprefix("Q").removeprefix(f"{PRACTICAL_NUMBER}.")
    key = key.removeprefix("L").lower()
    for lesson, question in all_questions():
        if question.number == key:
            return lesson, question
    keys = [question.key for _, question in all_questions()]
    fix = suggest(name, keys) or "give a number from 1 to 34, such as Q10"
    raise input_error("QUESTION", "no such question", fix, got=name, allowed="Q1 to Q34, L8a, ...")
