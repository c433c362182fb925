"""`judge` asks its questions in a real pseudo-terminal and prints a command that repeats the
answers.
"""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from helpers.commands import run_command
from helpers.runs_tables import A, B, C, long_rows

if sys.platform == "win32":
    pytest.skip("pseudo-terminals are of POSIX", allow_module_level=True)

from helpers.terminal import converse

METHOD = "Your method (number or name; empty: only describe the runs)"


def repeated(output: str, folder: Path) -> str:
    """Run the command that the answers printed, without a terminal, and return its output."""
    match = re.search(r"The same without questions: resnetlab (.+)$", output, re.M)
    assert match, output
    ended = run_command(*shlex.split(match[1]), folder=folder)
    assert ended.code == 0, ended.text
    return ended.output


def test_the_answers_form_the_claim_and_the_printed_command_repeats_it(tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text(long_rows(**{"base line": B, "with mixup": A, "other": C}))
    code, output = converse(
        ["judge", "runs.csv"],
        [
            (METHOD, "9"),
            ("not a number from 1 to 3 or a name of the list", "WITH mixup"),
            ("Baseline (number or name)", ""),
            ("not a number from 1 to 2 or a name of the list", "1"),
            ("Claim (number)", "2"),
            ("Margin in points", "-1"),
            ("not a positive number, such as 0.5", "0,5"),
            ("Pairs (number)", "2"),
        ],
        tmp_path,
    )
    assert code == 0, output
    assert "91.3" not in output.partition("The same without questions")[0]  # no value before
    assert "--claim 'with mixup > base line + 0.5' --paired-by seed" in output
    verdict = "reproduced: with mixup has a higher accuracy than base line, by more than 0.5 points"
    assert verdict in output
    assert verdict in repeated(output, tmp_path)


def test_the_command_has_a_question_for_an_unrecognized_column(tmp_path: Path) -> None:
    lines = ["arm,run no,kappa,delta"]
    lines += [f"A,{k},{value},1" for k, value in enumerate(A)]
    lines += [f"B,{k},{value},2" for k, value in enumerate(B)]
    (tmp_path / "runs.csv").write_text("\n".join(lines) + "\n")
    code, output = converse(
        ["judge", "runs.csv"],
        [
            ("Column of the values (number or name)", "kappa"),
            (METHOD, "A"),
            ("Claim (number) [1]", ""),
        ],
        tmp_path,
    )
    assert code == 0, output
    assert "Pairs" not in output  # the table has neither seeds nor folds
    assert "--value kappa --claim 'A > B'" in output
    assert "reproduced: A has a higher kappa than B." in repeated(output, tmp_path)


def test_names_with_signs_of_the_grammar_are_quoted_in_the_claim(tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text(long_rows(**{"lr = 0.1": A, "lr = 0.2": B}))
    answers = [
        (METHOD, "1"),
        ("Claim (number)", "3"),
        ("Margin in points", ".5"),
        ("Pairs (number)", "1"),
    ]
    code, output = converse(["judge", "runs.csv"], answers, tmp_path)
    assert code == 0, output
    claim = "lr = 0.1 and lr = 0.2 are within 0.5 points in accuracy."
    assert f"contradicted: {claim}" in output
    assert f"contradicted: {claim}" in repeated(output, tmp_path)


def test_without_a_method_a_terminal_gets_the_same_description_as_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text(long_rows(A=A, B=B))
    code, output = converse(["judge", "runs.csv"], [(METHOD, "")], tmp_path)
    piped = run_command("judge", "runs.csv", folder=tmp_path)
    assert (code, piped.code) == (0, 0)
    assert "without questions" not in output
    assert output.endswith(piped.output)
    assert METHOD not in piped.text
