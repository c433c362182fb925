"""Added photographs do not leak from the old test photographs, and classes keep their order."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.texture_photographs import texture
from resnetlab.curation.added_photos import AddedPhotos, open_added_photos
from resnetlab.errors import InputError
from resnetlab.finetuning.dataset import open_photographs
from resnetlab.finetuning.photo_record import record_dataset
from resnetlab.model_folder.photo_record import PhotoRecord


def blot(seed: int) -> Image.Image:
    """Draw a photograph that resembles no other one."""
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), np.uint8)
    return Image.fromarray(pixels).resize((90, 90), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PhotoRecord]:
    """Return a folder of photographs unlike each other, and its record."""
    root = tmp_path_factory.mktemp("old") / "old"
    for number in range(40):
        split = ("train", "train", "val", "test")[number % 4]
        path = root / split / ("cat", "dog")[number // 20] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        blot(number).save(path)
    return root, record_dataset(open_photographs(root, cache=root.parent / "cache"))


def added(root: Path, old: PhotoRecord) -> AddedPhotos:
    return open_added_photos(root, ("dog", "cat"), old, cache=root.parent / "cache")


def paths(added: AddedPhotos) -> dict[str, set[str]]:
    return {
        split: {row.path for row in part.photo_split.rows}
        for split, part in zip(("train", "validation", "test"), added.splits, strict=True)
    }


def test_copies_of_test_photographs_are_left_out_and_copies_of_train_ones_join_train(
    tmp_path: Path, old: tuple[Path, PhotoRecord]
) -> None:
    root, record = old
    new = tmp_path / "new" / "cat"
    new.mkdir(parents=True)
    for number in range(30):
        blot(1000 + number).save(new / f"{number:02}.png")
    shutil.copy(root / "test/cat/03.png", new / "exact-test.png")
    for name, source in (
        ("near-test", "test/cat/07.png"),
        ("near-val", "val/cat/02.png"),
        ("near-train", "train/cat/00.png"),
    ):
        with Image.open(root / source) as image:
            image.resize((70, 70)).save(new / f"{name}.jpg", quality=70)
    result = added(tmp_path / "new", record)
    left_out = {"cat/exact-test.png", "cat/near-test.jpg", "cat/near-val.jpg"}
    assert set(result.dropped) == left_out
    by_split = paths(result)
    assert "cat/near-train.jpg" in by_split["train"]
    assert not left_out & set.union(*by_split.values())
    assert sum(map(len, by_split.values())) == 31
    assert all(by_split.values())
    copies = "near copies of old validation or test photographs"
    assert f"3 added photographs left out: {copies}" in result.notes


def test_only_exact_copies_are_left_out_if_all_photographs_are_similar(
    tmp_path: Path,
) -> None:
    root = tmp_path / "old"
    for split, start in (("train", 0), ("val", 20), ("test", 40)):
        for kind in ("down", "across"):
            (root / split / kind).mkdir(parents=True)
            for number in range(6):
                texture(kind, start + number).save(root / split / kind / f"{number}.png")
    record = record_dataset(open_photographs(root, cache=tmp_path / "cache"))
    (tmp_path / "new/down").mkdir(parents=True)
    for number in range(8):
        texture("down", 700 + number).save(tmp_path / f"new/down/{number}.png")
    shutil.copy(root / "test/down/0.png", tmp_path / "new/down/exact.png")
    result = open_added_photos(
        tmp_path / "new", ("across", "down"), record, cache=tmp_path / "cache"
    )
    assert result.dropped == ("down/exact.png",)
    assert (
        "so many added photographs look like old ones that near copies cannot be recognized: only "
        "exact copies are left out"
    ) in result.notes


def test_a_new_class_follows_the_old_ones_and_names_are_matched(
    tmp_path: Path, old: tuple[Path, PhotoRecord]
) -> None:
    for name in ("owl", "CAT", "ant"):
        (tmp_path / "new" / name).mkdir(parents=True)
        for number in range(8):
            blot(hash_of(name) + number).save(tmp_path / "new" / name / f"{number}.png")
    result = added(tmp_path / "new", old[1])
    assert result.classes == ("dog", "cat", "ant", "owl")
    assert result.new_classes == ("ant", "owl")
    names = [name for part in result.splits for name in part.names]
    assert Counter(names) == {"cat": 8, "ant": 8, "owl": 8}


def hash_of(name: str) -> int:
    return 10_000 * sum(map(ord, name))


def test_a_class_name_that_resembles_an_old_one_is_refused(
    tmp_path: Path, old: tuple[Path, PhotoRecord]
) -> None:
    name = "с" + "at"  # a Cyrillic letter
    (tmp_path / "new" / name).mkdir(parents=True)
    for number in range(6):
        blot(5000 + number).save(tmp_path / "new" / name / f"{number}.png")
    with pytest.raises(InputError, match="look alike"):
        added(tmp_path / "new", old[1])
