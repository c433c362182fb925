"""Every kind of bad image is decoded correctly, or refused with its reason."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image, ImageFile

from helpers.pictures import encoded, picture
from resnetlab.data.sources import image_decoder


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with image_decoder.suppress_pillow_warnings():
        yield


FORMATS = ["JPEG", "PNG", "WEBP", "BMP", "GIF"]


def refused(raw: bytes) -> str:
    with pytest.raises(image_decoder.BadImageError) as caught:
        image_decoder.decode(raw)
    return str(caught.value)


def png_header(width: int, height: int) -> bytes:
    """Return a PNG of that size with no pixels in it: a bomb without the powder."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("kind", FORMATS)
def test_each_format_is_decoded_to_rgb(kind: str) -> None:
    image = image_decoder.decode(encoded(picture(1), kind))
    assert (image.mode, image.size) == ("RGB", (24, 16))


@pytest.mark.parametrize("kind", FORMATS)
def test_a_truncated_file_is_refused_at_every_length(kind: str) -> None:
    content = encoded(picture(1, 200, 150), kind)
    reasons = {refused(content[: len(content) * share // 10]) for share in range(1, 10)}
    if kind in ("JPEG", "BMP"):
        assert f"truncated {kind}" in reasons


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_cut_off_at_any_byte_is_refused_or_has_every_pixel(kind: str) -> None:
    content = encoded(picture(1), kind)
    pixels = np.asarray(image_decoder.decode(content))
    for size in range(len(content)):
        with contextlib.suppress(image_decoder.BadImageError):
            np.testing.assert_array_equal(np.asarray(image_decoder.decode(content[:size])), pixels)


def test_a_truncated_jpeg_is_reported_as_truncated() -> None:
    content = encoded(picture(1, 200, 150), "JPEG")
    assert refused(content[: len(content) // 2]) == "truncated JPEG"
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_bit_flips_give_pixels_or_a_reason_and_no_other_error() -> None:
    generator = np.random.default_rng(0)
    for kind in FORMATS:
        content = encoded(picture(2), kind)
        for _ in range(60):
            raw = bytearray(content)
            raw[generator.integers(len(raw))] ^= 1 << int(generator.integers(8))
            with contextlib.suppress(image_decoder.BadImageError):
                assert image_decoder.decode(bytes(raw)).mode in ("L", "RGB")


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "empty file"),
        (b"these are words\n", "not an image (allowed: JPEG, PNG, WEBP, BMP, GIF, TIFF, "),
        (b"%PDF-1.7\n...", "a PDF (allowed"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript (allowed"),
        (b"\xc5\xd0\xd3\xc6" + b"\0" * 28, "PostScript (allowed"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG (allowed"),
        (encoded(picture(1, 1, 1)), "1 x 1 pixels, a side is below 4"),
        (encoded(Image.new("L", (50_000, 1))), "50000 x 1 pixels, a side is below 4"),
        (png_header(12_000, 12_000), "more than 100 megapixels"),
        (png_header(60_000, 60_000), "more than 100 megapixels"),
    ],
)
def test_an_unusable_image_is_refused_with_its_reason(raw: bytes, reason: str) -> None:
    assert refused(raw).startswith(reason)


def test_an_image_just_below_the_pixel_limit_is_not_refused_by_a_warning() -> None:
    assert not refused(png_header(9_900, 10_000)).startswith("more than")


def test_palette_transparency_alpha_and_color_keys_are_composited_on_white() -> None:
    red = Image.new("RGBA", (8, 8), (200, 0, 0, 255))
    red.paste((0, 0, 200, 0), (0, 0, 4, 8))  # the left half is wholly transparent blue
    half = Image.new("RGBA", (8, 8), (0, 0, 0, 128))
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([9, 9, 9, 200, 0, 0])
    palette.paste(0, (0, 0, 4, 8))
    key = Image.new("RGB", (8, 8), (200, 0, 0))
    key.paste((1, 2, 3), (0, 0, 4, 8))
    sources = [
        encoded(red),
        encoded(palette, transparency=0),
        encoded(palette, "GIF", transparency=0),
        encoded(palette, transparency=bytes([0, 255])),
        encoded(key, transparency=(1, 2, 3)),
    ]
    for raw in sources:
        pixels = np.asarray(image_decoder.decode(raw))
        assert pixels[:, :4].tolist() == [[[255, 255, 255]] * 4] * 8
        assert pixels[:, 4:].tolist() == [[[200, 0, 0]] * 4] * 8
    assert abs(int(np.asarray(image_decoder.decode(encoded(half)))[0, 0, 0]) - 127) <= 1


def test_gray_with_alpha_stays_gray_and_is_composited_on_white() -> None:
    gray = Image.new("LA", (8, 8), (40, 255))
    gray.paste((40, 0), (0, 0, 4, 8))
    image = image_decoder.decode(encoded(gray))
    assert image.mode == "L"
    assert np.asarray(image)[0].tolist() == [255] * 4 + [40] * 4


def test_one_bit_images_are_black_and_white_gray() -> None:
    bits = Image.new("1", (8, 8), 1)
    bits.paste(0, (0, 0, 4, 8))
    image = image_decoder.decode(encoded(bits))
    assert image.mode == "L"
    assert np.asarray(image)[0].tolist() == [0] * 4 + [255] * 4


def test_sixteen_bit_gray_is_scaled_and_not_clipped() -> None:
    levels = np.linspace(0, 65535, 64).round().astype(np.uint16).reshape(8, 8)
    image = image_decoder.decode(encoded(Image.fromarray(levels)))
    assert image.mode == "L"
    np.testing.assert_array_equal(
        np.asarray(image), np.rint(levels * (255 / 65535)).astype(np.uint8)
    )


def test_cmyk_is_converted_to_the_rgb_colors_that_it_shows() -> None:
    decoded = np.asarray(
        image_decoder.decode(encoded(picture(3).convert("CMYK"), "JPEG", quality=100))
    ).astype(int)
    assert np.abs(decoded - np.asarray(picture(3)).astype(int)).mean() < 6


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_every_exif_orientation_is_decoded_upright(orientation: int, kind: str) -> None:
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    upright = picture(4, 32, 16)
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = image_decoder.decode(encoded(stored, kind, exif=exif, quality=100))
    assert image.size == (32, 16)
    assert np.abs(np.asarray(image).astype(int) - np.asarray(upright).astype(int)).mean() < 4


def test_a_damaged_exif_block_does_not_prevent_decoding() -> None:
    raw = encoded(picture(4), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert image_decoder.decode(raw).size == (24, 16)


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_an_animation_is_decoded_to_its_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "lime", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    raw = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    with Image.open(io.BytesIO(raw)) as opened:
        assert getattr(opened, "n_frames", 1) == 3
    assert np.asarray(image_decoder.decode(raw))[0, 0].tolist() == [255, 0, 0]


def test_a_square_is_the_resized_center_of_the_image() -> None:
    image = picture(5, 80, 40)
    pixels = np.asarray(image.resize((40, 20), Image.Resampling.BILINEAR).crop((10, 0, 30, 20)))
    assert (
        np.abs(image_decoder.resize_center_square(image, 20).astype(int) - pixels.astype(int)).max()
        <= 1
    )


def test_an_image_of_the_right_size_is_not_resampled() -> None:
    image = picture(6, 31, 16)
    np.testing.assert_array_equal(
        image_decoder.resize_center_square(image, 16), np.asarray(image)[:, 7:23]
    )


def test_an_image_of_extreme_shape_needs_little_memory() -> None:
    assert image_decoder.resize_center_square(Image.new("RGB", (50_000, 4)), 64).shape == (
        64,
        64,
        3,
    )


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no FIFOs in folders")
@pytest.mark.parametrize("flags", ["all", "those of Windows"])
def test_fifos_and_links_are_not_read(
    tmp_path: os.PathLike[str], monkeypatch: pytest.MonkeyPatch, flags: str
) -> None:
    """Nor where a system has no flags that refuse them: such an open would hang, and follow."""
    if flags != "all":
        monkeypatch.setattr(image_decoder, "_NO_FOLLOW", 0)
        monkeypatch.setattr(image_decoder, "_OPEN_FLAGS", os.O_RDONLY)
    fifo, link = os.path.join(tmp_path, "fifo"), os.path.join(tmp_path, "link")  # noqa: PTH118
    os.mkfifo(fifo)
    os.symlink("/etc/hostname", link)  # noqa: PTH211
    for path in (fifo, link, os.path.join(tmp_path, "absent")):  # noqa: PTH118
        with pytest.raises(
            image_decoder.BadImageError, match=r"not a regular file|cannot be read|a link"
        ):
            image_decoder.read_bytes(path)
