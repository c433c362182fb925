"""Commands of `resnetlab course`: parse, call one function, print.

Heavy imports stay inside them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resnetlab.cli.common import (
    CHECK_FAILED,
    DONE,
    UNFINISHED,
    DataSource,
    Json,
    Open,
    notify,
    open_page,
    print_json,
)
from resnetlab.cli.common import OutputDir as Output
from resnetlab.errors import input_error

if TYPE_CHECKING:
    from resnetlab.course.check import CheckedRun
    from resnetlab.course.lessons import Lesson

course = typer.Typer(
    rich_markup_mode=None,
    help="Follow the course, check its exercises and write its reports.",
)

LessonNumber = Annotated[int, typer.Argument(help="Number of the lesson.", metavar="LESSON")]
Lang = Annotated[str, typer.Option("--lang", help="Language: en or fr.", metavar="LANGUAGE")]
Pack = Annotated[
    Path | None,
    typer.Option(
        "--pack", help="Folder of `data pack` with the data sets of the class.", metavar="DIR"
    ),
]


@course.command("list")
def course_list(lang: Lang = "en", json: Json = False) -> None:
    """List the lessons with their durations and questions."""
    from resnetlab.course.lessons import lessons
    from resnetlab.inspection.table_format import render_table
    from resnetlab.translation import check_language

    language = check_language(lang)
    rows = [
        {
            "lesson": lesson.number,
            "minutes": lesson.minutes,
            "questions": ", ".join(question.key for question in lesson.question),
            "title": lesson.title.in_language(language),
        }
        for lesson in lessons()
    ]
    if json:
        print_json(rows)
    else:
        typer.echo(render_table(rows, "text"))


@course.command("show")
def course_show(lesson: LessonNumber, lang: Lang = "en", json: Json = False) -> None:
    """Print a lesson: goal, reading, exercises and questions."""
    from resnetlab.course.lessons import load_lesson
    from resnetlab.course.pages import lesson_dict, lesson_page
    from resnetlab.translation import check_language

    language, loaded = check_language(lang), load_lesson(lesson)
    if json:
        print_json(lesson_dict(loaded, language))
    else:
        typer.echo(lesson_page(loaded, language).rstrip("\n"))


@course.command("seed")
def course_seed(
    name: Annotated[str, typer.Argument(help="Name of the student.", metavar="NAME")],
    output: Output = Path(),
    json: Json = False,
) -> None:
    """Save the student's name and print the seed for all runs.

    Example:  resnetlab course seed "Ada Lovelace"
    """
    from resnetlab.course.student import STUDENT_FILE, register_student

    student = register_student(name, output)
    if json:
        print_json({"name": student.name, "seed": student.seed, "file": output / STUDENT_FILE})
        return
    typer.echo(student.seed)
    notify(f"{student.name}: give --seed {student.seed} to each run of an exercise")


@course.command("answer")
def course_answer(
    question: Annotated[str, typer.Argument(help="Question, such as Q10.", metavar="QUESTION")],
    values: Annotated[
        list[str],
        typer.Argument(help="NAME=NUMBER, a number, or an answer in words.", metavar="ANSWER..."),
    ],
    lang: Lang = "en",
    output: Output = Path(),
    json: Json = False,
) -> None:
    """Save an answer; check a number, with its formula after two wrong answers.

    Example:  resnetlab course answer Q8 padding=2 stride=1
    """
    from resnetlab.course.answering import check_answer
    from resnetlab.translation import check_language

    language = check_language(lang)
    result = check_answer(question, values, output)
    if json:
        print_json(result.to_dict())
    else:
        for line in result.lines(language):
            typer.echo(line)
    raise typer.Exit(DONE if result.is_correct else CHECK_FAILED)


@course.command("check")
def course_check(
    lesson: LessonNumber,
    runs: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders of runs; none for all in runs/.", metavar="[RUN]..."),
    ] = None,
    student: Annotated[
        str, typer.Option(help="Name of the student; default: that of `course seed`.")
    ] = "",
    data: DataSource = "",
    pack: Pack = None,
    lang: Lang = "en",
    output: Output = Path(),
    json: Json = False,
) -> None:
    """Check the runs of a lesson by their files, weights and logits.

    Example:  resnetlab course check 5 --lang fr
    """
    from resnetlab.course.answering import number_states
    from resnetlab.course.check import check_lesson, format_checks
    from resnetlab.course.lessons import load_lesson
    from resnetlab.course.student import read_student, student_seed
    from resnetlab.translation import check_language

    language, loaded = check_language(lang), load_lesson(lesson)
    recorded = read_student(output)
    seed = recorded.seed if recorded else None
    if student:
        seed = student_seed(student)
    checked = check_lesson(
        loaded, runs or (), output, seed=seed, pack=pack, data=data, notify=notify
    )
    states = number_states(loaded, output)
    if json:
        print_json(
            {
                "lesson": loaded.number,
                "seed": seed,
                "runs": [item.to_dict() for item in checked],
                "numbers": [state.to_dict() for state in states],
            }
        )
    else:
        for line in format_checks(checked, language):
            typer.echo(line)
        for state in states:
            typer.echo(state.line(language))
    raise typer.Exit(_exit_code(checked))


def _exit_code(checked: list[CheckedRun]) -> int:
    """Return 5 if a check failed or is unusual, 3 if something was not checked, else 0."""
    results = {item.result for item in checked}
    if results & {"failed", "unusual"}:
        return CHECK_FAILED
    return UNFINISHED if "not checked" in results else DONE


@course.command("report")
def course_report(
    lang: Lang = "en",
    stars: Annotated[
        bool, typer.Option("--stars", help="Write the short report of the starred questions.")
    ] = False,
    output: Output = Path(),
    json: Json = False,
    open_report: Open = False,
) -> None:
    """Write the student's report with numbered answers, runs and figures.

    Example:  resnetlab course report --lang fr
    """
    from resnetlab.course.report import MAX_PAGES, build_student_report, unanswered
    from resnetlab.course.report_files import write_student_report
    from resnetlab.translation import check_language

    report = build_student_report(output, check_language(lang), stars)
    name = f"course-{report.language}{'-stars' if stars else ''}"
    paths = write_student_report(report, output / "reports" / name)
    missing = unanswered(report)
    if report.pages >= MAX_PAGES:
        notify(f"about {report.pages} pages; the practical asks for fewer than {MAX_PAGES}")
    if missing:
        notify(f"without an answer: {', '.join(missing)}")
    if json:
        print_json(
            paths
            | {
                "questions": len(report.sections),
                "answered": report.answered,
                "unanswered": missing,
                "pages": report.pages,
            }
        )
    else:
        for path in paths.values():
            typer.echo(path)
    if open_report:
        open_page(paths["html"])


@course.command("class")
def course_class(
    folder: Annotated[
        Path,
        typer.Argument(help="Folder with one folder for each student.", metavar="FOLDER"),
    ],
    lesson: Annotated[
        list[int] | None,
        typer.Option("--lesson", help="Lesson to grade; default: all. May be repeated."),
    ] = None,
    data: DataSource = "",
    pack: Pack = None,
    lang: Lang = "en",
    out: Annotated[
        Path, typer.Option(help="Folder for the page, the studies and the runs.", metavar="DIR")
    ] = Path("class"),
    json: Json = False,
    open_report: Open = False,
) -> None:
    """Check the submissions of a class, and write a study of its honest runs.

    Example:  resnetlab course class submissions --lesson 5 --lesson 7
    """
    from resnetlab.course.class_page import grade_class
    from resnetlab.translation import check_language

    if out.exists() and not out.is_dir():
        raise input_error("--out", "is a file", "give the name of a folder", got=str(out))
    result = grade_class(
        folder,
        _chosen_lessons(lesson),
        out,
        check_language(lang),
        pack=pack,
        data=data,
        notify=notify,
    )
    if json:
        print_json(result.to_dict())
    else:
        for line in result.lines():
            typer.echo(line)
    if open_report:
        open_page(result.page)
    raise typer.Exit(CHECK_FAILED if result.has_failures else DONE)


def _chosen_lessons(numbers: list[int] | None) -> list[Lesson]:
    """Return the lessons of `--lesson` that have exercises with runs.

    Raises InputError if one does not exist.
    """
    from resnetlab.course.lessons import lessons, load_lesson

    chosen: list[Any] = [load_lesson(number) for number in numbers or ()]
    return chosen or [lesson for lesson in lessons() if lesson.exercise]
