"""Objects have a text of one or two lines, and in notebooks a small table of escaped HTML."""

from __future__ import annotations

import csv
import subprocess
import sys
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas
import pytest

import resnetlab as rl
from helpers.processes import environment
from resnetlab.notebook import MAX_ROWS, Bar, NotebookOutput, ObjectSummary, with_summary

NASTY = '<script>alert("x")</script> & \x1b[31m'


class Cells(HTMLParser):
    """Text of each cell of the tables of a page, and its tags."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.styles: list[str] = []
        self.cells: list[str] = []
        self.is_cell = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.styles += [value or "" for name, value in attrs if name == "style"]
        if tag in ("td", "th"):
            self.cells.append("")
            self.is_cell = True

    def handle_endtag(self, tag: str) -> None:
        self.is_cell = self.is_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.is_cell:
            self.cells[-1] += data


def test_html_is_escaped_and_has_no_color() -> None:
    summary = ObjectSummary(NASTY, {NASTY: NASTY}, [NASTY], [[NASTY, 0.123456]], [NASTY], [NASTY])
    page = Cells(summary.to_html())
    assert "script" not in page.tags
    assert page.cells[:3] == [NASTY, NASTY, NASTY]
    assert "0.1235" in page.cells
    assert set(page.styles) == {"text-align:left", "text-align:right"}
    assert all(line.isprintable() for line in summary.to_text("Thing").splitlines())
    assert "\n" not in ObjectSummary("two\nlines").to_text("Thing")


def test_a_long_table_shows_its_first_rows_and_the_number_of_the_others() -> None:
    table = rl.Table({"number": list(range(1000)), "name": ["x"] * 1000}, "Numbers")
    page = table._repr_html_()  # type: ignore[attr-defined]  # added at run time
    assert Cells(page).tags.count("tr") == 1 + MAX_ROWS
    assert "980 more rows" in page
    assert repr(table) == "Table(Numbers: 1,000 rows, 2 columns)"


def test_a_table_has_rows_columns_and_a_data_frame() -> None:
    table = rl.Table.from_rows([{"a": 1, "b": "x"}, {"a": 2.5}])
    assert len(table) == 2
    assert list(table) == [{"a": 1, "b": "x"}, {"a": 2.5, "b": None}]
    assert table["a"] == [1, 2.5]
    frame = table.to_pandas()
    assert frame.equals(pandas.DataFrame(table))
    assert list(frame["a"]) == [1, 2.5]
    with pytest.raises(rl.InputError, match='did you mean "b"'):
        table["B"]
    assert list(rl.Table({})) == []
    polars = pytest.importorskip("polars")
    assert table.to_polars()["a"].to_list() == polars.Series([1.0, 2.5]).to_list()


def test_a_missing_library_is_reported_with_its_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(rl.InputError, match=r"polars: not installed\. Fix: pip install polars"):
        rl.Table({"a": [1]}).to_polars()


def test_a_class_gets_its_text_and_html_from_its_summary() -> None:
    @with_summary
    @dataclass(frozen=True)
    class Thing:
        value: str

        def _summary(self) -> ObjectSummary:
            return ObjectSummary("a thing", {"value": self.value})

    thing: Any = Thing("x" * 1000)
    first, second = repr(thing).splitlines()
    assert first == "Thing(a thing)"
    assert len(second) < 200
    assert "<strong>a thing</strong>" in thing._repr_html_()


def test_the_progress_bar_of_a_notebook_updates_its_output() -> None:
    messages: list[dict[str, str]] = []

    class Handle:
        def update(self, data: dict[str, str], raw: bool) -> None:
            assert raw
            messages.append(data)

    def show(data: dict[str, str], raw: bool, display_id: bool) -> Handle:
        assert raw
        assert display_id
        messages.append(data)
        return Handle()

    output = NotebookOutput(show)
    output.print_line("digits: 2 of 2 runs to do")
    output.update([Bar("digits", 0.25, "1 of 4")])
    output.update([Bar("digits", 0.5, "2 of 4")])  # too soon after the one before
    output.print_line("[1/2] plain 8, seed 0: trained")
    assert len(messages) == 3
    assert 'value="0.2500"' in messages[1]["text/html"]
    assert messages[2]["text/plain"].splitlines() == output.lines
    assert "progress" not in messages[2]["text/html"]


def test_errors_are_printed_in_one_line_in_a_notebook() -> None:
    with pytest.raises(rl.InputError) as caught:
        rl.load_study("digitz")
    lines = caught.value._render_traceback_()
    assert len(lines) == 1
    assert lines[0].startswith("InputError: digitz: unknown study")
    with pytest.raises(ValueError, match="epochs: missing") as unset:
        rl.Recipe()
    assert unset.value._render_traceback_() == [f"FieldError: {unset.value}"]  # type: ignore[attr-defined]


def test_a_constructor_suggests_the_right_name_for_a_wrong_one() -> None:
    with pytest.raises(rl.InputError, match=r'Recipe: epoch: unknown field .*mean "epochs"'):
        rl.Recipe(epoch=3)  # type: ignore[call-arg]
    with pytest.raises(rl.InputError, match=r'mean "optimizer=SGD\(lr=\.\.\.\)"'):
        rl.Recipe(epochs=3, lr=0.1)  # type: ignore[call-arg]
    with pytest.raises(rl.InputError, match="renamed in schema 2"):
        rl.Numerics(capture="on")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="positional"):
        rl.SGD(0.1)  # type: ignore[misc]


SCRIPT = """
import resnetlab as rl
outcome = rl.load_study({study!r}, seeds=[0]).run({root!r}, workers=1)
rl.train("cifar-plain8", {data!r}, "adam", settings=["recipe.epochs=1"], output={root!r})
print(outcome)
"""


def test_piped_progress_is_printed_as_plain_lines(
    tmp_path: Path, study_file: Path, small_npz: Path
) -> None:
    """A script that writes into a pipe gets lines on standard error, without control characters."""
    script = SCRIPT.format(study=str(study_file), data=str(small_npz), root=str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        env=environment(),
        timeout=200,
        check=True,
    )
    lines = done.stderr.decode().splitlines()
    assert "small: 2 of 2 runs to do" in lines
    assert sum("seed 0: trained" in line or "at chance" in line for line in lines) >= 2
    assert any("1 of 1 run to do" in line for line in lines)
    assert all(line.isprintable() for line in lines)
    assert "StudySummary(small: 2 of 2 runs finished)" in done.stdout.decode()


def test_the_csv_files_have_the_columns_of_the_tables(tmp_path: Path, small_npz: Path) -> None:
    outcome = rl.sweep(
        "cifar-plain8",
        str(small_npz),
        "adam",
        grid={"lr": [1e-3, 1e-2], "flip": [False, True]},
        settings=["recipe.epochs=1"],
        output=tmp_path,
        workers=1,
        progress=False,
    )
    runs, curves = outcome.runs(), outcome.curves()
    assert list(runs.columns)[:4] == [
        "condition",
        "seed",
        "recipe.optimizer.lr",
        "recipe.augment.flip",
    ]
    pairs = set(zip(runs["recipe.optimizer.lr"], runs["recipe.augment.flip"], strict=True))
    assert pairs == {(1e-3, False), (1e-3, True), (1e-2, False), (1e-2, True)}
    for name, table in (("results.csv", runs), ("curves.csv", curves)):
        with (outcome.report.parent / name).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert rows == [
            {key: "" if value is None else str(value) for key, value in row.items()}
            for row in table
        ]
    again = rl.sweep(
        "cifar-plain8",
        str(small_npz),
        "adam",
        grid={"recipe.optimizer.lr": [1e-3, 1e-2], "recipe.augment.flip": [False, True]},
        settings=["recipe.epochs=1"],
        output=tmp_path,
        progress=False,
    )
    assert list(again.runs()) == list(runs)  # nothing was trained again
    assert len(repr(outcome)) < 600
    record = outcome.record.runs[0].record
    assert record is not None
    assert len(repr(record)) < 400
    assert len(record.curves()) == len(record.metrics)
