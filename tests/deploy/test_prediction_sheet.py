"""`predict --sheet` shows every photograph once, under its class, with the least certain first."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from helpers.commands import check_error_lines, run_command
from helpers.model_folders import CLASSES, add_confidence, write_model
from helpers.pictures import picture, save
from resnetlab.deploy.predict import ClassProbability, Prediction
from resnetlab.reports import prediction_sheet
from resnetlab.reports.prediction_sheet import group_predictions


class Sheet(HTMLParser):
    """Groups of a sheet: title and, for each photograph, its name, thumbnail and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.groups: list[tuple[str, list[tuple[str, str, str]]]] = []
        self.heading = False
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.heading = tag == "h2" or (self.heading and tag != "small")
        if tag == "h2":
            self.groups.append(("", []))
        if tag == "img":
            self.groups[-1][1].append((values["alt"] or "", values["src"] or "", ""))

    def handle_data(self, data: str) -> None:
        if not self.groups:
            return
        title, photos = self.groups[-1]
        if self.heading:
            self.groups[-1] = (title + data, photos)
            self.heading = False
        elif photos:
            name, source, text = photos[-1]
            photos[-1] = (name, source, text + data)


def test_a_sheet_groups_photographs_by_class_with_the_least_certain_first(
    tmp_path: Path,
) -> None:
    model = write_model(tmp_path / "pets")
    for seed in range(12):
        save(tmp_path / "inbox" / f"{seed:02}.jpg", picture(seed, 300 + seed, 200))
    (tmp_path / "inbox" / "broken.jpg").write_bytes(b"no photograph")
    words = ("predict", model, "inbox", "--json", "--top", "1")
    plain = run_command(*words, folder=tmp_path)
    ended = run_command(*words, "--sheet", "sheet.html", folder=tmp_path)
    assert (ended.code, ended.output) == (3, plain.output)
    assert "Page: sheet.html" in ended.errors
    expected: dict[str, list[tuple[float, str]]] = {}
    for line in map(json.loads, ended.output.splitlines()):
        for item in line["predictions"]:
            expected.setdefault(item["class"], []).append((item["probability"], line["path"]))
    page = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    groups = Sheet(page).groups
    assert [title.strip() for title, _ in groups] == sorted(expected)
    for title, photos in groups:
        assert [name for name, _, _ in photos] == [n for _, n in sorted(expected[title.strip()])]
        for (_, source, text), (share, name) in zip(
            photos, sorted(expected[title.strip()]), strict=True
        ):
            assert f"{100 * share:.1f}\N{NO-BREAK SPACE}%" in text
            assert ("not sure" in text) == (share < 0.5)
            assert Path(name).name in text
            assert "inbox" not in text
            thumbnail = Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))
            seed = int(Path(name).stem)
            assert thumbnail.size == (240, round(240 * 200 / (300 + seed)))
    assert "<script" not in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)


def prediction(name: str, *, members: tuple[str, ...] | None, novel: bool, p: float) -> Prediction:
    first = ClassProbability("cat", p)
    return Prediction(name, (first, ClassProbability("dog", 1 - p)), members, novel)


def test_photographs_without_a_single_class_are_in_the_first_groups() -> None:
    groups = group_predictions(
        [
            prediction("a", members=("cat",), novel=False, p=0.9),
            prediction("b", members=("cat", "dog"), novel=False, p=0.6),
            prediction("c", members=(), novel=False, p=0.7),
            prediction("d", members=("cat",), novel=True, p=0.8),
            prediction("e", members=("cat",), novel=False, p=0.4),
            prediction("f", members=("dog",), novel=False, p=0.7),
        ]
    )
    assert [(group.title, [photo.name for photo in group.photos]) for group in groups] == [
        ("None of these", ["d"]),
        ("Several classes", ["b"]),
        ("No class is probable enough", ["c"]),
        ("cat", ["e", "a"]),
        ("dog", ["f"]),
    ]


def test_a_sheet_of_many_photographs_shows_the_least_certain_and_counts_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_sheet, "MAX_PHOTOGRAPHS", 5)
    model = add_confidence(write_model(tmp_path / "pets"))
    for seed in range(9):
        save(tmp_path / "inbox" / f"{seed}.png", picture(seed, 40, 33))
    ended = run_command("predict", model, "inbox", "--sheet", "sheet.html", folder=tmp_path)
    assert ended.code == 0
    page = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    assert page.count("<img ") == 5
    assert "The page shows the 5 least sure photographs." in page
    counts = re.findall(r'href="#group-\d+">[^<]*\((\d+)\)', page)
    assert sum(map(int, counts)) == 9
    assert set(CLASSES)


def test_a_sheet_without_an_html_suffix_is_refused(
    pets: Path, photos: Path, tmp_path: Path
) -> None:
    ended = run_command("predict", pets, photos, "--sheet", "sheet.png", folder=tmp_path)
    check_error_lines(ended)
    assert "--sheet: not a name that ends in .html" in ended.errors
