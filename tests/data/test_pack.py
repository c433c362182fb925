"""A pack contains data sets with the content hash of their source, and is read by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from resnetlab.course.reference_runs import accepted_data
from resnetlab.data.pack import write_pack
from resnetlab.data.sources import open_source
from resnetlab.errors import InputError
from resnetlab.files import sha256


def test_a_pack_has_the_content_of_its_sources_and_can_be_extended(
    tmp_path: Path, small_npz: Path
) -> None:
    pack, cache = tmp_path / "pack", tmp_path / "cache"
    write_pack(["digits"], pack, cache=cache)
    packed = write_pack([str(small_npz)], pack, cache=cache)
    assert [entry.name for entry in packed] == sorted(["digits", small_npz.stem])
    manifest = json.loads((pack / "manifest.json").read_text())["data"]
    for entry in manifest:
        source = open_source(str(pack / entry["file"]), cache=cache)
        assert source.sha256 == entry["sha256"]
        assert sha256(pack / entry["file"]) == entry["file_sha256"]
        assert len(source.train) == entry["train_images"]
    digits = open_source("digits", cache=cache)
    assert digits.sha256 in accepted_data("unknown", "digits", pack)


def test_bad_names_and_folders_are_refused(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    (tmp_path / "photos").mkdir()
    with pytest.raises(InputError, match="folder of photographs"):
        write_pack([str(tmp_path / "photos")], tmp_path / "pack", cache=cache)
    with pytest.raises(InputError, match="no such"):
        write_pack(["mnits"], tmp_path / "pack", cache=cache)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "manifest.json").write_text("[]")
    with pytest.raises(InputError, match="not a manifest"):
        write_pack(["digits"], tmp_path / "other", cache=cache)


def test_the_name_of_a_dataset_has_priority_over_a_folder_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    (packed,) = write_pack(["digits"], tmp_path / "pack", cache=tmp_path / "cache")
    assert (packed.name, packed.train_images + packed.test_images) == ("digits", 1797)
    with pytest.raises(InputError, match="folder of photographs"):
        write_pack(["./digits"], tmp_path / "pack", cache=tmp_path / "cache")


def test_two_datasets_with_the_same_name_are_refused(tmp_path: Path) -> None:
    arrays = {
        "x_train": np.zeros((4, 8, 8), np.uint8),
        "y_train": np.array([0, 1, 0, 1]),
        "x_test": np.ones((2, 8, 8), np.uint8),
        "y_test": np.array([0, 1]),
    }
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        np.savez(tmp_path / folder / "same.npz", **arrays)
    names = [str(tmp_path / folder / "same.npz") for folder in ("a", "b")]
    with pytest.raises(InputError, match="the name of another"):
        write_pack(names, tmp_path / "pack", cache=tmp_path / "cache")
