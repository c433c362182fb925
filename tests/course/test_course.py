"""The course is complete in both languages, and its numbers come from commands."""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from helpers.course import SHORT, lesson_of
from resnetlab.cli.main import build_command
from resnetlab.course.answering import check_answer, parse_number
from resnetlab.course.lessons import all_questions, find_question, lessons
from resnetlab.course.reference_runs import reference_runs
from resnetlab.course.report import MAX_PAGES, build_student_report
from resnetlab.course.report_files import render_latex, write_student_report
from resnetlab.course.student import register_student, student_seed
from resnetlab.course.texts import localize, typeset_markdown
from resnetlab.course.values import declared_values, names_in, numbers
from resnetlab.translation import LANGUAGES

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = runpy.run_path(str(ROOT / "docs" / "course.py"))
COVERAGE = tomllib.loads((ROOT / "docs" / "coverage.toml").read_text(encoding="utf-8"))
PAGES: dict[str, str] = SCRIPT["pages"]()


def test_all_34_questions_exist_with_the_marks_of_the_practical() -> None:
    practical = [question for _, question in all_questions() if question.number.isdigit()]
    practical.sort(key=lambda question: int(question.number))
    assert [question.number for question in practical] == [str(n) for n in range(1, 35)]
    rows = {row["item"]: row for row in COVERAGE["practical"]}
    for question in practical:
        row = rows[f"question {question.number}"]
        mark = "star" if row.get("star") else "bonus" if row.get("bonus") else ""
        assert question.mark == mark, question.number


def test_every_question_has_a_hint_and_a_model_answer_in_both_languages() -> None:
    for lesson, question in all_questions():
        for text in (question.text, question.hint, question.answer):
            assert min(len(text.en), len(text.fr)) > 10, (lesson.number, question.number)
        assert names_in(question.answer.en) == names_in(question.answer.fr)
        exercises = {exercise.name for exercise in lesson.exercise}
        assert set(question.runs) <= exercises
    for lesson in lessons():
        assert names_in(lesson.reading_en) == names_in(lesson.reading_fr)
        for claim in lesson.claim:
            assert {claim.left, claim.right} <= {exercise.name for exercise in lesson.exercise}


def test_every_number_of_a_text_is_a_value_of_a_command() -> None:
    used = {part.value for _, question in all_questions() for part in question.numbers}
    for lesson in lessons():
        texts = [lesson.reading_en, lesson.practice_en, lesson.practice_fr, lesson.goal_en]
        texts += [item.answer.en for item in lesson.question]
        used |= {name for text in texts for name in names_in(text)}
    assert used <= set(declared_values())
    assert set(declared_values()) == set(numbers())


def test_the_fast_commands_still_print_the_committed_numbers() -> None:
    fast = SCRIPT["compute_values"](skip_slow=True)
    assert len(fast) > 50
    for name, value in fast.items():
        assert numbers()[name] == pytest.approx(value, rel=1e-9), name


@pytest.mark.slow
def test_the_slow_commands_still_print_the_committed_numbers() -> None:
    assert SCRIPT["compute_values"]() == pytest.approx(numbers(), rel=0.05)


def test_a_formula_gives_the_value_that_its_question_checks() -> None:
    """The end of a formula, behind its last `=`, is arithmetic in most of them."""
    arithmetic = {}
    for _, question in all_questions():
        for part in question.numbers:
            text = part.formula.rpartition("=")[2].replace(" x ", " * ").replace("2x2", "2 * 2")
            if re.fullmatch(r"[\d\s()+*/.-]+", text):
                arithmetic[part.value] = eval(text)
    assert len(arithmetic) > 15
    for name, value in arithmetic.items():
        assert numbers()[name] == value, name


@pytest.mark.parametrize("path", sorted(PAGES))
def test_each_page_equals_its_catalog_text_and_all_its_links_have_targets(path: Path) -> None:
    page = ROOT / "docs" / "course" / path
    text = page.read_text(encoding="utf-8")
    assert text == PAGES[str(path)]
    assert "{" not in re.sub(r"`[^`]*`", "", text)
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert "://" in target or (page.parent / target).exists(), target


def test_every_command_of_the_pages_has_known_options() -> None:
    text = "\n".join(PAGES.values())
    blocks = re.findall(r"```sh\n(.*?)```", text, re.S)
    lines = {line for block in blocks for line in block.splitlines() if line.strip()}
    lines |= set(re.findall(r"`(resnetlab [^`]+)`", text))
    assert len(lines) > 40
    built: Any = build_command()
    for line in sorted(lines):
        words = shlex.split(line.replace("SEED", "1").replace("GRAINE", "1").replace("\n", " "))[1:]
        command = built
        while hasattr(command, "commands") and words:
            assert words[0] in command.commands, line
            command = command.commands[words.pop(0)]
        if words:  # a text may name a command alone
            command.make_context("resnetlab", words)


def test_every_exercise_has_reference_runs_with_provenance_of_its_network() -> None:
    for lesson in lessons():
        for exercise in lesson.exercise:
            reference = reference_runs()[exercise.name]
            count = len(reference.runs)
            assert count >= SCRIPT["MIN_REFERENCE_RUNS"]
            assert [run.seed for run in reference.runs] == list(range(count))  # none was left out
            for run in reference.runs:
                assert re.fullmatch(r"[0-9a-f]{40}", run.commit)
                assert re.fullmatch(r"[0-9a-f]{64}", run.data_sha256)
                assert run.parameters == reference.parameters
                assert run.processor
                assert run.torch
            low, high = reference.interval()
            assert 0 <= low < reference.mean_pct < high <= 100


# Answers
# --------------------------------------------------------------------------------------------------


def test_a_formula_is_shown_after_the_second_wrong_number(tmp_path: Path) -> None:
    first = check_answer("Q8", ["padding=3"], tmp_path)
    assert not first.is_correct
    assert "Hint" in first.lines("en")[1]
    second = check_answer("8", ["padding=4"], tmp_path)
    assert "p = (k - 1) / 2" in second.lines("en")[1]
    assert "Formule" in second.lines("fr")[1]
    third = check_answer("Q5.8", ["padding=2", "stride=1"], tmp_path)
    assert third.is_correct
    assert [state.answer.tries for state in third.states if state.answer] == [3, 1]


def test_a_text_answer_is_saved_and_a_number_is_read_in_both_notations(tmp_path: Path) -> None:
    assert check_answer("Q2", ["Shared", "weights."], tmp_path).text == "Shared weights."
    cases = {"1,191,170": 1191170, "1 191 170": 1191170, "23,8": 23.8, "23.8": 23.8, "86 %": 86}
    assert {text: parse_number(text) for text in cases} == cases
    assert parse_number("many") is None
    assert {text: parse_number(text) for text in ("2,303", "0,875")} == {
        "2,303": 2303,
        "0,875": 0.875,
    }
    assert check_answer("Q17", ["2,303"], tmp_path).is_correct
    assert check_answer("Q11", ["total=1 191 170", "ratio=23,8"], tmp_path).is_correct


def test_a_seed_depends_on_the_name_but_not_on_its_case_and_spaces() -> None:
    assert student_seed("Ada Lovelace") == student_seed("  ada   LOVELACE ")
    assert student_seed("Zoe\u0301") == student_seed("Zoé")
    seeds = {student_seed(f"student {n}") for n in range(100)}
    assert len(seeds) == 100
    assert all(100_000 <= seed < 1_000_000 for seed in seeds)


def test_french_typography_does_not_change_code() -> None:
    assert typeset_markdown("Voir `a ; b` : l'image") == "Voir `a ; b`\N{NO-BREAK SPACE}: l’image"
    assert localize(1191170, "fr") == "1\N{NO-BREAK SPACE}191\N{NO-BREAK SPACE}170"
    assert localize(-1234.56, "en", 1) == "−1,234.6"


# Report
# --------------------------------------------------------------------------------------------------


@pytest.fixture
def student(tmp_path: Path) -> Path:
    register_student("Ada Lovelace", tmp_path)
    for _, question in all_questions():
        text = " ".join(["An answer of about sixty words to this question."] * 7)
        check_answer(question.key, [text], tmp_path)
    return tmp_path


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_report_has_every_answer_by_number_on_fewer_than_ten_pages(
    student: Path, language: Any
) -> None:
    report = build_student_report(student, language)
    assert report.pages < MAX_PAGES
    assert report.answered == len(report.sections)
    paths = write_student_report(report, student / "report")
    for path in paths.values():
        text = path.read_text(encoding="utf-8")
        for number in range(1, 35):
            assert f"Q5.{number}." in text
        assert "Ada Lovelace" in text


def test_the_short_report_contains_only_the_starred_questions(student: Path) -> None:
    report = build_student_report(student, "fr", stars=True)
    labels = [section.label for section in report.sections]
    expected = {f"Q5.{n}" for n in (2, 3, 4, 10, 14, 16, 18)} | {"L7a"}
    assert set(labels) == expected
    assert r"\usepackage[french]{babel}" in render_latex(report)


def test_a_report_has_the_runs_and_a_figure_and_never_a_model_answer(
    trained_class: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(shutil.copytree(trained_class / "Ada-Lovelace", tmp_path / "ada"))
    question = replace(lessons()[4].question[0], runs=("short",))
    lesson = replace(lesson_of(SHORT), question=(question,))
    monkeypatch.setattr("resnetlab.course.report.lessons", lambda: (lesson,))
    report = build_student_report(root, "en")
    (section,) = report.sections
    assert re.search(r"test accuracy [\d.]+ %", section.runs[0].text)
    assert f"seed {student_seed('Ada Lovelace')}" in section.runs[0].text
    paths = write_student_report(report, tmp_path / "report")
    assert (tmp_path / "report" / "figures" / "lesson-09.svg").exists()
    assert "<svg" in paths["html"].read_text(encoding="utf-8")
    assert "reference runs" not in paths["markdown"].read_text(encoding="utf-8")


def test_an_unknown_question_is_refused_with_a_suggestion() -> None:
    from resnetlab.errors import InputError

    with pytest.raises(InputError, match="no such question"):
        find_question("Q35")
