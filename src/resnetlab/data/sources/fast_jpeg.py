"""Decoding of JPEG photographs with simplejpeg, which gives the pixels of Pillow in less time.

simplejpeg is optional. It decodes with another build of libjpeg-turbo, straight into an array. It
is used only on a machine where it gives exactly the pixels of Pillow for a set of test images, and
only for files that it decodes without any warning. Pillow decodes every other file.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

DRAFT_FACTORS = (1, 2, 4, 8)  # libjpeg's
MIN_SIDE = 16
"""Smallest side that simplejpeg decodes. The size of a smaller image does not tell its scale."""

_FORMATS = ("JPEG", "MPO")
_MODES = ("L", "RGB")


@dataclass(frozen=True)
class Decoder:
    """Function that decodes a JPEG file, or None and the reason why Pillow decodes all files."""

    decode: Callable[..., NDArray[np.uint8]] | None
    note: str = ""


def decode_rgb(raw: bytes, image: Image.Image) -> NDArray[np.uint8] | None:
    """Decode a JPEG file as Pillow does, or return None if Pillow must decode it.

    Args:
        raw: Bytes of the file.
        image: The same file, opened by Pillow and not loaded. Its size is that of the result.

    Returns:
        RGB pixels (H, W, 3) in the orientation of the file; a gray file has three equal channels.
    """
    decode = checked_decoder().decode
    if decode is None or image.format not in _FORMATS or image.mode not in _MODES:
        return None
    return _decode(decode, raw, image.size)


def fallback_note() -> str:
    """Return the reason why simplejpeg is not used although it is installed; otherwise ''."""
    return checked_decoder().note


@functools.cache
def checked_decoder() -> Decoder:
    """Return the decoder of simplejpeg after a check of its pixels on this machine.

    The result is cached for the rest of the process.
    """
    try:
        import simplejpeg
    except ModuleNotFoundError:
        return Decoder(None)
    except Exception as error:  # such as a build for another version of numpy
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        return Decoder(None, f"simplejpeg cannot be imported ({reason}): Pillow decodes the images")
    decode: Callable[..., NDArray[np.uint8]] = simplejpeg.decode_jpeg
    for raw in _test_images():
        for factor in DRAFT_FACTORS:
            image = Image.open(io.BytesIO(raw), formats=["JPEG"])
            image.draft(None, (image.width // factor, image.height // factor))
            pixels = _decode(decode, raw, image.size)
            if pixels is None or not np.array_equal(pixels, np.asarray(image.convert("RGB"))):
                return Decoder(
                    None,
                    f"simplejpeg {simplejpeg.__version__} gives other pixels than Pillow on this "
                    "machine: Pillow decodes the images",
                )
    return Decoder(decode)


def _decode(
    decode: Callable[..., NDArray[np.uint8]], raw: bytes, size: tuple[int, int]
) -> NDArray[np.uint8] | None:
    """Return the pixels (H, W, 3) at `size`, width and height, or None if anything is unusual."""
    width, height = size
    if min(size) < MIN_SIDE:
        return None
    try:
        # `strict` makes an error of each warning of libjpeg.
        pixels = decode(raw, "RGB", min_height=height, min_width=width, strict=True)
    except Exception:  # Pillow decodes the file, or says what is wrong with it
        return None
    return pixels if pixels.shape == (height, width, 3) else None


def _test_images() -> Iterator[bytes]:
    """Yield small JPEG files of each kind: gray and color, subsampled, progressive, odd sizes."""
    kinds: list[tuple[str, int, int, dict[str, Any]]] = [
        ("RGB", 203, 151, {"subsampling": "4:4:4", "quality": 95}),
        ("RGB", 160, 135, {"subsampling": "4:2:2", "quality": 75}),
        ("RGB", 203, 151, {"subsampling": "4:2:0", "quality": 90}),
        ("RGB", 187, 144, {"subsampling": "4:2:0", "quality": 85, "progressive": True}),
        ("RGB", 131, 133, {"subsampling": "4:2:0", "quality": 50, "restart_marker_blocks": 3}),
        ("L", 203, 151, {"quality": 90}),
    ]
    generator = np.random.default_rng(0)
    for mode, width, height, options in kinds:
        coarse = Image.fromarray(generator.integers(0, 256, (9, 12, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int16)
        pixels = (smooth + generator.integers(-20, 21, smooth.shape)).clip(0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).convert(mode).save(file, "JPEG", **options)
        yield file.getvalue()
