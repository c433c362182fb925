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

from helpers.model_folders import CLASSES, write_model
from helpers.pictures import picture, save
from resnetlab.cli.deploy import predict as commands
from resnetlab.deploy import sorting
from resnetlab.deploy.predict import load_model
from resnetlab.deploy.sorting import (
    UNDO_FILE,
    UNSURE,
    PhotoAnswer,
    SortMode,
    class_folders,
    plan_sorting,
    undo_sorting,
    write_sorted,
)
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


def write_answers(paths: list[Path], label: str, into: Path, mode: SortMode = "copy") -> int:
    """Sort photographs as if the model had predicted `label`; return the number of new files."""
    answers = [PhotoAnswer(path, label, 1.0) for path in paths]
    return write_sorted(plan_sorting(answers, CLASSES, into, 0.0), into, mode).written


def test_a_photograph_that_vanishes_before_sorting_is_skipped_and_named(
    pets: Path,
    inbox: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    into = tmp_path / "sorted"
    assert sort(pets, inbox, into, write=True) == 0  # a copy of the vanished one is there already
    more = inbox / "more.png"
    save(more, picture(77, 40, 33))
    original = sorting.plan_sorting

    def plan_after_removal(*values: Any) -> list[sorting.SortedPhoto]:
        more.unlink()
        (inbox / "a/00.png").unlink()
        return original(*values)

    monkeypatch.setattr(sorting, "plan_sorting", plan_after_removal)
    assert sort(pets, inbox, into, write=True) == 3
    errors = capsys.readouterr().err
    assert f"{more}: does not exist any more, and is not sorted" in errors
    assert f"{inbox / 'a/00.png'}: does not exist any more" in errors
    assert len(files_of(into)) == 20


def test_undo_reads_the_entry_after_an_incomplete_line(inbox: Path, tmp_path: Path) -> None:
    into = tmp_path / "sorted"
    paths = sorted(inbox.rglob("*.png"))
    assert write_answers(paths[:1], "cat", into) == 1
    with (into / UNDO_FILE).open("a") as file:
        file.write('{"path": "cat/killed')
    assert write_answers(paths[1:2], "cat", into) == 1
    assert undo_sorting(into) == (2, [])
    assert not into.exists()


def test_undo_removes_a_file_that_was_sorted_again_with_other_content(
    inbox: Path, tmp_path: Path
) -> None:
    into = tmp_path / "sorted"
    first, second = inbox / "a/00.png", inbox / "b/00.png"
    assert write_answers([first], "cat", into) == 1
    (into / "cat/00.png").unlink()
    assert write_answers([second], "cat", into) == 1
    assert (into / "cat/00.png").read_bytes() == second.read_bytes()
    assert undo_sorting(into) == (1, [])
    assert not into.exists()


def test_copies_replace_the_links_of_an_earlier_sorting_but_no_link_of_the_user(
    inbox: Path, tmp_path: Path
) -> None:
    into = tmp_path / "sorted"
    paths = sorted(inbox.glob("a/*.png"))
    assert write_answers(paths[1:], "cat", into, "link") == 9
    (into / "cat/00.png").symlink_to(paths[0])
    before = files_of(inbox)
    assert write_answers(paths, "cat", into, "copy") == 9
    links = [path.name for path in sorted(into.rglob("*.png")) if path.is_symlink()]
    assert links == ["00.png"]
    assert files_of(inbox) == before
    assert undo_sorting(into)[0] == 9
    assert [path.name for path in into.rglob("*.png")] == ["00.png"]
    assert files_of(inbox) == before


def test_photographs_of_one_name_that_is_as_long_as_possible_are_sorted(
    inbox: Path, tmp_path: Path
) -> None:
    """Two names of 254 bytes, and a name whose suffix is almost all of it."""
    into = tmp_path / "sorted"
    names = [f"{'写' * 83}x.png", f"a.{'x' * 252}"]
    assert [len(os.fsencode(name)) for name in names] == [254, 254]
    paths = []
    for folder, source in (("x", "a/00.png"), ("y", "b/00.png")):
        (tmp_path / folder).mkdir()
        for name in names:
            paths.append(tmp_path / folder / name)
            paths[-1].write_bytes((inbox / source).read_bytes())
    assert write_answers(paths, "cat", into) == 4
    assert sorted(files_of(into).values()) == sorted(path.read_bytes() for path in paths)
    assert undo_sorting(into) == (4, [])


def test_names_with_odd_line_ends_are_one_line_of_the_list(inbox: Path, tmp_path: Path) -> None:
    into = tmp_path / "sorted"
    path = tmp_path / "a\u2028b\x85c\nd.png"
    path.write_bytes((inbox / "a/00.png").read_bytes())
    assert write_answers([path], "cat", into) == 1
    assert undo_sorting(into) == (1, [])


def test_a_file_with_the_name_of_a_class_is_refused_before_the_work(
    pets: Path, inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sorted").mkdir()
    file = tmp_path / "sorted" / CLASSES[0]
    file.write_text("mine")
    monkeypatch.setattr("resnetlab.deploy.predict.load_model", None)
    with pytest.raises(InputError, match=f"{file}: a file, but sorting needs a folder"):
        commands.predict(pets, [inbox], sort_into=tmp_path / "sorted", write=True)
    assert file.read_text() == "mine"
