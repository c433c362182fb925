"""More than twenty folders with the layouts of phones, cameras, competitions and other tools are
read.

Each is built by a function. The counts of each split are compared with those that the function
knows, with torchvision's `ImageFolder` where it can open the folder, and no file may be unaccounted
for.
"""

from __future__ import annotations

import csv
import json
import os
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from helpers.pictures import save
from resnetlab.data.check import audit_folder
from resnetlab.data.config import DEFAULT_FOLDER_CHOICES, FolderChoices
from resnetlab.data.sources.folder.scan import FolderScan, scan_folder
from resnetlab.errors import InputError

Counts = dict[tuple[str, str], int]


@dataclass(frozen=True)
class Layout:
    """A folder that was built, and the truth about it."""

    counts: Counts
    """Images by split and class; the split "any" counts those of all splits."""
    skipped: int = 0
    folder_choices: FolderChoices = DEFAULT_FOLDER_CHOICES
    torchvision: str | None = None
    """Folder below the root that ImageFolder opens with the same count, or None."""
    classes: tuple[str, ...] | None = None
    """Order of the classes, if it matters."""


def photo(seed: int) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (8, 10, 3), np.uint8)
    return Image.fromarray(noise).resize((40, 30), Image.Resampling.BICUBIC)


def fill(root: Path, counts: dict[str, int], suffix: str = "jpg", **options: object) -> None:
    for folder, count in counts.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            seed = zlib.crc32(f"{folder} {index}".encode())
            save(root / folder / f"{index:03}.{suffix}", photo(seed), **options)


def class_folders(root: Path) -> Layout:
    fill(root, {"cat": 10, "dog": 12})
    return Layout({("any", "cat"): 10, ("any", "dog"): 12}, torchvision="")


def train_and_test(root: Path) -> Layout:
    fill(root, {"train/cat": 8, "train/dog": 8, "test/cat": 3, "test/dog": 2})
    return Layout({("any", "cat"): 11, ("any", "dog"): 10, ("test", "cat"): 3, ("test", "dog"): 2})


def three_splits(root: Path) -> Layout:
    fill(root, {f"{split}/{kind}": 4 for split in ("train", "val", "test") for kind in "ab"})
    return Layout({(split, kind): 4 for split in ("train", "validation", "test") for kind in "ab"})


def capital_split_names(root: Path) -> Layout:
    fill(root, {"Training/cat": 6, "Training/dog": 6, "Testing/cat": 2, "Testing/dog": 2})
    return Layout({("test", "cat"): 2, ("test", "dog"): 2, ("any", "cat"): 8, ("any", "dog"): 8})


def nested_folders(root: Path) -> Layout:
    fill(root, {"cat/2023": 6, "cat/2024/spring": 5, "cat": 2, "dog/all": 9})
    folder_choices = FolderChoices(nested=True)
    return Layout(
        {("any", "cat"): 13, ("any", "dog"): 9}, folder_choices=folder_choices, torchvision=""
    )


def links_inside(root: Path) -> Layout:
    fill(root, {"disk/cats": 7, "photos/dog": 7})
    (root / "photos/cat").symlink_to("../disk/cats")
    fill(root, {"photos/bird": 7})
    folder_choices = FolderChoices(follow_links="anywhere")
    return Layout(
        {("any", kind): 7 for kind in ("bird", "cat", "dog")}, folder_choices=folder_choices
    )


def phone_formats(root: Path) -> Layout:
    pillow_heif.register_heif_opener()
    fill(root, {"cat": 5, "dog": 5}, "HEIC", format="HEIF")
    fill(root, {"cat": 4, "dog": 4}, "avif")
    return Layout({("any", "cat"): 9, ("any", "dog"): 9})


def scans(root: Path) -> Layout:
    fill(root, {"cat": 8, "dog": 8}, "tiff")
    return Layout({("any", "cat"): 8, ("any", "dog"): 8}, torchvision="")


def drone_pictures(root: Path) -> Layout:
    for number in range(16):
        folder = root / ("cat" if number % 2 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        photo(number).save(
            folder / f"{number}.JPG", "MPO", save_all=True, append_images=[photo(99)]
        )
    return Layout({("any", "cat"): 8, ("any", "dog"): 8}, torchvision="")


def wrong_suffixes(root: Path) -> Layout:
    fill(root, {"cat": 8}, "png", format="JPEG")
    fill(root, {"dog": 8}, "jpg", format="PNG")
    return Layout({("any", "cat"): 8, ("any", "dog"): 8}, torchvision="")


def turned_photographs(root: Path) -> Layout:
    exif = Image.Exif()
    exif[0x0112] = 6
    fill(root, {"cat": 8, "dog": 8}, exif=exif)
    return Layout({("any", "cat"): 8, ("any", "dog"): 8}, torchvision="")


def numbered_classes(root: Path) -> Layout:
    fill(root, {str(number): 4 for number in range(1, 13)})
    names = tuple(str(number) for number in range(1, 13))
    return Layout({("any", name): 4 for name in names}, torchvision="", classes=names)


def unicode_and_spaces(root: Path) -> Layout:
    names = ("Chien-loup élégant", "サモエド", "a b  c", "100%")
    fill(root, dict.fromkeys(names, 8))
    return Layout({("any", name): 8 for name in names}, torchvision="")


def write_table(path: Path, rows: list[list[str]], delimiter: str = ",", bom: bool = False) -> None:
    with path.open("w", newline="", encoding="utf-8-sig" if bom else "utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)


def table_of_labels(root: Path) -> Layout:
    fill(root, {"images": 20})
    rows = [[f"images/{k:03}.jpg", "cat" if k % 2 else "dog"] for k in range(20)]
    write_table(root / "labels.csv", [["path", "label"], *rows])
    return Layout({("any", "cat"): 10, ("any", "dog"): 10})


def table_of_a_spreadsheet(root: Path) -> Layout:
    fill(root, {"images": 20})
    rows = [[str(k), f"images\\{k:03}.jpg", "big, cat" if k % 2 else "dog"] for k in range(20)]
    write_table(root / "labels.csv", [["", "File", "Class"], *rows], ";", bom=True)
    return Layout({("any", "big, cat"): 10, ("any", "dog"): 10})


def table_with_other_columns(root: Path) -> Layout:
    fill(root, {"train": 20})
    rows = [[f"{k:03}", "cat" if k % 2 else "dog"] for k in range(20)]
    write_table(root / "labels.csv", [["id", "breed"], *rows])
    return Layout(
        {("any", "cat"): 10, ("any", "dog"): 10},
        folder_choices=FolderChoices(path_column="id", label_column="breed"),
    )


def metadata_of_hugging_face(root: Path) -> Layout:
    for split, count in (("train", 16), ("test", 6)):
        fill(root, {split: count})
        rows = [[f"{k:03}.jpg", "cat" if k % 2 else "dog", "a text"] for k in range(count)]
        write_table(root / split / "metadata.csv", [["file_name", "label", "text"], *rows])
    return Layout({("test", "cat"): 3, ("test", "dog"): 3, ("any", "cat"): 11, ("any", "dog"): 11})


def json_lines(root: Path) -> Layout:
    fill(root, {"": 20})
    rows = [
        json.dumps({"file_name": f"{k:03}.jpg", "label": "été" if k % 2 else "hiver"})
        for k in range(20)
    ]
    (root / "metadata.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return Layout({("any", "été"): 10, ("any", "hiver"): 10})


def table_for_each_split(root: Path) -> Layout:
    fill(root, {"images": 30})
    for split, numbers in (("train", range(20)), ("val", range(20, 25)), ("test", range(25, 30))):
        rows = [[f"images/{k:03}.jpg", "cat" if k % 2 else "dog"] for k in numbers]
        write_table(root / f"{split}.csv", [["image", "class"], *rows])
    return Layout({("any", "cat"): 15, ("any", "dog"): 15, ("test", "cat"): 3, ("test", "dog"): 2})


def lists_without_a_header(root: Path) -> Layout:
    """Lists of paths and numbers, divided by spaces, as ImageNet's: test has paths alone."""
    fill(root, {"images": 30})
    for split, numbers in (("train", range(20)), ("val", range(20, 25)), ("test", range(25, 30))):
        lines = [f"images/{k:03}.jpg  {k % 2}" for k in numbers]
        if split == "test":
            lines = [line.split()[0] for line in lines]
        (root / f"{split}.txt").write_text("\n".join(lines) + "\n")
    return Layout({("any", "0"): 13, ("any", "1"): 12, ("validation", "1"): 2}, skipped=5)


def labels_divided_by_spaces(root: Path) -> Layout:
    fill(root, {"": 20})
    lines = [f"{k:03}.jpg {'cat' if k % 2 else 'dog'}" for k in range(20)]
    (root / "labels.txt").write_text("file class\n" + "\n".join(lines))
    return Layout({("any", "cat"): 10, ("any", "dog"): 10})


def list_of_classes_and_class_folders(root: Path) -> Layout:
    """TensorFlow's tools write such a list of classes, which is not a table."""
    fill(root, {"cat": 10, "dog": 12})
    (root / "labels.txt").write_text("cat\ndog\n")
    return Layout({("any", "cat"): 10, ("any", "dog"): 12}, skipped=1, torchvision="")


def competition(root: Path) -> Layout:
    """Labels for train alone; the same names in train and test; a sample of a submission."""
    fill(root, {"train": 20, "test": 6})
    rows = [[f"{k:03}", "cat" if k % 2 else "dog"] for k in range(20)]
    write_table(root / "train.csv", [["id", "breed"], *rows])
    write_table(root / "test.csv", [["id"], *([f"{k:03}"] for k in range(6))])
    write_table(root / "sample_submission.csv", [["id", "cat", "dog"], ["000", "0", "1"]])
    folder_choices = FolderChoices(path_column="id", label_column="breed")
    return Layout(
        {("any", "cat"): 10, ("any", "dog"): 10}, skipped=7, folder_choices=folder_choices
    )


def competition_with_folders_of_images(root: Path) -> Layout:
    """Folders of splits with other names, and the same ids in both."""
    fill(root, {"train_images": 20, "test_images": 6})
    rows = [[f"{k:03}", str(k % 2)] for k in range(20)]
    write_table(root / "train_labels.csv", [["image_id", "label"], *rows])
    return Layout({("any", "0"): 10, ("any", "1"): 10}, skipped=6)


def table_of_fastai(root: Path) -> Layout:
    fill(root, {"images": 20})
    rows = [[f"images/{k:03}.jpg", "cat" if k % 2 else "dog", str(k % 5 == 0)] for k in range(20)]
    write_table(root / "labels.csv", [["name", "label", "is_valid"], *rows])
    return Layout({("validation", "cat"): 2, ("validation", "dog"): 2, ("any", "cat"): 10})


def archive_of_a_mac(root: Path) -> Layout:
    fill(root, {"cat": 8, "dog": 8})
    for name in (".DS_Store", "cat/._000.jpg", "__MACOSX/cat/._000.jpg", "dog/Thumbs.db"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"\0\5\x16\7")
    return Layout({("any", "cat"): 8, ("any", "dog"): 8}, skipped=4)


def unlabeled_test_split(root: Path) -> Layout:
    fill(root, {"train/cat": 10, "train/dog": 10, "test": 5})
    return Layout({("any", "cat"): 10, ("any", "dog"): 10}, skipped=5)


def class_that_test_lacks(root: Path) -> Layout:
    fill(root, {"train/cat": 8, "train/dog": 8, "train/emu": 8, "test/cat": 2, "test/dog": 2})
    return Layout({("test", "cat"): 2, ("test", "dog"): 2, ("any", "emu"): 8})


def few_images(root: Path) -> Layout:
    fill(root, {"train/cat": 3, "train/dog": 3, "test/cat": 1, "test/dog": 1})
    return Layout({("test", "cat"): 1, ("any", "cat"): 4, ("any", "dog"): 4})


def two_images_a_class(root: Path) -> Layout:
    names = [f"person {number}" for number in range(12)]
    fill(root, dict.fromkeys(names, 2))
    return Layout({("any", name): 2 for name in names}, torchvision="")


def labels_and_class_folders(root: Path) -> Layout:
    """Folders of classes have priority over a table that is not called labels.csv."""
    fill(root, {"train/cat": 8, "train/dog": 8, "test/cat": 2, "test/dog": 2})
    write_table(root / "train.csv", [["id", "breed"], ["000", "cat"]])
    return Layout({("any", "cat"): 10, ("any", "dog"): 10}, skipped=1)


ZOO: tuple[Callable[[Path], Layout], ...] = (
    class_folders,
    train_and_test,
    three_splits,
    capital_split_names,
    nested_folders,
    phone_formats,
    scans,
    drone_pictures,
    wrong_suffixes,
    turned_photographs,
    numbered_classes,
    unicode_and_spaces,
    table_of_labels,
    table_of_a_spreadsheet,
    table_with_other_columns,
    metadata_of_hugging_face,
    json_lines,
    table_for_each_split,
    lists_without_a_header,
    labels_divided_by_spaces,
    list_of_classes_and_class_folders,
    competition,
    competition_with_folders_of_images,
    table_of_fastai,
    archive_of_a_mac,
    unlabeled_test_split,
    class_that_test_lacks,
    few_images,
    two_images_a_class,
    labels_and_class_folders,
)


def files_below(root: Path, *, follow: bool) -> list[Path]:
    return [
        Path(folder) / name
        for folder, _, names in os.walk(root, followlinks=follow)
        for name in names
    ]


def count(scan: FolderScan) -> Counter[tuple[str, str]]:
    counts = Counter((str(row.split), row.label) for row in scan.rows)
    counts.update(("any", row.label) for row in scan.rows)
    return counts


@pytest.mark.parametrize("build", ZOO, ids=lambda build: build.__name__)
def test_every_image_is_read_and_every_file_is_accounted_for(
    tmp_path: Path, build: Callable[[Path], Layout]
) -> None:
    root = tmp_path / "photos"
    layout = build(root)
    scan = scan_folder(
        root,
        image_size=16,
        cache=tmp_path / "cache",
        folder_choices=layout.folder_choices,
    )
    counts = count(scan)
    assert {key: counts[key] for key in layout.counts} == layout.counts
    named = {label for _, label in layout.counts}
    assert not named - set(scan.classes)
    if layout.classes is not None:
        assert scan.classes == layout.classes
    assert scan.bad == ()
    total = len(files_below(root, follow=False))
    assert len(scan.rows) + len(scan.skipped) + len(scan.tables) == total
    assert audit_folder(scan).file_counts.startswith(f"{total} files: {len(scan.rows)} used, ")
    assert len(scan.skipped) == layout.skipped
    if layout.torchvision is not None:
        reference = ImageFolder(str(root / layout.torchvision))
        expected = Counter(reference.classes[label] for _, label in reference.samples)
        assert Counter(row.label for row in scan.rows) == expected


def test_a_class_folder_that_is_a_link_is_read_on_request(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    layout = links_inside(root)
    with pytest.raises(InputError, match="a link to a folder, which is not followed"):
        scan_folder(root / "photos", image_size=16, cache=tmp_path / "cache")
    scan = scan_folder(
        root / "photos",
        image_size=16,
        cache=tmp_path / "cache",
        folder_choices=layout.folder_choices,
    )
    assert {key: count(scan)[key] for key in layout.counts} == layout.counts


def test_two_possible_label_tables_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    json_lines(root)
    write_table(root / "metadata.csv", [["file_name", "label"], ["000.jpg", "cat"]])
    with pytest.raises(InputError, match=r"two tables of labels: metadata\.csv, metadata\.jsonl"):
        scan_folder(root, image_size=16, cache=tmp_path / "cache")


def test_two_tables_of_one_split_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    competition_with_folders_of_images(root)
    write_table(root / "trainLabels.csv", [["image_id", "label"], ["000", "cat"]])
    with pytest.raises(
        InputError, match=r"two tables of the train split: trainLabels\.csv, train_labels\.csv"
    ):
        scan_folder(root, image_size=16, cache=tmp_path / "cache")
    rows = [[f"{k:03}", str(k % 4)] for k in range(20)]
    write_table(root / "train.csv", [["image_id", "label"], *rows])  # it has priority
    assert len(scan_folder(root, image_size=16, cache=tmp_path / "cache").classes) == 4


TEXTS = {
    "names of classes": {"labels.txt": "cat\ndog\n"},
    "numbered names of classes": {"labels.txt": "0 cat\n1 dog\n"},
    "a log": {"train.txt": "epoch 1 loss 2.3\nepoch 2 loss 2.1\n"},
    "an empty file": {"test.txt": ""},
    "a list of paths": {"train.txt": "images/000.jpg\nimages/001.jpg\n"},
}


@pytest.mark.parametrize("texts", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("build", [table_for_each_split, metadata_of_hugging_face])
def test_text_files_beside_tables_change_nothing(
    tmp_path: Path, build: Callable[[Path], Layout], texts: dict[str, str]
) -> None:
    root = tmp_path / "photos"
    build(root)
    before = scan_folder(root, image_size=16, cache=tmp_path / "cache")
    for name, text in texts.items():
        (root / name).write_text(text)
    after = scan_folder(root, image_size=16, cache=tmp_path / "cache")
    assert (after.rows, after.tables) == (before.rows, before.tables)


def test_a_text_file_does_not_hide_that_a_table_has_other_classes_than_the_folders(
    tmp_path: Path,
) -> None:
    root = tmp_path / "photos"
    folders_of_sites(root)
    (root / "metadata.csv").rename(root / "train.csv")
    (root / "train.txt").write_text("notes on the camera\n")
    with pytest.raises(InputError, match=r"train\.csv has the classes deer, fox"):
        scan_folder(root, image_size=16, cache=tmp_path / "cache")


def test_a_header_is_no_row_even_if_a_file_has_its_name(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    fill(root, {"": 20})
    photo(99).save(root / "image.jpg")
    rows = [[f"{k:03}.jpg", "cat" if k % 2 else "dog"] for k in range(20)]
    write_table(root / "labels.csv", [["image", "label"], *rows, ["image.jpg", "cat"]])
    scan = scan_folder(root, image_size=16, cache=tmp_path / "cache")
    assert scan.classes == ("cat", "dog")
    assert len(scan.rows) == 21


@pytest.mark.parametrize(
    ("line", "folder_choices"),
    [
        ("{k:03}.jpg,{split}", DEFAULT_FOLDER_CHOICES),
        ("{k},{k:03}.jpg", DEFAULT_FOLDER_CHOICES),
        ("{k:03}.jpg,cat", FolderChoices(group="column:patient")),
        ("{k:03}.jpg,cat", FolderChoices(path_column="photo")),
    ],
)
def test_a_list_whose_columns_are_not_path_and_label_needs_a_header(
    tmp_path: Path, line: str, folder_choices: FolderChoices
) -> None:
    root = tmp_path / "photos"
    fill(root, {"": 20})
    lines = [line.format(k=k, split=("train", "test")[k % 2]) for k in range(20)]
    (root / "labels.csv").write_text("\n".join(lines))
    with pytest.raises(InputError) as error:
        scan_folder(root, image_size=16, cache=tmp_path / "cache", folder_choices=folder_choices)
    assert f"{root}/labels.csv:1: " in str(error.value)


def test_spaces_at_the_ends_of_the_lines_of_a_list_do_not_matter(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    fill(root, {"images": 20})
    lines = [f" images/{k:03}.jpg   {k % 2} " for k in range(20)]
    (root / "train.txt").write_bytes("\r\n".join(lines).encode())
    scan = scan_folder(root, image_size=16, cache=tmp_path / "cache")
    assert count(scan)["any", "0"] == count(scan)["any", "1"] == 10


def test_tables_that_are_not_used_may_be_two_of_one_split(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    labels_and_class_folders(root)
    write_table(root / "train_labels.csv", [["id", "breed"], ["000", "cat"]])
    scan = scan_folder(root, image_size=16, cache=tmp_path / "cache")
    assert scan.classes == ("cat", "dog")


def folders_of_sites(root: Path) -> None:
    """Photographs of two camera traps, whose animals are in a table."""
    fill(root, {"site1": 10, "site2": 10})
    rows = [
        [f"site{site}/{k:03}.jpg", "deer" if k % 2 else "fox"] for site in (1, 2) for k in range(10)
    ]
    write_table(root / "metadata.csv", [["file_name", "label"], *rows])


def test_a_table_with_other_classes_than_the_folders_is_ambiguous(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    folders_of_sites(root)
    with pytest.raises(InputError) as error:
        scan_folder(root, image_size=16, cache=tmp_path / "cache")
    assert str(error.value) == (
        f"{root}: metadata.csv has the classes deer, fox, and the folders are site1, site2: which "
        "are meant. Fix: --label-column NAME takes those of metadata.csv; move metadata.csv away "
        "to take the folders"
    )
    scan = scan_folder(
        root,
        image_size=16,
        cache=tmp_path / "cache",
        folder_choices=FolderChoices(label_column="label"),
    )
    assert count(scan)["any", "deer"] == count(scan)["any", "fox"] == 10


def test_a_table_that_names_the_folders_classes_differently_changes_nothing(
    tmp_path: Path,
) -> None:
    root = tmp_path / "photos"
    fill(root, {"cat": 8, "dog": 8})
    rows = [[f"{label}/{k:03}.jpg", label[0]] for label in ("cat", "dog") for k in range(8)]
    write_table(root / "metadata.csv", [["file_name", "label"], *rows])
    scan = scan_folder(root, image_size=16, cache=tmp_path / "cache")
    assert scan.classes == ("cat", "dog")


def test_one_wrong_row_or_an_attribute_does_not_make_a_table_one_of_other_classes(
    tmp_path: Path,
) -> None:
    root = tmp_path / "photos"
    fill(root, {"cat": 8, "dog": 8})
    paths = [(label, f"{label}/{k:03}.jpg") for label in ("cat", "dog") for k in range(8)]
    wrong = [[path, "dog" if path == "cat/005.jpg" else label] for label, path in paths]
    ages = [[path, str(k % 11 + 0.5)] for k, (_, path) in enumerate(paths)]
    for header, rows in (("label", wrong), ("target", ages)):
        write_table(root / "metadata.csv", [["file_name", header], *rows])
        scan = scan_folder(root, image_size=16, cache=tmp_path / "cache")
        assert scan.classes == ("cat", "dog")


def test_is_valid_of_one_value_is_no_split(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    fill(root, {"images": 20})
    rows = [[f"images/{k:03}.jpg", "cat" if k % 2 else "dog", "True"] for k in range(20)]
    write_table(root / "labels.csv", [["path", "label", "is_valid"], *rows])
    scan = scan_folder(root, image_size=16, cache=tmp_path / "cache")
    assert {row.split for row in scan.rows} == {"train", "validation", "test"}
    assert "columns of labels.csv that are not used: is_valid" in scan.notes


def test_folders_that_are_named_as_splits_are_no_classes(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    fill(root, {"train_images": 8, "test_images": 8})
    with pytest.raises(InputError, match="named as splits and not as classes: test_images, train_"):
        scan_folder(root, image_size=16, cache=tmp_path / "cache")


def test_a_labels_csv_without_labels_beside_class_folders_names_both_fixes(
    tmp_path: Path,
) -> None:
    root = tmp_path / "photos"
    fill(root, {"cat": 8, "dog": 8})
    write_table(root / "labels.csv", [["id", "annotator"], ["000", "me"]])
    with pytest.raises(InputError) as error:
        scan_folder(root, image_size=16, cache=tmp_path / "cache")
    assert "Fix: rename it to take the classes from the folders" in str(error.value)


def test_a_json_label_of_null_is_missing_and_a_line_separator_ends_no_line(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    json_lines(root)
    path = root / "metadata.jsonl"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("\\u00e9t\\u00e9", "bord\u2028mer"), encoding="utf-8")
    names = scan_folder(root, image_size=16, cache=tmp_path / "cache").classes
    assert any("mer" in name for name in names)
    path.write_text(text.replace('"hiver"', "null"), encoding="utf-8")
    with pytest.raises(InputError, match=r'"000\.jpg" has no label'):
        scan_folder(root, image_size=16, cache=tmp_path / "cache")


def test_a_line_that_is_not_a_json_object_is_reported_by_number(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    json_lines(root)
    with (root / "metadata.jsonl").open("a") as file:
        file.write("[1, 2]\n")
    with pytest.raises(InputError, match=r"metadata\.jsonl:21: not a JSON object \(got \[1, 2\]\)"):
        scan_folder(root, image_size=16, cache=tmp_path / "cache")


def test_ten_thousand_classes_are_listed_in_order(tmp_path: Path) -> None:
    from resnetlab.data.sources.folder.layout import list_folder

    root = tmp_path / "plants"
    raw = save(root / "0" / "a.jpg", photo(0)).read_bytes()
    for number in range(1, 10_000):
        (root / str(number)).mkdir()
        (root / str(number) / "a.jpg").write_bytes(raw)
    listing = list_folder(root)
    assert listing.classes == tuple(str(number) for number in range(10_000))
    assert len(listing.files) == 10_000
