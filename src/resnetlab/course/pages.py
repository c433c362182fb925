"""Pages of the course as Markdown: lessons and solutions in English and French. Free of torch.

`docs/course.py` writes them into `docs/course`, and `resnetlab course show` prints a lesson.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from resnetlab.course.lessons import (
    Exercise,
    Lesson,
    LessonQuestion,
    NumberPart,
    course_index,
    lessons,
)
from resnetlab.course.reference_runs import CONFIDENCE, reference_runs
from resnetlab.course.texts import Text, localize, typeset_markdown
from resnetlab.course.values import declared_values, fill_values, names_in
from resnetlab.translation import Language

MARKS = {"": "", "star": " ★", "bonus": " (bonus)"}

WORDS = {
    "goal": Text("Goal", "But"),
    "reading": Text("Reading", "Lecture"),
    "practice": Text("Exercise", "Exercice"),
    "questions": Text("Questions", "Questions"),
    "hint": Text("Hint", "Indice"),
    "answer": Text("Model answer", "Réponse modèle"),
    "runs": Text("What runs show", "Ce que montrent des essais"),
    "course": Text(
        "Course: convolutional and residual networks",
        "Cours : réseaux convolutionnels et réseaux résiduels",
    ),
    "solutions": Text("Solutions", "Solutions"),
    "lesson": Text("Lesson", "Leçon"),
    "next": Text("Next lesson", "Leçon suivante"),
    "all": Text("All lessons", "Toutes les leçons"),
}

Measured = Callable[[str, str], Mapping[str, str] | None]
"""Function from a committed result and the number of a question to its answer by language."""


def page_name(lesson: Lesson) -> str:
    """Return the file of a lesson's page."""
    return f"lesson-{lesson.number:02d}.md"


UNFINISHED_BLOCK = "<!-- exit code: 3 -->"
"""Comment for the test of the documents: without a run, `course check` ends with this code."""

STUDENT_BLOCK = "<!-- not run: the seed follows from a name; tests of the course train one -->"
"""Comment for that test: tests of the course train exercises with a seed."""


def lesson_page(lesson: Lesson, language: Language) -> str:
    """Return the page of a lesson: goal, reading, exercise and questions with folded hints."""
    number = WORDS["lesson"].in_language(language)
    lines = [f"# {number} {lesson.number}. {lesson.title.in_language(language)}"]
    lines += [_heading("goal", language), _filled(lesson.goal_en, lesson.goal_fr, language)]
    minutes = Text(
        f"Planned time: {lesson.minutes} minutes, ten of them for reading.",
        f"Durée prévue : {lesson.minutes} minutes, dont dix de lecture.",
    ).in_language(language)
    lines += [minutes, _heading("reading", language)]
    lines.append(_with_pictures(lesson, language))
    lines += [_heading("practice", language)]
    lines.append(_filled(lesson.practice_en, lesson.practice_fr, language))
    lines += [_exercise(exercise, language) for exercise in lesson.exercise]
    if lesson.exercise:
        command = f"resnetlab course check {lesson.number}"
        command += " --lang fr" if language == "fr" else ""
        lines.append(f"{UNFINISHED_BLOCK}\n```sh\n{command}\n```")
    lines.append(_heading("questions", language))
    lines += [_question(question, language) for question in lesson.question]
    lines.append(_links(lesson, language))
    return "\n\n".join(lines) + "\n"


def _heading(key: str, language: Language) -> str:
    return f"## {WORDS[key].in_language(language)}"


def _filled(en: str, fr: str, language: Language) -> str:
    text = fill_values((en if language == "en" else fr).strip(), language)
    return text if language == "en" else typeset_markdown(text)


def _with_pictures(lesson: Lesson, language: Language) -> str:
    """Return the reading with its pictures and the commands that draw them."""
    text = lesson.reading_en if language == "en" else lesson.reading_fr
    for picture in lesson.picture:
        caption = Text(picture.en, picture.fr).in_language(language)
        command = picture.command.replace("{file}", picture.file)
        illustration = f"![{caption}](../pictures/{picture.file})\n\n*{caption}* `{command}`"
        text = text.replace(f"[picture {picture.file}]", illustration)
    return _filled(text, text, language)


def _exercise(exercise: Exercise, language: Language) -> str:
    """Return the task, the command and the measured duration of an exercise."""
    text = _filled(exercise.en, exercise.fr, language)
    seed = Text("SEED", "GRAINE").in_language(language)
    command = f"{STUDENT_BLOCK}\n```sh\n{exercise.command(seed)}\n```"
    parts = [f"**{exercise.name}.** {text}", command]
    reference = reference_runs().get(exercise.name)
    if reference is not None:
        low, high = reference.interval()
        count, percent = len(reference.runs), round(100 * CONFIDENCE)
        seconds = localize(reference.seconds, language, 0)
        bounds = [localize(value, language, 1) for value in (low, high)]
        mean = localize(reference.mean_pct, language, 1)
        parts.append(
            Text(
                f"Measured with {count} reference runs on two cores: {seconds} s of training, test "
                f"accuracy {mean} % on average. An honest run lies in [{bounds[0]}, {bounds[1]}] % "
                f"with a probability of {percent} %.",
                f"Mesuré avec {count} essais de référence sur deux cœurs : {seconds} s "
                f"d'apprentissage, précision de test moyenne {mean} %. Un essai honnête se trouve "
                f"dans [{bounds[0]} ; {bounds[1]}] % avec une probabilité de {percent} %.",
            ).in_language(language)
        )
    return "\n\n".join(parts)


def _question(question: LessonQuestion, language: Language) -> str:
    heading = f"### {question.label}{MARKS[question.mark]}"
    text = _filled(question.text.en, question.text.fr, language)
    parts = [heading, text]
    if question.numbers:
        rows = [
            f"- `{part.name}`: {Text(part.en, part.fr).in_language(language)}"
            for part in question.numbers
        ]
        names = " ".join(f"{part.name}=..." for part in question.numbers)
        command = f"resnetlab course answer {question.key} {names}"
        parts += ["\n".join(rows), f"`{command}`"]
    hint = _filled(question.hint_en, question.hint_fr, language)
    summary = WORDS["hint"].in_language(language)
    parts.append(f"<details><summary>{summary}</summary>\n\n{hint}\n\n</details>")
    return "\n\n".join(parts)


def _links(lesson: Lesson, language: Language) -> str:
    solutions = WORDS["solutions"].in_language(language)
    links = [f"[{solutions}](../solutions/{language}/{page_name(lesson)})"]
    links.append(f"[{WORDS['all'].in_language(language)}](README.md)")
    following = [item for item in lessons() if item.number == lesson.number + 1]
    links += [f"[{WORDS['next'].in_language(language)}]({page_name(item)})" for item in following]
    return " · ".join(links)


def solution_page(lesson: Lesson, language: Language, measured: Measured) -> str:
    """Return the page of a lesson's solutions, each model answer folded.

    Args:
        lesson: Lesson.
        language: Language of the page.
        measured: Function that returns the answer of a committed result by its rules.
    """
    title = f"{WORDS['solutions'].in_language(language)} {lesson.number}. "
    lines = [f"# {title}{lesson.title.in_language(language)}"]
    lines.append(
        Text(
            "Answer the questions before you unfold a model answer. Each number below was printed "
            "by the command beside it.",
            "Répondez aux questions avant de déplier une réponse modèle. Chaque nombre ci-dessous "
            "a été affiché par la commande indiquée.",
        ).in_language(language)
    )
    lines += [_solution(question, language, measured) for question in lesson.question]
    back = f"../../{language}/{page_name(lesson)}"
    lines.append(f"[{WORDS['lesson'].in_language(language)} {lesson.number}]({back})")
    return "\n\n".join(lines) + "\n"


def _solution(question: LessonQuestion, language: Language, measured: Measured) -> str:
    parts = [f"## {question.label}{MARKS[question.mark]}"]
    parts.append(_filled(question.text.en, question.text.fr, language))
    body = [_filled(question.answer.en, question.answer.fr, language)]
    if question.numbers:
        body.append("\n".join(_number_line(part, language) for part in question.numbers))
    if question.evidence:
        number = question.study_number or f"question {question.number}"
        answer = measured(question.evidence, number)
        if answer and answer[language]:
            label = WORDS["runs"].in_language(language)
            link = (
                f"[results/{question.evidence}](../../../../results/{question.evidence}/report.md)"
            )
            body.append(f"**{label}** ({link}). {answer[language]}")
    commands = commands_of(question)
    if commands:
        body.append("```sh\n" + "\n".join(commands) + "\n```")
    summary = WORDS["answer"].in_language(language)
    text = "\n\n".join(body)
    parts.append(f"<details><summary>{summary}</summary>\n\n{text}\n\n</details>")
    return "\n\n".join(parts)


def _number_line(part: NumberPart, language: Language) -> str:
    """Return a line with the meaning, the value and the formula of a number."""
    meaning = Text(part.en, part.fr).in_language(language)
    return f"- {meaning}: {fill_values(f'{{{part.value}}}', language)} (`{part.formula}`)"


def commands_of(question: LessonQuestion) -> list[str]:
    """Return the commands that printed the numbers of a model answer, each once."""
    names = names_in(question.answer.en) | {part.value for part in question.numbers}
    declared = declared_values()
    commands = [declared[name].source for name in sorted(names) if declared[name].command]
    if question.evidence:
        commands.append(f"resnetlab study answers results/{question.evidence}")
    return list(dict.fromkeys(commands))


def index_page(language: Language) -> str:
    """Return the page that lists the lessons and explains the commands of the course."""
    index = course_index()
    lines = [f"# {WORDS['course'].in_language(language)}", index.introduction.in_language(language)]
    head = Text("lesson|minutes|title|questions", "leçon|minutes|titre|questions")
    columns = head.in_language(language).split("|")
    rows = [f"| {' | '.join(columns)} |", "|---:|---:|---|---|"]
    for lesson in lessons():
        keys = ", ".join(question.label for question in lesson.question)
        title = f"[{lesson.title.in_language(language)}]({page_name(lesson)})"
        rows.append(f"| {lesson.number} | {lesson.minutes} | {title} | {keys} |")
    lines += ["\n".join(rows), index.rules.in_language(language)]
    return "\n\n".join(lines) + "\n"


def lesson_dict(lesson: Lesson, language: Language) -> dict[str, Any]:
    """Return a lesson as plain values, for `--json`."""
    references = reference_runs()
    exercises = []
    for exercise in lesson.exercise:
        reference = references.get(exercise.name)
        exercises.append(
            {
                "name": exercise.name,
                "command": exercise.command("SEED"),
                "reference": reference.to_dict() if reference else None,
            }
        )
    return {
        "lesson": lesson.number,
        "title": lesson.title.in_language(language),
        "goal": _filled(lesson.goal_en, lesson.goal_fr, language),
        "minutes": lesson.minutes,
        "exercises": exercises,
        "questions": [
            {
                "question": question.key,
                "label": question.label,
                "mark": question.mark,
                "text": _filled(question.text.en, question.text.fr, language),
                "numbers": [part.name for part in question.numbers],
            }
            for question in lesson.question
        ],
    }
