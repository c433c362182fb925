"""`data check` reports counts, sizes, skipped files, and copies across splits."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from helpers.pictures import picture, save, split_tree
from resnetlab.data.check import ImageSizes, audit_source
from resnetlab.data.sources import open_source
from resnetlab.data.sources.folder.types import SkippedFile
from resnetlab.errors import InputError


def test_a_folder_is_counted_and_measured_and_every_file_is_accounted_for(tmp_path: Path) -> None:
    root = split_tree(tmp_path / "pets")
    save(root / "train/cat/tall.png", picture(70, 20, 50))
    (root / "train/cat/.DS_Store").write_text("")
    (root / "test/dog/bad.png").write_text("words")
    audit = audit_source(str(root), image_size=8, cache=tmp_path / "cache")
    assert audit.counts == {"train": (5, 4), "test": (2, 2)}
    assert (audit.num_images, audit.shape) == (13, (8, 8, 3))
    assert audit.sizes == ImageSizes((16, 16, 20), (24, 24, 50))
    assert audit.skipped == (SkippedFile("train/cat/.DS_Store", "hidden"),)
    assert audit.bad == (
        SkippedFile(
            "test/dog/bad.png",
            "not an image (allowed: JPEG, PNG, WEBP, BMP, GIF, TIFF, PPM, AVIF, HEIF)",
        ),
    )
    counts = "15 files: 13 used, 1 skipped (1 hidden), 1 unreadable"
    assert [line for line in audit.lines() if "files: " in line] == [counts]
    assert (
        audit.sha256
        == open_source(str(root), image_size=8, cache=tmp_path / "cache", skip_bad=True).sha256
    )


def test_copies_across_splits_and_within_a_split_are_listed_apart_in_any_format(
    tmp_path: Path,
) -> None:
    root = split_tree(tmp_path / "pets")
    shutil.copyfile(root / "train/cat/000.png", root / "train/cat/same.png")
    save(root / "test/cat/copy.bmp", picture(1))
    audit = audit_source(str(root), cache=tmp_path / "cache")
    assert audit.duplicates == (("train/cat/001.png", "test/cat/copy.bmp"),)
    assert audit.copies_within_split == (("train/cat/000.png", "train/cat/same.png"),)
    lines = audit.lines()
    across = lines.index("same pixels in more than one split: 1")
    assert lines[across + 1 : across + 4] == [
        "  train/cat/001.png = test/cat/copy.bmp",
        "same pixels within one split: 1",
        "  train/cat/000.png = train/cat/same.png",
    ]


def test_an_npz_is_audited_by_split_and_index(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 6, 6), np.uint8)
    test = np.random.default_rng(1).integers(0, 256, (4, 6, 6), np.uint8)
    test[2] = pixels[5]
    path = tmp_path / "set.npz"
    np.savez(path, x_train=pixels, y_train=np.arange(8) % 2, x_test=test, y_test=np.arange(4) % 2)
    audit = audit_source(str(path), cache=tmp_path)
    assert audit.duplicates == (("train[5]", "test[2]"),)
    assert audit.counts == {"train": (4, 4), "test": (2, 2)}
    assert audit.lines()[:3] == [
        "set: 12 images of 2 classes, which a study reads as 6 x 6 x 1",
        f"sha256 {audit.sha256}",
        "shorter side 6 / 6 / 6, longer side 6 / 6 / 6 (min, median, max)",
    ]


def test_a_named_dataset_is_audited(tmp_path: Path) -> None:
    audit = audit_source("digits", cache=tmp_path)
    assert (audit.name, audit.num_images, audit.bad, audit.skipped) == ("digits", 1797, (), ())


def test_the_lines_are_bounded_and_cannot_control_a_terminal(tmp_path: Path) -> None:
    root = split_tree(tmp_path / "pets")
    for number in range(30):
        (root / f"train/cat/.{number:02}\x1b[31m").write_text("")
    audit = audit_source(str(root), cache=tmp_path / "cache")
    assert "  ... and 10 more" in audit.lines()
    assert len(audit.lines(limit=None)) == len(audit.lines()) + 9
    assert all(line.isprintable() for line in audit.lines())


def test_a_source_that_cannot_be_opened_has_the_same_error_as_in_training(tmp_path: Path) -> None:
    (tmp_path / "pets" / "cat").mkdir(parents=True)
    with pytest.raises(InputError, match="fewer than two classes"):
        audit_source(str(tmp_path / "pets"), cache=tmp_path / "cache")
