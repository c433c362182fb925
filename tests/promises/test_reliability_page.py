"""docs/reliability.md lists what failed and what did not run, and keeps the figures of files that
did not run again.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from promises.test_supply_chain import script

RESULT = """<testsuites><testsuite>
<testcase name="test_a" time="9.5"><properties><property name="figures" value="9 kills | 0 lost"/>
</properties></testcase>
<testcase name="test_b"><failure message="no"/></testcase>
<testcase name="test_c"><skipped message="ray is not installed"/></testcase>
<testcase name="test_d" time="3"/></testsuite></testsuites>"""


@pytest.fixture
def reliability(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = script("docs/reliability.py")
    monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(module, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(module, "collect", dict)
    return module


def test_each_promise_is_a_row_with_what_failed_and_what_did_not_run(
    reliability: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = reliability.promises()
    assert len(modules) > 15
    ran: list[str] = []

    def run(module: Path, _: str) -> None:
        ran.append(module.name)
        reliability.RESULTS.mkdir(exist_ok=True)
        (reliability.RESULTS / f"{module.stem}.xml").write_text(RESULT)
        (reliability.RESULTS / f"{module.stem}.txt").write_text("abc123 2026-11-29 7")

    monkeypatch.setattr(reliability, "run", run)
    names = {"test_killed_runs_resume_bit_for_bit.py": ["test_a", "test_interrupted"]}
    monkeypatch.setattr(reliability, "collect", lambda: names)
    assert reliability.main("killed_runs") == 1  # a test failed
    assert ran == ["test_killed_runs_resume_bit_for_bit.py"]
    text = reliability.PAGE.read_text()
    rows = [line for line in text.splitlines() if line.endswith(".py` |")]
    assert len(rows) == len(modules)
    (row,) = [line for line in rows if "killed_runs" in line]
    assert "| A process that is killed at any instant loses at most one epoch" in row
    assert "**failed**: test_b; **not run**: test_interrupted; " in row
    assert "**not run**: test_c (ray is not installed)" in row
    assert "; 9 kills / 0 lost; 2 tests passed in 12 s |" in row
    assert sum("| **not run** |" in line for line in rows) == len(modules) - 1
    assert f"2 tests passed, 1 failed and\n{len(modules) + 1} did not run" in text
    assert "- Commit: `abc123`." in text


def test_the_results_of_one_file_leave_those_of_the_others(
    reliability: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = {"runs": "abc123 2026-11-28 7"}

    def run(module: Path, _: str) -> None:
        reliability.RESULTS.mkdir(exist_ok=True)
        passed = RESULT.replace('<failure message="no"/>', "")
        (reliability.RESULTS / f"{module.stem}.xml").write_text(passed)
        (reliability.RESULTS / f"{module.stem}.txt").write_text(facts["runs"])

    monkeypatch.setattr(reliability, "run", run)
    assert reliability.main("") == 0
    facts["runs"] = "def456 2026-11-29 8"
    assert reliability.main("killed_ranks") == 0
    text = reliability.PAGE.read_text()
    assert "- Commit: `def456` (some rows: abc123)." in text
    assert text.count("at commit abc123") == len(reliability.promises()) - 1


def test_some_tests_of_a_file_that_run_again_replace_their_results_alone(
    reliability: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    (module,) = [path for path in reliability.promises() if "killed_runs" in path.name]
    facts = {"text": RESULT}

    def pytest_run(command: list[str], **_: object) -> None:
        Path(command[command.index("--junitxml") + 1]).write_text(facts["text"])

    monkeypatch.setattr(reliability.subprocess, "run", pytest_run)
    monkeypatch.setattr(reliability, "commit", lambda: "abc123")
    reliability.run(module)
    assert reliability.read(module, []).failed == ("test_b",)
    facts["text"] = '<testsuites><testsuite><testcase name="test_b"/></testsuite></testsuites>'
    monkeypatch.setattr(reliability, "commit", lambda: "def456")
    reliability.run(module, "test_b")
    result = reliability.read(module, [])
    assert (result.failed, result.passed, result.commit) == ((), 3, "def456")
    assert result.figures == ("9 kills | 0 lost",)
