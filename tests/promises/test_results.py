"""Each committed result follows from the values beside it: nothing in a report was typed by hand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from resnetlab.reports.evidence import load
from resnetlab.reports.write import rebuild

RESULTS = Path(__file__).resolve().parents[2] / "results"
STUDIES = sorted(path.parent for path in RESULTS.glob("*/report.json"))


def test_results_are_there() -> None:
    listed = re.findall(r"^\| \[(\S+)\]\(\1/report.md\)", (RESULTS / "README.md").read_text(), re.M)
    assert [path.name for path in STUDIES] == sorted(listed) != []


@pytest.mark.parametrize("folder", STUDIES, ids=lambda folder: folder.name)
def test_a_committed_report_is_what_its_values_give(tmp_path: Path, folder: Path) -> None:
    rebuild(folder, tmp_path)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            assert (tmp_path / path.relative_to(folder)).read_bytes() == path.read_bytes(), path.name


@pytest.mark.parametrize("folder", STUDIES, ids=lambda folder: folder.name)
def test_a_committed_result_says_where_it_came_from(folder: Path) -> None:
    evidence = load(folder)
    assert evidence.machines
    for machine in evidence.machines:
        assert re.fullmatch(r"[0-9a-f]{40}", machine.commit)
        assert not machine.dirty
        assert machine.packages["torch"]
        assert machine.processor
    assert all(re.fullmatch(r"[0-9a-f]{64}", data.sha256) for data in evidence.data)
    planned = len(evidence.study.conditions) * len(evidence.study.seeds)
    assert len(evidence.rows) == planned
