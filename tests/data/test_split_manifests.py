"""Manifests of splits are drawn by class and seed, written as counts or fractions, and used only
for the folder that they fit.
"""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from helpers.pictures import class_tree, lines_of, save, split_tree, tree
from helpers.pictures import picture as drawn
from resnetlab.cli.main import app
from resnetlab.data.sources.folder import manifest
from resnetlab.data.sources.folder.manifest import SplitSpec
from resnetlab.data.sources.folder.scan import FolderScan, scan_folder
from resnetlab.errors import InputError


def scan_split(root: Path, cut: SplitSpec | Path | None) -> FolderScan:
    return scan_folder(root, image_size=8, cache=root.parent / "cache", skip_bad=True, split=cut)


def counted(scan: FolderScan) -> Counter[tuple[str, str | None]]:
    return Counter((row.label, row.split) for row in scan.rows)


def test_shares_and_the_equal_counts_give_the_same_split_with_each_class_in_proportion(
    tmp_path: Path,
) -> None:
    root = tree(tmp_path / "pets", {"cat": 20, "dog": 10})
    by_shares = scan_split(root, SplitSpec.parse(".6,.2,.2"))
    assert counted(by_shares) == {
        ("cat", "train"): 12,
        ("cat", "validation"): 4,
        ("cat", "test"): 4,
        ("dog", "train"): 6,
        ("dog", "validation"): 2,
        ("dog", "test"): 2,
    }
    assert scan_split(root, SplitSpec.parse("18,6,6")).rows == by_shares.rows
    assert scan_split(root, SplitSpec.parse("18,6,6", seed=1)).rows != by_shares.rows


def test_a_new_split_ignores_the_splits_of_the_folder(tmp_path: Path) -> None:
    scan = scan_split(split_tree(tmp_path / "pets"), SplitSpec.parse("6,2,4"))
    assert Counter(row.split for row in scan.rows) == {"train": 6, "validation": 2, "test": 4}
    assert any(row.path.startswith("test/") and row.split == "train" for row in scan.rows)


def test_a_written_manifest_gives_the_same_splits_and_copies_no_image(
    tmp_path: Path,
) -> None:
    root = tree(tmp_path / "pets", {"cat": 10, "dog": 10})
    scan = scan_split(root, SplitSpec.parse(".5,.25,.25"))
    path = tmp_path / "split.csv"
    manifest.write_manifest(path, scan.rows)
    with path.open() as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == ["path", "label", "split", "sha256"]
    assert len(lines) == 20
    assert scan_split(root, path).rows == scan.rows


def edited(tmp_path: Path, old: str, new: str) -> list[str]:
    """Return the errors for a manifest in which one thing was changed, without its path."""
    root = tree(tmp_path / "pets", {"cat": 4, "dog": 4})
    path = tmp_path / "split.csv"
    manifest.write_manifest(path, scan_split(root, SplitSpec.parse("4,2,2")).rows)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        scan_split(root, path)
    return [line.removeprefix(f"{path}: ") for line in lines_of(caught.value)]


AGAIN = "Fix: make it again: resnetlab data split"


def test_a_manifest_that_does_not_match_its_folder_is_refused_with_the_differences(
    tmp_path: Path,
) -> None:
    assert edited(tmp_path / "a", "cat/000.png", "cat/999.png") == [
        f'lists what {tmp_path / "a" / "pets"} does not have: "cat/999.png". {AGAIN}',
        f'does not list "cat/000.png". {AGAIN}',
    ]
    assert edited(tmp_path / "b", "000.png,cat", "000.png,dog") == [
        f'has another class or content for "cat/000.png". {AGAIN}'
    ]
    assert edited(tmp_path / "c", ",train,", ",dev,")[0].startswith(
        "has another word than train, validation or test"
    )
    assert edited(tmp_path / "d", "path,label,split,sha256", "path,split")[0].startswith(
        "not a manifest (allowed: path"
    )


def test_a_class_that_a_manifest_omits_from_train_is_reported_by_name(tmp_path: Path) -> None:
    root = tree(tmp_path / "pets", {"cat": 4, "dog": 4})
    path = tmp_path / "split.csv"
    manifest.write_manifest(path, scan_split(root, SplitSpec.parse("4,2,2")).rows)
    lines = [
        line.replace(",train,", ",test,") if line.startswith("dog") else line
        for line in path.read_text().split()
    ]
    path.write_text("\n".join(lines))
    with pytest.raises(InputError) as caught:
        scan_split(root, path)
    assert lines_of(caught.value) == [
        f'{path}: class "dog" is not in train. Fix: give it train images, or remove it'
    ]


@pytest.mark.parametrize(
    "text", ["", "1,2", "a,b,c", ".5,.2,.2", "0,2,2", "4,2,0", "-1,2,2", "nan,1,1", "1e400,1,1"]
)
def test_an_invalid_split_option_is_refused_with_the_two_valid_forms(text: str) -> None:
    with pytest.raises(
        InputError, match=r"not fractions or counts .* Fix: --split \.6,\.2,\.2, or counts"
    ):
        SplitSpec.parse(text)


def test_counts_that_do_not_add_up_are_reported_with_their_sum(tmp_path: Path) -> None:
    root = tree(tmp_path / "pets", {"cat": 4, "dog": 4})
    with pytest.raises(InputError, match="4 \\+ 2 \\+ 3 = 9, of 8 images"):
        scan_split(root, SplitSpec.parse("4,2,3"))


@given(st.integers(3, 30_000), st.integers(1, 98), st.integers(0, 98))
def test_shares_always_use_all_images_and_leave_at_least_one_for_test(
    images: int, test: int, validation: int
) -> None:
    if test + validation >= 100:
        return
    cut = SplitSpec((1 - (test + validation) / 100, validation / 100, test / 100))
    train, validated, tested = cut.counts(images, "")
    assert train + validated + tested == images
    assert tested >= 1
    assert abs(validated - images * validation / 100) <= 0.5


def test_broken_files_are_not_part_of_a_split(tmp_path: Path) -> None:
    root = tree(tmp_path / "pets", {"cat": 4, "dog": 4})
    (root / "cat/bad.jpg").write_text("words")
    save(root / "dog/more.png", drawn(77))
    scan = scan_split(root, SplitSpec.parse("5,2,2"))
    assert [item.path for item in scan.bad] == ["cat/bad.jpg"]
    assert len(scan.rows) == 9


def test_another_split_of_the_folder_does_not_overwrite_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class_tree(tmp_path / "photos", size=(8, 8))
    monkeypatch.chdir(tmp_path)

    def split(*options: str) -> int:
        return CliRunner().invoke(app, ["data", "split", "photos", *options]).exit_code or 0

    assert split("--fractions", ".5,.25,.25") == 0
    first = (tmp_path / "photos-split.csv").read_bytes()
    assert split("--fractions", ".5,.25,.25") == 0  # the same split again
    done = CliRunner().invoke(app, ["data", "split", "photos", "--fractions", ".25,.25,.5"])
    assert isinstance(done.exception, InputError)
    assert "photos-split.csv: exists, with another split. Fix: --out NAME.csv" in str(
        done.exception
    )
    assert (tmp_path / "photos-split.csv").read_bytes() == first
    assert split("--fractions", ".25,.25,.5", "--out", "other.csv") == 0
    assert (tmp_path / "other.csv").read_bytes() != first


# A given test split
# --------------------------------------------------------------------------------------------------


def test_a_given_test_split_stays_and_the_fractions_divide_the_other_images(tmp_path: Path) -> None:
    root = tree(tmp_path / "pets", {"train/cat": 12, "train/dog": 8, "test/cat": 3, "test/dog": 5})
    scan = scan_split(root, replace(SplitSpec.parse(".6,.2,.2"), keep_test=True))
    assert {row.path for row in scan.rows if row.split == "test"} == {
        row.path for row in scan.rows if row.path.startswith("test/")
    }
    assert counted(scan) == {
        ("cat", "train"): 9,
        ("cat", "validation"): 3,
        ("cat", "test"): 3,
        ("dog", "train"): 6,
        ("dog", "validation"): 2,
        ("dog", "test"): 5,
    }
    assert "the test split of the folder (8 images) is kept; --redraw-test" in scan.notes[-1]
    with pytest.raises(InputError, match=r"a test split of 8 images, which is kept.*--redraw-test"):
        scan_split(root, replace(SplitSpec.parse("18,4,6"), keep_test=True))
    counts = scan_split(root, replace(SplitSpec.parse("15,5,8"), keep_test=True))
    assert counts.rows == scan.rows


def test_the_command_redraws_a_given_test_split_only_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    split_tree(tmp_path / "pets")

    def paths_in_test_split(*words: str) -> set[str]:
        done = CliRunner().invoke(app, ["data", "split", "pets", "--out", "a.csv", *words])
        assert done.exit_code == 0, done.output
        with (tmp_path / "a.csv").open() as file:
            return {row["path"] for row in csv.DictReader(file) if row["split"] == "test"}

    given = {f"test/{name}/00{k}.png" for name in ("cat", "dog") for k in range(2)}
    assert paths_in_test_split("--fractions", ".5,.25,.25") == given
    assert paths_in_test_split("--fractions", ".5,.25,.25", "--redraw-test", "--seed", "3") != given


def test_a_note_of_a_new_split_counts_the_moved_images_of_the_given_test_split(
    tmp_path: Path,
) -> None:
    scan = scan_split(split_tree(tmp_path / "pets"), SplitSpec.parse("6,2,4"))
    moved = sum(row.path.startswith("test/") and row.split != "test" for row in scan.rows)
    assert moved
    assert f"new splits: {moved} of the folder's 4 test images are in another split" in scan.notes
