"""One image file to pixels: decoded whole, upright, grey or RGB; or refused with a reason. The project's one decoder.

What is done to each mode:

- grey (1, L, LA, 16-bit grey) becomes L; every other mode (P, RGB, RGBA, CMYK, YCbCr, ...) becomes RGB;
- transparency, be it a channel, a palette's or a colour key, is composited on white;
- 16-bit grey is scaled, round(x 255 / 65535), never clipped; 16-bit colour loses its low byte (Pillow reads it so);
- EXIF orientation is applied; of an animation the first frame is taken.

`PIL.ImageFile.LOAD_TRUNCATED_IMAGES` is never set: half an image is no image.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

DECODER = 1
"""Raised by hand when the same file comes to mean other pixels."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
MAX_PIXELS = 100_000_000
MAX_FILE_BYTES = 500_000_000
MIN_SIDE = 4

_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
# Without O_NONBLOCK a FIFO put in the file's place would hang the open; without O_BINARY Windows changes line ends.
_READ = os.O_RDONLY | _NO_FOLLOW
for _flag in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
    _READ |= getattr(os, _flag, 0)

# Pillow warns above its own limit and refuses above twice that; with ours in its place, what it lets pass with a
# warning is refused below by name.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS

_GREY = ("1", "L", "LA", "La")
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_DISGUISES = {
    b"%PDF": "a PDF",
    b"%!PS": "PostScript",
    b"\xc5\xd0\xd3\xc6": "PostScript",
    b"II*\0": "a TIFF",
    b"MM\0*": "a TIFF",
    b"<svg": "an SVG",
    b"<?xm": "an XML or SVG text",
    b"PK\3\4": "an archive",
}


class BadImageError(Exception):
    """A file that is no image we read; the message is the reason."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence Pillow's warnings (damaged EXIF, large images): what matters of them is a reason below.

    To be held around a batch of decoding, by the thread that starts the others: filters belong to the process.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def read(path: str | Path) -> bytes:
    """The bytes of a regular file, links not followed. Raises BadImageError."""
    try:
        if not _NO_FOLLOW and not stat.S_ISREG(os.lstat(path).st_mode):
            raise BadImageError("not a regular file")
        handle = os.open(path, _READ)
        with os.fdopen(handle, "rb") as file:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise BadImageError("not a regular file")
            if status.st_size > MAX_FILE_BYTES:
                raise BadImageError(f"larger than {MAX_FILE_BYTES // 10**6} MB")
            return file.read()
    except OSError as error:
        raise BadImageError(f"cannot be read: {(error.strerror or str(error)).lower()}") from error


def header(raw: bytes) -> tuple[int, int]:
    """Height and width in pixels as stored, from the file's header alone. Raises BadImageError."""
    image = _open(raw)
    return image.height, image.width


def decode(raw: bytes, reduction: int = 1) -> Image.Image:
    """The whole image, upright, of mode L or RGB. Raises BadImageError for anything less.

    With a `reduction` of 2, 4 or 8 a JPEG is decoded at that part of its sides, rounded up: libjpeg leaves out the
    frequencies that such an image cannot show, and most of the work. Other formats are decoded as they are.
    """
    image = _open(raw)
    kind = image.format or "image"
    try:
        if reduction > 1:
            image.draft(None, (image.width // reduction, image.height // reduction))
        image.load()
        return flatten(image)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise nearly every kind for a damaged file
        if "truncated" in str(error).lower():
            raise BadImageError(f"truncated {kind}") from error
        raise BadImageError(f"broken {kind}: {str(error)[:80] or type(error).__name__}") from error


def upright_size(raw: bytes) -> tuple[int, int]:
    """Width and height in pixels of the image that `decode` gives, from the file's header alone."""
    image = _open(raw)
    return (image.height, image.width) if _orientation(image) >= 5 else image.size


def flatten(image: Image.Image) -> Image.Image:
    """A loaded image of any mode, upright, as mode L or RGB, by the rules above."""
    return _flat(_upright(image))


def square(image: Image.Image, side: int) -> NDArray[np.uint8]:
    """The centre square of an image, resized: (side, side) grey or (side, side, 3) RGB.

    Antialiased bilinear, as the evaluation of torchvision's reference networks: what resizing the shorter side and
    cropping the centre gives, without the intermediate image. An image of that size keeps its pixels.
    """
    edge = min(image.size)
    left, top = (image.width - edge) // 2, (image.height - edge) // 2
    box = (left, top, left + edge, top + edge)
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR, box=box))


def _open(raw: bytes) -> Image.Image:
    if not raw:
        raise BadImageError("empty file")
    try:
        image = Image.open(io.BytesIO(raw), formats=FORMATS)
    except MemoryError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadImageError(f"more than {MAX_PIXELS // 10**6} megapixels") from None
    except Exception as error:
        disguise = _DISGUISES.get(raw[:4], "not an image")
        raise BadImageError(f"{disguise} (allowed: {', '.join(FORMATS)})") from error
    if image.width * image.height > MAX_PIXELS:
        raise BadImageError(f"more than {MAX_PIXELS // 10**6} megapixels")
    if min(image.size) < MIN_SIDE:
        raise BadImageError(f"{image.width} x {image.height} pixels, a side is below {MIN_SIDE}")
    return image


def _upright(image: Image.Image) -> Image.Image:
    method = _UPRIGHT.get(_orientation(image))
    return image if method is None else image.transpose(method)


def _orientation(image: Image.Image) -> int:
    """1 to 8; above 4, what is stored lies on its side."""
    try:
        held = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # a damaged EXIF block says nothing; the pixels are whole
        return 1
    return held if held in _UPRIGHT else 1


def _flat(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # Pillow's own conversion clips at 255
        levels = np.asarray(image).astype(np.int64).clip(0, 65535)
        return Image.fromarray(((levels + 128) // 257).astype(np.uint8))
    grey = image.mode in _GREY
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    mode = "L" if grey else "RGB"
    return image if image.mode == mode else image.convert(mode)
