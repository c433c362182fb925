"""Image decoder, the only one here: one file becomes gray or RGB pixels, upright, or is refused.

Modes are handled as follows:

- gray (1, L, LA, 16-bit gray) becomes L; every other mode (P, RGB, RGBA, CMYK, YCbCr, ...) becomes
  RGB;
- transparency (a channel, a palette's or a color key) is composited on white;
- 16-bit gray is scaled, round(x 255 / 65535), never clipped; 16-bit color loses its low byte
  (Pillow reads it so);
- pixels of 32 bits or of floating point are refused, because their white is unknown;
- EXIF orientation is applied; an animation, a TIFF of several pages or a JPEG with more pictures
  (MPO) gives its first frame.

`PIL.ImageFile.LOAD_TRUNCATED_IMAGES` is never set, so that a truncated image is refused.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
import os
import stat
import warnings
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnetlab.data.sources import fast_jpeg

DECODER_VERSION = 1
"""Version of the decoder. Increase it by hand when the same file gives other pixels."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF", "HEIF")
"""Formats of images. HEIF, as of iPhones (.heic), needs the package pillow-heif."""

MAX_PIXELS = 100_000_000
MAX_FILE_BYTES = 500_000_000
MIN_SIDE = 4

_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
# Without O_NONBLOCK, opening a FIFO in place of the file would hang; without O_BINARY, Windows
# changes line ends.
_OPEN_FLAGS = os.O_RDONLY | _NO_FOLLOW
for _flag in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
    _OPEN_FLAGS |= getattr(os, _flag, 0)

# Pillow warns above its limit and refuses above twice the limit. With this limit, `_open` refuses
# the images in between, about which Pillow only warns.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS

_AVIF_BRANDS = (b"avif", b"avis")
_GRAY_MODES = ("1", "L", "LA", "La")
_ORIENTATION_TAG = 0x0112
_EXIF_IFD, _DATE_TIME_ORIGINAL, _DATE_TIME = 0x8769, 0x9003, 0x0132
_ORIENTATION_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_OTHER_FORMATS = {
    b"%PDF": "a PDF",
    b"%!PS": "PostScript",
    b"\xc5\xd0\xd3\xc6": "PostScript",
    b"<svg": "an SVG",
    b"<?xm": "an XML or SVG text",
    b"PK\3\4": "an archive",
}


class BadImageError(Exception):
    """Error of a file that cannot be read as an image; the message is the reason."""


class UnreadableFileError(BadImageError):
    """Error of a file whose bytes the disk does not give now; another attempt may succeed."""


@contextlib.contextmanager
def suppress_pillow_warnings() -> Iterator[None]:
    """Silence Pillow's warnings; the important ones become a reason of BadImageError.

    Enter it around a batch of decoding, in the thread that starts the others, because filters
    belong to the process.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def read_bytes(path: str | Path, *, follow_links: bool = False) -> bytes:
    """Return the bytes of a regular file. A link is refused, unless `follow_links` is set.

    Raises BadImageError if it cannot be read.
    """
    if follow_links:
        path = os.path.realpath(path)
    elif os.path.islink(path):  # noqa: PTH114
        raise BadImageError("a link, which is not followed")
    try:
        if not _NO_FOLLOW and not stat.S_ISREG(os.lstat(path).st_mode):
            raise BadImageError("not a regular file")
        handle = os.open(path, _OPEN_FLAGS)
        with os.fdopen(handle, "rb") as file:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise BadImageError("not a regular file")
            if status.st_size > MAX_FILE_BYTES:
                raise BadImageError(f"larger than {MAX_FILE_BYTES // 10**6} MB")
            return file.read()
    except OSError as error:
        reason = f"cannot be read: {(error.strerror or str(error)).lower()}"
        raise UnreadableFileError(reason) from error


def read_size(raw: bytes) -> tuple[int, int]:
    """Return height and width in pixels as stored, from the header.

    Raises BadImageError if it has no header of an image.
    """
    image = _open(raw)
    return image.height, image.width


def decode(raw: bytes, draft_factor: int = 1) -> Image.Image:
    """Return the complete image, upright, in mode L or RGB. Raises BadImageError otherwise.

    With a `draft_factor` of 2, 4 or 8 a JPEG is decoded at that fraction of its sides, rounded up:
    libjpeg skips the frequencies that such an image cannot show, and most of the work. Other
    formats are decoded at full size.
    """
    image = _open(raw)
    with _refuse_damaged(image):
        _set_draft_factor(image, draft_factor)
        image.load()
        return orient_and_convert(image)


def decode_rgb(raw: bytes, draft_factor: int = 1) -> NDArray[np.uint8]:
    """Return the pixels (H, W, 3) of `decode(raw, draft_factor).convert("RGB")`.

    With the package simplejpeg, most JPEG files take less time. Raises BadImageError if the image
    is damaged.
    """
    image = _open(raw)
    with _refuse_damaged(image):
        _set_draft_factor(image, draft_factor)
        pixels = fast_jpeg.decode_rgb(raw, image)
        if pixels is None:
            image.load()
            upright = orient_and_convert(image)
            return np.array(upright if upright.mode == "RGB" else upright.convert("RGB"))
        method = _ORIENTATION_TRANSPOSES.get(_orientation(image))
        return pixels if method is None else np.array(Image.fromarray(pixels).transpose(method))


def upright_size(raw: bytes) -> tuple[int, int]:
    """Return width and height in pixels of the image that `decode` returns, from its header."""
    image = _open(raw)
    # Pillow gives the upright size of a TIFF.
    is_turned = image.format != "TIFF" and _orientation(image) >= 5
    return (image.height, image.width) if is_turned else image.size


def read_time_taken(raw: bytes) -> datetime | None:
    """Return when a photograph was taken, by its EXIF data, or None.

    Raises BadImageError if it cannot be read.
    """
    image = _open(raw)
    try:
        exif = image.getexif()
        text = exif.get_ifd(_EXIF_IFD).get(_DATE_TIME_ORIGINAL) or exif.get(_DATE_TIME)
        return datetime.strptime(str(text).strip("\0 "), "%Y:%m:%d %H:%M:%S")  # noqa: DTZ007
    except Exception:  # no time, or a damaged EXIF block
        return None


def orient_and_convert(image: Image.Image) -> Image.Image:
    """Return a loaded image of any mode, upright, as mode L or RGB, by the rules above."""
    return _to_gray_or_rgb(_apply_orientation(image))


def resize_center_square(image: Image.Image, side: int) -> NDArray[np.uint8]:
    """Return the center square of an image, resized: (side, side) gray or (side, side, 3) RGB.

    It is antialiased bilinear, as in the evaluation of torchvision's reference networks, and equals
    resizing the shorter side and taking the center crop, without the intermediate image. An image
    of that size keeps its pixels.
    """
    edge = min(image.size)
    left, top = (image.width - edge) // 2, (image.height - edge) // 2
    box = (left, top, left + edge, top + edge)
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR, box=box))


def is_heif_installed() -> bool:
    """Return True if the package pillow-heif is installed. Does not import it."""
    return importlib.util.find_spec("pillow_heif") is not None


@functools.cache
def register_heif() -> bool:
    """Register the reader of pillow-heif with Pillow. Returns False if it is not installed.

    The result is cached for the rest of the process.
    """
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def _allowed_formats(raw: bytes) -> tuple[str, ...]:
    """Return the formats that a file may have. Raises BadImageError if pillow-heif is needed."""
    without_heif = FORMATS[:-1]
    if raw[4:8] != b"ftyp" or raw[8:12] in _AVIF_BRANDS:
        return without_heif
    if not register_heif():
        raise BadImageError('a HEIC photograph; pip install "resnetlab[heif]" reads it')
    return FORMATS


def _open(raw: bytes) -> Image.Image:
    if not raw:
        raise BadImageError("empty file")
    formats = _allowed_formats(raw)
    try:
        image = Image.open(io.BytesIO(raw), formats=formats)
    except MemoryError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadImageError(f"more than {MAX_PIXELS // 10**6} megapixels") from None
    except Exception as error:
        disguise = _OTHER_FORMATS.get(raw[:4], "not an image")
        raise BadImageError(f"{disguise} (allowed: {', '.join(FORMATS)})") from error
    if image.width * image.height > MAX_PIXELS:
        raise BadImageError(f"more than {MAX_PIXELS // 10**6} megapixels")
    if min(image.size) < MIN_SIDE:
        raise BadImageError(f"{image.width} x {image.height} pixels, a side is below {MIN_SIDE}")
    return image


@contextlib.contextmanager
def _refuse_damaged(image: Image.Image) -> Iterator[None]:
    """Raise BadImageError where Pillow's decoders raise one of many errors for a damaged file."""
    kind = image.format or "image"
    try:
        yield
    except (MemoryError, BadImageError):
        raise
    except Exception as error:
        if "truncated" in str(error).lower():
            raise BadImageError(f"truncated {kind}") from error
        raise BadImageError(f"broken {kind}: {str(error)[:80] or type(error).__name__}") from error


def _set_draft_factor(image: Image.Image, factor: int) -> None:
    """Make Pillow decode a JPEG at a fraction of its sides. Other formats keep their size."""
    if factor > 1:
        image.draft(None, (image.width // factor, image.height // factor))


def _apply_orientation(image: Image.Image) -> Image.Image:
    method = _ORIENTATION_TRANSPOSES.get(_orientation(image))
    return image if method is None else image.transpose(method)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; above 4 the stored image is rotated by 90 degrees."""
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # a damaged EXIF block does not damage the pixels
        return 1
    return orientation if orientation in _ORIENTATION_TRANSPOSES else 1


def _to_gray_or_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise BadImageError("float pixels, whose white is unknown: save it with 8 or 16 bits")
    if image.mode.startswith("I"):  # Pillow's own conversion clips at 255
        levels = np.asarray(image).astype(np.int64)
        if levels.min() < 0 or levels.max() > 65535:
            raise BadImageError("32-bit pixels, whose white is unknown: save it with 8 or 16 bits")
        return Image.fromarray(((levels + 128) // 257).astype(np.uint8))
    gray = image.mode in _GRAY_MODES
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    mode = "L" if gray else "RGB"
    return image if image.mode == mode else image.convert(mode)
