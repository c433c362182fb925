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
from resnetlab.imported_runs.two_groups import answer, split_line, write_table

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
    {"columns": COLUMNS, "margin": 0.5, "kind": "equal", "names": ("lr = 0.1", "lr = 0.2")},
    {"columns": COLUMNS, "margin": 1e-12, "names": ("A by 2", "A > B")},
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
        ("1", ["1"]),
        ("1,5\r", ["1.5"]),
        ("2,5 %", ["2.5%"]),
        ("1; 2, 3\t4", ["1", "2", "3", "4"]),
        ("93.1,93.2", ["93.1", "93.2"]),
        ("93,1 93,4", ["93.1", "93.4"]),
        ("0,931; 0,942", ["0.931", "0.942"]),
        ("93,1\t92,5", ["93.1", "92.5"]),
        ("91,92,93", ["91", "92", "93"]),
        ("  ", [""]),
    ],
)
def test_a_pasted_line_is_split_into_cells(text: str, cells: list[str]) -> None:
    assert split_line(text) == cells


@pytest.mark.parametrize(
    ("columns", "rows"),
    [
        (("1\n2\n", "3\n4\n\n"), "A,0,1 A,1,2 B,0,3 B,1,4"),
        (("\n2\n3", "4\n5\n6"), "A,0, A,1,2 A,2,3 B,0,4 B,1,5 B,2,6"),
        (("1\n\n3", "4\n5\n6"), "A,0,1 A,1, A,2,3 B,0,4 B,1,5 B,2,6"),
        (("1\n2\n", "4\n5\n6"), "A,0,1 A,1,2 B,0,4 B,1,5 B,2,6"),
        (("\n\n1\n2", "\n\n3\n4"), "A,0,1 A,1,2 B,0,3 B,1,4"),
        (("1\n2", "3 4"), "A,0,1 A,1,2 B,0,3 B,1,4"),
    ],
)
def test_the_seed_of_a_value_is_the_number_of_its_line(columns: tuple[str, str], rows: str) -> None:
    assert write_table(("A", "B"), columns, is_paired=True).split()[1:] == rows.split(" ")


def test_a_missing_first_run_leaves_the_other_pairs_together(tmp_path: Path) -> None:
    columns = ("\n92.0\n93.1\n96.2", "90\n91\n92\n95")
    result = answer({"columns": columns, "paired": True}, tmp_path)
    assert result["estimate"] == pytest.approx((1.0 + 1.1 + 1.2) / 3)


def test_names_with_commas_and_quotes_are_one_cell() -> None:
    assert write_table(['a, "b"', "c"], ["1", "2"]).splitlines()[1] == '"a, ""b""",0,1'


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"columns": ("1", "2"), "names": ("A", "A")}, "the names: empty or equal"),
        ({"columns": ("", "2")}, "the values of A: empty"),
        ({"columns": ("90", "91")}, "one run of each group gives no verdict"),
        ({"columns": ("90\nx", "91\n92")}, "runs.csv: row 3, column value: not a value"),
        ({"columns": ("90 91\n92", "91\n92"), "paired": True}, "several values in a line"),
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
