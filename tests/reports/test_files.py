"""The files of a report are safe against hostile names, agree in content, and have the same bytes
for the same runs.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import html
import json
import re
import shutil
from importlib.resources import files
from pathlib import Path
from typing import get_args
from xml.etree import ElementTree

import pytest

from helpers.pages import Page, hostile_record, layout
from helpers.synthetic import EVERY_STATUS, study_record
from resnetlab import reports
from resnetlab.analysis.collect import collect_study_data
from resnetlab.errors import InputError
from resnetlab.reports import figures
from resnetlab.stats.outcomes import OUTCOMES
from resnetlab.stats.prediction import CompatibilityBadge
from resnetlab.stats.verdict_types import VerdictLabel


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reports.write_report(
        collect_study_data(study_record(EVERY_STATUS)), tmp_path_factory.mktemp("report")
    ).parent


def test_every_badge_has_its_colors_with_enough_contrast_in_both_themes() -> None:
    css = (files("resnetlab.reports") / "templates" / "report.css").read_text(encoding="utf-8")
    light, dark = re.findall(r":root \{(.*?)\n *\}", css, flags=re.S)[:2]
    ours = {
        word: (fill, ink)
        for words, fill, ink in re.findall(
            r"((?:\.badge\[[^{]+)+)\{ background: var\((--[\w-]+)\); color: var\((--[\w-]+)\)", css
        )
        for word in re.findall(r'data-word="([^"]+)"', words)
    }
    assert {*get_args(VerdictLabel), *get_args(CompatibilityBadge), *OUTCOMES} - set(ours) == {
        "untestable",
        "waiting",
        "running",
    }  # plain
    for theme in (light, dark):
        colors = dict(re.findall(r"(--[\w-]+): (#\w{6})", theme))
        for fill, ink in {*ours.values(), ("--idle-fill", "--idle")}:
            assert contrast(colors[fill], colors[ink]) >= 4.5


def contrast(one: str, other: str) -> float:
    """WCAG 2: relative luminances, the lighter over the darker."""

    def luminance(color: str) -> float:
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = [
            p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts
        ]
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_names_are_escaped_in_html_and_markdown(tmp_path: Path) -> None:
    page = reports.write_report(collect_study_data(hostile_record()), tmp_path)
    text = page.read_text(encoding="utf-8")
    tags = [tag for tag, _ in Page(text).tags]
    assert not {"img", "iframe", "object", "link"} & set(tags)
    assert tags.count("script") == text.count("<script") == 2  # its data and its script
    document = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "<script" not in document
    assert "![x]" not in document
    drawn = [path.read_text(encoding="utf-8") for path in (tmp_path / "figures").iterdir()]
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", text)
    for values in (document, *drawn):
        assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", values)
        assert "<script" not in values


def test_the_page_loads_no_external_file(folder: Path) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    policy = [
        a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"
    ]
    script = re.findall(r"<script>(.*?)</script>", text, flags=re.S)
    digest = base64.b64encode(hashlib.sha256(script[-1].encode()).digest()).decode()
    allowed = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    allowed += f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert policy == [allowed]
    assert len(script) == 1
    assert set(re.findall(r"https?:[^\"]*", script[0])) == {"http://www.w3.org/2000/svg"}  # a name
    assert not [tag for tag, _ in page.tags if tag in ("link", "img", "iframe", "base", "form")]
    links = [a for tag, a in page.tags if tag == "a"]
    targets = {a["href"] for a in links if not a["href"].startswith("#")}
    files = {
        str(path.relative_to(folder)) for path in folder.rglob("*.*") if path.name != "report.html"
    }
    assert targets - {"https://arxiv.org/abs/1512.03385"} == files - {
        "report.md",
        "checksums.json",
    }
    loads = [
        a[name]
        for tag, a in page.tags
        for name in ("src", "href", "xlink:href")
        if name in a and tag != "a"
    ]
    assert all(target.startswith("#") for target in loads)
    assert not re.search(
        r"@import|https?:|url\((?!#)",
        text.replace('<a href="https://arxiv.org/abs/1512.03385"', "").replace(script[0], ""),
    )


def test_ids_are_unique_and_every_reference_has_its_target(folder: Path) -> None:
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    text = (folder / "report.html").read_text(encoding="utf-8")
    markup = text[: text.index("<script>")]
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', markup)) <= set(ids)


def test_marks_rows_and_the_script_use_the_same_name_for_a_run(folder: Path) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    tags = Page(text).tags
    with (folder / "results.csv").open(newline="", encoding="utf-8") as file:
        planned = {(row["condition"], row["seed"]): row for row in csv.DictReader(file)}
    rows = {
        (a["data-condition"], a["data-seed"]): a["id"]
        for tag, a in tags
        if tag == "tr" and "data-seed" in a
    }
    assert set(rows) == set(planned)
    for key, row in planned.items():
        assert rows[key] == f"run-{row['run'].rpartition('-')[2]}"
    tips = {
        (a["data-condition"], a["data-seed"]): a["data-tip"]
        for tag, a in tags
        if tag == "g" and "data-seed" in a and "data-tip" in a
    }
    assert set(tips) == {
        key for key, row in planned.items() if row["status"] not in ("running", "waiting")
    }
    for (condition, seed), tip in tips.items():
        row = planned[condition, seed]
        start = f"{condition}, seed {seed}: "
        assert tip.startswith(start)
        if row["test_error_pct"]:
            value = float(tip.removeprefix(start).split(" %")[0])
            assert value == pytest.approx(100 - float(row["test_error_pct"]), rel=1e-9)
        assert row["status"] == "trained" or tip.endswith(row["status"])
    data = json.loads(re.findall(r'id="page-data">(.*?)</script>', text)[0])
    with (folder / "curves.csv").open(newline="", encoding="utf-8") as file:
        points = [row for row in csv.DictReader(file) if row["split"] == "train"]
    curves = data["curves"]["train-loss"]
    drawn = {
        (condition, str(seed), epoch): loss
        for condition, seed, column, losses in curves["lines"]
        for epoch, loss in zip(curves["x"][column], losses, strict=True)
        if seed is not None
    }
    assert drawn == {
        (p["condition"], p["seed"], float(p["epoch"])): float(f"{float(p['loss_nats']):.6g}")
        for p in points
    }


def test_figures_have_a_text_alternative_and_the_colors_of_the_page(folder: Path) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    drawn = [a for tag, a in Page(text).tags if tag == "svg"]
    assert len(drawn) == 8
    assert all(a["role"] == "img" and len(a["aria-label"]) > 60 for a in drawn)
    assert not [placeholder for placeholder in figures.COLORS if placeholder in text]
    variables = set(re.findall(r"var\((--[\w-]+)\)", text))
    assert all(f"{variable}:" in text for variable in variables)


def test_figures_of_the_markdown_report_are_complete_svg_files(folder: Path) -> None:
    document = (folder / "report.md").read_text(encoding="utf-8")
    names = re.findall(r"!\[.*\]\((figures/[\w-]+\.svg)\)", document)
    assert len(names) == 4
    for name in names:
        text = (folder / name).read_text(encoding="utf-8")
        root = ElementTree.fromstring(text)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert "var(" not in text


def test_markdown_and_html_contain_the_same_tables(folder: Path) -> None:
    page = [
        [" ".join(cell) for cell in row]
        for row in Page((folder / "report.html").read_text("utf-8")).rows
    ]
    lines = [
        line
        for line in (folder / "report.md").read_text("utf-8").splitlines()
        if re.match(r"\| (?!---)", line)
    ]
    lines = [re.sub(r"(?<!\\)\[(.*?)\]\(https://[^)]*\)", r"\1", line) for line in lines]
    split = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    plain = [
        [
            html.unescape(re.sub(r"\\([^A-Za-z0-9\s])", r"\1", cell)).strip().replace("<br>", " ")
            for cell in row
        ]
        for row in split
    ]
    assert [[re.sub("; | +", " ", cell) for cell in row] for row in plain] == [
        [re.sub("; | +", " ", cell) for cell in row] for row in page
    ]


def test_the_same_evidence_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    reports.write_report(collect_study_data(study_record(EVERY_STATUS)), tmp_path)
    names = sorted(path.relative_to(folder) for path in folder.rglob("*.*"))
    assert len(names) == 10
    for name in names:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_a_report_is_rebuilt_from_its_committed_data(folder: Path, tmp_path: Path) -> None:
    for name in ("report.json", "results.csv", "curves.csv"):
        shutil.copy(folder / name, tmp_path)
    page = reports.rebuild(tmp_path)
    assert page.read_bytes() == (folder / "report.html").read_bytes()
    assert (tmp_path / "results.csv").read_bytes() == (folder / "results.csv").read_bytes()


def test_results_csv_has_a_row_for_each_planned_run(folder: Path) -> None:
    with (folder / "results.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == [
        outcome for runs in EVERY_STATUS.values() for outcome, _ in runs
    ]
    assert rows[1]["test_error_pct"] == rows[1]["test_loss_nats"] == ""
    assert float(rows[0]["test_error_pct"]) == pytest.approx(1.1)


def test_a_damaged_file_is_reported_by_name(folder: Path, tmp_path: Path) -> None:
    for name in ("report.json", "results.csv", "curves.csv"):
        shutil.copy(folder / name, tmp_path)
    text = (tmp_path / "results.csv").read_text(encoding="utf-8")
    (tmp_path / "results.csv").write_text(text.replace("trained", "splendid"), encoding="utf-8")
    with pytest.raises(InputError, match=r"results\.csv:2"):
        reports.rebuild(tmp_path)
    result = json.loads((tmp_path / "report.json").read_text(encoding="utf-8")) | {"schema": 99}
    (tmp_path / "report.json").write_text(json.dumps(result), encoding="utf-8")
    with pytest.raises(InputError, match="schema"):
        reports.rebuild(tmp_path)


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_never_scrolls_sideways(tmp_path: Path, width: int) -> None:
    page = reports.write_report(collect_study_data(study_record(EVERY_STATUS)), tmp_path).read_text(
        encoding="utf-8"
    )
    measured = layout(page, width, tmp_path)
    assert measured["over"] == 0
    assert width - 20 <= measured["room"] <= width  # less a scroll bar
