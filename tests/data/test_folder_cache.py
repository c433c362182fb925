"""The hash of a folder depends on its content only, and only a complete cache is used."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from helpers.pictures import class_tree, encoded, opened, picture, save, split_tree
from resnetlab.data.check import audit_source
from resnetlab.data.sources import decode_cache, image_decoder
from resnetlab.data.sources.folder.cache import read_changed_files
from resnetlab.errors import InputError


def test_the_hash_depends_on_neither_the_path_nor_the_number_of_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, sources = split_tree(tmp_path / "pets"), []
    for workers in (1, 2, 7):  # each with a cache of its own: each decodes the images
        monkeypatch.setenv("RESNETLAB_CACHE", str(tmp_path / f"person{workers}"))
        monkeypatch.setattr(decode_cache, "default_workers", lambda count=workers: count)
        sources.append(opened(root, image_size=16))
    monkeypatch.setenv("RESNETLAB_CACHE", str(tmp_path / "person"))
    shutil.copytree(root, tmp_path / "elsewhere" / "other")
    sources.append(opened(tmp_path / "elsewhere" / "other", image_size=16))
    assert len({source.sha256 for source in sources}) == 1
    for source in sources:
        np.testing.assert_array_equal(source.train.pixels, sources[0].train.pixels)


def test_every_change_of_content_changes_the_hash(tmp_path: Path) -> None:
    root = split_tree(tmp_path / "pets")
    seen = {opened(root, image_size=16).sha256, opened(root, image_size=8).sha256}
    changes = [
        lambda: save(root / "train/cat/000.png", picture(77)),
        lambda: (root / "train/cat/000.png").rename(root / "train/dog/new.png"),
        lambda: (root / "train/dog/new.png").rename(root / "test/dog/new.png"),
        lambda: (root / "test/dog/new.png").rename(root / "test/dog/newer.png"),
        lambda: (root / "train/cat/.hidden").write_text(""),
        lambda: (
            (root / "train/cat").rename(root / "train/lion")
            and (root / "test/cat").rename(root / "test/lion")
        ),
    ]
    for change in changes:
        change()
        seen.add(opened(root, image_size=16).sha256)
    assert len(seen) == 2 + len(changes)


def test_a_second_open_decodes_no_image_and_has_the_same_notes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = split_tree(tmp_path / "pets")
    (root / "train/cat/bad.png").write_bytes(encoded(picture(1))[:-30])
    first = opened(root, image_size=8, skip_bad=True)
    monkeypatch.setattr(image_decoder, "decode", lambda _: pytest.fail("decoded again"))
    second = opened(root, image_size=8, skip_bad=True)
    np.testing.assert_array_equal(first.train.pixels, second.train.pixels)
    assert (first.sha256, first.notes) == (second.sha256, second.notes)


@pytest.mark.parametrize("ending", ["npy", "json"])
def test_a_damaged_cache_is_detected_and_built_again(tmp_path: Path, ending: str) -> None:
    root = split_tree(tmp_path / "pets")
    first = opened(root, image_size=8)
    pixels = first.train.pixels.copy()
    (cached,) = (tmp_path / "person" / "images").glob(f"*.{ending}")
    content = cached.read_bytes()
    generator = np.random.default_rng(0)
    flips = [bytearray(content) for _ in range(20)]
    for raw in flips:
        raw[generator.integers(len(raw))] ^= 1 << int(generator.integers(8))
    for raw in (b"", b"words", content[: len(content) // 2], *flips):
        cached.unlink()
        cached.write_bytes(raw)
        for _ in range(2):
            again = opened(root, image_size=8)
            assert again.sha256 == first.sha256
            np.testing.assert_array_equal(again.train.pixels, pixels)
    messages: list[str] = []
    cached.unlink()
    cached.write_bytes(content[:-9])
    opened(root, image_size=8, notify=messages.append)
    pixels_file = cached.with_suffix(".npy")  # the file of the entry, whichever is damaged
    assert f"{pixels_file} is damaged: decoding the images again" in messages


def test_exchanged_pixels_in_the_cache_are_detected(tmp_path: Path) -> None:
    root = split_tree(tmp_path / "pets")
    pixels = opened(root, image_size=8).train.pixels.copy()
    (cached,) = (tmp_path / "person" / "images").glob("*.npy")
    forged = np.load(cached)
    forged[:] = 0
    cached.unlink()
    np.save(cached, forged)
    np.testing.assert_array_equal(opened(root, image_size=8).train.pixels, pixels)


def aged(root: Path, seconds: int = 60) -> Path:
    """Return the folder as if every file of it were older than any clock's tick."""
    for path in root.rglob("*"):
        if path.is_file():
            then = path.stat().st_mtime_ns - seconds * 10**9
            os.utime(path, ns=(then, then))
    return root


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the files of images that are opened."""
    collected: list[Path] = []
    read = image_decoder.read_bytes
    monkeypatch.setattr(
        image_decoder,
        "read_bytes",
        lambda path, **options: collected.append(Path(path)) or read(path, **options),
    )
    return collected


@pytest.mark.parametrize("tree", [split_tree, class_tree])
def test_an_unchanged_folder_is_mapped_from_the_cache_without_opening_its_files(
    tmp_path: Path, reads: list[Path], tree: Callable[[Path], Path]
) -> None:
    root = aged(tree(tmp_path / "pets"))
    (root / "notes.txt").write_text("passed over")
    aged(root)
    first = opened(root, image_size=8)
    reads.clear()
    second = opened(root, image_size=8)
    assert reads == []
    assert (first.sha256, first.notes, first.classes) == (
        second.sha256,
        second.notes,
        second.classes,
    )
    for split in ("train", "validation", "test"):
        one, other = getattr(first, split), getattr(second, split)
        assert (one is None) == (other is None)
        if one is not None:
            np.testing.assert_array_equal(one.pixels, other.pixels)
            np.testing.assert_array_equal(one.labels, other.labels)
    backing = second.train.pixels if tree is split_tree else None
    while backing is not None and not isinstance(backing, np.memmap):
        backing = backing.base  # type: ignore[assignment]
    assert tree is class_tree or isinstance(backing, np.memmap)


def test_only_the_new_files_of_a_changed_folder_are_opened_for_their_hash(
    tmp_path: Path, reads: list[Path]
) -> None:
    root = aged(split_tree(tmp_path / "pets"))
    opened(root, image_size=8)
    reads.clear()
    hashes = decoded_hashes(root, tmp_path)
    assert reads == []
    save(root / "train/cat/000.png", picture(77))
    assert decoded_hashes(root, tmp_path) != hashes
    assert set(reads) == {root / "train/cat/000.png"}


def decoded_hashes(root: Path, tmp_path: Path) -> list[str]:
    paths = sorted(str(path.relative_to(root)) for path in root.rglob("*.png"))
    return [
        info.sha256
        for info in read_changed_files(root, paths, 2, tmp_path / "person" / "images").infos
    ]


def test_each_change_of_a_folder_changes_its_data(tmp_path: Path) -> None:
    root = aged(class_tree(tmp_path / "pets"))
    known = {opened(root, image_size=8).sha256}
    changes = [
        lambda: save(root / "cat/000.png", picture(77)),
        lambda: (root / "cat/000.png").rename(root / "dog/new.png"),
        lambda: (root / "cat/.hidden").write_text(""),
        lambda: (root / "cat").rename(root / "lion"),
        lambda: (
            (root / "cat").mkdir()
            or save(root / "cat/1.png", picture(78))
            or save(root / "cat/2.png", picture(79))
        ),
    ]
    for change in changes:
        change()
        aged(root)
        try:
            known.add(opened(root, image_size=8).sha256)
        except InputError as error:
            known.add(str(error))
    assert len(known) == 1 + len(changes)


def test_a_split_file_that_the_user_edited_in_the_cache_is_used(tmp_path: Path) -> None:
    root = aged(class_tree(tmp_path / "pets"))
    first = opened(root, image_size=8)
    (splits,) = (tmp_path / "cache").glob("*-splits.csv")
    text = splits.read_text()
    line = next(line for line in text.splitlines() if ",train," in line)
    splits.write_text(text.replace(line, line.replace(",train,", ",test,")))
    assert len(opened(root, image_size=8).test) == len(first.test) + 1


@pytest.mark.parametrize("seconds", [0, 60])
def test_changed_content_with_the_same_size_and_modification_time_is_detected(
    tmp_path: Path, seconds: int
) -> None:
    """The change time shows it, which no program can set; a young file is read again anyway."""
    root = split_tree(tmp_path / "pets")
    path = root / "train/cat/000.png"
    content = path.read_bytes()
    path.write_bytes(content + b"1")  # any bytes may follow the end of a picture
    aged(root, seconds)
    first, contents = opened(root, image_size=8).sha256, path.stat()
    path.write_bytes(content + b"2")
    os.utime(path, ns=(contents.st_mtime_ns, contents.st_mtime_ns))
    assert opened(root, image_size=8).sha256 != first
    assert audit_source(str(root), image_size=8, cache=tmp_path / "cache").sha256 != first


def test_a_file_that_changes_between_hash_and_decoding_is_reported_as_bad(tmp_path: Path) -> None:
    save(tmp_path / "1.png", picture(1))
    result = decode_cache.decode_or_load(
        tmp_path, ["1.png"], ["0" * 64], 8, cache=tmp_path / "cache", workers=1, notify=print
    )
    assert result.reasons == ("changed while it was read",)
