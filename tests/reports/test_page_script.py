"""The page of a report in Chromium sorts, filters, highlights and zooms without a network.

`tests/report_audit.py` uses the page as a reader does. The tests make the reports: a ladder of 22
rungs and 66 runs, a study in French with every outcome, and runs that were trained elsewhere.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from helpers.pages import Page
from helpers.runs_tables import A, B, C, long_rows, report_of
from helpers.synthetic import EVERY_STATUS, study_record
from resnetlab import reports
from resnetlab.analysis.collect import collect_study_data
from resnetlab.reports.write import write_report
from resnetlab.studies.parsing.overrides import Overrides
from resnetlab.studies.parsing.study_file import parse_study

AUDIT = Path(__file__).parents[1] / "report_audit.py"
RUNGS, SEEDS, MAX_BYTES = 22, 3, 3_000_000


def has_browser() -> bool:
    """Return whether node, Chromium and the npm packages of the audit are at hand."""
    if not (shutil.which("node") and shutil.which("chromium")):
        return False
    command = ["node", "-e", "require.resolve('puppeteer-core'); require.resolve('axe-core')"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def ladder_page(folder: Path) -> Path:
    """Write the report of a ladder of 22 rungs with 66 runs."""
    text = """
name = "steps"
question = "Which step helps?"
data = { source = "digits", test_curve = true }
model = "cifar-resnet8"
recipe = { epochs = 10, optimizer = { name = "sgd", lr = 0.1, momentum = 0.0 } }
seeds = [0, 1, 2]
[[rung]]
name = "baseline"
why = "The start."
"""
    for number in range(1, RUNGS):
        text += f"""[[rung]]
name = "+ smoothing {number}"
adds = {{ "recipe.label_smoothing" = {0.01 * number:g} }}
expect = "greater"
why = "Softer targets."
"""
    study = parse_study(tomllib.loads(text), "steps.toml", Overrides())
    truth = {
        condition.label: [("trained", 60 + number + seed / 7) for seed in range(SEEDS)]
        for number, condition in enumerate(study.conditions)
    }
    return write_report(
        collect_study_data(study_record(truth, study=study, test_curve=True)), folder
    )


def french_page(folder: Path) -> Path:
    """Write the French report of a study with every outcome."""
    study_data = collect_study_data(study_record(EVERY_STATUS, test_curve=True))
    return write_report(study_data, folder, reports.build_report(study_data, "fr"))


def judged_page(folder: Path) -> Path:
    """Write the report of runs that were trained elsewhere."""
    judged = report_of(long_rows(A=A, B=B, C=C), folder, claims=("A > B", "A > C"))
    return write_report(judged.study_data, folder)


PAGES = {"ladder": ladder_page, "french": french_page, "judged": judged_page}


@pytest.mark.slow  # it draws 22 panels in four figures
def test_a_page_of_66_runs_is_small_and_contains_every_value(tmp_path: Path) -> None:
    page = ladder_page(tmp_path)
    assert page.stat().st_size < MAX_BYTES
    tags = Page(page.read_text(encoding="utf-8")).tags
    dots = [a for tag, a in tags if tag == "g" and "data-seed" in a and "data-tip" in a]
    assert len(dots) == 2 * RUNGS * SEEDS  # in the wide and in the narrow figure
    rows = [a for tag, a in tags if tag == "tr" and "data-seed" in a]
    assert len({row["id"] for row in rows}) == RUNGS * SEEDS
    assert all(re.fullmatch("run-[0-9a-f]{10}", row["id"]) for row in rows)
    assert {(row["data-condition"], row["data-seed"]) for row in rows} == {
        (dot["data-condition"], dot["data-seed"]) for dot in dots
    }
    targets = {a["href"] for tag, a in tags if tag == "a" and "href" in a}
    assert {f"#{row['id']}" for row in rows} <= targets  # of the claims


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not has_browser(), reason="needs node, chromium, puppeteer-core and axe-core")
@pytest.mark.parametrize("name", PAGES)
def test_the_page_works_in_a_browser_and_axe_reports_no_serious_fault(
    name: str, tmp_path: Path
) -> None:
    page = PAGES[name](tmp_path)
    command = [sys.executable, str(AUDIT), str(page)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1500)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.endswith("dark: 0 faults\n")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not has_browser(), reason="needs node, chromium, puppeteer-core and axe-core")
def test_the_audit_detects_a_wrong_value_and_a_script_that_does_not_run(tmp_path: Path) -> None:
    page = judged_page(tmp_path)
    text = page.read_text(encoding="utf-8")
    # The hash of the policy is that of the script before the change.
    page.write_text(text.replace('"use strict";', '"use strict"; ').replace(": 91.3", ": 91.4"))
    command = [sys.executable, str(AUDIT), str(page)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1500)
    assert ended.returncode == 1
    assert "Content Security Policy" in ended.stdout
    assert "checkTables" in ended.stdout
