"""The LaTeX report has the words and numbers of the page, is safe against hostile names, and
compiles.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from helpers.pages import HOSTILE, Page, hostile_record
from helpers.synthetic import EVERY_STATUS, build_report_from_record, study_record
from resnetlab import reports
from resnetlab.analysis.collect import collect_study_data
from resnetlab.analysis.data_files import load_study_data
from resnetlab.analysis.study_data import StudyData
from resnetlab.errors import escape_controls
from resnetlab.reports import figures
from resnetlab.reports.render import latex
from resnetlab.reports.render.latex import write_latex


def plain(text: str) -> str:
    """Return the text that a reader sees of LaTeX that `escape` wrote."""
    text = text.replace(r"\allowbreak{}", "")
    for letter, command in sorted(latex.LATEX_ESCAPES.items(), key=lambda item: -len(item[1])):
        text = text.replace(command, f"\x00{ord(letter)}\x00")
    text = text.replace("{-}", "-").replace("{,}", ",")
    return re.sub("\x00(\\d+)\x00", lambda match: chr(int(match[1])), text)


def rows(document: str) -> list[list[str]]:
    """Return the cells of every table, notes included."""
    rows_ = []
    for table in re.findall(r"\\toprule\n(.*?)\\end\{longtable\}", document, re.S):
        for line in table.splitlines():
            if line.endswith(r" \\"):
                cells = re.split(r"(?<!\\) & ", line.removesuffix(r" \\"))
                rows_.append(
                    [
                        plain(re.sub(r"\\note\{((?:[^{}]|\{[^{}]*\})*)\}", r" \1", cell))
                        for cell in cells
                    ]
                )
    return rows_


@pytest.fixture(scope="module")
def evidence() -> StudyData:
    return collect_study_data(study_record(EVERY_STATUS))


def test_the_numbers_in_latex_equal_the_numbers_on_the_page(
    evidence: StudyData, tmp_path: Path
) -> None:
    document = write_latex(evidence, tmp_path).read_text(encoding="utf-8")
    page = Page(reports.write_report(evidence, tmp_path / "page").read_text(encoding="utf-8"))
    in_page = [[" ".join(cell) for cell in row] for row in page.rows]
    assert rows(document) == in_page
    assert (
        plain(latex.escape(reports.build_report(evidence).answer))
        == reports.build_report(evidence).answer
    )


def test_tables_use_only_the_rules_of_booktabs_and_figures_are_pdf(
    evidence: StudyData, tmp_path: Path
) -> None:
    document = write_latex(evidence, tmp_path).read_text(encoding="utf-8")
    assert (
        document.count(r"\toprule")
        == document.count(r"\bottomrule")
        == document.count(r"\begin{longtable}")
    )
    assert r"\hline" not in document
    named = re.findall(r"\{figures/([\w-]+)\.pdf\}", document)
    assert named == [picture.key for picture in reports.build_report(evidence).plots]
    assert all(
        (tmp_path / "figures" / f"{key}.pdf").read_bytes().startswith(b"%PDF") for key in named
    )


def test_the_same_evidence_gives_the_same_latex_byte_for_byte(
    evidence: StudyData, tmp_path: Path
) -> None:
    write_latex(evidence, tmp_path / "a")
    write_latex(reports.build_report(evidence), tmp_path / "b")
    for path in sorted((tmp_path / "a").rglob("*.*")):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()


def test_colors_of_a_pdf_are_fixed(evidence: StudyData) -> None:
    import matplotlib as mpl

    with mpl.rc_context({"pdf.compression": 0}):
        drawn = "".join(
            figures.draw_pdf(document).decode("latin-1")
            for document in reports.build_report(evidence).plots
        )
    sentinels = {tuple(int(name[i : i + 2], 16) for i in (1, 3, 5)) for name in figures.COLORS}
    used = re.findall(r"([\d.]+) ([\d.]+) ([\d.]+) (?:rg|RG)", drawn)
    assert used
    assert not {tuple(round(255 * float(part)) for part in color) for color in used} & sentinels


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("100 % of $a_1$ & #2", r"100 \% of \$a\_1\$ \& \#2"),
        (r"\input{x}", r"\textbackslash{}input\{x\}"),
        ("a--b [1]", "a-{-}b {[}1{]}"),
        ("\N{MINUS SIGN}3.0, Dépelteau", r"\ensuremath{-}3.0, Dépelteau"),
        ("\N{CJK UNIFIED IDEOGRAPH-4E2D}", "{[}U+4E2D{]}"),
    ],
)
def test_special_characters_are_escaped(text: str, message: str) -> None:
    assert latex.escape(text) == message


@pytest.mark.parametrize("unit", ["points²", "nats²", "Œuvre", "µ", "±", "−", "×"])
def test_units_and_letters_have_a_latex_form(unit: str) -> None:
    assert "U+" not in latex.escape(unit)


def test_names_cannot_inject_a_latex_command() -> None:
    document = latex.render(build_report_from_record(hostile_record()))
    assert latex.escape(escape_controls(HOSTILE)) in document
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", document)
    assert document.count(r"\begin{document}") == document.count(r"\end{document}") == 1
    body = document.split(r"\begin{document}")[1]
    assert "`" not in body
    assert "<" not in body


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex")
@pytest.mark.parametrize("hostile", [False, True])
def test_the_document_compiles(evidence: StudyData, tmp_path: Path, hostile: bool) -> None:
    path = write_latex(collect_study_data(hostile_record()) if hostile else evidence, tmp_path)
    command = [
        "pdflatex",
        "-interaction=nonstopmode",
        "-halt-on-error",
        "-no-shell-escape",
        path.name,
    ]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=120
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Missing character" not in (tmp_path / "report.log").read_text(
        encoding="utf-8", errors="replace"
    )


RESULTS = Path(__file__).resolve().parents[2] / "results"
COMMITTED = ("digits", "shortcuts", "ladder")
MAX_OVERFULL_PT = 5.0
"""Largest width in points by which a line may go beyond its column."""


@pytest.fixture(scope="module", params=COMMITTED)
def committed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the LaTeX of a committed report."""
    return write_latex(
        load_study_data(RESULTS / request.param), tmp_path_factory.mktemp(request.param)
    )


def test_the_latex_of_a_committed_report_is_balanced_and_escaped(committed: Path) -> None:
    """Without LaTeX: groups and environments are closed, and no special letter is bare."""
    document = committed.read_text(encoding="utf-8")
    body = document.split(r"\begin{document}")[1]
    body = re.sub(r"^% .*$", "", body, flags=re.M)  # the text alternative of a figure
    opened: list[str] = []
    for match in re.finditer(r"\\(begin|end)\{(\w+)\}", body.removesuffix("\\end{document}\n")):
        if match[1] == "begin":
            opened.append(match[2])
        else:
            assert opened.pop() == match[2]
    assert not opened
    bare = re.sub(r"\\[\\{}$&#%_^~]", "", body)  # escaped letters and ends of lines
    assert bare.count("{") == bare.count("}")
    depth = 0
    for letter in re.sub(r"[^{}]", "", bare):
        depth += 1 if letter == "{" else -1
        assert depth >= 0
    outside_tables = re.sub(r"\\begin\{longtable\}.*?\\end\{longtable\}", "", bare, flags=re.S)
    assert not set("&#%$_^`<>|\"'") & set(outside_tables)
    for table in re.findall(r"\\toprule\n(.*?)\\end\{longtable\}", body, re.S):
        rows = [line for line in table.splitlines() if line.endswith(r" \\")]
        assert len({line.replace(r"\&", "").count("&") for line in rows}) == 1
    assert document.isascii() or document.encode("latin-1")


def test_a_command_may_break_after_separators_and_a_checksum_anywhere() -> None:
    command = "resnetlab study run x --set recipe.optimizer.weight_decay=0.0001"
    text = latex.escape(command).replace(r"\allowbreak{}", "|")
    assert text == (r"resnetlab study run x -{-}set recipe.|optimizer.|weight\_|decay=|0.|0001")
    checksum = latex.escape("ab" * 32).replace(r"\allowbreak{}", "|")
    assert [len(part) for part in checksum.split("|")] == [8] * 8
    head = latex.escape("model.ceil_mode", latex.LONG_WORD_IN_CELL)
    assert head == r"model.\allowbreak{}ceil\_\allowbreak{}mode"


def test_a_file_name_is_printed_once(committed: Path) -> None:
    document = committed.read_text(encoding="utf-8")
    assert r"\item[{A row for each planned run}] results.csv" + "\n" in document


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex")
def test_a_committed_report_compiles_and_no_line_overlaps_the_next_column(committed: Path) -> None:
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape"]
    done = subprocess.run(
        [*command, committed.name], cwd=committed.parent, capture_output=True, timeout=120
    )
    assert done.returncode == 0, done.stdout[-2000:]
    log = (committed.parent / "report.log").read_text(encoding="utf-8", errors="replace")
    assert "Missing character" not in log
    widths = re.findall(r"Overfull \\hbox \(([\d.]+)pt", log)
    assert max(map(float, widths), default=0.0) < MAX_OVERFULL_PT
