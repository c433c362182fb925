"""Student's folder: name, seed and answers, in the folder `course`. Free of torch.

Each student trains with a seed that follows from the name. So the runs of two students differ, and
a copied run has the seed of another student.
"""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import replace
from pathlib import Path

from resnetlab.course.lessons import LessonQuestion, NumberPart
from resnetlab.course.values import numbers
from resnetlab.errors import input_error
from resnetlab.files import read_json, write_json
from resnetlab.schema import SCHEMA, check_schema, decode, encode, strict_dataclass

STUDENT_FILE, ANSWERS_FILE = "course/student.json", "course/answers.json"

LOWEST_SEED, SEEDS = 100_000, 900_000
"""Smallest seed of a student, and number of possible seeds."""

TRIES_BEFORE_FORMULA = 2
"""Number of wrong answers after which the formula of a number is shown."""


@strict_dataclass
class Student:
    """Student of a folder, the file `course/student.json`."""

    schema: int
    name: str
    seed: int


@strict_dataclass
class NumberAnswer:
    """Answer to one number of a question."""

    value: float
    """Last answer."""
    tries: int
    correct: bool


@strict_dataclass
class Answer:
    """Answers to a question."""

    text: str = ""
    numbers: dict[str, NumberAnswer]


@strict_dataclass
class AnswersFile:
    """Answers of a student, the file `course/answers.json`."""

    schema: int
    answers: dict[str, Answer]


def student_seed(name: str) -> int:
    """Return the seed of a student: six digits from the SHA-256 of the name.

    Upper and lower case, accents written in one or two characters, and the number of spaces do not
    matter. Raises InputError for an empty name.
    """
    normalized = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
    if not normalized:
        raise input_error("NAME", "empty", 'resnetlab course seed "Ada Lovelace"')
    digest = hashlib.sha256(normalized.encode()).hexdigest()
    return LOWEST_SEED + int(digest, 16) % SEEDS


def register_student(name: str, root: Path) -> Student:
    """Write the name and the seed of a student into `root`/course.

    Raises InputError if the name is empty.
    """
    student = Student(schema=SCHEMA, name=" ".join(name.split()), seed=student_seed(name))
    write_json(root / STUDENT_FILE, encode(student))
    return student


def read_student(root: Path) -> Student | None:
    """Return the student of a folder, or None if no name was given.

    Raises InputError if the file was edited, so that the seed is not that of the name.
    """
    path = root / STUDENT_FILE
    if not path.exists():
        return None
    table = read_json(path)
    check_schema(table, str(path))
    student: Student = decode(Student, table, str(path))
    if student.seed != student_seed(student.name):
        raise input_error(
            str(path),
            "the seed is not that of the name",
            "give the command `resnetlab course seed NAME` again",
            field="seed",
            got=student.seed,
            allowed=str(student_seed(student.name)),
        )
    return student


def read_answers(root: Path) -> dict[str, Answer]:
    """Return the answers of a folder by the key of their question."""
    path = root / ANSWERS_FILE
    if not path.exists():
        return {}
    table = read_json(path)
    check_schema(table, str(path))
    file: AnswersFile = decode(AnswersFile, table, str(path))
    return file.answers


def save_text(question: LessonQuestion, text: str, root: Path) -> None:
    """Save an answer in words."""
    answers = read_answers(root)
    answer = answers.get(question.key, Answer(numbers={}))
    _save(answers | {question.key: replace(answer, text=text.strip())}, root)


def save_number(
    question: LessonQuestion, part: NumberPart, value: float, root: Path
) -> NumberAnswer:
    """Check an answer to a number of a question, count the try, and save it."""
    answers = read_answers(root)
    answer = answers.get(question.key, Answer(numbers={}))
    before = answer.numbers.get(part.name)
    result = NumberAnswer(
        value=value,
        tries=(before.tries if before else 0) + 1,
        correct=is_correct(part, value),
    )
    updated = replace(answer, numbers=answer.numbers | {part.name: result})
    _save(answers | {question.key: updated}, root)
    return result


def is_correct(part: NumberPart, value: float) -> bool:
    """Return True if an answer is the number of the command, within its tolerance."""
    expected = numbers()[part.value]
    return abs(value - expected) <= part.tolerance * abs(expected) + 1e-9 * abs(expected)


def shows_formula(result: NumberAnswer) -> bool:
    """Return True if the formula is shown: after the second wrong answer."""
    return not result.correct and result.tries >= TRIES_BEFORE_FORMULA


def _save(answers: dict[str, Answer], root: Path) -> None:
    write_json(root / ANSWERS_FILE, encode(AnswersFile(schema=SCHEMA, answers=answers)))
