"""Run the promises in full and write docs/reliability.md: `make reliability`.

Each test file of a promise runs by itself, so that one of them can run again and the figures of
the others stay: `make reliability PROMISE=faults` runs the files with that word in their names, and
`make reliability PROMISE=faults TEST=split` only their tests with another word.

The sentence of a promise is the docstring of its test file; its figures are those that the tests
recorded. A test that failed or did not run is listed as such.
"""

from __future__ import annotations

import ast
import datetime
import os
import platform
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from resnetlab.messages import format_count
from resnetlab.training.hardware import instruction_set, read_cpuinfo

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reliability.md"
RESULTS = ROOT / "cache" / "reliability"
"""Folder of the results of pytest, one file for each test file."""

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
class FileResult:
    """Result of one test file."""

    module: Path
    commit: str
    date: str
    started: float
    """Time of its last start, in seconds since 1970."""
    seconds: float
    passed: int
    figures: tuple[str, ...]
    failed: tuple[str, ...]
    """Names of the tests that failed."""
    absent: tuple[str, ...]
    """Names of the tests that did not run, with their reasons."""


def promises() -> list[Path]:
    """Return the test files of the promises."""
    return [path for path in sorted((ROOT / "tests/promises").glob("test_*.py")) if sentence(path)]


def sentence(module: Path) -> str:
    """Return the promise that a test file proves; an empty text if it proves none."""
    docstring = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
    text = " ".join(docstring.split("\n\n")[0].split())
    promise = text.removeprefix("Promise: ")
    return promise[:1].upper() + promise[1:] if promise != text else ""


def run(module: Path, test: str = "") -> None:
    """Run a test file in full, or its tests with `test` in their names, and keep the results of
    pytest.
    """
    RESULTS.mkdir(parents=True, exist_ok=True)
    part = re.sub(r"\W", "-", test)
    target = RESULTS / f"{module.stem}.{part + '.' if part else ''}xml"
    command = [sys.executable, "-m", "pytest", "-q", str(module), "--timeout", "7200"]
    command += ["--hypothesis-profile", "all", "-o", "junit_family=xunit1"]
    command += ["-k", test] if test else []
    now = datetime.datetime.now(datetime.UTC)
    text = f"{commit()} {now.date()} {now.timestamp():.3f}"
    target.unlink(missing_ok=True)
    target.with_suffix(".txt").write_text(text, encoding="utf-8")
    subprocess.run([*command, "--junitxml", str(target)], cwd=ROOT, check=False)


def commit() -> str:
    """Return the short hash of the commit, with `dirty` if a file of the source differs."""
    changed = _git("status", "--porcelain", "--untracked-files=no")
    others = [line for line in changed.splitlines() if not line.endswith(f"docs/{PAGE.name}")]
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


def read(module: Path, names: list[str]) -> FileResult | None:
    """Return the last result of a test file; None if it never ran.

    Those of its tests `names` that have no result did not run: somebody interrupted it.
    """
    paths = sorted(RESULTS.glob(f"{module.stem}.*xml"), key=lambda path: float(facts(path)[2]))
    if not paths:
        return None
    cases = dict[str, list[ElementTree.Element]]()
    for path in paths:
        suite = next(ElementTree.parse(path).getroot().iter("testsuite"))
        new = dict[str, list[ElementTree.Element]]()
        for case in suite.iter("testcase"):  # a test and its end are two, if the end failed
            new.setdefault(case.attrib["name"], []).append(case)
        cases |= new
    commit, date, started = facts(paths[-1])
    figures, failed, passed = list[str](), list[str](), 0
    absent = [name for name in names if name not in cases]
    for name, parts in cases.items():
        skipped = parts[0].find("skipped")
        if any(part.find(kind) is not None for part in parts for kind in ("failure", "error")):
            failed.append(name)
        elif skipped is not None:
            absent.append(f"{name} ({skipped.attrib.get('message', '')})")
        else:
            passed += 1
            figures += [
                entry.attrib["value"]
                for entry in parts[0].iter("property")
                if entry.attrib["name"] == "figures"
            ]
    return FileResult(
        module,
        commit,
        date,
        float(started),
        sum(float(part.attrib.get("time", 0)) for parts in cases.values() for part in parts),
        passed,
        tuple(figures),
        tuple(failed),
        tuple(absent),
    )


def facts(path: Path) -> tuple[str, str, str]:
    """Return the commit, the date and the time of the start of a result of pytest."""
    commit, date, started = path.with_suffix(".txt").read_text(encoding="utf-8").split()
    return commit, date, started


def page(results: list[FileResult], missing: list[Path]) -> str:
    """Return the page from the results of the test files; those in `missing` have none."""
    newest = max(results, key=lambda result: result.started).commit
    commits = sorted({result.commit for result in results} - {newest})
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    text = HEAD.format(
        minutes=sum(result.seconds for result in results) / 60,
        passed=sum(result.passed for result in results),
        failed=sum(len(result.failed) for result in results),
        absent=sum(len(result.absent) for result in results) + len(missing),
        commit=f"`{newest}`" + (f" (some rows: {', '.join(commits)})" if commits else ""),
        machine=(
            f"{read_cpuinfo()[0]} ({instruction_set()}), "
            f"{len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB of memory"
        ),
        software=(
            f"{platform.system()} {platform.release()}, Python {platform.python_version()}, "
            f"torch {torch.__version__}"
        ),
        date=max(result.date for result in results),
    )
    for result in results:
        parts = [f"**failed**: {name}" for name in result.failed]
        parts += [f"**not run**: {name}" for name in result.absent]
        parts += result.figures
        where = f" at commit {result.commit}" if result.commit != newest else ""
        count = f"{format_count(result.passed, 'test')} passed in {result.seconds:.0f} s{where}"
        cells = (sentence(result.module), "; ".join([*parts, count]), f"`{result.module.name}`")
        text += f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |\n"
    for module in missing:
        text += f"| {sentence(module)} | **not run** | `{module.name}` |\n"
    return text


def main(word: str, test: str = "") -> int:
    """Run the promises with `word` in their file names, one for each core at a time, write the
    page, and return the exit code. `test` is a word in the names of the tests to run.
    """
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        chosen = [module for module in promises() if word in module.name]
        list(pool.map(lambda module: run(module, test), chosen))
    names = collect()
    results = [
        result for module in promises() if (result := read(module, names.get(module.name, [])))
    ]
    done = {result.module for result in results}
    if not results:
        sys.exit(f"no test file of a promise has {word!r} in its name")
    text = page(results, [module for module in promises() if module not in done])
    PAGE.write_text(text, encoding="utf-8")
    return int(any(result.failed for result in results))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]) if len(sys.argv) > 1 else main(""))
