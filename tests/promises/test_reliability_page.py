"""docs/reliability.md lists the tests that failed or did not run, and keeps the figures of files
that did not run again.
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

PASSED = RESULT.replace('<failure message="no"/>', "").replace("ray is not installed", "")
KILLED = "test_killed_runs_resume_bit_for_bit.py"


class Runs:
    """Stands for pytest: writes the text as its results, with a commit and a time of the run."""

    def __init__(self, reliability: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        self.text, self.details, self.files = RESULT, ("abc123", "2026-11-28"), list[str]()
        self.reliability = reliability
        monkeypatch.setattr(reliability, "run", self.run)

    def run(self, module: Path, _: str) -> object:
        self.files.append(module.name)
        path = self.reliability.PAGE.with_suffix(f".{module.stem}.xml")
        path.write_text(self.text)
        commit, time = self.details
        machine = {"machine": "a processor", "software": "torch 2"}
        return self.reliability.read_results(path, {"commit": commit, "time": time, **machine})


@pytest.fixture
def reliability(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = script("docs/reliability.py")
    monkeypatch.setattr(module, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(module, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(module, "collect", dict)
    return module


@pytest.fixture
def runs(reliability: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Runs:
    return Runs(reliability, monkeypatch)


def test_each_promise_is_a_row_with_its_failed_tests_and_its_tests_that_did_not_run(
    reliability: ModuleType, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = reliability.promises()
    assert len(modules) > 15
    listed = {KILLED: ["test_a", "test_interrupted"], "test_site.py": ["test_of_no_promise"]}
    monkeypatch.setattr(reliability, "collect", lambda: listed)
    assert reliability.main("killed_runs") == 1  # a test failed
    assert runs.files == [KILLED]
    text = reliability.PAGE.read_text()
    rows = [line for line in text.splitlines() if line.endswith(".py` |")]
    assert len(rows) == len(modules)
    (row,) = [line for line in rows if "killed_runs" in line]
    assert "| A process that is killed at any instant loses at most one epoch" in row
    assert "**failed**: test_b; **not run**: test_interrupted; " in row
    assert "**not run**: test_c (ray is not installed)" in row
    assert "; 9 kills / 0 lost; 2 tests passed in 12 s |" in row
    assert sum("| **not run** |" in line for line in rows) == len(modules) - 1
    assert "2 tests passed, 1 failed and\n2 did not run" in text
    assert "- Commit: `abc123`." in text


def test_the_results_of_one_file_do_not_change_the_results_of_the_others(
    reliability: ModuleType, runs: Runs
) -> None:
    runs.text = PASSED
    assert reliability.main("") == 0
    runs.details = ("def456", "2026-11-29")
    assert reliability.main("killed_ranks") == 0
    text = reliability.PAGE.read_text()
    assert "- Commit: `def456` (some rows: abc123)." in text
    assert text.count("at commit abc123") == len(reliability.promises()) - 1


def test_tests_that_run_again_replace_only_their_own_results(
    reliability: ModuleType, runs: Runs
) -> None:
    assert reliability.main("killed_runs") == 1
    runs.text = '<testsuites><testsuite><testcase name="test_b"/></testsuite></testsuites>'
    runs.details = ("def456", "2026-11-29")
    assert reliability.main("killed_runs", "test_b") == 0
    results = reliability.load()[KILLED]
    assert {name: result.commit for name, result in results.items()} == {
        "test_a": "abc123",
        "test_b": "def456",
        "test_c": "abc123",
        "test_d": "abc123",
    }
    (row,) = [line for line in reliability.PAGE.read_text().splitlines() if KILLED in line]
    assert "9 kills / 0 lost; 3 tests passed in 12 s at commit abc123 |" in row
    assert "failed" not in row


def test_the_committed_page_is_built_from_the_committed_results() -> None:
    reliability = script("docs/reliability.py")
    results = reliability.load()
    names = {file: list(tests) for file, tests in results.items()}
    assert reliability.PAGE.read_text(encoding="utf-8") == reliability.build_page(results, names)


def test_each_safeguard_of_sabotage_is_once_in_the_source_and_its_tests_exist() -> None:
    root = Path(__file__).parents[2]
    for safeguard in script("tests/sabotage.py").SAFEGUARDS:
        source = (root / "src" / "resnetlab" / safeguard.file).read_text(encoding="utf-8")
        assert source.count(safeguard.text) == 1, safeguard.name
        for path in safeguard.tests.split():
            assert (root / path.partition("::")[0]).is_file(), path
