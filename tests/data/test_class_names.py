"""Class names from two sources are compared after normalization, and names that look alike are
refused.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest

from helpers.pictures import opened, picture, refused, save, split_tree, tree
from resnetlab.data.class_names import (
    class_order,
    class_titles,
    lookalike_key,
    match_names,
    name_difference,
    name_key,
    normalize_name,
)
from resnetlab.data.sources import open_source
from resnetlab.data.sources.folder.manifest import apply_manifest
from resnetlab.deploy.checks import match_classes, match_label
from resnetlab.deploy.inputs import EvaluationImages
from resnetlab.errors import InputError

NFC, NFD = "caf\u00e9", "cafe\u0301"


def test_names_are_equal_only_after_nfc_trimming_and_case_folding() -> None:
    assert name_key(NFD) == name_key(f" {NFC.upper()} ") == NFC
    assert name_key("Stra\u00dfe") == name_key("STRASSE")
    assert name_key("cat 2") != name_key("cat2")
    assert normalize_name(" Caf\u0065\u0301 ") == "Caf\u00e9"


@pytest.mark.parametrize(
    "other", ["Cat", "c\u0430t", "ca\u200bt", "\uff43at", "cat ", "cat\u00a0", "\u0441at"]
)
def test_names_that_appear_equal_to_a_reader_have_the_same_lookalike_key(other: str) -> None:
    assert lookalike_key(other) == lookalike_key("cat") != lookalike_key("cut")


def test_single_letters_of_different_case_are_different_classes() -> None:
    assert len({lookalike_key(letter) for letter in "aA\u0430\u03b1"}) == 4


def test_the_difference_of_two_names_is_described_by_their_code_points() -> None:
    assert name_difference("Cat", "cat") == '"Cat" has U+0043 where "cat" has U+0063'
    assert name_difference("cat", "cat ") == '"cat" has nothing where "cat " has U+0020'
    assert name_difference(NFC, NFD) == f'"{NFC}" has U+00E9 where "{NFD}" has U+0065 U+0301'


def test_a_match_is_exact_or_unique() -> None:
    assert match_names(["a", "CAT", "emu"], ["a", "A", "cat"]) == {"a": "a", "CAT": "cat"}
    assert match_names(["Dog"], ["dog", "DOG"]) == {}
    assert class_order(["dog", "cat"], ["Cat", "Dog"]) == [1, 0]
    assert class_order(["dog", "cat"], ["cat", "emu"]) is None
    assert class_order(["dog", "cat"], ["cat", "CAT"]) is None


def test_two_unicode_forms_of_one_name_in_two_splits_are_one_class(tmp_path: Path) -> None:
    root = tree(
        tmp_path / "pets",
        {f"train/{NFC}": 3, "train/Dog": 3, f"test/{NFD}": 2, "test/dog": 2},
    )
    if len(list((root / "test").iterdir())) != 2:
        pytest.skip("the file system normalizes names")
    source = opened(root, image_size=8)
    assert source.classes == ("Dog", NFC)
    assert sorted(source.test.labels.tolist()) == [0, 0, 1, 1]
    (note,) = source.notes
    assert note.startswith(f'test/{NFD} is class "{NFC}": names are compared in Unicode NFC')
    assert note.endswith(", and 1 more")


def test_similar_looking_names_in_one_split_are_refused_with_their_code_points(
    tmp_path: Path,
) -> None:
    root = tree(split_tree(tmp_path / "pets"), {"train/c\u0430t": 2})
    (line,) = refused(root)
    assert 'look alike: "cat" has U+0061 where "c\u0430t" has U+0430. Fix: rename' in line
    flat = tree(tmp_path / "flat", {NFC: 3, "dog": 3})
    save(flat / NFD / "000.png", picture(9))
    (line,) = refused(flat)
    assert "U+0065 U+0301" in line
    assert "U+00E9" in line


def test_a_test_class_whose_name_resembles_a_train_class_is_refused(tmp_path: Path) -> None:
    root = tree(
        tmp_path / "pets", {"train/cat": 2, "train/dog": 2, "test/c\u0430t": 1, "test/dog": 1}
    )
    (line,) = refused(root)
    assert "a class that is not in train" in line
    assert "U+0430" in line
    assert line.endswith("Fix: give both the same name")


def test_a_table_matches_files_and_classes_in_another_form_of_unicode(tmp_path: Path) -> None:
    root = tree(tmp_path / "pets", {NFD: 8, "b": 8})
    rows = [f"{NFC}/{n:03}.png, {NFD}" for n in range(8)] + [f"b/{n:03}.png,dog" for n in range(8)]
    (root / "labels.csv").write_text("path,label\n" + "\n".join(rows), encoding="utf-8")
    assert opened(root, image_size=8).classes == (NFC, "dog")
    rows[0] = f"{NFC}/000.png,{NFC}"
    (root / "labels.csv").write_text("path,label\n" + "\n".join(rows), encoding="utf-8")
    (line,) = refused(root)
    assert line.startswith(f"{root}/labels.csv: classes whose names look alike: ")


def test_similar_looking_class_names_in_arrays_are_refused_but_single_letters_are_not(
    tmp_path: Path,
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 6, 6), np.uint8)
    arrays = {"x_train": pixels, "x_test": pixels}
    arrays |= {"y_train": np.arange(8) % 2, "y_test": np.arange(8) % 2}
    np.savez(tmp_path / "two.npz", **arrays, classes=np.array(["cat", "Cat"]))
    with pytest.raises(InputError, match=r"two\.npz: classes: .*U\+0063 where .*U\+0043"):
        open_source(str(tmp_path / "two.npz"), cache=tmp_path)
    np.savez(tmp_path / "letters.npz", **arrays, classes=np.array(["a", "A"]))
    assert open_source(str(tmp_path / "letters.npz"), cache=tmp_path).classes == ("a", "A")


def test_a_model_matches_the_classes_of_a_folder_in_another_unicode_form() -> None:
    data = EvaluationImages("new", "test", (NFD, "DOG"), (), (NFD, "DOG", "DOG"))
    assert match_classes(["dog", NFC], data) == {NFD: 1, "DOG": 0}
    assert match_label("Dog", ["dog", "cat"]) == "dog"
    unlike = EvaluationImages("new", "test", ("c\u0430t",), (), ("c\u0430t",))
    with pytest.raises(InputError, match=r"U\+0430 where .* has U\+0061"):
        match_classes(["dog", "cat"], unlike)


def test_a_manifest_matches_files_in_another_unicode_form(tmp_path: Path) -> None:
    from resnetlab.data.sources.folder.manifest import ManifestRow, write_manifest

    def rows(name: str, split: str | None) -> list[ManifestRow]:
        return [ManifestRow(f"{name}/{n}.png", name, split, str(n), (8, 8)) for n in range(2)]

    written = [*rows(NFC, "train")[:1], *rows(NFC, "test")[1:]]
    write_manifest(tmp_path / "split.csv", written)
    applied = apply_manifest(rows(NFD, None), tmp_path, tmp_path / "split.csv")
    assert [row.split for row in applied] == ["train", "test"]
    assert unicodedata.is_normalized("NFD", applied[0].path)


def test_an_imagenet_folder_gets_the_title_of_its_word_and_other_names_stay() -> None:
    titles = class_titles(
        [
            "n02105641-Old_English_sheepdog",
            "n02085620_Chihuahua",
            "n02115641",
            "n0210-short",
            "red_panda",
            "n02012849-crane",
            "n03126707-crane",
            "n02086240-Shih-Tzu",
        ]
    )
    assert list(titles.values()) == [
        "Old English sheepdog",
        "Chihuahua",
        "n02115641",
        "n0210-short",
        "red_panda",
        "n02012849-crane",  # two synsets have this word
        "n03126707-crane",
        "Shih-Tzu",
    ]
