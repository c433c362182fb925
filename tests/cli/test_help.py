"""The help is fast, because it imports no heavy package, and groups the commands by purpose."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from resnetlab.cli.main import SECTIONS, build_command
from resnetlab.studies.parsing.toml_tables import catalog_names

IMPORTED = """
import sys
sys.argv = ["resnetlab", *{arguments!r}]
from resnetlab.cli.main import main
code = 0
try:
    main()
except SystemExit as ended:
    code = ended.code
heavy = ("torch", "numpy", "scipy", "rich", "matplotlib")
ours = [name for name in sys.modules if name.startswith("resnetlab.")]
ours = [name for name in ours if not name.startswith("resnetlab.cli")]
print([name for name in heavy if name in sys.modules], file=sys.stderr)
print(ours, file=sys.stderr)
sys.exit(code)
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "resnetlab", *arguments], capture_output=True, text=True, timeout=60
    )


def test_help_groups_all_commands_by_purpose() -> None:
    lines = run("--help").stdout.splitlines()
    assert [f"{title}:" for title in SECTIONS] == [
        line for line in lines if line.endswith(":") and line != "Options:"
    ]
    commands = build_command().commands  # type: ignore[attr-defined]
    listed = {name for name, command in commands.items() if not command.hidden}
    assert listed == {name for names in SECTIONS.values() for name in names}


@pytest.mark.parametrize("arguments", [["--help"], ["study", "--help"], ["train", "--help"]])
def test_help_imports_only_the_command_line(
    arguments: list[str],
) -> None:
    code = IMPORTED.format(arguments=arguments)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    heavy, ours = done.stderr.splitlines()[-2:]
    assert heavy == "[]"
    light = (
        "errors",
        "files",
        "messages",
        "settings",
        "shell",
        "translation",
        "trust",
        "torch_check",
    )
    light += ("data", "data.class_names", "deploy", "deploy.answer_texts", "signals")
    assert set(ast.literal_eval(ours)) <= {f"resnetlab.{name}" for name in light}


def test_a_mistake_is_reported_without_importing_torch() -> None:
    code = IMPORTED.format(arguments=["study", "run", "digitz"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    message, heavy, _ = done.stderr.splitlines()
    assert message == (
        "resnetlab: error: digitz: unknown study (got digitz; allowed: "
        f"{', '.join(catalog_names('studies'))}). "
        'Fix: did you mean "digits"?'
    )
    assert "torch" not in heavy
    assert "matplotlib" not in heavy
