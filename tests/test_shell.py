"""Paths of every system are recognized and shortened in reports, and a printed command can be
pasted.
"""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnetlab.shell import command_line, is_path, split_command, strip_folders


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("/home/ann/photos", "photos"),
        ("photos/of/dogs/", "dogs"),
        (r"C:\Users\ann\photos", "photos"),
        ("C:/Users/ann/photos", "photos"),
        (r"\\server\share\photos\dogs.npz", "dogs.npz"),
        ("data.source=/home/ann/photos", "data.source=photos"),
        (r"data.source=C:\Users\ann\photos", "data.source=photos"),
        ("--weights=/home/ann/w.safetensors", "--weights=w.safetensors"),
    ],
)
def test_a_path_of_any_system_is_shortened_to_its_last_part(text: str, last: str) -> None:
    assert is_path(text) or "=" in text
    assert strip_folders(text) == last


@pytest.mark.parametrize("text", ["digits", "my-study.toml", "recipe.lr=0.1", "a:b", "", "--seeds"])
def test_a_text_that_is_not_a_path_is_unchanged(text: str) -> None:
    assert not is_path(text)
    assert strip_folders(text) == text


def test_a_command_is_quoted_for_posix_and_for_windows() -> None:
    words = [
        "resnetlab",
        "study",
        "run",
        "my study.toml",
        "--set",
        "grid.model.depth=[20, 56]",
        "--seeds",
        "0,1",
    ]
    posix = "resnetlab study run 'my study.toml' --set 'grid.model.depth=[20, 56]' --seeds 0,1"
    windows = 'resnetlab study run "my study.toml" --set "grid.model.depth=[20, 56]" --seeds "0,1"'
    assert command_line(words, windows=False) == posix
    assert command_line(words, windows=True) == windows


def split_as_windows_does(line: str) -> list[str]:
    """Return the words of a command line by the rules of Microsoft's C runtime: an independent
    reading.
    """
    words: list[str] = []
    word, quoted, position = "", False, 0
    while position < len(line):
        run = len(line[position:]) - len(line[position:].lstrip("\\"))
        if run:
            after = line[position + run : position + run + 1]
            word += "\\" * (run // 2 if after == '"' else run)
            position += run
            if after == '"' and run % 2:
                word, position = word + '"', position + 1
        elif line[position] == '"':
            quoted, position = not quoted, position + 1
        elif line[position] == " " and not quoted:
            words, word, position = [*words, word], "", position + 1
        else:
            word, position = word + line[position], position + 1
    return [*words, word]


@given(
    st.lists(
        st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0\r\n"), max_size=12),
        min_size=1,
    )
)
def test_a_program_receives_the_words_that_were_quoted(words: list[str]) -> None:
    assert split_as_windows_does(command_line(words, windows=True)) == words
    assert shlex.split(command_line(words, windows=False)) == words
    for windows in (True, False):
        assert split_command(command_line(words, windows), windows) == words
