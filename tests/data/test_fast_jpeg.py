"""simplejpeg decodes a photograph only if the result is the same as that of Pillow."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from helpers.pictures import encoded, picture, split_tree
from resnetlab.data.sources import fast_jpeg, image_decoder
from resnetlab.data.sources.image_decoder import BadImageError, decode_rgb
from resnetlab.finetuning.dataset import open_photographs

simplejpeg = pytest.importorskip("simplejpeg")

FACTORS = (1, 2, 4, 8)


@pytest.fixture(autouse=True)
def _checked_again() -> Iterator[None]:
    """Check simplejpeg in each test, since some of them replace it."""
    fast_jpeg.checked_decoder.cache_clear()
    with image_decoder.suppress_pillow_warnings():
        yield
    fast_jpeg.checked_decoder.cache_clear()


def textured(seed: int, width: int = 203, height: int = 151, mode: str = "RGB") -> Image.Image:
    """Return an image with edges and noise, so that a wrong upsampling or color conversion
    shows.
    """
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (7, 9, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.NEAREST), np.int16)
    noisy = (smooth + generator.integers(-40, 41, smooth.shape)).clip(0, 255)
    return Image.fromarray(noisy.astype(np.uint8)).convert(mode)


def result(raw: bytes, factor: int = 1) -> NDArray[np.uint8] | str:
    """Return the pixels, or the reason of a refusal."""
    try:
        return decode_rgb(raw, factor)
    except BadImageError as error:
        return str(error)


def is_fast(raw: bytes, factor: int = 1) -> bool:
    """Return True if simplejpeg decodes the file."""
    results = []

    def decode_and_record(raw: bytes, image: Image.Image) -> NDArray[np.uint8] | None:
        results.append(fast_decode(raw, image))
        return results[-1]

    fast_decode = fast_jpeg.decode_rgb
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast_jpeg, "decode_rgb", decode_and_record)
        decode_rgb(raw, factor)
    (pixels,) = results
    return pixels is not None


def check_same(raw: bytes, factor: int = 1) -> NDArray[np.uint8] | str:
    """Check that the result with simplejpeg is that of Pillow alone, and return it."""
    with_simplejpeg = result(raw, factor)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast_jpeg, "decode_rgb", lambda *_: None)
        with_pillow = result(raw, factor)
    assert type(with_simplejpeg) is type(with_pillow)
    np.testing.assert_array_equal(with_simplejpeg, with_pillow)
    return with_simplejpeg


ORDINARY = {
    "4:4:4": {"subsampling": "4:4:4", "quality": 95},
    "4:2:2": {"subsampling": "4:2:2"},
    "4:2:0": {"subsampling": "4:2:0", "quality": 90},
    "progressive": {"progressive": True, "quality": 90},
    "restart markers by block": {"restart_marker_blocks": 2},
    "restart markers by row": {"restart_marker_rows": 1},
    "optimized Huffman tables": {"optimize": True},
    "RGB without YCbCr": {"keep_rgb": True},
    "coarse tables": {"quality": 1},
    "tables of 16 bits": {"qtables": [[min(300 + k, 1000) for k in range(64)]] * 2},
    "a comment and a profile": {"comment": b"x" * 300, "icc_profile": b"p" * 500},
}


@pytest.mark.parametrize("kind", ORDINARY)
@pytest.mark.parametrize("factor", FACTORS)
def test_ordinary_files_are_decoded_by_simplejpeg_with_the_pixels_of_pillow(
    kind: str, factor: int
) -> None:
    for seed, (width, height) in enumerate(((203, 151), (160, 128), (129, 257), (1000, 131))):
        raw = encoded(textured(seed, width, height), "JPEG", **ORDINARY[kind])
        assert is_fast(raw, factor)
        assert isinstance(check_same(raw, factor), np.ndarray)


@pytest.mark.parametrize("factor", FACTORS)
def test_a_gray_file_has_three_equal_channels(factor: int) -> None:
    raw = encoded(textured(1, mode="L"), "JPEG")
    pixels = check_same(raw, factor)
    assert is_fast(raw, factor)
    assert isinstance(pixels, np.ndarray)
    assert (pixels[..., 0] == pixels[..., 2]).all()


def test_files_of_every_width_and_height_from_the_smallest_have_the_pixels_of_pillow() -> None:
    for side in range(4, 50):
        for width, height in ((side, 40), (40, side), (side, side)):
            raw = encoded(textured(side, width, height), "JPEG", subsampling="4:2:0")
            for factor in FACTORS:
                check_same(raw, factor)


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("factor", [1, 2])
def test_an_orientation_is_applied_as_in_pillow(orientation: int, factor: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    raw = encoded(textured(2), "JPEG", exif=exif)
    pixels = check_same(raw, factor)
    assert is_fast(raw, factor)
    expected = image_decoder.decode(raw, factor).convert("RGB")
    np.testing.assert_array_equal(pixels, np.asarray(expected))


def several_pictures() -> bytes:
    file = io.BytesIO()
    textured(3).save(file, "MPO", save_all=True, append_images=[textured(4)])
    return file.getvalue()


def test_the_first_picture_of_a_file_of_several_is_decoded() -> None:
    raw = several_pictures()
    assert Image.open(io.BytesIO(raw)).format == "MPO"
    assert is_fast(raw)
    check_same(raw)


def with_adobe_marker(raw: bytes, transform: int) -> bytes:
    """Return the file with an Adobe APP14 marker in place of its JFIF marker."""
    assert raw[2:4] == b"\xff\xe0"
    end = 4 + int.from_bytes(raw[4:6], "big")
    body = b"Adobe\0\x64\0\0\0\0" + bytes([transform])
    return raw[:2] + b"\xff\xee" + (len(body) + 2).to_bytes(2, "big") + body + raw[end:]


@pytest.mark.parametrize("transform", [0, 1, 2, 9])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_the_color_transform_of_an_adobe_marker_is_read_as_in_pillow(
    transform: int, mode: str
) -> None:
    raw = encoded(textured(5, mode=mode), "JPEG")
    raw = raw.replace(b"Adobe\0\x64\0\0\0\0\0", b"Adobe\0\x64\0\0\0\0" + bytes([transform]))
    if mode != "CMYK":
        raw = with_adobe_marker(raw, transform)
    assert isinstance(check_same(raw), np.ndarray)


def test_pillow_decodes_cmyk_and_other_formats() -> None:
    others = [encoded(textured(6, mode="CMYK"), "JPEG")]
    others += [encoded(textured(6), kind) for kind in ("PNG", "WEBP", "BMP", "GIF", "TIFF")]
    for raw in others:
        assert not is_fast(raw)
        assert isinstance(check_same(raw), np.ndarray)


@pytest.mark.parametrize("kind", ["4:2:0", "progressive", "restart markers by block"])
def test_a_truncated_file_is_refused_with_the_same_words(kind: str) -> None:
    complete = encoded(textured(7), "JPEG", **ORDINARY[kind])
    refusals = [check_same(complete[: len(complete) * part // 20]) for part in range(1, 20)]
    assert "truncated JPEG" in [reason for reason in refusals if isinstance(reason, str)]


def test_missing_end_markers_and_bytes_after_the_end_change_nothing() -> None:
    complete = encoded(textured(8), "JPEG")
    pixels = check_same(complete)
    for raw in (
        complete[:-1],
        complete[:-2],
        complete + b"\0" * 99,
        complete + complete,
        complete[:-2] + b"text",
    ):
        check_same(raw)
    np.testing.assert_array_equal(check_same(complete + b"\0" * 99), pixels)


@pytest.mark.parametrize("kind", ["4:4:4", "4:2:0", "progressive", "restart markers by row"])
def test_damaged_files_have_the_pixels_or_the_refusal_of_pillow(kind: str) -> None:
    generator = np.random.default_rng(9)
    complete = encoded(textured(9, 90, 70), "JPEG", **ORDINARY[kind])
    refused = 0
    for number in range(150):
        raw = bytearray(complete)
        position = int(generator.integers(2, len(raw)))
        match number % 3:
            case 0:
                raw[position] ^= 1 << int(generator.integers(8))
            case 1:
                del raw[position : position + int(generator.integers(1, 9))]
            case _:
                raw[position:position] = generator.bytes(int(generator.integers(1, 9)))
        refused += isinstance(check_same(bytes(raw), (1, 2, 8)[number % 3]), str)
    assert 0 < refused < 150


def test_without_simplejpeg_pillow_decodes_without_a_note(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw = encoded(textured(10), "JPEG")
    pixels = decode_rgb(raw)
    fast_jpeg.checked_decoder.cache_clear()
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    assert not is_fast(raw)
    assert fast_jpeg.fallback_note() == ""
    np.testing.assert_array_equal(decode_rgb(raw), pixels)


def test_pillow_decodes_and_a_note_is_printed_if_a_pixel_differs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    decode = simplejpeg.decode_jpeg

    def off_by_one(*arguments: object, **options: object) -> NDArray[np.uint8]:
        pixels = decode(*arguments, **options)
        if pixels.shape[0] > 100:  # so that only full size is wrong
            pixels[3, 5, 0] ^= 1
        return pixels

    monkeypatch.setattr(simplejpeg, "decode_jpeg", off_by_one)
    raw = encoded(textured(11), "JPEG")
    lines: list[str] = []
    open_photographs(split_tree(tmp_path / "data"), cache=tmp_path / "cache", notify=lines.append)
    (line,) = [line for line in lines if "simplejpeg" in line]
    assert line.endswith(
        "gives other pixels than Pillow on this machine: Pillow decodes the images"
    )
    assert not is_fast(raw)
    np.testing.assert_array_equal(decode_rgb(raw), np.asarray(image_decoder.decode(raw)))


def test_a_build_that_cannot_be_imported_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "simplejpeg":
                raise ValueError("numpy.dtype size changed")

    monkeypatch.delitem(sys.modules, "simplejpeg")
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    assert fast_jpeg.fallback_note() == (
        "simplejpeg cannot be imported (ValueError: numpy.dtype size changed): "
        "Pillow decodes the images"
    )
    assert not is_fast(encoded(picture(1, 60, 40), "JPEG"))


def test_simplejpeg_has_the_pixels_of_pillow_on_this_machine() -> None:
    assert fast_jpeg.fallback_note() == ""
    assert fast_jpeg.checked_decoder().decode is simplejpeg.decode_jpeg
