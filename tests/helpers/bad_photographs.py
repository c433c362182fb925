"""Photographs of every unusual and every bad kind."""

from __future__ import annotations

import io
import os
from pathlib import Path

from PIL import Image

from helpers.texture_photographs import texture


def jpeg(seed: int, mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    texture("plain", seed).resize((64, 48)).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


def put(root: Path, folder: str = "train/plain") -> tuple[set[str], set[str]]:
    """Fill a folder with odd files; the names of those that are photographs, and of those that
    are broken.
    """
    target = root / folder
    odd = {
        mode: texture("plain", number).convert("L").convert(mode)
        for number, mode in enumerate(("LA", "1", "I;16"))
    }
    for mode, image in odd.items():
        image.save(target / f"odd {mode.replace(';', '')}.png")
    palette = texture("plain", 6).quantize(8)
    palette.save(target / "odd palette.png", transparency=0)
    (target / "odd cmyk.jpg").write_bytes(jpeg(1, "CMYK"))
    for number in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = number
        (target / f"odd turned {number}.jpg").write_bytes(jpeg(10 + number, exif=exif))
    frames = [texture("plain", number) for number in (20, 21, 22)]
    for kind in ("gif", "webp"):
        frames[0].save(target / f"odd moving.{kind}", save_all=True, append_images=frames[1:])
    used = {path.name for path in target.glob("odd *")}
    content = jpeg(30)
    flipped = bytearray((target / "odd LA.png").read_bytes())
    flipped[len(flipped) // 2] ^= 1  # in the pixels, of which a PNG keeps a sum
    bad = {
        "bad empty.jpg": b"",
        "bad words.jpg": b"words",
        "bad cut.jpg": content[: len(content) // 2],
        "bad flipped.png": bytes(flipped),
        "bad form.jpg": b"%PDF-1.7\n",
        "bad drawing.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n",
    }
    for name, raw in bad.items():
        (target / name).write_bytes(raw)
    Image.new("L", (1, 1)).save(target / "bad dot.png")
    Image.new("L", (50_000, 1)).save(target / "bad thread.png")
    Image.new("1", (12_000, 12_000)).save(target / "bad bomb.png")
    names = {path.name for path in target.glob("bad *")}
    (target / "loop").symlink_to(target)
    (target / "dangling.jpg").symlink_to(target / "nothing.jpg")
    os.mkfifo(target / "pipe.jpg")
    for hidden in (target.parent / ".ipynb_checkpoints", target / ".ipynb_checkpoints"):
        hidden.mkdir()
        (hidden / "a.jpg").write_bytes(jpeg(40))
    (target / "._a.jpg").write_bytes(b"\x00\x05\x16\x07")
    return used, names
