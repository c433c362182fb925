"""Every file of an image folder is used or reported with its reason, and the hash covers both."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.pictures import (
    class_tree,
    encoded,
    lines_of,
    opened,
    picture,
    refused,
    save,
    split_tree,
    tree,
)
from resnetlab.data.sources import image_decoder
from resnetlab.data.sources.folder.scan import FolderScan, scan_folder
from resnetlab.errors import InputError

DOGS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "dogs"


def scan(root: Path) -> FolderScan:
    return scan_folder(root, image_size=8, cache=root.parent / "cache", skip_bad=True)


# Files that are used
# --------------------------------------------------------------------------------------------------


def test_train_and_test_folders_become_splits_and_class_names_are_stored(tmp_path: Path) -> None:
    source = opened(split_tree(tmp_path / "pets"), image_size=8)
    assert (source.name, source.classes) == ("pets", ("cat", "dog"))
    assert source.train.pixels.shape == (8, 8, 8, 3)
    assert source.train.labels.tolist() == [0] * 4 + [1] * 4
    assert source.test.labels.tolist() == [0, 0, 1, 1]
    assert (source.validation, source.notes) == (None, ())
    expected = image_decoder.resize_center_square(picture(1), 8)
    np.testing.assert_array_equal(source.train.pixels[1], expected)


@pytest.mark.parametrize("word", ["val", "valid", "validation"])
def test_a_validation_folder_may_have_three_spellings(tmp_path: Path, word: str) -> None:
    root = tree(split_tree(tmp_path / "pets"), {f"{word}/cat": 1, f"{word}/dog": 1})
    assert len(opened(root).validation) == 2


def test_two_validation_folders_are_refused(tmp_path: Path) -> None:
    root = tree(split_tree(tmp_path / "pets"), {"val/cat": 1, "valid/cat": 1})
    assert refused(root) == [f"{root}: two validation splits: val, valid. Fix: keep one of them"]


def test_a_flat_folder_is_split_70_15_15_and_the_split_is_written_to_a_file(
    tmp_path: Path,
) -> None:
    root = tree(tmp_path / "pets", {"cat": 20, "dog": 20})
    source = opened(root)
    assert (len(source.train), len(source.validation), len(source.test)) == (28, 6, 6)
    assert np.bincount(source.test.labels).tolist() == [3, 3]
    (written,) = (tmp_path / "cache").glob("pets-*-splits.csv")
    assert str(written) in source.notes[-1]
    rows = list(csv.DictReader(written.read_text().splitlines()))
    assert list(rows[0]) == ["path", "label", "split", "sha256"]
    assert [row["path"] for row in rows] == sorted(
        str(p.relative_to(root)) for p in root.rglob("*.png")
    )
    assert not list(root.rglob("*.csv"))
    assert opened(root).sha256 == source.sha256


def test_a_stored_split_is_used_as_long_as_it_matches_the_files(tmp_path: Path) -> None:
    root = tree(tmp_path / "pets", {"cat": 20, "dog": 20})
    first = opened(root)
    (written,) = (tmp_path / "cache").glob("pets-*-splits.csv")
    text = written.read_text()
    swapped = (
        text.replace(",train,", ",x,", 1)
        .replace(",test,", ",train,", 1)
        .replace(",x,", ",test,", 1)
    )
    written.write_text(swapped)
    assert opened(root).sha256 != first.sha256  # a person moved two images, and the hash says so
    for broken in (
        text.replace(",train,", ",exam,", 1),
        text[: len(text) // 2],
        text.replace("a", "b"),
        "",
        "\0",
    ):
        written.write_text(broken)
        assert opened(root).sha256 == first.sha256
        assert written.read_text() == text


def test_train_without_test_gives_15_percent_to_test_and_leaves_validation_unchanged(
    tmp_path: Path,
) -> None:
    root = tree(tmp_path / "pets", {"train/cat": 20, "train/dog": 20, "val/cat": 2, "val/dog": 2})
    source = opened(root)
    assert (len(source.train), len(source.validation), len(source.test)) == (34, 4, 6)
    assert "15 % of train as the test split" in source.notes[-1]


def test_labels_csv_sets_the_class_and_the_split_of_each_image(tmp_path: Path) -> None:
    root = tree(tmp_path / "pets", {"a": 4, "b": 4})
    rows = [
        f"{d}/{n:03}.png,{'cat' if n % 2 else 'dog'},{'test' if d == 'b' else 'train'}"
        for d in "ab"
        for n in range(4)
    ]
    (root / "labels.csv").write_text(
        "\ufeffpath,label,split\n" + "\n".join(rows[:-1]) + "\n", encoding="utf-8"
    )
    source = opened(root)
    assert source.classes == ("cat", "dog")
    assert source.train.labels.tolist() == [1, 0, 1, 0]
    assert len(source.test) == 3
    assert source.notes == (
        "images differ in size or are not square: resized to 64 pixels (--img-size changes it)",
        "9 files: 7 used, 1 skipped (1 not in labels.csv), 0 unreadable, 1 table of labels",
    )


def test_mistakes_in_labels_csv_are_reported_with_their_line_numbers(tmp_path: Path) -> None:
    root = tree(tmp_path / "pets", {"a": 3})
    (root / "link.png").symlink_to(root / "a" / "000.png")
    save(tmp_path / "outside.png", picture(1))
    rows = [
        "a/000.png,cat,train",
        "a/0001.png,cat,train",
        "../outside.png,cat,train",
        "link.png,cat,train",
        f"{tmp_path}/outside.png,cat,train",
        "a/000.png,dog,train",
        "a/001.png,,train",
        "a/002.png,dog,tran",
        "a",
    ]
    (root / "labels.csv").write_text("path,label,split\n" + "\n".join(rows) + "\n")
    lines = refused(root)
    where, fix = f"{root}/labels.csv", "Fix: write paths below the folder, or remove the row"
    assert lines == [
        f'{where}:3: no file "a/0001.png" in the folder. {fix}',
        f'{where}:4: no file "../outside.png" in the folder. {fix}',
        f'{where}:5: "link.png" is a link. Fix: put the file itself there, or remove the row',
        f'{where}:6: no file "{tmp_path}/outside.png" in the folder. {fix}',
        f'{where}:7: "a/000.png" a second time. Fix: keep one row for each file',
        f'{where}:8: "a/001.png" has no label. Fix: give it one, or remove the row',
        f'{where}:9: split "tran" is none of train, validation, test. Fix: did you mean "train"?',
        f"{where}:10: more or fewer values than columns. Fix: quote a value that contains a comma",
    ]


@pytest.mark.parametrize(
    "raw", [b"", b"path;label\n", b"\xff\xfe\0", b'path,label\n"a', b"path,label\n", b"\0\0\0"]
)
def test_an_unreadable_labels_csv_is_refused_in_one_line(tmp_path: Path, raw: bytes) -> None:
    root = tree(tmp_path / "pets", {"a": 1})
    (root / "labels.csv").write_bytes(raw)
    (line,) = refused(root)
    assert line.startswith(f"{root}/labels.csv")
    assert ". Fix: " in line


def test_square_images_of_one_size_are_not_resized_and_others_become_64_pixels(
    tmp_path: Path,
) -> None:
    same = opened(split_tree(tmp_path / "same", size=(20, 20)))
    assert same.train.pixels.shape[1:] == (20, 20, 3)
    np.testing.assert_array_equal(same.train.pixels[0], np.asarray(picture(0, 20, 20)))
    other = opened(split_tree(tmp_path / "other", size=(20, 24)))
    assert other.train.pixels.shape[1:] == (64, 64, 3)
    assert "resized to 64 pixels" in other.notes[0]


def test_a_folder_of_gray_images_has_one_channel_and_one_color_image_makes_three(
    tmp_path: Path,
) -> None:
    root = split_tree(tmp_path / "gray", mode="L")
    gray = opened(root, image_size=8)
    assert gray.train.pixels.shape[3] == 1
    save(root / "test/cat/color.png", picture(1))
    mixed = opened(root, image_size=8)
    assert mixed.train.pixels.shape[3] == 3
    np.testing.assert_array_equal(mixed.train.pixels[..., 1:2], gray.train.pixels)


# Skipped files
# --------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no FIFOs in folders")
def test_every_file_that_is_not_an_image_is_listed_with_its_reason(tmp_path: Path) -> None:
    root = split_tree(tmp_path / "pets")
    cat = root / "train" / "cat"
    for name in (
        ".DS_Store",
        "._000.png",
        "Thumbs.db",
        "notes.txt",
        "noend",
        ".ipynb_checkpoints/000.png",
        "deep/x.png",
    ):
        (cat / name).parent.mkdir(exist_ok=True)
        (cat / name).write_bytes(encoded(picture(1)))
    (root / "README.md").write_text("pets")
    save(root / "train" / "loose.png", picture(1))
    save(root / "extra" / "cat" / "1.png", picture(1))
    (cat / "link.png").symlink_to(cat / "000.png")
    (cat / "dangling.png").symlink_to(cat / "nowhere.png")
    (cat / "loop.png").symlink_to(cat / "loop.png")
    (cat / "up").symlink_to(root / "train")
    os.mkfifo(cat / "fifo.png")
    folder_scan = scan(root)
    assert {item.path.removeprefix("train/cat/"): item.reason for item in folder_scan.skipped} == {
        ".DS_Store": "hidden",
        "._000.png": "hidden",
        ".ipynb_checkpoints/000.png": "hidden",
        "Thumbs.db": "system file",
        "notes.txt": "not an image by its name",
        "noend": "not an image by its name",
        "deep/x.png": "not directly in a class's folder",
        "train/loose.png": "not directly in a class's folder",
        "README.md": "outside train, validation and test",
        "extra/cat/1.png": "outside train, validation and test",
        "link.png": "a link",
        "dangling.png": "a link",
        "loop.png": "a link",
        "up": "a link",
        "fifo.png": "not a regular file",
    }
    assert len(folder_scan.rows) == 12
    assert folder_scan.bad == ()
    assert folder_scan.notes[0].startswith("27 files: 12 used, 15 skipped (4 a link, 3 hidden, 2 ")


def test_images_with_non_utf8_names_and_control_characters_are_used(tmp_path: Path) -> None:
    root = tree(tmp_path / "pets", {"cat": 6, "dog": 6})
    try:
        for name in (b"\xff\xfe.png", b'new\nline,"quote".png', b"\x1b[31m.png"):
            Path(os.fsdecode(os.fsencode(root / "cat") + b"/" + name)).write_bytes(
                encoded(picture(9))
            )
    except OSError as error:
        pytest.skip(f"the file system refuses such names: {error}")
    first = opened(root, image_size=8)
    assert len(first.train) + len(first.validation) + len(first.test) == 15
    assert opened(root, image_size=8).sha256 == first.sha256
    Path(os.fsdecode(os.fsencode(root / "cat") + b"/\xff\x1b.png")).write_bytes(b"")
    (line,) = refused(root)
    assert "\\udcff\\x1b.png: empty file (the one bad file" in line
    assert line.isprintable()


def test_images_whose_names_differ_only_in_case_are_all_used_and_reported(tmp_path: Path) -> None:
    root = split_tree(tmp_path / "pets")
    save(root / "train/cat/000.PNG", picture(50))
    if len(list((root / "train/cat").iterdir())) == 4:
        pytest.skip("the file system folds case")
    source = opened(root, image_size=8)
    assert len(source.train) == 9
    twins = "train/cat/000.PNG, train/cat/000.png"
    assert source.notes == (f"files whose names differ in case only are all used: {twins}",)
    tree(root, {"train/Cat": 1})
    message = 'classes whose names look alike: "Cat" has U+0043 where "cat" has U+0063'
    assert refused(root) == [f"{root}/train: {message}. Fix: rename or merge them"]


# Files that are bad
# --------------------------------------------------------------------------------------------------


def spoil(root: Path) -> None:
    """Three bad files, each of its own kind."""
    content = encoded(picture(3, 200, 150), "JPEG")
    (root / "train/cat/017.jpg").write_bytes(content[: len(content) // 2])
    (root / "train/dog/empty.png").write_bytes(b"")
    (root / "test/dog/scan.ico").write_bytes(encoded(picture(3), "ICO"))


def test_bad_files_are_refused_in_one_line_with_the_first_file_and_the_path_of_the_list(
    tmp_path: Path,
) -> None:
    root = split_tree(tmp_path / "pets")
    spoil(root)
    (line,) = refused(root)
    (listed,) = (tmp_path / "cache").glob("pets-*-bad.csv")
    allowed = "JPEG, PNG, WEBP, BMP, GIF, TIFF, PPM, AVIF, HEIF"
    message = f"not an image (allowed: {allowed}) (1 of 3 bad files, listed in {listed})"
    assert line == f"{root}/test/dog/scan.ico: {message}. Fix: replace them, or --skip-bad"
    assert [
        (row["path"], row["reason"].partition(" (")[0])
        for row in csv.DictReader(listed.read_text().splitlines())
    ] == [
        ("test/dog/scan.ico", "not an image"),
        ("train/cat/017.jpg", "truncated JPEG"),
        ("train/dog/empty.png", "empty file"),
    ]


def test_skipped_bad_files_are_counted_and_hashed_and_do_not_change_the_other_images(
    tmp_path: Path,
) -> None:
    root = split_tree(tmp_path / "pets")
    clean = opened(root, image_size=8, skip_bad=True)
    spoil(root)
    skipped = opened(root, image_size=8, skip_bad=True)
    np.testing.assert_array_equal(skipped.train.pixels, clean.train.pixels)
    assert skipped.notes[0].startswith(
        "3 bad files skipped (first: test/dog/scan.ico: not an image"
    )
    (root / "train/dog/empty.png").unlink()
    assert (
        len({clean.sha256, skipped.sha256, opened(root, image_size=8, skip_bad=True).sha256}) == 3
    )


def test_a_bad_file_does_not_change_the_split_of_other_images(tmp_path: Path) -> None:
    root = tree(tmp_path / "pets", {"cat": 20, "dog": 20})
    before = opened(root, image_size=8)
    (root / "cat" / "0.png").write_bytes(b"")
    after = opened(root, image_size=8, skip_bad=True)
    np.testing.assert_array_equal(before.test.pixels, after.test.pixels)


def test_a_class_without_usable_images_is_refused_with_the_skipped_files(tmp_path: Path) -> None:
    root = split_tree(tmp_path / "pets")
    (root / "train/emu").mkdir()
    (root / "train/emu/words.txt").write_text("no image")
    (root / "train/fox").mkdir()
    (root / "train/fox/1.png").write_bytes(b"")
    assert refused(root, skip_bad=True) == [
        (
            f'{root}/train/emu: 0 images (not an image by its name "words.txt" skipped). Fix: add '
            "images or remove the folder"
        ),
        f"{root}/train/fox: 0 images (1 bad skipped). Fix: add images or remove the folder",
    ]


def test_empty_folders_are_not_classes_and_a_note_reports_them(tmp_path: Path) -> None:
    for root in (split_tree(tmp_path / "splits"), class_tree(tmp_path / "classes")):
        part = root / "train" if (root / "train").is_dir() else root
        save(part / "emu/.ipynb_checkpoints/1.png", picture(1))
        (part / "gnu").mkdir()
        (part / "owl").mkdir()
        (part / "owl" / "Thumbs.db").write_bytes(b"x")
        save(root / "__MACOSX" / "cat" / "._1.png", picture(1))
        source = opened(root, image_size=8)
        prefix = "train/" if part != root else ""
        assert source.classes == ("cat", "dog")
        names = ", ".join(f"{prefix}{name}" for name in ("emu", "gnu", "owl"))
        assert f"empty folders are not used: {names}" in source.notes


def test_a_test_class_that_is_not_in_train_is_reported_by_name(tmp_path: Path) -> None:
    root = tree(split_tree(tmp_path / "pets"), {"test/emu": 1, "val/fox": 1})
    fix = "Fix: add train images of it, or remove it"
    assert refused(root) == [
        f"{root}/{name}: a class that is not in train. {fix}" for name in ("val/fox", "test/emu")
    ]


def test_a_split_without_a_usable_image_is_refused(tmp_path: Path) -> None:
    root = tree(split_tree(tmp_path / "pets"), {"val/cat": 0})
    (root / "val/cat/1.png").write_bytes(b"")
    assert refused(root, skip_bad=True) == [
        f"{root}: no usable image in validation. Fix: add images, or remove the split"
    ]


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({}, "no folders of images in it"),
        ({"cat": 9}, "fewer than two classes (got cat)"),
        ({"train": 3, "test": 3}, "no folders of classes in it"),
        ({"test/cat": 3, "test/dog": 3}, "no folders of classes in it"),
        (
            dict.fromkeys("abcdefg", 1),
            "test: 1 of 7 images cannot be set apart with one left of each class",
        ),
        ({"inner/train/cat": 1, "inner/test/cat": 1}, "fewer than two classes (got inner)"),
    ],
)
def test_a_folder_with_an_unknown_layout_is_refused_in_one_line(
    tmp_path: Path, counts: dict[str, int], message: str
) -> None:
    root = tree(tmp_path / "pets", counts)
    root.mkdir(exist_ok=True)
    lines = refused(root, skip_bad=True)
    assert len(lines) == 1
    assert message in lines[0]
    assert ". Fix: " in lines[0]


NAMES = st.sampled_from(
    [
        "cat",
        "dog",
        ".hid",
        "train",
        "test",
        "val",
        "a.png",
        "b.jpg",
        "c.txt",
        "._d.png",
        "labels.csv",
    ]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.lists(NAMES, min_size=1, max_size=4), st.sampled_from(["good", "bad", "folder"])
        ),
        max_size=14,
    )
)
def test_every_file_of_any_tree_is_used_or_listed_or_the_folder_is_refused(
    tmp_path: Path, made: list
) -> None:
    root = tmp_path / "tree"
    shutil.rmtree(root, ignore_errors=True)
    tree(root, {"train/cat": 1, "train/dog": 1, "test/cat": 1})
    for parts, kind in made:
        path = root.joinpath(*parts)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir() if kind == "folder" else path.write_bytes(
                encoded(picture(1)) if kind == "good" else b"bad"
            )
        except OSError:
            continue
    try:
        folder_scan = scan(root)
    except InputError as error:
        refusal = lines_of(error)
    else:
        refusal = []
    assert all(". Fix: " in line for line in refusal)
    if refusal:
        return
    items: list[Any] = [*folder_scan.rows, *folder_scan.skipped, *folder_scan.bad]
    accounted = [item.path for item in items]
    there = [
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_file() and path.name != "labels.csv"
    ]
    assert sorted(path for path in accounted if not path.endswith("labels.csv")) == sorted(there)


def test_an_output_folder_inside_the_image_folder_is_refused(tmp_path: Path) -> None:
    root = split_tree(tmp_path / "pets")
    (line,) = refused(root, cache=root / "output" / "cache")
    assert line.startswith(f"{root}: {root}/output/cache is inside the folder of images. Fix: ")
    assert not (root / "output").exists()


def test_real_photographs_are_opened_like_generated_ones(tmp_path: Path) -> None:
    if not DOGS.is_dir():
        pytest.skip("the shared photographs of dogs are not beside this repository")
    for split in ("train", "test"):
        for breed in sorted((DOGS / split).iterdir())[:2]:
            (tmp_path / "dogs" / split / breed.name).mkdir(parents=True)
            for photograph in sorted(breed.iterdir())[:3]:
                shutil.copyfile(
                    photograph, tmp_path / "dogs" / split / breed.name / photograph.name
                )
    source = opened(tmp_path / "dogs", image_size=64)
    assert source.train.pixels.shape == (6, 64, 64, 3)
    assert source.train.pixels.std() > 30
