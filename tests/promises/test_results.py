"""Each committed result follows from the values in the same folder."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from resnetlab.analysis.analyze import analyze
from resnetlab.analysis.data_files import load_study_data
from resnetlab.analysis.training_share import training_share
from resnetlab.files import read_json
from resnetlab.finetuning.results import ResolutionTable
from resnetlab.reports import fixres
from resnetlab.reports.write import rebuild
from resnetlab.schema import decode

RESULTS = Path(__file__).resolve().parents[2] / "results"
STUDIES = sorted(path.parent for path in RESULTS.glob("*/report.json"))
SIZES = sorted(path.parent for path in RESULTS.glob("*/fixres.json"))


def test_the_readme_of_the_results_lists_every_committed_result() -> None:
    listed = re.findall(r"^\| \[(\S+)\]\(\1/report.md\)", (RESULTS / "README.md").read_text(), re.M)
    assert STUDIES
    assert SIZES
    assert sorted(path.name for path in STUDIES + SIZES) == sorted(listed)


def test_the_readme_column_has_the_share_of_the_training_of_each_study() -> None:
    text = (RESULTS / "README.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| \[(\S+)\]\(\S+\) \| (.+?) % \|", text, re.M))
    shares = {}
    for folder in STUDIES:
        analysis = analyze(load_study_data(folder))
        labels = [condition.label for condition in analysis.study.conditions]
        share = training_share(analysis.study, analysis.data_by_label, labels)
        shares[folder.name] = re.findall("at (.+) %", str(share.message))[0] if share else "100"
    assert listed == shares


class PageContent(HTMLParser):
    """Text and number of figures of a page or of an SVG file."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.figures = 0
        self._hidden = 0
        self.feed(text)

    def handle_starttag(self, tag: str, _: list[tuple[str, str | None]]) -> None:
        self.figures += tag == "svg"
        self._hidden += tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag == "style"

    def handle_data(self, data: str) -> None:
        if data.strip() and not self._hidden:
            self.texts.append(" ".join(data.split()))


def content(path: Path) -> object:
    """Return the part of a file that must not change: the bytes of values, the text of a page."""
    if path.suffix in (".html", ".svg"):
        page = PageContent(path.read_text(encoding="utf-8"))
        return page.texts, page.figures
    return path.read_bytes()


@pytest.mark.parametrize("folder", STUDIES + SIZES, ids=lambda folder: folder.name)
def test_a_committed_report_is_built_from_its_values(tmp_path: Path, folder: Path) -> None:
    (rebuild if folder in STUDIES else fixres.rebuild)(folder, tmp_path)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            assert content(tmp_path / path.relative_to(folder)) == content(path), path.name


@pytest.mark.parametrize("folder", STUDIES, ids=lambda folder: folder.name)
def test_a_committed_result_states_its_provenance(folder: Path) -> None:
    study_data = load_study_data(folder)
    assert study_data.machines
    for machine in study_data.machines:
        assert re.fullmatch(r"[0-9a-f]{40}", machine.commit)
        assert not machine.dirty
        assert machine.packages["torch"]
        assert machine.processor
    assert all(re.fullmatch(r"[0-9a-f]{64}", data.sha256) for data in study_data.data)
    planned = len(study_data.study.conditions) * len(study_data.study.seeds)
    assert len(study_data.rows) == planned


@pytest.mark.parametrize("folder", SIZES, ids=lambda folder: folder.name)
def test_a_committed_table_of_sizes_is_complete_with_provenance_and_caveat(
    folder: Path,
) -> None:
    table: ResolutionTable = decode(
        ResolutionTable, read_json(folder / fixres.FIXRES_FILE), str(folder)
    )
    assert len(table.cells) == len(table.rows) * len({cell.test_size for cell in table.cells})
    assert all(cell.status == "done" and cell.stage_one and cell.stage_two for cell in table.cells)
    assert re.fullmatch(r"[0-9a-f]{40}", table.provenance["commit"])
    assert not table.provenance["dirty"]
    assert any("ImageNet" in caveat for caveat in table.caveats)
    assert "ImageNet" in (folder / "report.md").read_text(encoding="utf-8")
    assert not [
        path for path in folder.rglob("*") if path.suffix in (".jpg", ".jpeg", ".png", ".webp")
    ]
