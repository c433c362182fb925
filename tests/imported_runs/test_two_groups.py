"""The page that judges in a browser runs without numpy and scipy, and prints the text of judge."""

from __future__ import annotations

import json
import math
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from helpers.commands import run_command
from helpers.documents import DOCS, ROOT
from resnetlab.errors import InputError
from resnetlab.imported_runs.two_groups import answer, split_column, write_table

BARE = """
import sys
for name in ("numpy", "scipy", "torch", "PIL", "safetensors", "matplotlib", "jinja2", "typer"):
    sys.modules[name] = None
for name in ("sqlite3", "filelock", "platformdirs", "tomli_w", "rich", "regex", "pooch"):
    sys.modules[name] = None
import json
from pathlib import Path
from resnetlab.imported_runs.two_groups import answer
requests = json.loads(sys.stdin.read())
print(json.dumps([answer(request, Path(sys.argv[1])) for request in requests]))
"""
"""Process that has only the packages which the page has."""

COLUMNS = ("93,1\n93.5\n93.3\n\n93.2", "92.7 92.9 93.0 92.8 92.5")
REQUESTS: list[dict[str, Any]] = [
    {"columns": COLUMNS, "margin": 0.2},
    {"columns": COLUMNS, "margin": 0.5, "kind": "equal"},
    {"columns": COLUMNS, "margin": 0.4, "paired": True},
    {"columns": COLUMNS, "higher_is": "worse", "measure": "test error"},
    {"columns": ("0.931\n0.935\nnan", "0.92\n0.925"), "names": ("with mixup", "B, plain")},
    {"summaries": ("ResNet: 93.5 ± 0.2, n=5", "B: 92.9 +- 0.3 (n=5)"), "margin": 0.3},
]


@pytest.fixture(scope="module")
def bare_answers(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-c", BARE, str(tmp_path_factory.mktemp("page"))],
        input=json.dumps(REQUESTS),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


@pytest.mark.parametrize("number", range(len(REQUESTS)))
def test_the_command_printed_by_the_page_has_the_same_result(
    number: int, bare_answers: list[dict[str, Any]], tmp_path: Path
) -> None:
    answer = bare_answers[number]
    assert "error" not in answer, answer
    if answer["table"]:
        (tmp_path / "runs.csv").write_text(answer["table"], encoding="utf-8")
    ended = run_command(*shlex.split(answer["command"])[1:], "--json", folder=tmp_path)
    assert ended.code == 0, ended.errors
    result = json.loads(ended.output)
    (claim,) = result["claims"]
    assert claim["words"] == answer["words"]
    assert result["reading"] == answer["reading"]
    assert claim["seeds"] == answer["seeds"]
    for here, there in zip(
        [answer["estimate"], answer["p"], *answer["interval"]],
        [claim["difference"], claim["p"], *claim["interval"]],
        strict=True,
    ):
        assert math.isclose(here, there, rel_tol=1e-11), (here, there)


def test_a_missing_run_is_counted_in_the_denominator(bare_answers: list[dict[str, Any]]) -> None:
    assert bare_answers[0]["words"]["sentence"].startswith("Over 4 of 5 runs of A and 5 runs of B")
    assert bare_answers[0]["words"]["verdict"] == "reproduced (trained runs only)"


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ("1\n2\n", ["1", "2"]),
        ("\n1,5\r\n2,5 %\n", ["1.5", "2.5%"]),
        ("1\n\n3", ["1", "", "3"]),
        ("1; 2, 3\t4", ["1", "2", "3", "4"]),
        ("93.1,93.2", ["93.1", "93.2"]),
        ("  ", []),
    ],
)
def test_pasted_columns_are_split_into_cells(text: str, cells: list[str]) -> None:
    assert split_column(text) == cells


def test_names_with_commas_and_quotes_are_one_cell() -> None:
    assert write_table(['a, "b"', "c"], ["1", "2"]).splitlines()[1] == '"a, ""b""",0,1'


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"columns": ("1", "2"), "names": ("A", "A")}, "the names: empty or equal"),
        ({"columns": ("", "2")}, "the values of A: empty"),
        ({"columns": ("90", "91")}, "one run of each group gives no verdict"),
        ({"columns": ("90\nx", "91\n92")}, "runs.csv: row 3, column value: not a value"),
        ({"columns": COLUMNS, "margin": -1.0}, "the margin: not a number from 0 on"),
        ({"columns": COLUMNS, "kind": "equal"}, "within 0 cannot be shown"),
        ({"summaries": ("A: 1 ± 1, n=2",)}, "the summaries: not two lines"),
    ],
)
def test_mistakes_are_reported_in_one_line(
    request_: dict[str, Any], message: str, tmp_path: Path
) -> None:
    error = answer(request_, tmp_path)["error"]
    assert message in error
    assert str(tmp_path) not in error


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(InputError, match="the names"):
        write_table(["", "B"], ["1", "2"])


def _has_browser() -> bool:
    find = ["node", "-e", "require('puppeteer-core')"]
    return (
        shutil.which("chromium") is not None
        and shutil.which("node") is not None
        and subprocess.run(find, capture_output=True, check=False).returncode == 0
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not _has_browser(), reason="needs node with puppeteer-core, and chromium")
def test_the_page_in_chromium_has_the_results_of_the_command(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    for words in (
        [str(DOCS / "judge_bundle.py")],
        ["-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")],
        ["tests/judge_parity.py", str(tmp_path / "site")],
    ):
        done = subprocess.run(
            [sys.executable, *words],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert "page and command print the same words" in done.stdout
