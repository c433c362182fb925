"""Answers to questions: numbers are checked against commands, words are saved. Free of torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnetlab.course.lessons import Lesson, LessonQuestion, NumberPart, find_question
from resnetlab.course.student import (
    NumberAnswer,
    is_correct,
    read_answers,
    save_number,
    save_text,
    shows_formula,
)
from resnetlab.course.texts import Text, localize
from resnetlab.course.values import declared_values, fill_values
from resnetlab.errors import input_error
from resnetlab.translation import Language


@dataclass(frozen=True)
class NumberState:
    """State of one number of a question."""

    question: LessonQuestion
    part: NumberPart
    answer: NumberAnswer | None

    @property
    def is_correct(self) -> bool:
        """True if the last answer was correct."""
        return self.answer is not None and self.answer.correct

    def line(self, language: Language) -> str:
        """Return the state as a line."""
        meaning = Text(self.part.en, self.part.fr).in_language(language)
        head = f"{self.question.key} {self.part.name} ({meaning}): "
        if self.answer is None:
            return head + Text("no answer", "pas de réponse").in_language(language)
        value = localize(self.answer.value, language)
        if self.answer.correct:
            return head + Text(f"{value}, correct", f"{value}, juste").in_language(language)
        text = Text(
            f"{value}, not correct (try {self.answer.tries})",
            f"{value}, faux (essai {self.answer.tries})",
        )
        return head + text.in_language(language)

    def help(self, language: Language) -> str:
        """Return the help after a wrong answer: a hint, and then the formula with a command."""
        if self.answer is None or self.answer.correct:
            return ""
        if not shows_formula(self.answer):
            hint = self.question.hint.in_language(language)
            label = Text("Hint", "Indice").in_language(language)
            return f"{label}: {fill_values(hint, language)}"
        command = declared_values()[self.part.value].source
        return Text(
            f"Formula: {self.part.formula}. Command: {command}",
            f"Formule : {self.part.formula}. Commande : {command}",
        ).in_language(language)

    def to_dict(self) -> dict[str, Any]:
        """Return the state as plain values, for `--json`."""
        return {
            "question": self.question.key,
            "name": self.part.name,
            "value": self.answer.value if self.answer else None,
            "tries": self.answer.tries if self.answer else 0,
            "correct": self.is_correct,
            "formula": self.part.formula if self.answer and shows_formula(self.answer) else None,
        }


@dataclass(frozen=True)
class AnswerResult:
    """Result of `course answer`: the numbers that were checked, or the words that were saved."""

    question: LessonQuestion
    states: tuple[NumberState, ...]
    text: str

    @property
    def is_correct(self) -> bool:
        """True if no number is wrong."""
        return all(state.is_correct for state in self.states)

    def lines(self, language: Language) -> list[str]:
        """Return the result as lines."""
        lines = []
        for state in self.states:
            lines.append(state.line(language))
            if text := state.help(language):
                lines.append(text)
        if self.text:
            saved = Text("saved in words", "réponse enregistrée").in_language(language)
            lines.append(f"{self.question.key}: {saved}")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values, for `--json`."""
        return {
            "question": self.question.key,
            "text": self.text,
            "correct": self.is_correct,
            "numbers": [state.to_dict() for state in self.states],
        }


def check_answer(name: str, values: Sequence[str], root: Path) -> AnswerResult:
    """Check and save the answer to a question.

    Args:
        name: Question, such as `Q10`.
        values: `NAME=NUMBER` for each number, one number for a question with one, or words.
        root: Folder of the student.

    Raises:
        InputError: There is no such question or number.
    """
    _, question = find_question(name)
    parsed = _parse_numbers(question, values)
    if parsed is None:
        text = " ".join(values).strip()
        if not text:
            raise input_error("ANSWER", "empty", "write a number or a sentence")
        save_text(question, text, root)
        return AnswerResult(question, (), text)
    states = tuple(
        NumberState(question, part, save_number(question, part, value, root))
        for part, value in parsed
    )
    return AnswerResult(question, states, "")


def _parse_numbers(
    question: LessonQuestion, values: Sequence[str]
) -> list[tuple[NumberPart, float]] | None:
    """Return the numbers of an answer, or None for an answer in words.

    Raises InputError for a name that the question lacks.
    """
    if not question.numbers:
        return None
    if len(values) == 1 and len(question.numbers) == 1:
        number = parse_number(values[0].rpartition("=")[2], question.numbers[0])
        return None if number is None else [(question.numbers[0], number)]
    parsed = []
    for value in values:
        name, equals, text = value.partition("=")
        if not equals or parse_number(text) is None:
            if len(values) == 1 and parse_number(value) is not None:
                names = " ".join(f"{part.name}=..." for part in question.numbers)
                problem = "the question asks for several numbers"
                raise input_error("ANSWER", problem, names, field=question.key, got=value)
            return None
        part = question.part(name.strip())
        number = parse_number(text, part)
        assert number is not None
        parsed.append((part, number))
    return parsed


def parse_number(text: str, part: NumberPart | None = None) -> float | None:
    """Return the number in a text, or None: `1,191,170`, `1 191 170`, `23.8`, `23,8`.

    A comma is a decimal comma unless three digits follow each one. `2,303` is 2303, unless `part`
    asks for a number that 2.303 answers; `0,875` is 0.875.
    """
    compact = "".join(text.split()).removesuffix("%")
    decimal = _finite_number(compact.replace(",", "."))
    first, *groups = compact.lstrip("+-").split(",")
    is_grouped = first != "0" and all(len(group.partition(".")[0]) == 3 for group in groups)
    if not groups or not is_grouped:
        return decimal
    if part is not None and decimal is not None and is_correct(part, decimal):
        return decimal
    return _finite_number(compact.replace(",", ""))


def _finite_number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def number_states(lesson: Lesson, root: Path) -> list[NumberState]:
    """Return the state of each number of a lesson."""
    answers = read_answers(root)
    states = []
    for question in lesson.question:
        answer = answers.get(question.key)
        for part in question.numbers:
            given = answer.numbers.get(part.name) if answer else None
            states.append(NumberState(question, part, given))
    return states
