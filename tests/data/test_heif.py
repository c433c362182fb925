"""Photographs of phones are decoded: HEIC with pillow-heif, and AVIF with Pillow alone."""

from __future__ import annotations

import io
import os
import sys
from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from helpers.pictures import save, split_tree
from resnetlab.data.check import audit_source
from resnetlab.data.sources import image_decoder
from resnetlab.data.sources.folder.source import open_folder
from resnetlab.data.sources.image_decoder import BadImageError, decode, read_time_taken


def gradient(width: int = 96, height: int = 64) -> Image.Image:
    """Return a smooth picture without symmetry, so that a turn or a mirror shows."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, (x + 2 * y) / 3], -1).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    pillow_heif.register_heif_opener()
    file = io.BytesIO()
    image.save(file, kind, quality=95, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
def test_a_heic_photograph_of_a_phone_is_decoded_to_its_pixels(kind: str) -> None:
    image = gradient()
    decoded = np.asarray(decode(encoded(image, kind)), np.int64)
    assert np.abs(decoded - np.asarray(image, np.int64)).mean() < 3


def test_the_orientation_of_an_avif_is_applied() -> None:
    image, exif = gradient(), Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees, clockwise
    decoded = decode(encoded(image, "AVIF", exif=exif))
    upright = np.asarray(image.transpose(Image.Transpose.ROTATE_270), np.int64)
    assert decoded.size == (64, 96)
    assert np.abs(np.asarray(decoded, np.int64) - upright).mean() < 3


def test_the_time_when_a_photograph_was_taken_is_read() -> None:
    exif = Image.Exif()
    exif[0x0132] = "2024:05:01 10:20:30"
    for kind in ("HEIF", "JPEG"):
        raw = encoded(gradient(), kind, exif=exif)
        assert read_time_taken(raw) == datetime(2024, 5, 1, 10, 20, 30)  # noqa: DTZ001
    assert read_time_taken(encoded(gradient(), "JPEG")) is None


def test_heic_photographs_of_a_folder_are_used(tmp_path: Path) -> None:
    pillow_heif.register_heif_opener()
    root = split_tree(tmp_path / "pets")
    save(root / "train/cat/IMG_0001.HEIC", gradient(), format="HEIF")
    save(root / "train/dog/IMG_0002.avif", gradient(90, 70))
    audit = audit_source(str(root), cache=tmp_path / "cache")
    assert audit.counts["train"] == (5, 5)
    assert not audit.bad


def test_a_heic_photograph_is_read_once_its_package_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is not cached, though the file stays the same."""
    pillow_heif.register_heif_opener()
    root = split_tree(tmp_path / "pets")
    save(root / "train/cat/IMG_0001.HEIC", gradient(), format="HEIF")
    for path in root.rglob("*.*"):
        os.utime(path, (1e9, 1e9))  # older than any clock's tick, so that caches take it
    read_folder = partial(open_folder, root, image_size=8, cache=tmp_path / "cache", skip_bad=True)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    image_decoder.register_heif.cache_clear()
    try:
        before = read_folder()
    finally:
        monkeypatch.undo()
        image_decoder.register_heif.cache_clear()
    assert len(read_folder().train) == len(before.train) + 1


def test_a_heic_photograph_without_its_package_is_refused_with_the_install_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw = encoded(gradient(), "HEIF")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    image_decoder.register_heif.cache_clear()
    try:
        with pytest.raises(BadImageError, match=r'pip install "resnetlab\[heif\]" reads it'):
            decode(raw)
        assert decode(encoded_avif()).size == (96, 64)
    finally:
        image_decoder.register_heif.cache_clear()


def encoded_avif() -> bytes:
    file = io.BytesIO()
    gradient().save(file, "AVIF")
    return file.getvalue()


def test_a_truncated_heic_is_refused() -> None:
    raw = encoded(gradient(), "HEIF")
    for end in (12, 40, len(raw) // 2, len(raw) - 10):
        with pytest.raises(BadImageError):
            decode(raw[:end])
