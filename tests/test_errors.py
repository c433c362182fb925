"""Each error is printed in one line with its fix, and cannot control a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnetlab.errors import (
    MAX_FIRST_LINE,
    InputError,
    Problem,
    ResnetlabError,
    ResourceError,
    escape_controls,
    first_line,
    input_error,
    suggest,
)


def test_a_problem_is_printed_as_location_fault_details_and_fix() -> None:
    problem = Problem(
        "study.toml",
        "out of range",
        "epochs = 10",
        field="epochs",
        got='"ten"',
        allowed="at least 1",
    )
    assert (
        str(problem)
        == 'study.toml: epochs: out of range (got "ten"; allowed: at least 1). Fix: epochs = 10'
    )


@pytest.mark.parametrize(
    ("problem", "line"),
    [
        (Problem("a.toml", "empty", ""), "a.toml: empty"),
        (Problem("", "empty", "fill it", field="name"), "name: empty. Fix: fill it"),
        (Problem("a.toml", "odd", "even", got="3"), "a.toml: odd (got 3). Fix: even"),
        (
            Problem("a.toml", "odd", "even", allowed="2, 4"),
            "a.toml: odd (allowed: 2, 4). Fix: even",
        ),
    ],
)
def test_unknown_parts_of_a_problem_are_omitted_without_a_gap(problem: Problem, line: str) -> None:
    assert str(problem) == line


def test_an_error_contains_every_problem_in_one_line_each() -> None:
    error = InputError(Problem("a", "odd", "x"), Problem("b", "even", "y"))
    assert str(error).splitlines() == ["a: odd. Fix: x", "b: even. Fix: y"]
    assert len(error.problems) == 2


def test_each_kind_of_error_has_its_exit_code() -> None:
    assert (ResnetlabError.exit_code, InputError.exit_code, ResourceError.exit_code) == (1, 2, 4)


@given(st.tuples(*[st.text()] * 6))
def test_a_problem_with_any_content_is_one_printable_line(parts: tuple[str, ...]) -> None:
    where, message, fix, field, got, allowed = parts
    line = str(Problem(where, message, fix, field=field, got=got, allowed=allowed))
    assert line.replace("\xa0", " ").isprintable()
    line.encode("utf-8")


@given(st.text())
def test_printable_text_is_unchanged_and_other_characters_are_escaped(text: str) -> None:
    escaped = escape_controls(text)
    assert escaped.replace("\xa0", " ").isprintable()
    if text.replace("\xa0", " ").isprintable():
        assert escaped == text


def test_a_name_cannot_move_the_cursor_or_forge_a_line() -> None:
    assert escape_controls("a\x1b[31m\nb\u202ec\udcff") == "a\\x1b[31m\\nb\\u202ec\\udcff"


def test_the_nearest_known_name_is_suggested_and_case_is_ignored() -> None:
    assert suggest("lr_rate", ["lr", "momentum"]) == 'did you mean "lr"?'
    assert suggest("a", ["none", "A", "B"]) == 'did you mean "A"?'
    assert suggest("zzz", ["lr", "momentum"]) == ""


def test_a_long_value_is_shortened() -> None:
    assert len(str(input_error("a.toml", "odd", "x", got=list(range(10_000))))) < 400


def test_an_error_without_a_message_is_reported_by_its_class() -> None:
    assert first_line(AssertionError()) == "AssertionError"
    assert first_line(RuntimeError("\nno memory\nat layer 3")) == "no memory"
    assert first_line(RuntimeError("x" * 500)) == "x" * MAX_FIRST_LINE
