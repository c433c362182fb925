"""`finetune` uses every kind of bad image among good ones, or leaves it out and names it."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest

from helpers.bad_photographs import jpeg, put
from helpers.texture_photographs import QUICK
from resnetlab.errors import InputError
from resnetlab.finetuning.finetune_photos import finetune
from resnetlab.finetuning.request import FinetuneRequest


def request(photos: Path, backbone: Path, *, skip_bad: bool) -> FinetuneRequest:
    return FinetuneRequest(
        folder=photos,
        model=str(backbone),
        recipe=QUICK,
        train_size=32,
        output=photos.parent / "out",
        device="cpu",
        skip_bad=skip_bad,
    )


def listed(photos: Path) -> set[str]:
    """Return the names in the list that is written beside the cache."""
    (file,) = (photos.parent / "out" / "cache").glob("*-bad.csv")
    with file.open(newline="", encoding="utf-8") as stream:
        return {Path(row["path"]).name for row in csv.DictReader(stream) if row["reason"]}


def test_bad_files_are_listed_with_reasons_in_one_line_and_no_model_is_written(
    photos: Path, backbone: Path
) -> None:
    _, bad = put(photos)
    with pytest.raises(InputError) as caught:
        finetune(request(photos, backbone, skip_bad=False))
    (line,) = str(caught.value).splitlines()
    assert f"(1 of {len(bad)} bad files, listed in" in line
    assert line.endswith("Fix: replace them, or --skip-bad")
    assert listed(photos) == bad
    assert not (photos.parent / "out" / "models").exists()


def test_unusual_photographs_are_trained_on_and_skipped_files_are_reported(
    photos: Path, backbone: Path
) -> None:
    good = len(list((photos / "train" / "plain").iterdir()))
    used, bad = put(photos)
    notes: list[str] = []
    done = finetune(request(photos, backbone, skip_bad=True), notify=notes.append)
    assert done.result.train_images == 3 * good + len(used)
    assert listed(photos) == bad
    assert any(f"{len(bad)} bad files skipped" in note for note in notes)
    total = sum(1 for path in photos.rglob("*") if path.is_symlink() or not path.is_dir())
    assert (
        f"note: {total} files: {total - 6 - len(bad)} used, 6 skipped (3 hidden, 2 a link, "
        f"1 not a regular file), {len(bad)} unreadable"
    ) in notes
    train = done.result.train_images
    sizes = f"{train} train, 12 validation and 18 test images"
    assert sum(sizes in note for note in notes) == 1
    assert train + 12 + 18 == total - 6 - len(bad)


def test_photographs_with_undecodable_names_or_names_that_differ_only_in_case_are_used(
    photos: Path, backbone: Path
) -> None:
    folder_path = photos / "train" / "plain"
    for name in ("case.jpg", "CASE.jpg", os.fsdecode(b"\xff.jpg")):
        (folder_path / name).write_bytes(jpeg(51))
    done = finetune(request(photos, backbone, skip_bad=False))
    assert done.result.train_images == 33
    assert (
        json.loads((done.report_folder / "finetune.json").read_text(encoding="utf-8"))[
            "train_images"
        ]
        == 33
    )
