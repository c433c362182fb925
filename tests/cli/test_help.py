"""The command line answers at once, and groups what it can do by what people come for."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from resnetlab.studies.parsing.study_file import study_names

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


def test_help_groups_the_commands_by_what_people_come_for() -> None:
    said = run("--help").stdout
    for title in ("Experiments:", "Your photographs:", "Looking inside:"):
        assert title in said
    from resnetlab.cli.main import SECTIONS, app

    known = {
        info.name or info.callback.__name__
        for info in app.registered_commands
        if info.callback and not info.hidden
    }
    known |= {str(group.name) for group in app.registered_groups}
    assert known == {name for names in SECTIONS.values() for name in names}


@pytest.mark.parametrize("arguments", [["--help"], ["study", "--help"], ["train", "--help"]])
def test_help_imports_nothing_heavy_and_of_resnetlab_the_command_line_alone(
    arguments: list[str],
) -> None:
    code = IMPORTED.format(arguments=arguments)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    heavy, ours = done.stderr.splitlines()[-2:]
    assert heavy == "[]"
    assert set(ast.literal_eval(ours)) <= {"resnetlab.errors", "resnetlab.shell"}


def test_a_mistake_in_a_file_is_told_without_torch() -> None:
    code = IMPORTED.format(arguments=["study", "run", "digitz"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    said, heavy, _ = done.stderr.splitlines()
    assert said == (
        "resnetlab: error: digitz: unknown study (got digitz; allowed: "
        f"{', '.join(study_names())}). "
        'Fix: did you mean "digits"?'
    )
    assert "torch" not in heavy
    assert "matplotlib" not in heavy
