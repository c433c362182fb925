"""Common layouts of folders are read: links, several names of splits, separate test folders, and
tables of labels.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from helpers.pictures import class_tree, encoded, opened, picture, refused, save, split_tree, tree
from resnetlab.data.check import audit_source
from resnetlab.data.config import DataConfig, FolderChoices, Source
from resnetlab.data.sources import image_decoder
from resnetlab.data.sources.folder.layout import list_folder
from resnetlab.data.splits import load_dataset
from resnetlab.deploy.inputs import EvaluationImages, open_labeled_images
from resnetlab.errors import InputError
from resnetlab.finetuning.dataset import open_photographs

ANYWHERE, INSIDE = FolderChoices(follow_links="anywhere"), FolderChoices(follow_links="inside")

# Links
# --------------------------------------------------------------------------------------------------


def test_a_class_or_split_that_is_a_link_is_refused_and_not_silently_ignored(
    tmp_path: Path,
) -> None:
    disk = tree(tmp_path / "disk", {"bird": 3, "common/cat": 1, "common/dog": 1})
    root = split_tree(tmp_path / "pets")
    (root / "train/bird").symlink_to(disk / "bird")
    (root / "val").symlink_to(disk / "common")
    lines = refused(root)
    assert [line.partition(". Fix")[0] for line in lines] == [
        f"{root}/{name}: a link to a folder, which is not followed"
        for name in ("train/bird", "val")
    ]
    assert all("--follow-links anywhere" in line for line in lines)
    flat = tree(tmp_path / "flat", {"cat": 8, "dog": 8})
    (flat / "bird").symlink_to(disk / "bird")
    (line,) = refused(flat)
    assert line.startswith(f"{flat}/bird: a link to a folder")


def test_links_are_followed_as_far_as_the_user_allows(tmp_path: Path) -> None:
    disk = tree(tmp_path / "disk", {"bird": 4})
    root = tree(tmp_path / "pets", {"store/cat": 4, "train/dog": 4, "test/dog": 2})
    (root / "train/cat").symlink_to("../store/cat")
    (root / "train/dog/one.png").symlink_to("../../store/cat/000.png")
    inside = opened(root, image_size=8, folder_choices=INSIDE)
    assert inside.classes == ("cat", "dog")
    assert len(inside.train) == 9
    (root / "train/bird").symlink_to(disk / "bird")
    (line,) = refused(root, folder_choices=INSIDE)
    assert line.startswith(f"{root}/train/bird: a link that leaves the folder (got {disk}/bird)")
    anywhere = opened(root, image_size=8, folder_choices=ANYWHERE)
    assert anywhere.classes == ("bird", "cat", "dog")
    photos = open_photographs(root, cache=tmp_path / "cache", folder_choices=ANYWHERE)
    assert photos.train.load(0).size == (24, 16)


def test_a_followed_link_gives_the_data_of_a_copy(tmp_path: Path) -> None:
    linked, copied = split_tree(tmp_path / "a" / "pets"), split_tree(tmp_path / "b" / "pets")
    shutil.move(linked / "train/cat", tmp_path / "cat")
    (linked / "train/cat").symlink_to(tmp_path / "cat")
    first = opened(linked, image_size=8, folder_choices=ANYWHERE)
    assert first.sha256 == opened(copied, image_size=8).sha256


def test_a_change_behind_a_followed_link_is_detected(tmp_path: Path) -> None:
    root = split_tree(tmp_path / "pets")
    shutil.move(root / "train/cat", tmp_path / "cat")
    (root / "train/cat").symlink_to(tmp_path / "cat")
    first = opened(root, image_size=8, folder_choices=ANYWHERE).sha256
    save(tmp_path / "cat/000.png", picture(99))
    assert opened(root, image_size=8, folder_choices=ANYWHERE).sha256 != first


def test_loops_and_dangling_links_are_refused_by_name_when_links_are_followed(
    tmp_path: Path,
) -> None:
    root = split_tree(tmp_path / "pets")
    (root / "train/cat/up").symlink_to("../..")
    (root / "train/dog/self.png").symlink_to("self.png")
    (root / "test/dog/gone.png").symlink_to("nowhere.png")
    other = tree(tmp_path / "other", {"a": 1})
    (other / "a/back").symlink_to(root / "train")
    (root / "train/away").symlink_to(other / "a")
    lines = refused(root, folder_choices=ANYWHERE)
    assert {line.partition(" (got")[0] for line in lines} == {
        f"{root}/test/dog/gone.png: a link that leads nowhere, or in a circle",
        f"{root}/train/away/back: a link to a folder that contains it, so that it has no end",
        f"{root}/train/cat/up: a link to a folder that contains it, so that it has no end",
        f"{root}/train/dog/self.png: a link that leads nowhere, or in a circle",
    }


def test_a_link_instead_of_a_photograph_is_reported_as_a_link(tmp_path: Path) -> None:
    save(tmp_path / "a.png", picture(1))
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    with pytest.raises(image_decoder.BadImageError, match="a link, which is not followed"):
        image_decoder.read_bytes(tmp_path / "link.png")
    assert image_decoder.read_bytes(tmp_path / "link.png", follow_links=True) == encoded(picture(1))


# Names of splits
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("Train", "Val", "Test"),
        ("TRAIN", "VALID", "TEST"),
        ("training", "validation", "testing"),
        ("Training", "dev", "tests"),
        ("train", "Validation", "Testing"),
    ],
)
def test_the_names_of_splits_are_recognized_in_any_case(
    tmp_path: Path, train: str, validation: str, test: str
) -> None:
    counts = {
        f"{word}/{label}": count
        for word, count in ((train, 4), (validation, 1), (test, 2))
        for label in ("cat", "dog")
    }
    source = opened(tree(tmp_path / "pets", counts), image_size=8)
    assert [len(part) for part in (source.train, source.validation, source.test)] == [8, 2, 4]
    assert not any("set apart" in note for note in source.notes)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("train", "val", "dev"), "two validation splits: dev, val"),
        (("train", "Test", "testing"), "two test splits: Test, testing"),
        (("train", "Training", "test"), "two train splits: Training, train"),
    ],
)
def test_two_folders_for_one_split_are_refused(
    tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    counts = {f"{word}/{label}": 1 for word in words for label in ("cat", "dog")}
    root = tree(tmp_path / "pets", counts)
    assert refused(root) == [f"{root}: {message}. Fix: keep one of them"]


def test_classes_with_names_of_splits_are_read_as_classes(tmp_path: Path) -> None:
    source = opened(tree(tmp_path / "rail", {"Train": 8, "bus": 8, "dev": 8}), image_size=8)
    assert source.classes == ("Train", "bus", "dev")


def test_classes_that_differ_in_case_alone_stay_two_classes_in_splits(tmp_path: Path) -> None:
    names = [f"{split}/{label}" for split in ("train", "test") for label in ("A", "a", "B", "b")]
    source = opened(tree(tmp_path / "letters", dict.fromkeys(names, 3)), image_size=8)
    assert source.classes == ("A", "B", "a", "b")
    assert source.test is not None
    assert np.bincount(source.test.labels).tolist() == [3, 3, 3, 3]
    counts = {"train/Cat": 3, "train/dog": 3, "test/cat": 2}
    assert opened(tree(tmp_path / "pets", counts), image_size=8).classes == ("Cat", "dog")


def test_a_class_folder_that_cannot_be_read_is_no_empty_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tree(tmp_path / "birds", {"cat": 3, "dog": 3, "owl": 3})
    scandir = os.scandir

    def refuse(path: Path) -> Any:
        if Path(path).name == "owl":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    (line,) = refused(root)
    assert line.startswith(f"{root}/owl: a folder that is ")
    assert "Fix: allow this user to read it" in line


def test_fields_of_later_lines_of_a_table_of_json_count(tmp_path: Path) -> None:
    root = tree(tmp_path / "pets", {".": 6})
    names = sorted(path.name for path in root.glob("*.png"))
    rows = [{"file_name": name, "label": "cat" if k % 2 else "dog"} for k, name in enumerate(names)]
    rows[3:] = [row | {"split": "test"} for row in rows[3:]]
    (root / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (line,) = refused(root)
    reason, fix = "some rows have a split and some have none", "fill the column or remove it"
    assert line == f"{root}/metadata.jsonl: {reason}. Fix: {fix}"


def test_a_folder_beside_the_split_folders_is_reported_by_name(tmp_path: Path) -> None:
    root = tree(split_tree(tmp_path / "pets"), {"holdout/cat": 3})
    notes = opened(root, image_size=8).notes
    assert "not used, because no split has such a name: holdout (3 images)" in notes


def test_a_test_folder_without_classes_is_not_used_and_a_note_reports_it(tmp_path: Path) -> None:
    root = tree(tmp_path / "pets", {"train/cat": 14, "train/dog": 14, "test": 9})
    source = opened(root, image_size=8)
    assert (len(source.train), len(source.test)) == (24, 4)
    (note,) = (note for note in source.notes if "in no folder of a class" in note)
    assert note == (
        f"{root}/test has 9 images in no folder of a class: nothing is computed from them; "
        f"resnetlab predict MODEL {root}/test labels them"
    )
    shutil.move(root / "test", root / "inner")
    (root / "test").mkdir()
    shutil.move(root / "inner", root / "test" / "unknown")
    assert note in opened(root, image_size=8).notes


def test_a_folder_within_a_folder_and_leftover_archive_files_are_reported(tmp_path: Path) -> None:
    root = split_tree(tmp_path / "pets" / "pets").parent
    (line,) = refused(root)
    assert line.endswith(f"Fix: give the folder in it: {root}/pets")
    flat = tree(tmp_path / "flat", {"cat": 8, "dog": 8})
    (flat / "__MACOSX/cat").mkdir(parents=True)
    (flat / "__MACOSX/cat/._000.png").write_bytes(b"\0\5\x16\7")
    assert opened(flat, image_size=8).classes == ("cat", "dog")


# An image with two labels
# --------------------------------------------------------------------------------------------------


def test_the_same_pixels_under_two_classes_are_listed_and_reported_before_training(
    tmp_path: Path,
) -> None:
    root = split_tree(tmp_path / "pets")
    for number in range(3):
        shutil.copyfile(root / f"train/cat/{number:03}.png", root / f"train/dog/copy{number}.png")
    Image.open(root / "train/cat/003.png").save(root / "test/dog/other.bmp")
    audit = audit_source(str(root), cache=tmp_path / "cache")
    assert audit.contradictions == (
        *((f"train/cat/{k:03}.png (cat)", f"train/dog/copy{k}.png (dog)") for k in range(3)),
        ("train/cat/003.png (cat)", "test/dog/other.bmp (dog)"),
    )
    assert "same pixels under more than one class: 4" in audit.lines()
    assert "  train/cat/000.png (cat) = train/dog/copy0.png (dog)" in audit.lines()
    notes = load_dataset(DataConfig(source=str(root), validation=0.0), tmp_path / "cache").notes
    (note,) = (note for note in notes if "under two classes" in note)
    assert note.startswith("the same pixels under two classes: 4 (first: ")
    assert note in open_photographs(root, cache=tmp_path / "cache").notes


# Evaluation
# --------------------------------------------------------------------------------------------------


def labeled(root: Path, split: str = "test") -> EvaluationImages:
    return open_labeled_images(str(root), split, root.parent / "cache")


def test_an_evaluation_needs_no_train_split_and_no_second_class(tmp_path: Path) -> None:
    test = labeled(tree(tmp_path / "holdout", {"test/cat": 3, "test/dog": 2}))
    assert (test.labels, test.notes) == (("cat",) * 3 + ("dog",) * 2, ())
    root = tree(tmp_path / "valonly", {"val/cat": 3, "val/dog": 2})
    assert len(labeled(root, "validation").images) == len(labeled(root, "all").images) == 5
    with pytest.raises(InputError, match=r"no test images. Fix: --split validation or --split all"):
        labeled(root)
    one = labeled(tree(tmp_path / "onlycats", {"cat": 7}))
    assert (len(one.images), one.classes) == (7, ("cat",))
    assert one.notes == ("all images are used: nothing is trained on a folder of one class",)
    assert len(labeled(tree(tmp_path / "dogs", {"test/dog": 4})).images) == 4


def test_a_flat_folder_that_may_have_been_trained_on_is_evaluated_on_its_test_part(
    tmp_path: Path,
) -> None:
    root = tree(tmp_path / "bare", {"cat": 20, "dog": 20})
    test = labeled(root)
    assert len(test.images) == 6
    assert "--split all uses all images" in test.notes[0]
    assert len(labeled(root, "all").images) == 40
    small = tree(tmp_path / "small", {"cat": 1, "dog": 1})
    with pytest.raises(InputError, match="Fix: --split all"):
        labeled(small)


def test_a_split_without_classes_is_refused_for_evaluation(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no folders of classes in its splits.*predict"):
        labeled(tree(tmp_path / "pets", {"test": 3}))


# Kinds of images
# --------------------------------------------------------------------------------------------------


def test_mpo_and_tiff_files_are_read_upright_under_any_name(tmp_path: Path) -> None:
    first, second = picture(1, 64, 48), picture(2, 20, 20)
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("a.JPG", "b.mpo", "wrong.png"):
        first.save(
            tmp_path / name,
            "MPO",
            save_all=True,
            append_images=[second],
            exif=exif,
            quality=95,
        )
        raw = image_decoder.read_bytes(tmp_path / name)
        assert image_decoder.decode(raw).size == (48, 64) == image_decoder.upright_size(raw)
    for orientation, method in ((1, None), (3, Image.Transpose.ROTATE_180), (6, -90), (8, 90)):
        raw = encoded(first, "TIFF", tiffinfo={274: orientation})
        expected = {
            None: first,
            -90: first.rotate(-90, expand=True),
            90: first.rotate(90, expand=True),
        }.get(method) or first.transpose(Image.Transpose.ROTATE_180)
        image = image_decoder.decode(raw)
        assert image.tobytes() == expected.tobytes()
        assert image_decoder.upright_size(raw) == expected.size
    root = split_tree(tmp_path / "pets")
    (root / "train/cat/scan.tif").write_bytes(encoded(picture(7), "TIFF"))
    assert len(opened(root, image_size=8).train) == 9


def test_pixels_with_an_unknown_white_level_are_refused() -> None:
    import numpy as np

    deep = Image.fromarray((np.arange(64, dtype=np.int32) * 100_000).reshape(8, 8))
    real = Image.fromarray(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8))
    for image in (deep, real):
        with pytest.raises(image_decoder.BadImageError, match="white is unknown: save it with 8"):
            image_decoder.decode(encoded(image, "TIFF"))
    sixteen = Image.fromarray((np.arange(64, dtype=np.uint16) * 1000).reshape(8, 8))
    pixels = np.asarray(image_decoder.decode(encoded(sixteen, "TIFF")))
    expected = np.round(np.arange(64).reshape(8, 8) * 1000 * 255 / 65535)
    np.testing.assert_array_equal(pixels, expected)


# Tables of labels
# --------------------------------------------------------------------------------------------------

ROWS = [(f"pics/{k:03}.png", "cat" if k % 2 else "dog") for k in range(20)]
TABLE = "path,label\n" + "".join(f"{path},{label}\n" for path, label in ROWS)
FORMS = {
    "index": ",path,label\n" + "".join(f"{k},{p},{c}\n" for k, (p, c) in enumerate(ROWS)),
    "pandas": "Unnamed: 0,path,label\n"
    + "".join(f"{k},{p},{c}\n" for k, (p, c) in enumerate(ROWS)),
    "semicolon": TABLE.replace(",", ";"),
    "tab": TABLE.replace(",", "\t"),
    "bar": TABLE.replace(",", "|"),
    "windows": TABLE.replace("pics/", "pics\\"),
    "bom and CRLF": "\ufeff" + TABLE.replace("\n", "\r\n"),
    "capitals": TABLE.replace("path,label", "Path,Label"),
    "other names": TABLE.replace("path,label", "file_name,category"),
    "blanks": TABLE.replace(",", ", "),
    "quotes": TABLE.replace("pics/003.png", '"pics/003.png"'),
    "dot": TABLE.replace("pics/", "./pics/"),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_table_is_read_in_the_forms_that_other_programs_write(tmp_path: Path, form: str) -> None:
    plain = tree(tmp_path / "plain" / "pets", {"pics": 20})
    (plain / "labels.csv").write_text(TABLE)
    other = tree(tmp_path / "other" / "pets", {"pics": 20})
    (other / "labels.csv").write_text(FORMS[form], encoding="utf-8")
    assert opened(other, image_size=8).sha256 == opened(plain, image_size=8).sha256


def test_a_table_in_utf16_and_a_table_with_absolute_paths_are_read(tmp_path: Path) -> None:
    root = tree(tmp_path / "pets", {"pics": 20})
    (root / "labels.csv").write_bytes(TABLE.encode("utf-16"))
    first = opened(root, image_size=8).sha256
    (root / "labels.csv").write_text(TABLE.replace("pics/", f"{root}/pics/"))
    assert opened(root, image_size=8).sha256 == first


def test_a_table_with_other_columns_is_read_by_their_names(tmp_path: Path) -> None:
    root = tree(tmp_path / "pets", {"pics": 20})
    text = "id,breed,breeder\n" + "".join(f"{p[5:8]},{c},me\n" for p, c in ROWS)
    (root / "labels.csv").write_text(text)
    (line,) = refused(root)
    assert line.startswith(f"{root}/labels.csv:1: other columns (got id,breed,breeder; allowed")
    assert "--path-column NAME --label-column NAME" in line
    folder_choices = FolderChoices(path_column="id", label_column="breed")
    notes = opened(root, image_size=8, folder_choices=folder_choices).notes
    assert "columns of labels.csv that are not used: breeder" in notes
    assert '"000" is pics/000.png, and 19 more such names' in notes
    (line,) = refused(root, folder_choices=FolderChoices(path_column="ident", label_column="breed"))
    assert "no column of this name for the path (got ident; allowed: id, breed, breeder)" in line
    assert line.endswith('Fix: did you mean "id"?')


def test_an_unreadable_table_is_refused_in_one_line(tmp_path: Path) -> None:
    root = tree(tmp_path / "pets", {"pics": 20})
    rows = TABLE.split("\n", 1)[1].replace(".png,", ".png,x,")
    cases = {
        rows: "write path,label above it as the first line",
        TABLE.replace("path,label", "file,image,label").replace(".png", ".png,x"): "--path-column",
        TABLE.replace("path,label", "path,path"): "two columns with the same name: path",
        TABLE + "pics/003.png,dog\n": 'labels.csv:22: "pics/003.png" a second time',
    }
    for text, expected in cases.items():
        (root / "labels.csv").write_text(text)
        (line,) = refused(root)
        assert expected in line
    (root / "labels.csv").write_bytes(TABLE.replace("cat", "ch\xe2t").encode("latin-1"))
    (line,) = refused(root)
    assert "not text in UTF-8" in line


def test_a_table_that_is_a_link_is_refused_and_read_on_request(tmp_path: Path) -> None:
    root = class_tree(tmp_path / "pets")
    paths = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    rows = "".join(f"{path},{'ab'[k % 2]}\n" for k, path in enumerate(paths))
    (tmp_path / "new.csv").write_text("path,label\n" + rows)
    (root / "labels.csv").symlink_to(tmp_path / "new.csv")
    (line,) = refused(root)
    assert line.startswith(f"{root}/labels.csv: a link to a table of labels, which is not followed")
    assert opened(root, folder_choices=FolderChoices(follow_links="anywhere")).classes == ("a", "b")


def test_names_with_spaces_at_their_ends_and_of_other_bytes_are_read(
    tmp_path: Path,
) -> None:
    names = [" first.png", "box /last.png", os.fsdecode(b"caf\xe9.png"), "plain.png"]
    for name in names:
        for label in ("cat", "dog"):
            save(tmp_path / label / name, picture(len(name)))
    rows = "".join(f'"{label}/{name}",{label}\n' for label in ("cat", "dog") for name in names)
    (tmp_path / "labels.csv").write_bytes(os.fsencode("path,label\n" + rows + ",\n"))
    listing = list_folder(tmp_path)
    assert {file.path for file in listing.files} == {
        f"{label}/{name}" for label in ("cat", "dog") for name in names
    }


def test_a_value_too_long_for_a_table_is_refused_in_one_line(tmp_path: Path) -> None:
    root = class_tree(tmp_path / "pets")
    for value in ("x" * 300, "x" * 140_000):
        (root / "labels.csv").write_text(f"{value},label\n")
        assert refused(root)[0].startswith(f"{root}/labels.csv:1")


def test_the_splits_of_the_folders_are_used_where_a_table_has_none(tmp_path: Path) -> None:
    for split, count in (("train", 12), ("test", 4)):
        for index in range(count):
            save(tmp_path / split / f"{index}.png", picture(index + 100 * (split == "test")))
    rows = "".join(
        f"{path.relative_to(tmp_path).as_posix()},{'ab'[k % 2]}\n"
        for k, path in enumerate(sorted(tmp_path.rglob("*.png")))
    )
    (tmp_path / "labels.csv").write_text("path,label\n" + rows)
    listing = list_folder(tmp_path)
    assert {(file.path.partition("/")[0], file.split) for file in listing.files} == {
        ("train", "train"),
        ("test", "test"),
    }
    assert "the splits are those of the folders test, train" in listing.notes


def test_the_portable_formats_that_torchvision_opens_are_read(tmp_path: Path) -> None:
    for label, suffix in itertools.product(("cat", "dog"), ("ppm", "pgm")):
        for index in range(3):
            mode = "L" if suffix == "pgm" else "RGB"
            save(tmp_path / "pets" / label / f"{index}.{suffix}", picture(index, mode=mode))
    listing = list_folder(tmp_path / "pets")
    reference = ImageFolder(str(tmp_path / "pets"))
    assert [f"{tmp_path}/pets/{file.path}" for file in listing.files] == [
        path for path, _ in reference.samples
    ]
    assert opened(tmp_path / "pets").classes == ("cat", "dog")


def test_thousands_of_wrong_rows_are_reported_in_twenty_lines_and_a_count(tmp_path: Path) -> None:
    root = tree(tmp_path / "pets", {"pics": 2})
    (root / "labels.csv").write_text(
        "path,label,split\n"
        + "".join(f"pics/x{k}.png,{'c' * 5000},train\n" for k in range(500))
        + "".join(f"pics/000.png,cat,word{k}\n" for k in range(500))
    )
    lines = refused(root)
    assert len(lines) == 21
    assert lines[-1] == f"{root}/labels.csv: 980 more mistakes. Fix: correct these first"
    assert sum(map(len, lines)) < 10_000


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_a_file_in_a_hidden_folder_does_not_make_a_name_ambiguous(tmp_path: Path) -> None:
    root = tree(tmp_path / "pets", {"pics": 20, ".thumbs": 20})
    text = "path,label\n" + "".join(f"{p[5:]},{c}\n" for p, c in ROWS)
    (root / "labels.csv").write_text(text)
    assert len(opened(root, image_size=8).classes) == 2


# Sub-folders of classes
# --------------------------------------------------------------------------------------------------

NESTED = FolderChoices(nested=True)


def test_photographs_in_subfolders_are_reported_by_class_and_used_on_request(
    tmp_path: Path,
) -> None:
    counts = {"cat": 1, "cat/holiday 2023": 4, "cat/from mum/old": 3, "dog": 9, "emu/a": 0}
    root = tree(tmp_path / "pets", counts | {"emu": 2})
    save(root / "cat" / ".cache" / "thumb.png", picture(1))
    (root / "cat" / "holiday 2023" / "words.txt").write_text("no image")
    note = (
        'class "cat": 7 of 8 photographs lie in sub-folders and are not used; --nested takes them'
    )
    plain, nested = opened(root, image_size=8), opened(root, image_size=8, folder_choices=NESTED)
    assert note in plain.notes
    assert not any("--nested" in text for text in nested.notes)

    def images(source: Source) -> int:
        return len(source.train) + len(source.test) + len(source.validation or ())

    assert (images(plain), images(nested)) == (1 + 9 + 2, 8 + 9 + 2)
    assert np.bincount(nested.train.labels)[0] > np.bincount(plain.train.labels)[0]


def test_study_files_and_evaluation_read_subfolders_in_the_same_way(tmp_path: Path) -> None:
    root = tree(
        tmp_path / "pets", {"train/cat/a": 4, "train/dog/b": 4, "test/cat/c": 2, "test/dog": 3}
    )
    lines = refused(root)
    assert [line.partition(": 0 images")[0] for line in lines] == [
        f"{root}/train/{name}" for name in ("cat", "dog")
    ]
    assert all("Fix: --nested takes the images in its sub-folders" in line for line in lines)
    config = DataConfig(source=str(root), nested=True, image_size=8)
    dataset = load_dataset(config, tmp_path / "cache")
    assert len(dataset.test) == 5
    labeled = open_labeled_images(str(root), "test", tmp_path / "cache", folder_choices=NESTED)
    assert len(labeled.images) == 5
    photos = open_photographs(root, cache=tmp_path / "cache", folder_choices=NESTED)
    assert (len(photos.test), photos.untested_classes) == (5, ())


def test_split_folders_inside_class_folders_are_not_mixed(tmp_path: Path) -> None:
    root = tree(tmp_path / "pets", {"cat/train": 4, "cat/test": 2, "dog/train": 4, "dog/test": 2})
    (line,) = refused(root, folder_choices=NESTED)
    assert line.startswith(f"{root}/cat/test: a split inside a class and 3 more, which --nested")


def test_a_class_without_a_test_photograph_is_reported_by_name(tmp_path: Path) -> None:
    root = tree(tmp_path / "pets", {"train/cat": 9, "train/emu": 9, "test/cat": 2})
    photos = open_photographs(root, cache=tmp_path / "cache")
    assert photos.untested_classes == ("emu",)
