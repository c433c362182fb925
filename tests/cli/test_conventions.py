"""The command line has the usual conventions: version, completion, quiet mode, dry runs and exit
codes.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from resnetlab.cli.common import EXIT_CODES, RENAMED
from resnetlab.cli.folder_options import FolderOptions
from resnetlab.errors import InputError, Problem
from resnetlab.studies.parsing.overrides import toml_value

Resnetlab = Callable[..., tuple[int, str, str]]
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("words", [["--version"], ["-V"], ["version"]])
def test_the_version_is_printed(resnetlab: Resnetlab, words: list[str]) -> None:
    assert resnetlab(*words) == (0, f"resnetlab {version('resnetlab')}\n", "")


@pytest.mark.parametrize(
    "words", [[], ["-h"], ["help"], ["study"], ["study", "run", "-h"], ["help", "study", "run"]]
)
def test_help_is_printed_and_ends_with_exit_code_0(resnetlab: Resnetlab, words: list[str]) -> None:
    code, out, err = resnetlab(*words)
    assert (code, err) == (0, "")
    assert out.startswith("Usage: resnetlab")
    named = [word for word in words if word not in ("help", "-h")]
    assert all(word in out.splitlines()[0] for word in named)
    assert "--quiet" in out
    assert "--verbose" in out


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (
            ["predict", "m", "x.jpg", "--sort-mode", "move"],
            (
                "Invalid value for '--sort-mode': 'move' is not one of 'copy', 'link'. "
                "Fix: resnetlab predict -h lists what it takes"
            ),
        ),
        (
            ["train", "--zzz"],
            "No such option: --zzz. Fix: resnetlab train -h lists what it takes",
        ),
        (
            ["evaluate"],
            "Missing argument 'MODEL'. Fix: resnetlab evaluate -h lists what it takes",
        ),
        (
            ["study", "plan"],
            "Missing argument 'STUDY'. Fix: resnetlab study plan -h lists what it takes",
        ),
        (["nosuch"], "No such command 'nosuch'. Fix: resnetlab -h lists what it takes"),
    ],
)
def test_wrong_words_of_a_command_are_refused_in_one_line(
    resnetlab: Resnetlab, words: list[str], error: str
) -> None:
    assert resnetlab(*words) == (2, "", f"resnetlab: error: {error}\n")


def test_help_and_documentation_list_the_exit_codes(resnetlab: Resnetlab) -> None:
    _, out, _ = resnetlab("--help")
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    for code, meaning in EXIT_CODES.items():
        assert f"{code} {meaning}" in " ".join(out.split())
        assert f"| {code} | {meaning} |" in page


OLD_WORDS = {
    "study published": ["study", "published", "digits"],
    "--cells": ["verify", "results/digits", "--cells=2"],
    "--mend": ["doctor", "--mend", "runs/x"],
}


@pytest.mark.parametrize("old", OLD_WORDS)
def test_a_renamed_command_or_option_is_refused_with_its_new_name(
    resnetlab: Resnetlab, old: str
) -> None:
    code, out, err = resnetlab(*OLD_WORDS[old])
    assert (code, out) == (2, "")
    assert err == f"resnetlab: error: {old}: was renamed. Fix: {RENAMED[old]}\n"


def test_new_names_of_commands_and_options_exist_and_old_ones_do_not() -> None:
    from resnetlab.cli.main import build_command

    group: Any = build_command()
    options = {
        option
        for command in (
            *group.commands.values(),
            *group.commands["study"].commands.values(),
            *group.commands["data"].commands.values(),
        )
        for parameter in command.params
        for option in parameter.opts
    }
    for old, new in RENAMED.items():
        if old.startswith("--"):
            assert new in options
            assert old not in options
        else:
            _, name, command = new.split()
            assert command in group.commands[name].commands
            assert old.split()[1] not in group.commands[name].commands


# Quiet, verbose
# --------------------------------------------------------------------------------------------------


def test_quiet_prints_the_result_and_no_progress(resnetlab: Resnetlab, small_npz: Path) -> None:
    words = ("train", "cifar-resnet8", "--data", small_npz, "--recipe", "adam", "--epochs", "1")
    code, out, err = resnetlab(*words, "--quiet")
    assert (code, err) == (0, "")
    assert "test" in out
    assert resnetlab(*words, "--quiet", "--epochs", "nine")[0] == 2


def test_quiet_hides_no_error(resnetlab: Resnetlab) -> None:
    code, out, err = resnetlab("study", "run", "digitz", "-q")
    assert (code, out) == (2, "")
    assert err.startswith("resnetlab: error: digitz: unknown study")


def test_quiet_affects_one_command_only(resnetlab: Resnetlab) -> None:
    words = ("inspect", "conv", "--input", "9x9x1", "--kernel", "3", "--draw", "a.svg")
    assert resnetlab(*words, "-q")[2] == ""
    assert resnetlab(*words)[2] == "wrote a.svg\n"


def test_verbose_prints_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    from resnetlab.cli.main import main
    from resnetlab.errors import InputError

    monkeypatch.setattr("sys.argv", ["resnetlab", "study", "run", "digitz", "--verbose"])
    with pytest.raises(InputError):
        main()


# Dry runs
# --------------------------------------------------------------------------------------------------


def test_a_dry_run_of_a_study_prints_its_plan_and_trains_nothing(
    resnetlab: Resnetlab, study_file: Path
) -> None:
    code, out, err = resnetlab("study", "run", study_file, "--dry-run")
    assert code == 0, err
    assert out == resnetlab("study", "plan", study_file, "--no-timing")[1]
    assert not list(Path().iterdir())
    assert "4 runs, 0 finished" in out
    assert not list(Path().glob("runs/*"))


def test_a_plan_downloads_and_writes_nothing_and_states_the_cost_of_the_study(
    resnetlab: Resnetlab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("a plan downloads nothing")

    monkeypatch.setattr("resnetlab.data.sources.torchvision_sets.check_downloads_allowed", fail)
    setting = 'grid.model=["depth-report-plain8", "depth-report-resnet8"]'
    words = ("study", "plan", "depth", "--set", setting, "--no-timing")
    code, out, err = resnetlab(*words)
    assert (code, err) == (0, "")
    assert "10 claims need conditions that --set left out" in out
    assert "cifar10 is not on this machine: a run downloads about 170 MB" in out
    plan = json.loads(resnetlab(*words, "--json")[1])
    assert plan["downloads"] == [{"data": "cifar10", "megabytes": 170}]
    assert (plan["runs"], plan["ids"], len(plan["claims_left_out"])) == (10, [], 10)
    assert plan["report_folder"].startswith(str(Path("studies") / "depth-"))
    assert not list(Path().iterdir())


def test_the_status_of_a_study_that_was_not_started_lists_all_runs_as_waiting(
    resnetlab: Resnetlab, study_file: Path, small_npz: Path
) -> None:
    words = (study_file, "--data", small_npz, "--output", "results here")
    status = json.loads(resnetlab("study", "status", *words, "--json")[1])
    assert [(row["planned"], row["waiting"]) for row in status["conditions"]] == [(2, 2), (2, 2)]
    assert status["command"] == (
        f"resnetlab study run {study_file} --data {small_npz} --output 'results here'"
    )
    assert not list(Path().iterdir())


def test_a_dry_run_of_training_names_the_run_and_trains_nothing(
    resnetlab: Resnetlab, small_npz: Path
) -> None:
    words = ("train", "cifar-resnet8", "--data", small_npz, "--recipe", "adam", "--epochs", "1")
    code, out, err = resnetlab(*words, "--dry-run")
    assert code == 0, err
    folder = re.match(r"Run: (.*)\n", out)
    assert folder
    assert "1 run, 0 finished" in out
    assert not Path(folder[1]).exists()
    trained = resnetlab(*words)[1]
    assert f"Run: {folder[1]}" in trained
    match = re.search(
        r"^First loss ([\d.]+) nats in training mode, ln (\d+) = ([\d.]+)$", trained, re.M
    )
    assert match
    lines = (Path(folder[1]) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    first = next(line for line in map(json.loads, lines) if line["split"] == "train epoch")
    assert (first["step"], f"{first['loss_nats']:.3f}") == (0, match[1])
    assert f"{math.log(int(match[2])):.3f}" == match[3]


# Pages
# --------------------------------------------------------------------------------------------------


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses that the browser was asked to open, on a machine with a display."""
    addresses: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: bool(addresses.append(address)) or True)
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("DISPLAY", ":0")
    return addresses


def test_open_shows_the_page_of_a_report_in_the_browser(
    resnetlab: Resnetlab, workspace: Path, opened: list[str]
) -> None:
    study = next((workspace / "studies").glob("small*"))
    assert resnetlab("study", "report", study, "--open")[0] == 0
    assert opened == [(study / "report.html").as_uri()]


@pytest.mark.parametrize("why", ["CI", "no display"])
def test_open_prints_the_path_if_there_is_no_browser(
    resnetlab: Resnetlab,
    workspace: Path,
    opened: list[str],
    monkeypatch: pytest.MonkeyPatch,
    why: str,
) -> None:
    if why == "CI":
        monkeypatch.setenv("CI", "true")
    else:
        monkeypatch.setattr("sys.platform", "linux")
        for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
            monkeypatch.delenv(name, raising=False)
    study = next((workspace / "studies").glob("small*"))
    _, _, err = resnetlab("study", "report", study, "--open")
    assert opened == []
    assert f"Open the page yourself: {(study / 'report.html')}" in err


# Devices
# --------------------------------------------------------------------------------------------------

DEVICES = {
    "study run": ["study", "run", "digits"],
    "study plan": ["study", "plan", "digits"],
    "train": ["train", "cifar-resnet8"],
    "resume": ["resume", "RUN"],
    "finetune": ["finetune", "photos"],
    "fixres": ["fixres", "photos"],
    "predict": ["predict", "MODEL", "x.jpg"],
    "evaluate": ["evaluate", "MODEL", "photos"],
    "ensemble": ["ensemble", "MODEL", "--data", "photos"],
    "explain": ["explain", "MODEL", "x.jpg"],
    "serve": ["serve", "MODEL"],
}


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "cpu:1", "cuda:-1"])
def test_an_invalid_device_is_refused_with_the_allowed_ones(
    resnetlab: Resnetlab, device: str
) -> None:
    code, out, err = resnetlab("train", "cifar-resnet8", "--device", device)
    assert (code, out) == (2, "")
    assert err == (
        f"resnetlab: error: --device: no such device (got {device}; allowed: auto, cpu, cuda, "
        "mps, or cuda:N for the "
        "GPU of that index). Fix: --device auto\n"
    )


@pytest.mark.parametrize("name", DEVICES)
def test_every_command_that_computes_refuses_an_invalid_device_with_the_same_message(
    resnetlab: Resnetlab, workspace: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(workspace)
    known = {"RUN": str(next(Path("runs").iterdir())), "MODEL": str(next(Path("models").iterdir()))}
    words = [known.get(word, word) for word in DEVICES[name]]
    code, _, err = resnetlab(*words, "--device", "cuda:one")
    assert (code, err.startswith("resnetlab: error: --device: no such device (got cuda:one;")) == (
        2,
        True,
    )


def test_the_index_of_a_gpu_belongs_to_the_placement_and_not_to_the_id_of_the_run(
    resnetlab: Resnetlab, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "resnetlab.cli.train_run.train", lambda *_, **options: trained.append(options)
    )
    assert resnetlab("train", "cifar-resnet8", "--device", "cuda:1")[0] == 0
    assert trained[0]["settings"] == ["numerics.device=cuda"]
    assert trained[0]["placement"].device_index == 1

    planned: list[tuple[Any, ...]] = []

    def plan_looks(*arguments: Any) -> Iterator[None]:
        planned.append(arguments)
        raise InputError(Problem("", "planned", ""))

    monkeypatch.setattr("resnetlab.api.loaded_study.LoadedStudy.plan_looks", plan_looks)
    assert resnetlab("study", "run", "digits", "--device", "cuda:1")[0] == 2
    loaded, _, _, _, executor, _ = planned[0]
    assert loaded.study.numerics.device == "cuda"
    assert executor.placement.device_index == 1


def test_an_absent_gpu_is_refused_before_a_run_is_started(
    resnetlab: Resnetlab, monkeypatch: pytest.MonkeyPatch, small_npz: Path
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda *_: (9, 0))
    words = (
        "train",
        "cifar-resnet8",
        "--data",
        small_npz,
        "--recipe",
        "adam",
        "--device",
        "cuda:5",
    )
    code, _, err = resnetlab(*words)
    assert code == 2
    assert (
        "--device: no such GPU on this machine (got cuda:5; allowed: cuda:0, cuda:1). Fix: "
        "--device cuda" in err
    )
    assert not list(Path().glob("runs/*"))


def test_a_run_is_not_resumed_on_another_kind_of_device(
    resnetlab: Resnetlab, workspace: Path
) -> None:
    run = next((workspace / "runs").iterdir())
    code, _, err = resnetlab("resume", run, "--device", "cuda")
    assert code == 2
    assert "--device: not the run's device (got cuda; allowed: cpu)" in err


# Completion
# --------------------------------------------------------------------------------------------------


def complete(line: str) -> list[str]:
    """Return the completions of the last word of a line, without an import of torch."""
    words = line.split(" ")
    code = (
        "import sys; sys.argv = ['resnetlab']\nfrom resnetlab.cli.main import main\ntry:\n    "
        "main()\nfinally:\n"
    )
    code += (
        "    heavy = [m for m in ('torch', 'scipy', 'numpy', 'sklearn') if m in sys.modules]\n    "
        "assert not heavy"
    )
    env = os.environ | {
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
        "_RESNETLAB_COMPLETE": "complete_bash",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=env
    )
    assert "AssertionError" not in done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("resnetlab stu", ["study"]),
        ("resnetlab study r", ["run", "report", "references"]),
        ("resnetlab study run --until", ["--until-decided"]),
        ("resnetlab study run digi", ["digits"]),
        ("resnetlab train cifar-resnet20-", ["cifar-resnet20-b", "cifar-resnet20-c"]),
        ("resnetlab train cifar-resnet20 --recipe ada", ["adam"]),
        ("resnetlab train cifar-resnet20 --device cu", ["cuda"]),
        ("resnetlab doctor --rep", ["--repair"]),
    ],
)
def test_commands_options_and_names_are_completed_without_torch(
    line: str, expected: list[str]
) -> None:
    assert complete(line) == expected


@pytest.fixture
def on_path(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which `resnetlab` is a command."""
    program = tmp_path / "bin" / "resnetlab"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m resnetlab "$@"\n')
    program.chmod(0o755)
    return os.environ | {
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
    }


@pytest.mark.parametrize(
    ("shell", "first"),
    [("bash", "_resnetlab_completion"), ("zsh", "#compdef"), ("fish", "complete")],
)
def test_the_shell_accepts_the_completion_script(
    on_path: dict[str, str], shell: str, first: str
) -> None:
    environment = on_path | {"_RESNETLAB_COMPLETE": f"source_{shell}"}
    done = subprocess.run(
        ["resnetlab"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().startswith(first)
    if shutil.which(shell):
        read = subprocess.run(
            [shell, "-n"],
            input=done.stdout,
            env=on_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (read.returncode, read.stderr) == (0, "")


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash here")
def test_bash_completes_a_command(on_path: dict[str, str]) -> None:
    source = on_path | {"_RESNETLAB_COMPLETE": "source_bash"}
    script = subprocess.run(
        ["resnetlab"], env=source, capture_output=True, text=True, timeout=60
    ).stdout
    script += (
        "\nCOMP_WORDS=(resnetlab study st)\nCOMP_CWORD=2\n_resnetlab_completion resnetlab\necho "
        "${COMPREPLY[@]}\n"
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", script], env=on_path, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "status", done.stderr


# The catalog and own modules
# ------------------------------------------------------------------------------------------


def test_the_list_of_studies_has_the_counts_of_the_loaded_studies() -> None:
    from resnetlab.studies.parsing.study_file import load_study
    from resnetlab.studies.parsing.toml_tables import study_source, summarize_studies

    for row in summarize_studies():
        study = load_study(row["study"])
        assert row == {
            "study": row["study"],
            "conditions": len(study.conditions),
            "seeds": len(study.seeds),
            "question": study.question,
            "source": study_source(row["study"]),
        }


def test_the_list_of_studies_builds_no_study(
    resnetlab: Resnetlab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a study was built")

    monkeypatch.setattr("resnetlab.studies.parsing.study_file.parse_study", refuse)
    assert resnetlab("study", "list")[0] == 0


CUSTOM = """
from torch import nn

def tiny(num_classes: int = 10) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))

def small(num_classes: int = 10) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16, num_classes))
"""


def test_a_network_in_the_current_folder_is_imported_by_the_installed_command(
    tmp_path: Path, small_npz: Path
) -> None:
    """The installed program has its own folder first on the path, as a script has, and not the
    current one.
    """
    program, here = tmp_path / "bin" / "program.py", tmp_path / "here"
    program.parent.mkdir()
    here.mkdir()
    program.write_text(
        "from resnetlab.cli.main import main\n\nif __name__ == '__main__':\n    main()\n"
    )
    (here / "ownnet_of_here.py").write_text(CUSTOM)
    words = [
        "train",
        "ownnet_of_here:small",
        "--data",
        str(small_npz),
        "--recipe",
        "adam",
        "--epochs",
        "1",
    ]
    done = subprocess.run(
        [sys.executable, str(program), *words],
        cwd=here,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert "test" in done.stdout


def test_installed_packages_have_priority_over_files_of_the_current_folder(tmp_path: Path) -> None:
    program, here = tmp_path / "bin" / "program.py", tmp_path / "here"
    program.parent.mkdir()
    here.mkdir()
    program.write_text("from resnetlab.cli.main import main\n\nmain()\n")
    (here / "rich.py").write_text(
        "raise SystemExit('the file of the current folder was imported')\n"
    )
    (here / "typer.py").write_text(
        "raise SystemExit('the file of the current folder was imported')\n"
    )
    done = subprocess.run(
        [sys.executable, str(program), "models"],
        cwd=here,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", ["models", "models --json", "study list", "--help"])
def test_a_reader_that_closes_its_pipe_is_no_error(words: str, tmp_path: Path) -> None:
    """`resnetlab models | head -1` ends well, without a word."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "resnetlab", *words.split()],
            cwd=tmp_path,
            stdout=write_end,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    finally:
        os.close(write_end)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["2024", "nan", "true", "[1]", "label", "a b", 'a"b', "é"])
def test_the_name_of_a_column_stays_a_name_whatever_toml_would_read(name: str) -> None:
    options = FolderOptions(path_column=name, label_column=name, group=name)
    read = dict(setting.partition("=")[::2] for setting in options.settings())
    assert {field: toml_value(text) for field, text in read.items()} == {
        "data.path_column": name,
        "data.label_column": name,
        "data.group": name,
    }
