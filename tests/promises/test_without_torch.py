"""Judging, reports and course checks work without the extra `train`, and other commands name it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import resnetlab as rl
from helpers.commands import check_error_lines, run_command
from helpers.course import run_folder, train_exercise
from helpers.documents import ROOT
from helpers.runs_tables import A, B, long_rows
from resnetlab.cli.common import TORCH_COMMANDS
from resnetlab.course.lessons import load_lesson

EXTRA = 'torch: not installed. Fix: pip install "resnetlab[train]"'
NEEDED_OPTIONS = {
    "train": ("cifar-resnet8", "--data", "digits", "--recipe", "digits"),
    "resume": ("runs/x",),
    "verify": ("results/digits",),
    "finetune": ("photos",),
    "fixres": ("photos",),
    "extend": ("pets", "--add", "photos"),
    "import-weights": ("x.pth", "--as", "timm/resnet18", "--out", "y"),
    "predict": ("pets", "x.jpg"),
    "evaluate": ("pets", "photos"),
    "ensemble": ("pets", "cats", "--data", "photos"),
    "explain": ("pets", "x.jpg"),
    "export": ("pets",),
    "serve": ("pets",),
    "study run": ("digits",),
}

PROCESS = """
import sys
from importlib.machinery import PathFinder
class WithoutExtra(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        absent = name.partition(".")[0] in ("torch", "torchvision", "sklearn", "timm")
        return None if absent else super().find_spec(name, path, target)
sys.meta_path = [WithoutExtra if one is PathFinder else one for one in sys.meta_path]
import resnetlab as rl
from resnetlab.cli.main import main
def run(*words):
    sys.argv = ["resnetlab", *words]
    try:
        main()
    except SystemExit as end:
        print("code", end.code)
run("--help")
run("judge", "runs.csv", "--claim", "A > B")
run("course", "check", "5")
run("course", "list")
run("doctor")
from pathlib import Path
from resnetlab.reports.write import rebuild
rebuild(Path("digits"))
print(rl.judge("runs.csv", ["A > B"]).verdicts[0].verdict)
"""
"""Commands that need no torch, in one process, as if the extra were not installed."""


@pytest.mark.parametrize("command", TORCH_COMMANDS)
def test_a_command_that_needs_torch_reports_the_missing_extra_in_one_line(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    ended = run_command(*command.split(), *NEEDED_OPTIONS[command], folder=tmp_path)
    check_error_lines(ended)
    assert ended.errors == f"resnetlab: error: {EXTRA}\n"
    assert not list(tmp_path.iterdir())


def test_python_reports_the_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(rl.InputError, match=r"resnetlab\[train\]"):
        rl.train("cifar-resnet8", "digits", "digits")


def test_judging_reports_and_course_checks_import_no_torch(tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text(long_rows(A=A, B=B))
    shutil.copytree(ROOT / "results" / "digits", tmp_path / "digits")
    done = subprocess.run(
        [sys.executable, "-c", PROCESS], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "unexpected" not in done.stderr, done.stderr
    assert done.stdout.endswith("reproduced\n")
    assert "no run of this exercise" in done.stdout
    committed = ROOT / "results" / "digits"
    assert (tmp_path / "digits" / "report.md").read_text() == (committed / "report.md").read_text()
    assert 'to train: pip install "resnetlab[train]"' in done.stdout


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of programs of a fresh environment, with the package and without extras."""
    folder = tmp_path_factory.mktemp("bare")
    uv = shutil.which("uv") or str(Path(sys.executable).parent / "uv")
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
    programs = folder / ("Scripts" if sys.platform == "win32" else "bin")
    words = [uv, "pip", "install", "--quiet", "--python", str(programs / "python")]
    subprocess.run([*words, "--constraint", "constraints.txt", "."], cwd=ROOT, check=True)
    return programs


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_installation_without_the_extra_has_the_same_results(
    environment: Path, tmp_path: Path
) -> None:
    (tmp_path / "runs.csv").write_text(long_rows(A=A, B=B))
    settings = ["recipe.epochs=1", "data.train_images=100", "numerics.threads=1"]
    study = rl.load_study("digits", seeds=2, settings=settings)
    study.run(tmp_path, progress=False)
    train_exercise(load_lesson(9).exercise[0], 0, tmp_path / "student")
    report = next((tmp_path / "studies").iterdir()) / "report.json"
    before = json.loads(report.read_text())
    variables = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}

    def program(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(environment / words[0]), *words[1:]],
            cwd=tmp_path,
            env=variables,
            capture_output=True,
            text=True,
            check=False,
        )

    assert "No module named 'torch'" in program("python", "-c", "import torch").stderr
    done = program("python", "-c", "import resnetlab as rl; print(rl.judge('runs.csv', ['A > B']))")
    assert done.returncode == 0, done.stderr
    assert "Experiments:" in program("resnetlab", "--help").stdout
    done = program("resnetlab", "judge", "runs.csv", "--claim", "A > B")
    assert "reproduced: A has a higher accuracy than B." in done.stdout, done.stderr
    done = program("resnetlab", "study", "report", str(report.parent))
    assert done.returncode == 0, done.stderr
    after = json.loads(report.read_text())
    assert after["verdicts"] == before["verdicts"]
    done = program("resnetlab", "course", "check", "9", str(run_folder(tmp_path / "student")))
    assert "torch is not installed" in done.stdout, done.stdout + done.stderr
    assert "scores               passed" in done.stdout
    done = program("resnetlab", "study", "run", "digits")
    assert (done.returncode, done.stderr) == (2, f"resnetlab: error: {EXTRA}\n")
