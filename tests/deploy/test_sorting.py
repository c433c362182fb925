"""Photographs are sorted by predicted class without loss, as a plan, copies or links, and can be
moved back.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import typer

from helpers.model_folders import write_model
from helpers.pictures import picture, save
from resnetlab.cli.deploy import predict as commands
from resnetlab.deploy.predict import load_model
from resnetlab.deploy.sorting import UNDO_FILE, UNSURE, class_folders, undo_sorting
from resnetlab.errors import InputError
from resnetlab.files import sha256


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """Twenty photographs in two folders, with the same names in both."""
    for seed in range(20):
        save(tmp_path / "inbox" / "ab"[seed % 2] / f"{seed // 2:02}.png", picture(seed, 40, 33))
    return tmp_path / "inbox"


def sort(model: Path, inbox: Path, into: Path, **options: Any) -> int:
    """Call the command; return its exit code."""
    try:
        commands.predict(model, [inbox], sort_into=into, **options)
    except typer.Exit as ended:
        return ended.exit_code
    return 0


def counts_in(folder: Path) -> dict[str, int]:
    return {path.name: len(list(path.iterdir())) for path in folder.iterdir() if path.is_dir()}


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != UNDO_FILE
    }


def expected_counts(model: Path, inbox: Path, limit: float = 0.0) -> dict[str, int]:
    paths = sorted(inbox.rglob("*.png"))
    counts: dict[str, int] = {}
    for prediction in load_model(model, device="cpu").predict(paths, top=1):
        best = prediction.top_classes[0]
        name = best.label if best.probability >= limit else UNSURE
        counts[name] = counts.get(name, 0) + 1
    return counts


@pytest.mark.parametrize("mode", ["copy", "link"])
def test_photographs_are_sorted_after_a_dry_run_and_the_sorting_can_be_undone(
    pets: Path, inbox: Path, tmp_path: Path, mode: str, capsys: pytest.CaptureFixture[str]
) -> None:
    into, before = tmp_path / "sorted", files_of(inbox)
    assert sort(pets, inbox, into, sort_mode=mode) == 0
    assert "dry run: nothing was written" in capsys.readouterr().err
    assert not into.exists()
    for _ in range(2):  # the second time everything is there already
        assert sort(pets, inbox, into, sort_mode=mode, write=True) == 0
        after = files_of(into)
        assert counts_in(into) == expected_counts(pets, inbox)
        assert sorted(after.values()) == sorted(before.values())
        assert {p.is_symlink() for p in into.rglob("*.png")} == {mode == "link"}
    assert files_of(inbox) == before
    user_file = into / "mine.txt"
    user_file.write_text("my own file")
    assert sort(pets, inbox, into, undo=True) == 0
    assert list(into.iterdir()) == [user_file]
    assert files_of(inbox) == before


def test_photographs_with_low_probability_are_sorted_into_their_own_folder(
    pets: Path, inbox: Path, tmp_path: Path
) -> None:
    into = tmp_path / "sorted"
    probabilities = [
        prediction.top_classes[0].probability
        for prediction in load_model(pets, device="cpu").predict(
            sorted(inbox.rglob("*.png")), top=1
        )
    ]
    limit = sorted(probabilities)[10]
    assert sort(pets, inbox, into, min_probability=limit, write=True) == 0
    counts = counts_in(into)
    assert counts == expected_counts(pets, inbox, limit)
    assert counts[UNSURE] == 10


def test_undo_leaves_a_changed_copy_and_removes_no_file_outside_of_the_folder(
    pets: Path, inbox: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    into = tmp_path / "sorted"
    assert sort(pets, inbox, into, write=True) == 0
    changed = min(into.rglob("*.png"))
    content = changed.read_bytes()
    changed.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # of the same size
    assert sort(pets, inbox, into, undo=True) == 3
    assert f"{changed}: changed since, and stays" in capsys.readouterr().err
    assert list(into.rglob("*.png")) == [changed]
    outside = tmp_path / "outside" / "a.png"
    save(outside, picture(1))
    entry = {"mode": "copy", "sha256": sha256(outside)}
    for path in ("../outside/a.png", f"{outside}", "cat/../../outside/a.png", "../a"):
        (into / UNDO_FILE).write_text(json.dumps(entry | {"path": path}) + "\n")
        with pytest.raises(InputError, match="names a file that no sorting wrote"):
            commands.predict(pets, sort_into=into, undo=True)
    assert outside.is_file()


def test_an_impossible_sorting_is_refused_in_one_line(
    pets: Path, inbox: Path, tmp_path: Path
) -> None:
    for options, pattern in (
        ({"sort_into": inbox / "sorted"}, "would then be read twice"),
        ({"write": True}, "add --sort-into DIR"),
        ({"undo": True}, "add --sort-into DIR"),
        ({"undo": True, "sort_into": tmp_path}, r"has no \.sorted\.jsonl"),
    ):
        with pytest.raises(InputError, match=pattern):
            commands.predict(pets, [inbox], **options)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no photograph is named"):
        commands.predict(pets)
    assert not (tmp_path / "x").exists()


def test_each_class_has_a_folder_name_that_every_operating_system_allows() -> None:
    classes = (
        "cat",
        "Cat",
        "a/b",
        "a:b",
        "..",
        "con trol\x07",
        "_unsure",
        "ネコ",
        "x" * 300,
        ". dot. ",
        "d_e-2",
        "d_e",
        "d:e",
        "con",
        "Lpt1.jpg",
    )
    folders = class_folders(classes)
    assert list(folders) == list(classes)
    names = list(folders.values())
    assert len({name.casefold() for name in names}) == len(classes)
    for name in names:
        assert name
        assert os.path.basename(name) == name  # noqa: PTH119
        assert not set(name) & set('/\\:*?"<>|\x07')
        assert name not in (".", "..", UNSURE)
        assert name.split(".")[0].casefold() not in ("con", "lpt1")
        assert len(name) <= 110
    assert folders["cat"] == "cat"
    assert folders["ネコ"] == "ネコ"


def test_classes_with_odd_names_are_sorted(tmp_path: Path, inbox: Path) -> None:
    names = ("../up", "a/b", "a:b", "A/B", "..", "ok")
    model = write_model(tmp_path / "odd", classes=names)
    into = tmp_path / "deep" / "sorted"
    assert sort(model, inbox, into, write=True) == 0
    assert len(files_of(into)) == 20
    assert {path.parent.parent for path in into.rglob("*.png")} == {into}


def test_photographs_with_unusual_and_long_names_are_sorted_and_removed_again(
    pets: Path, tmp_path: Path
) -> None:
    """An ideographic space is no printable character, and 80 signs of three bytes are 240 bytes."""
    names = ["写真\u30001.png", "a\u200db.png", f"{'写' * 80}.png"]
    for seed, name in enumerate(names):
        save(tmp_path / "inbox" / name, picture(seed, 40, 33))
    into = tmp_path / "sorted"
    assert sort(pets, tmp_path / "inbox", into, write=True) == 0
    assert {path.name for path in into.rglob("*.png")} == set(names)
    assert sort(pets, tmp_path / "inbox", into, undo=True) == 0
    assert not list(into.rglob("*.png"))


def test_the_list_of_a_large_sorting_is_read(tmp_path: Path) -> None:
    line = {"path": "cat/000000000000.jpg", "mode": "copy", "sha256": "0" * 64}
    (tmp_path / UNDO_FILE).write_text((json.dumps(line) + "\n") * 10_000)
    assert (tmp_path / UNDO_FILE).stat().st_size > 1_000_000
    assert undo_sorting(tmp_path) == (0, [])
    assert not (tmp_path / UNDO_FILE).exists()
