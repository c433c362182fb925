"""Every kind of bad image among good ones, through `finetune` itself: used, or named and left out,
and never lost.
"""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import pytest
from PIL import Image

from helpers.stripes import QUICK, texture
from resnetlab.errors import InputError
from resnetlab.finetune.api import finetune
from resnetlab.finetune.request import FinetuneRequest


def jpeg(seed: int, mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    texture("plain", seed).resize((64, 48)).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


def put(root: Path) -> tuple[set[str], set[str]]:
    """Fill train/plain with odd files; the names of those that are photographs, and of those that
    are broken.
    """
    place = root / "train" / "plain"
    odd = {
        mode: texture("plain", number).convert("L").convert(mode)
        for number, mode in enumerate(("LA", "1", "I;16"))
    }
    for mode, image in odd.items():
        image.save(place / f"odd {mode.replace(';', '')}.png")
    palette = texture("plain", 6).quantize(8)
    palette.save(place / "odd palette.png", transparency=0)
    (place / "odd cmyk.jpg").write_bytes(jpeg(1, "CMYK"))
    for number in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = number
        (place / f"odd turned {number}.jpg").write_bytes(jpeg(10 + number, exif=exif))
    frames = [texture("plain", number) for number in (20, 21, 22)]
    for kind in ("gif", "webp"):
        frames[0].save(place / f"odd moving.{kind}", save_all=True, append_images=frames[1:])
    used = {path.name for path in place.glob("odd *")}
    whole = jpeg(30)
    flipped = bytearray((place / "odd LA.png").read_bytes())
    flipped[len(flipped) // 2] ^= 1  # in the pixels, of which a PNG keeps a sum
    bad = {
        "bad empty.jpg": b"",
        "bad words.jpg": b"words",
        "bad cut.jpg": whole[: len(whole) // 2],
        "bad flipped.png": bytes(flipped),
        "bad form.jpg": b"%PDF-1.7\n",
        "bad drawing.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n",
    }
    for name, raw in bad.items():
        (place / name).write_bytes(raw)
    Image.new("L", (1, 1)).save(place / "bad dot.png")
    Image.new("L", (50_000, 1)).save(place / "bad thread.png")
    Image.new("1", (12_000, 12_000)).save(place / "bad bomb.png")
    found = {path.name for path in place.glob("bad *")}
    (place / "loop").symlink_to(place)
    (place / "dangling.jpg").symlink_to(place / "nothing.jpg")
    os.mkfifo(place / "pipe.jpg")
    for hidden in (root / "train" / ".ipynb_checkpoints", place / ".ipynb_checkpoints"):
        hidden.mkdir()
        (hidden / "a.jpg").write_bytes(jpeg(40))
    (place / "._a.jpg").write_bytes(b"\x00\x05\x16\x07")
    return used, found


def request(photos: Path, backbone: Path, *, skip_bad: bool) -> FinetuneRequest:
    return FinetuneRequest(
        folder=photos,
        model=str(backbone),
        recipe=QUICK,
        train_size=32,
        output=photos.parent / "out",
        device="cpu",
        skip_bad=skip_bad,
    )


def listed(photos: Path) -> set[str]:
    """The names in the list that is written beside the cache."""
    (file,) = (photos.parent / "out" / "cache").glob("*-bad.csv")
    with file.open(newline="", encoding="utf-8") as stream:
        return {Path(row["path"]).name for row in csv.DictReader(stream) if row["reason"]}


def test_bad_files_are_reported_in_one_line_and_listed_with_reasons_and_no_model_is_written(
    photos: Path, backbone: Path
) -> None:
    _, bad = put(photos)
    with pytest.raises(InputError) as caught:
        finetune(request(photos, backbone, skip_bad=False))
    (line,) = str(caught.value).splitlines()
    assert f"(1 of {len(bad)} bad files, listed in" in line
    assert line.endswith("Fix: replace them, or --skip-bad")
    assert listed(photos) == bad
    assert not (photos.parent / "out" / "models").exists()


def test_without_them_the_odd_ones_are_learned_from_and_what_was_left_out_is_reported(
    photos: Path, backbone: Path
) -> None:
    good = len(list((photos / "train" / "plain").iterdir()))
    used, bad = put(photos)
    notes: list[str] = []
    done = finetune(request(photos, backbone, skip_bad=True), notify=notes.append)
    assert done.result.train_images == 3 * good + len(used)
    assert listed(photos) == bad
    assert any(f"{len(bad)} bad files skipped" in note for note in notes)
    assert any(
        "6 files skipped: 3 hidden, 2 a link, 1 not a regular file" in note for note in notes
    )


def test_a_name_that_is_no_text_and_two_that_differ_in_case_alone_are_photographs_as_others(
    photos: Path, backbone: Path
) -> None:
    place = photos / "train" / "plain"
    for name in ("case.jpg", "CASE.jpg", os.fsdecode(b"\xff.jpg")):
        (place / name).write_bytes(jpeg(51))
    done = finetune(request(photos, backbone, skip_bad=False))
    assert done.result.train_images == 33
    assert (
        json.loads((done.report_folder / "finetune.json").read_text(encoding="utf-8"))[
            "train_images"
        ]
        == 33
    )
