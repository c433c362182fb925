"""A folder's hash covers its content and nothing else; its cache is trusted only when it is whole."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from pictures import encoded, opened, picture, save, split_tree

from resnetlab.data.sources import decoded, folder, images


def test_the_hash_depends_neither_on_the_place_nor_on_the_number_of_workers(tmp_path: Path) -> None:
    root = split_tree(tmp_path / "pets")
    sources = [
        folder.open_folder(root, image_size=16, cache=tmp_path / f"cache{workers}", workers=workers)
        for workers in (1, 2, 7)
    ]
    shutil.copytree(root, tmp_path / "elsewhere" / "other")
    sources.append(opened(tmp_path / "elsewhere" / "other", image_size=16))
    assert len({source.sha256 for source in sources}) == 1
    for source in sources:
        np.testing.assert_array_equal(source.train.pixels, sources[0].train.pixels)


def test_what_changes_the_content_changes_the_hash(tmp_path: Path) -> None:
    root = split_tree(tmp_path / "pets")
    seen = {opened(root, image_size=16).sha256, opened(root, image_size=8).sha256}
    changes = [
        lambda: save(root / "train/cat/000.png", picture(77)),
        lambda: (root / "train/cat/000.png").rename(root / "train/dog/new.png"),
        lambda: (root / "train/dog/new.png").rename(root / "test/dog/new.png"),
        lambda: (root / "test/dog/new.png").rename(root / "test/dog/newer.png"),
        lambda: (root / "train/cat/.hidden").write_text(""),
        lambda: (root / "train/cat").rename(root / "train/lion") and (root / "test/cat").rename(root / "test/lion"),
    ]
    for change in changes:
        change()
        seen.add(opened(root, image_size=16).sha256)
    assert len(seen) == 2 + len(changes)


def test_a_second_open_decodes_nothing_and_says_nothing_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = split_tree(tmp_path / "pets")
    (root / "train/cat/bad.png").write_bytes(encoded(picture(1))[:-30])
    first = opened(root, image_size=8, skip_bad=True)
    monkeypatch.setattr(images, "decode", lambda _: pytest.fail("decoded again"))
    second = opened(root, image_size=8, skip_bad=True)
    np.testing.assert_array_equal(first.train.pixels, second.train.pixels)
    assert (first.sha256, first.notes) == (second.sha256, second.notes)


def test_a_damaged_cache_is_noticed_and_built_again(tmp_path: Path) -> None:
    root = split_tree(tmp_path / "pets")
    first = opened(root, image_size=8)
    (kept,) = (tmp_path / "cache").glob("*.npz")
    whole = kept.read_bytes()
    rng = np.random.default_rng(0)
    flips = [bytearray(whole) for _ in range(40)]
    for raw in flips:
        raw[rng.integers(len(raw))] ^= 1 << int(rng.integers(8))
    for raw in (b"", b"words", whole[: len(whole) // 2], *flips):
        kept.write_bytes(raw)
        assert opened(root, image_size=8).sha256 == first.sha256
        np.testing.assert_array_equal(opened(root, image_size=8).train.pixels, first.train.pixels)
    said: list[str] = []
    kept.write_bytes(whole[:-9])
    opened(root, image_size=8, say=said.append)
    assert any("is damaged: decoding the images again" in line for line in said)


def test_pixels_forged_with_a_right_zip_checksum_are_noticed(tmp_path: Path) -> None:
    root = split_tree(tmp_path / "pets")
    first = opened(root, image_size=8)
    (kept,) = (tmp_path / "cache").glob("*.npz")
    with np.load(kept) as archive:
        arrays = dict(archive)
    arrays["pixels"][0] = 0
    np.savez(kept, **arrays)
    np.testing.assert_array_equal(opened(root, image_size=8).train.pixels, first.train.pixels)


def test_a_file_that_changes_between_hash_and_decoding_is_bad(tmp_path: Path) -> None:
    save(tmp_path / "1.png", picture(1))
    result = decoded.decode(tmp_path, ["1.png"], ["0" * 64], 8, cache=tmp_path / "cache", workers=1, say=print)
    assert result.reasons == ("changed while it was read",)
