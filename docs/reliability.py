"""Run the promises in full and write docs/reliability.md: `make reliability`.

Each test file of a promise runs by itself, so that one of them can run again and the figures of
the others stay: `make reliability PROMISE=faults` runs the files with that word in their names, and
`make reliability PROMISE=faults TEST=split` only their tests with another word. The result of each
test stays in docs/reliability.json, with the commit and the machine of its run.

The sentence of a promise is the docstring of its test file; its figures are those that the tests
recorded. A test that failed or did not run is listed as such.
"""

from __future__ import annotations

import ast
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from resnetlab.messages import format_count
from resnetlab.training.hardware import instruction_set, read_cpuinfo

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reliability.md"
RESULTS = ROOT / "docs" / "reliability.json"
"""Last result of each test, by its file and its name."""

HEAD = """# What resnetlab promises, and how often it was tested

Written by `make reliability`, which runs every test of these promises in full; `make test` runs a
tenth of each. The last run took {minutes:.0f} minutes: {passed} tests passed, {failed} failed and
{absent} did not run.

- Commit: {commit}.
- Machine: {machine}.
- Software: {software}.
- Date: {date}.

| Promise | Figures of that run | Test |
|---|---|---|
"""


@dataclass(frozen=True)
class TestResult:
    """Last result of one test."""

    outcome: str
    """`passed`, `failed` or `skipped`."""
    seconds: float
    figures: tuple[str, ...]
    reason: str
    """Reason of a test that was skipped."""
    commit: str
    machine: str
    software: str
    time: str
    """Start of its run, ISO 8601, UTC."""


Results = dict[str, dict[str, TestResult]]
"""Results by the name of the test file and of the test."""


def promises() -> list[Path]:
    """Return the test files of the promises."""
    return [path for path in sorted((ROOT / "tests/promises").glob("test_*.py")) if sentence(path)]


def sentence(module: Path) -> str:
    """Return the promise that a test file proves; an empty text if it proves none."""
    docstring = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
    text = " ".join(docstring.split("\n\n")[0].split())
    promise = text.removeprefix("Promise: ")
    return promise[:1].upper() + promise[1:] if promise != text else ""


def run(module: Path, test: str = "") -> dict[str, TestResult]:
    """Run a test file in full, or its tests with `test` in their names, and return the results."""
    details = {
        "commit": commit(),
        "machine": machine(),
        "software": software(),
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "results.xml"
        command = [sys.executable, "-m", "pytest", "-q", str(module), "--timeout", "7200"]
        command += ["--hypothesis-profile", "all", "-o", "junit_family=xunit1"]
        command += ["-k", test] if test else []
        subprocess.run([*command, "--junitxml", str(target)], cwd=ROOT, check=False)
        return read_results(target, details) if target.exists() else {}


def read_results(path: Path, details: dict[str, str]) -> dict[str, TestResult]:
    """Return the results that pytest wrote as XML, with the details of their run."""
    suite = next(ElementTree.parse(path).getroot().iter("testsuite"))
    cases = dict[str, list[ElementTree.Element]]()
    for case in suite.iter("testcase"):  # a test and its end are two, if the end failed
        cases.setdefault(case.attrib["name"], []).append(case)
    results = {}
    for name, parts in cases.items():
        skipped = parts[0].find("skipped")
        failed = any(part.find(kind) is not None for part in parts for kind in ("failure", "error"))
        figures = (entry for entry in parts[0].iter("property"))
        results[name] = TestResult(
            outcome="failed" if failed else "passed" if skipped is None else "skipped",
            seconds=sum(float(part.attrib.get("time", 0)) for part in parts),
            figures=tuple(x.attrib["value"] for x in figures if x.attrib["name"] == "figures"),
            reason="" if skipped is None else skipped.attrib.get("message", ""),
            **details,
        )
    return results


def load() -> Results:
    """Return the results of all earlier runs."""
    if not RESULTS.exists():
        return {}
    table = json.loads(RESULTS.read_text(encoding="utf-8"))
    return {
        file: {
            name: TestResult(**{**entry, "figures": tuple(entry["figures"])})
            for name, entry in tests.items()
        }
        for file, tests in table.items()
    }


def save(results: Results) -> None:
    """Write the results of all runs."""
    table = {
        file: {name: asdict(result) for name, result in sorted(tests.items())}
        for file, tests in sorted(results.items())
    }
    RESULTS.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


def machine() -> str:
    """Return the processor with its instructions, its cores and the memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{read_cpuinfo()[0]} ({instruction_set()}), {len(os.sched_getaffinity(0))} cores, "
        f"{memory:.0f} GiB of memory"
    )


def software() -> str:
    """Return the versions of the system, of Python and of torch."""
    return (
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}, "
        f"torch {torch.__version__}"
    )


def commit() -> str:
    """Return the short hash of the commit, with `dirty` if a file of the source differs."""
    changed = _git("status", "--porcelain", "--untracked-files=no")
    written = tuple(f"docs/{path.name}" for path in (PAGE, RESULTS))
    others = [line for line in changed.splitlines() if not line.endswith(written)]
    return _git("rev-parse", "--short=12", "HEAD").strip() + ("-dirty" if others else "")


def _git(*words: str) -> str:
    return subprocess.run(
        ["git", *words], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout


def collect() -> dict[str, list[str]]:
    """Return the names of all tests of the promises, by the name of their file."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--collect-only",
        "-o",
        "addopts=--import-mode=importlib",
    ]
    command.append("tests/promises")
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names: dict[str, list[str]] = {}
    for line in listed.splitlines():
        path, found, name = line.partition("::")
        if found:
            names.setdefault(Path(path).name, []).append(name)
    return names


def build_page(results: Results, names: dict[str, list[str]]) -> str:
    """Return the page from the results of the tests `names` of each file."""
    every = [result for tests in results.values() for result in tests.values()]
    newest = max(every, key=lambda result: result.time)
    counts = Counter(result.outcome for result in every)
    absent = sum(
        name not in results.get(module.name, {})
        for module in promises()
        for name in names.get(module.name, [])
    )
    text = HEAD.format(
        minutes=sum(result.seconds for result in every) / 60,
        passed=counts["passed"],
        failed=counts["failed"],
        absent=counts["skipped"] + absent,
        commit=_newest_and_others([result.commit for result in every], newest.commit),
        machine=_newest_and_others([result.machine for result in every], newest.machine),
        software=newest.software,
        date=newest.time[:10],
    )
    for module in promises():
        tests = results.get(module.name, {})
        cells = (sentence(module), _figures(tests, names.get(module.name, []), newest))
        row = " | ".join(cell.replace("|", "/") for cell in (*cells, f"`{module.name}`"))
        text += f"| {row} |\n"
    return text


def _newest_and_others(values: list[str], newest: str) -> str:
    others = sorted(set(values) - {newest})
    return f"`{newest}`" + (f" (some rows: {', '.join(others)})" if others else "")


def _figures(tests: dict[str, TestResult], names: list[str], newest: TestResult) -> str:
    """Return the figures of a test file, and which of its tests failed or did not run."""
    if not tests:
        return "**not run**"
    parts = [f"**failed**: {name}" for name, test in tests.items() if test.outcome == "failed"]
    parts += [f"**not run**: {name}" for name in names if name not in tests]
    parts += [
        f"**not run**: {name} ({test.reason})"
        for name, test in tests.items()
        if test.outcome == "skipped"
    ]
    parts += [figure for test in tests.values() for figure in test.figures]
    passed = sum(test.outcome == "passed" for test in tests.values())
    seconds = sum(test.seconds for test in tests.values())
    others = sorted({test.commit for test in tests.values()} - {newest.commit})
    where = f" at commit {', '.join(others)}" if others else ""
    return "; ".join([*parts, f"{format_count(passed, 'test')} passed in {seconds:.0f} s{where}"])


def main(word: str, test: str = "") -> int:
    """Run the promises with `word` in their file names, one for each core at a time, write the
    page, and return the exit code. `test` is a word in the names of the tests to run.
    """
    chosen = [module for module in promises() if word in module.name]
    if not chosen:
        sys.exit(f"no test file of a promise has {word!r} in its name")
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        new = list(pool.map(lambda module: run(module, test), chosen))
    names, results = collect(), load()
    for module, tests in zip(chosen, new, strict=True):
        kept = results.get(module.name, {}) if test else {}  # a whole file replaces its results
        results[module.name] = kept | tests
    save(results)
    PAGE.write_text(build_page(results, names), encoding="utf-8")
    failed = [result for tests in results.values() for result in tests.values()]
    return int(any(result.outcome == "failed" for result in failed))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]) if len(sys.argv) > 1 else main(""))
