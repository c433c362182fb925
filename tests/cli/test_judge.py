"""The command `judge` works without torch, writes its files, and reports mistakes in one line."""

from __future__ import annotations

import filecmp
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.commands import check_error_lines, run_command
from helpers.runs_tables import A, B, long_rows
from resnetlab.reports.write import rebuild

WITHOUT_TORCH = """
import sys
ABSENT = ("torch", "torchvision", "pandas", "polars", "tensorboard", "mlflow")
class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ImportError(f"{name} is not installed")
sys.meta_path.insert(0, Refused())
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "runs.csv").write_text(long_rows(A=A, B=B))
    return tmp_path


def run_without_torch(code: str, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH + code, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def test_the_command_works_without_torch(folder: Path) -> None:
    command = "from resnetlab.cli.entry_point import run; run()"
    done = run_without_torch(command, folder, "judge", "runs.csv", "--claim", "A > B")
    assert done.returncode == 0, done.stderr
    counts, verdict, answer, sentence, path = done.stdout.splitlines()
    assert counts == "10 rows: 10 runs of 2 conditions = 10 trained."
    assert verdict == "reproduced: A has a higher accuracy than B."
    assert answer == (
        "A reached 91.3 % [91.0, 91.6] accuracy (5 of 5 trained), against 90.1 % [89.8, 90.3] for "
        "B (5 of 5): reproduced."
    )
    assert sentence == (
        "For a paper: Over 5 runs of A and 5 runs of B, the difference in accuracy is +1.22 "
        "points, 95 % CI [0.91, 1.53] (Welch's t-test, ν = 7.8, p < 0.0001); the claim “A has a "
        "higher accuracy than B” is reproduced."
    )
    assert path == str(Path("reports/judge-runs/report.html"))
    assert (folder / "reports/judge-runs/report.html").exists()


def test_the_function_works_without_torch(folder: Path) -> None:
    code = (
        "import resnetlab as rl\n"
        "columns = {'model': list('AAABBB'), 'acc': [91, 92, 93, 80, 81, 82.5]}\n"
        "print(rl.judge(columns, ['A > B'], out='out').verdicts[0].verdict)\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = run_without_torch(code, folder)
    assert (done.returncode, done.stdout) == (0, "reproduced\n"), done.stderr
    assert (folder / "out" / "report.html").exists()


def test_the_report_is_built_again_from_its_values(folder: Path) -> None:
    options = (
        "--claim",
        "A > B",
        "--published",
        "A = 91.4 of 5",
        "--out",
        "first",
        "--epoch",
        "epoch",
    )
    lines = (folder / "runs.csv").read_text().splitlines()
    rows = [f"{line},{epoch}" for line in lines[1:] for epoch in (1, 2)]
    (folder / "runs.csv").write_text("\n".join([f"{lines[0]},epoch", *rows]))
    assert run_command("judge", "runs.csv", *options, folder=folder).code == 0
    rebuild(folder / "first", folder / "second")
    names = [p.relative_to(folder / "first") for p in (folder / "first").rglob("*") if p.is_file()]
    assert {"report.html", "report.md", "report.json", "results.csv"} <= set(map(str, names))
    assert filecmp.cmpfiles(folder / "first", folder / "second", names, shallow=False)[1:] == (
        [],
        [],
    )
    results = (folder / "first" / "results.csv").read_text().splitlines()
    assert results[:2] == [
        "condition,seed,status,epochs,run,value",
        "A,0,trained,2.0,row 2 to 3,91.3",
    ]


def test_json_has_the_numbers_of_each_claim(folder: Path) -> None:
    ended = run_command("judge", "runs.csv", "--claim", "A > B", "--json", folder=folder)
    result = json.loads(ended.output)
    assert result["conditions"]["A"]["mean"] == pytest.approx(91.3)
    (claim,) = result["claims"]
    assert (claim["verdict"], claim["difference"]) == ("reproduced", pytest.approx(1.22))
    assert result["measure"]["unit"] == "%"


DECLARATION = """
name = "two-models"
question = "Is A better?"
value = "accuracy"
seed = "seed"
claims = ["A > B"]

[[claim]]
statement = "A is about one point better."
kind = "about"
left = "A"
right = "B"
size = 1.0
margin = 0.8

[[reference]]
condition = "A"
value = 91.4
num_runs = 5
source = "He et al. 2016, table 6"
"""


def test_a_declaration_file_sets_the_values_of_the_options(folder: Path) -> None:
    (folder / "two.toml").write_text(DECLARATION)
    ended = run_command("judge", "runs.csv", "--declaration", "two.toml", "--json", folder=folder)
    result = json.loads(ended.output)
    assert [claim["verdict"] for claim in result["claims"]] == ["reproduced", "reproduced"]
    page = (folder / "reports/judge-two-models/report.md").read_text()
    assert page.startswith("# Is A better?\n")
    assert "He et al. 2016, table 6" in page


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("nosuch.csv",), "nosuch.csv: no such file"),
        ((".",), ".: a folder without runs"),
        (("runs.csv", "--claim", "A > C"), "A > C: no such condition (got C; allowed: A, B)"),
        (("runs.csv", "--paired-by", "fold"), "--paired-by: no column of folds. Fix: --fold fold"),
        (("runs.csv", "--test-images", "100"), "--test-images: given without chance"),
        (("runs.csv", "--declaration", "bad.toml"), "bad.toml: clams: unknown field"),
        (("runs.csv", "--declaration", "own.toml"), "claim[0].metric: not allowed here"),
        (("runs.csv", "--declaration", "else.toml"), "claim[0]: no such condition (got C;"),
    ],
)
def test_a_mistake_is_reported_in_one_line(
    folder: Path, words: tuple[str, ...], expected: str
) -> None:
    (folder / "bad.toml").write_text("clams = []\n")
    claim = '[[claim]]\nstatement = "s"\nleft = "A"\n'
    (folder / "own.toml").write_text(f'{claim}right = "B"\nmetric = "loss"\n')
    (folder / "else.toml").write_text(f'{claim}right = "C"\n')
    ended = run_command("judge", *words, folder=folder)
    check_error_lines(ended)
    assert expected in ended.errors


def test_imported_runs_cannot_be_repeated(folder: Path) -> None:
    run_command("judge", "runs.csv", "--out", "out", folder=folder)
    ended = run_command("verify", "out", folder=folder)
    assert ended.code == 2
    assert "out: its runs were trained elsewhere" in ended.errors
