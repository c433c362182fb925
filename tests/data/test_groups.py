"""Splits do not leak: copies, near copies and the images of a group are in the same split."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from helpers.pictures import save
from resnetlab.data import stratify
from resnetlab.data.config import DataConfig, DataIdentity, FolderChoices, LabeledImages, Source
from resnetlab.data.leakage import estimate_leakage
from resnetlab.data.near_copies import MAX_NEAR_COPY_BITS, find_near_copies
from resnetlab.data.sources import open_source
from resnetlab.data.sources.folder.grouping import GroupRule, ImageGroups
from resnetlab.data.sources.folder.manifest import ManifestRow, SplitSpec
from resnetlab.data.sources.folder.scan import scan_folder
from resnetlab.data.splits import load_dataset, split_dataset
from resnetlab.deploy.inputs import open_labeled_images
from resnetlab.errors import InputError
from resnetlab.finetuning.dataset import open_photographs
from resnetlab.schema_errors import FieldError

LABELS = st.lists(st.integers(0, 3), min_size=12, max_size=60)


def photograph(seed: int, width: int = 80, height: int = 60) -> Image.Image:
    """Return a picture with structure of its own, as a photograph has."""
    noise = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def tiles(images: Sequence[Image.Image]) -> np.ndarray:
    return np.stack([np.asarray(image.resize((64, 64))) for image in images])


def bits_of(image: np.ndarray) -> list[bool]:
    """Return the difference hash, written out: is a cell brighter than the one to its left?"""
    gray = np.asarray(Image.fromarray(image).convert("L").resize((17, 16), Image.Resampling.BOX))
    return [bool(row[column + 1] > row[column]) for row in gray.astype(int) for column in range(16)]


def test_distances_of_near_copies_equal_distances_of_hashes_computed_bit_by_bit() -> None:
    images = [photograph(k) for k in range(12)]
    images += [images[3].resize((31, 20)), ImageOps.mirror(images[5])]
    pixels = tiles(images)
    expected = {}
    for left, right in itertools.combinations(range(len(pixels)), 2):
        for mirrored in (False, True):
            other = pixels[right][:, ::-1] if mirrored else pixels[right]
            pair = zip(bits_of(pixels[left]), bits_of(other), strict=True)
            bits = sum(a != b for a, b in pair)
            if bits <= MAX_NEAR_COPY_BITS:
                expected[left, right] = (bits, mirrored)
    copies = {
        (copy.left, copy.right): (copy.bits, copy.mirrored) for copy in find_near_copies(pixels)
    }
    assert {pair: mirrored for pair, (_, mirrored) in copies.items()} == {
        (3, 12): False,
        (5, 13): True,
    }
    assert copies == expected


def test_flat_images_and_gradients_are_no_near_copies() -> None:
    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    gradients = [np.broadcast_to(ramp[None, :, None] // k, (64, 64, 3)) for k in (1, 2, 3)]
    flat = [np.full((64, 64, 3), level, np.uint8) for level in (10, 10, 200)]
    assert find_near_copies(np.stack([*gradients, *flat])) == []


@settings(deadline=None)
@given(LABELS, st.integers(1, 5), st.integers(0, 3), st.floats(0.1, 0.4))
def test_a_draw_never_separates_a_group_and_leaves_every_class_in_train(
    labels: list[int], size: int, seed: int, share: float
) -> None:
    array = np.array([0, 1, 2, 3, *labels])
    classes = ("a", "b", "c", "d")
    groups = np.random.default_rng(seed).integers(0, len(array) // size + 1, len(array))
    total = min(round(share * len(array)), int((np.bincount(array) - 1).sum()))
    try:
        drawn = stratify.stratified_mask(
            array, classes, total, "test", seed, where="here", fix="", groups=groups
        )
    except InputError:  # every group is too large
        assert all(
            (np.bincount(array[groups != group], minlength=4) == 0).any()
            or np.bincount(groups)[group] > 1
            for group in np.unique(groups)
        )
        return
    for group in np.unique(groups):
        assert len(set(drawn[groups == group].tolist())) == 1
    assert set(array[~drawn].tolist()) == {0, 1, 2, 3}
    largest = np.bincount(groups).max()
    assert abs(int(drawn.sum()) - total) <= max(4 * largest, total)


@given(LABELS, st.integers(0, 3))
def test_groups_of_one_image_change_no_draw(labels: list[int], seed: int) -> None:
    array = np.array([0, 1, 2, 3, *labels])
    arguments = (array, ("a", "b", "c", "d"), len(array) // 5, "test", seed)
    alone = np.random.default_rng(seed).permutation(len(array))
    np.testing.assert_array_equal(
        stratify.stratified_mask(*arguments, where="", fix="", groups=alone),
        stratify.stratified_mask(*arguments, where="", fix=""),
    )


@given(LABELS, st.integers(2, 6), st.integers(0, 3))
def test_folds_differ_by_at_most_one_image_of_a_class(
    labels: list[int], folds: int, seed: int
) -> None:
    array = np.array(labels)
    numbers = stratify.assign_folds(array, ("a", "b", "c", "d"), folds, seed)
    for label in set(labels):
        counts = np.bincount(numbers[array == label], minlength=folds)
        assert counts.max() - counts.min() <= 1
    assert set(numbers.tolist()) <= set(range(folds))


def test_folds_never_separate_a_group() -> None:
    labels, groups = np.repeat([0, 1], 30), np.arange(60) // 3
    numbers = stratify.assign_folds(labels, ("a", "b"), 5, 0, groups)
    assert all(len(set(numbers[groups == group].tolist())) == 1 for group in range(20))
    assert np.bincount(numbers).tolist() == [12] * 5


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("patient", "not a rule for groups"),
        ("regex:", "no pattern"),
        ("regex:(", "not a regular expression"),
        ("column:", "no name of a column"),
        ("exif-time", "no number of minutes"),
        ("exif-time:-1", "no number of minutes"),
        ("folder:a", "not a rule for groups"),
    ],
)
def test_an_invalid_group_rule_is_refused_in_one_line(rule: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        GroupRule.parse(rule)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"--group: {message}")
    assert "Fix: " in line


def bursts(root: Path, *, with_labels: bool = False) -> Path:
    """Six bursts of five photographs of each class; a minute lies between two bursts."""
    lines = ["path,label,patient"]
    for number, (label, burst, frame) in enumerate(
        itertools.product(("cat", "dog"), range(6), range(5))
    ):
        path = f"{label}/b{burst}-{frame}.jpg"
        exif = Image.Exif()
        seconds = 60 * (6 * (label == "dog") + burst) + frame
        exif[0x0132] = f"2024:05:01 10:{seconds // 60:02}:{seconds % 60:02}"
        save(root / path, photograph(number), exif=exif)
        lines.append(f"{path},{label},{label} {burst}")
    if with_labels:
        (root / "labels.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.mark.parametrize(
    ("rule", "with_labels"),
    [(r"regex:^(.*)-\d", False), ("exif-time:0.5", False), ("column:patient", True)],
)
def test_every_group_rule_puts_a_burst_of_photographs_into_one_split(
    tmp_path: Path, rule: str, with_labels: bool
) -> None:
    root = bursts(tmp_path / "pets", with_labels=with_labels)
    scan = scan_folder(
        root, image_size=64, cache=tmp_path / "cache", folder_choices=FolderChoices(group=rule)
    )
    splits: dict[str, set[str | None]] = {}
    for row in scan.rows:
        splits.setdefault(row.path.partition("-")[0], set()).add(row.split)
    assert len(splits) == 12
    assert all(len(sides) == 1 for sides in splits.values())
    assert {row.split for row in scan.rows} == {"train", "validation", "test"}
    kind = rule.partition(":")[0]
    assert f"groups by {kind}: 60 images in 12 groups stay together in the split" in scan.notes


def test_a_stored_split_is_not_used_after_the_groups_of_a_column_changed(tmp_path: Path) -> None:
    root, rule = bursts(tmp_path / "pets", with_labels=True), FolderChoices(group="column:patient")
    table = root / "labels.csv"
    for change in (lambda text: text, lambda text: text.replace("cat 1", "cat 0")):
        table.write_text(change(table.read_text()))
        scan = scan_folder(root, image_size=64, cache=tmp_path / "cache", folder_choices=rule)
        patient_of = dict(line.split(",")[::2] for line in table.read_text().splitlines())
        splits: dict[str, set[str | None]] = {}
        for row in scan.rows:
            splits.setdefault(patient_of[row.path], set()).add(row.split)
        assert all(len(sides) == 1 for sides in splits.values())
    photos = open_photographs(root, cache=tmp_path / "cache", folder_choices=rule)
    tested = open_labeled_images(str(root), "test", tmp_path / "cache", folder_choices=rule)
    assert {image.name for image in tested.images} == {row.path for row in photos.test.rows}


def test_groups_that_given_splits_separate_are_counted_in_a_note(tmp_path: Path) -> None:
    root = tmp_path / "pets"
    places = itertools.product(("train", "test"), ("cat", "dog"), range(5), range(3))
    for seed, (split, label, site, index) in enumerate(places):
        save(root / split / label / f"s{site}_{index}.png", photograph(seed))
    for spec in (None, SplitSpec((0.6, 0.2, 0.2), 0, keep_test=True)):
        scan = scan_folder(
            root,
            image_size=64,
            cache=tmp_path / "cache",
            split=spec,
            folder_choices=FolderChoices(group=r"regex:s[0-9]"),
        )
        assert not any("stay together" in note for note in scan.notes)
    assert any("5 of 5 groups are in more than one split" in note for note in scan.notes)


def test_a_rule_that_matches_nothing_is_refused(tmp_path: Path) -> None:
    root = bursts(tmp_path / "pets")
    with pytest.raises(InputError, match="no image has a group by regex"):
        scan_folder(
            root,
            image_size=64,
            cache=tmp_path / "c",
            folder_choices=FolderChoices(group="regex:site"),
        )


def copied(root: Path) -> Path:
    """Twenty photographs of each class, and a small mirrored copy of each."""
    for number, (label, index) in enumerate(itertools.product(("cat", "dog"), range(20))):
        image = photograph(number)
        save(root / label / f"{index:02}.png", image)
        save(root / label / f"{index:02}-copy.jpg", ImageOps.mirror(image).resize((50, 40)))
    return root


def test_near_copies_are_in_one_split_and_evaluation_uses_no_train_image(tmp_path: Path) -> None:
    root, cache = copied(tmp_path / "pets"), tmp_path / "cache"
    photos = open_photographs(root, cache=cache)
    sides = {
        row.path: name
        for name in ("train", "validation", "test")
        for row in getattr(photos, name).rows
    }
    assert len(sides) == 80
    for path, side in sides.items():
        if "-copy" not in path:
            assert sides[path.replace(".png", "-copy.jpg")] == side
    assert (
        "80 images with a copy or near copy in the folder: copies stay together in the split "
        "(resnetlab data describe lists them)"
    ) in photos.notes
    for cache_folder in (cache, tmp_path / "another cache"):
        tested = open_labeled_images(str(root), "test", cache_folder)
        assert {image.name for image in tested.images} == {row.path for row in photos.test.rows}


def test_an_evaluation_without_the_group_rule_uses_the_split_of_the_training(
    tmp_path: Path,
) -> None:
    root, cache = bursts(tmp_path / "pets"), tmp_path / "cache"
    folder_choices = FolderChoices(group=r"regex:^(.*)-\d")
    photos = open_photographs(root, cache=cache, folder_choices=folder_choices)
    tested = open_labeled_images(str(root), "test", cache)
    assert {image.name for image in tested.images} == {row.path for row in photos.test.rows}
    open_photographs(root, cache=cache, folder_choices=FolderChoices(group="exif-time:0.5"))
    with pytest.raises(InputError, match="was split by 2 rules for groups or values"):
        open_labeled_images(str(root), "test", cache)


def test_the_rule_for_groups_is_part_of_the_identity_where_a_split_is_drawn_by_it(
    tmp_path: Path,
) -> None:
    root = tmp_path / "pets"
    for number in range(48):
        split, label = ("train", "test")[number % 4 == 3], ("cat", "dog")[number % 2]
        site = f"site{number % 6}"
        save(root / split / label / f"{site}-{number}.png", photograph(number))

    def identity(**fields: Any) -> DataIdentity:
        data = DataConfig(source=str(root), image_size=16, **fields)
        return load_dataset(data, tmp_path / "cache").identity

    rule = "regex:(site[0-9])"
    for drawn in ({"validation": 0.25}, {"validation": 0.0, "folds": 3}):
        assert identity(**drawn) != identity(**drawn, group=rule)
        assert identity(**drawn).groups_sha256 == ""
    assert identity(validation=0.0) == identity(validation=0.0, group=rule)


def test_folds_of_photographs_test_each_image_once(tmp_path: Path) -> None:
    root = copied(tmp_path / "pets")
    tested: list[str] = []
    for fold in range(4):
        photos = open_photographs(root, cache=tmp_path / "cache", folds=4, fold=fold)
        paths = {
            name: {row.path for row in getattr(photos, name).rows}
            for name in ("train", "validation", "test")
        }
        assert not paths["test"] & paths["train"]
        assert not paths["test"] & paths["validation"]
        assert len(set.union(*paths.values())) == 80
        assert (
            f"fold {fold} of 4 (counted from 0) of all images is the test split"
        ) in photos.notes
        assert len(set(photos.notes)) == len(photos.notes)
        assert not [note for note in photos.notes if "has no test split" in note]
        tested += paths["test"]
    assert len(tested) == len(set(tested)) == 80


def arrays(count: int = 40) -> Source:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (count, 8, 8, 3), np.uint8)
    images = LabeledImages(pixels, np.arange(count) % 2)
    return Source("arrays", ("a", "b"), images, images, None, "0" * 64)


def test_folds_of_arrays_test_each_train_image_once_and_have_their_own_identity() -> None:
    source = arrays()
    parts = [
        split_dataset(source, DataConfig(source="arrays", folds=4, fold=fold)) for fold in range(4)
    ]
    tested = np.concatenate([part.test.pixels for part in parts]).reshape(40, -1)
    expected = source.train.pixels.reshape(40, -1)
    assert sorted(map(bytes, tested)) == sorted(map(bytes, expected))
    assert len({part.identity for part in parts}) == 4
    assert all(len(part.train) + len(part.validation or ()) == 30 for part in parts)


@pytest.mark.parametrize(
    "fields",
    [{"folds": 1}, {"folds": 5, "fold": 5}, {"fold": 1}, {"folds": 5, "split": ".6,.2,.2"}],
)
def test_impossible_folds_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(FieldError):
        DataConfig(source="pets", **fields)  # type: ignore[arg-type]


def test_more_folds_than_images_of_a_class_are_refused_in_one_line() -> None:
    source = arrays(2)
    with pytest.raises(InputError, match=r'too few images or groups for 2 folds \(class "[ab]"\)'):
        split_dataset(source, DataConfig(source="arrays", folds=2, validation=0))


def test_the_estimated_gain_of_a_random_split_equals_the_planted_leakage() -> None:
    generator = np.random.default_rng(0)
    distinct = generator.integers(0, 256, (200, 32, 32, 3), np.uint8)
    pixels, labels = np.repeat(distinct, 2, axis=0), np.repeat(generator.integers(0, 2, 200), 2)
    estimate = estimate_leakage(pixels, labels, np.arange(400) // 2)
    assert estimate is not None
    assert estimate.nearest_of_all_pct == 100.0  # its copy is the nearest
    assert (
        abs(estimate.nearest_of_other_groups_pct - 50) < 10
    )  # noise has no information about random labels
    assert estimate.gain_low_points < estimate.gain_points < estimate.gain_high_points
    assert estimate.leaked_pct == pytest.approx(85.0)
    assert "groups (the largest of 200 has 2 images)" in estimate.sentence()
    assert estimate_leakage(pixels, labels, np.arange(400)) is None


def test_the_validation_split_of_a_folder_read_as_pixels_is_drawn_by_groups(tmp_path: Path) -> None:
    root = copied(tmp_path / "pets")
    source = open_source(str(root), cache=tmp_path / "cache", image_size=32)
    data = split_dataset(source, DataConfig(source=str(root), validation=0.3))
    again = open_source(str(root), cache=tmp_path / "cache", image_size=32)
    assert source.groups is not None
    np.testing.assert_array_equal(source.groups, again.groups)
    assert data.validation is not None
    # Every image of the train split is in a pair, so both parts have an even number of images.
    assert len(data.train) % 2 == len(data.validation) % 2 == 0


def test_a_dataset_of_nearly_equal_images_is_still_split(tmp_path: Path) -> None:
    root = tmp_path / "scans"
    for label, seed in (("fine", 0), ("coarse", 1)):
        base = np.asarray(photograph(seed), np.int64)
        for index in range(12):
            noise = np.random.default_rng(index).integers(-3, 4, base.shape)
            scan = Image.fromarray((base + noise).clip(0, 255).astype(np.uint8))
            save(root / label / f"{index}.png", scan)
    photos = open_photographs(root, cache=tmp_path / "cache")
    assert len(photos.train) + len(photos.validation) + len(photos.test) == 24
    assert (
        "so many images of coarse, fine look alike that near copies cannot be told from others: "
        "only exact copies of them stay together in the split (--group names groups)"
    ) in photos.notes


def test_a_class_of_few_images_or_alike_ones_does_not_separate_the_copies_of_others(
    tmp_path: Path,
) -> None:
    root = copied(tmp_path / "pets")
    for index in range(4):  # a small class, in which each photograph has a copy
        save(root / "emu" / f"{index}.png", photograph(100 + index))
        save(root / "emu" / f"{index}-copy.png", ImageOps.mirror(photograph(100 + index)))
    for index in range(12):  # scans that resemble each other
        base = np.asarray(photograph(200), np.int64)
        noise = np.random.default_rng(index).integers(-3, 4, base.shape)
        save(
            root / "scan" / f"{index}.png",
            Image.fromarray((base + noise).clip(0, 255).astype(np.uint8)),
        )
    photos = open_photographs(root, cache=tmp_path / "cache")
    sides = {
        row.path: name
        for name in ("train", "validation", "test")
        for row in getattr(photos, name).rows
    }
    for path, side in sides.items():
        if "-copy" not in path and not path.startswith("scan"):
            stem = path.removesuffix(".png")
            suffix = ".png" if path.startswith("emu") else ".jpg"
            assert sides[f"{stem}-copy{suffix}"] == side
    assert {sides[f"scan/{index}.png"] for index in range(12)} == {"train", "validation", "test"}
    assert any(note.startswith("so many images of scan look alike") for note in photos.notes)


def test_few_groups_by_a_rule_are_no_reason_to_separate_near_copies() -> None:
    images = [photograph(k) for k in range(11)] + [ImageOps.mirror(photograph(0))]
    rows = [ManifestRow(f"cat/{k}.png", "cat", None, str(k), (60, 80)) for k in range(12)]
    columns = ["a"] * 10 + ["b"] + ["a"]  # the copy is in the group of its original
    groups = ImageGroups(Path("pets"), rows, tiles(images), (), "column:site", columns)
    assert [(copy.left, copy.right) for copy in groups.near_copies] == [(0, 11)]
    assert groups.alike_classes == ()


def test_copies_of_train_images_in_a_given_test_split_are_in_a_note(tmp_path: Path) -> None:
    root = tmp_path / "pets"
    for label, base in (("cat", 0), ("dog", 50)):
        for index in range(12):
            save(root / "train" / label / f"{index}.png", photograph(base + index))
        for index in range(4):
            save(root / "test" / label / f"{index}.png", photograph(base + 20 + index))
    save(root / "test" / "cat" / "exact.png", photograph(3))
    save(root / "test" / "cat" / "mirrored.jpg", ImageOps.mirror(photograph(5)).resize((50, 40)))
    photos = open_photographs(root, cache=tmp_path / "cache")
    given = [note for note in photos.notes if "test accuracy is too high" in note]
    # The validation split is drawn, so that one of the two may have left train with its copy.
    copied_from = {row.path for row in photos.train.rows} & {"train/cat/3.png", "train/cat/5.png"}
    count = f"{len(copied_from)} of 10 test images have a copy or near copy in train"
    advice = "so that the test accuracy is too high; resnetlab data describe lists them"
    assert given == [f"{count}, {advice}"]
    source = open_source(str(root), cache=tmp_path / "cache", image_size=32)
    assert any(note.startswith("2 of 10 test images have a copy") for note in source.notes)


def test_a_group_rule_without_effect_because_splits_are_given_is_reported(tmp_path: Path) -> None:
    for split, label in itertools.product(("train", "validation", "test"), ("cat", "dog")):
        for index in range(3):
            save(tmp_path / "pets" / split / label / f"site{index}.png", photograph(index))
    folder_choices = FolderChoices(group="regex:site[0-9]")
    scan = scan_folder(
        tmp_path / "pets", image_size=64, cache=tmp_path / "c", folder_choices=folder_choices
    )
    note = f"--group regex:site[0-9] changes nothing: {tmp_path / 'pets'} gives all three splits"
    assert f"{note} (resnetlab data split draws others)" in scan.notes


def test_a_regular_expression_with_exponential_time_is_refused_within_seconds(
    tmp_path: Path,
) -> None:
    for label, index in itertools.product(("cat", "dog"), range(4)):
        save(tmp_path / "pets" / label / f"{'a' * 60}{index}.png", photograph(index))
    folder_choices = FolderChoices(group="regex:(a|aa)+$")
    with pytest.raises(InputError, match="takes more than 1 s to search one path"):
        scan_folder(
            tmp_path / "pets", image_size=64, cache=tmp_path / "c", folder_choices=folder_choices
        )
