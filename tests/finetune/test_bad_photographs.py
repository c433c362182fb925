"""Every kind of bad image among good ones, through `finetune` itself: used, or named and left out, and never lost."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from PIL import Image
from stripes import texture

from resnetlab.errors import InputError
from resnetlab.finetune.api import Told, finetune


def jpeg(seed: int, mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    texture("plain", seed).resize((64, 48)).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


def put(root: Path) -> tuple[set[str], set[str]]:
    """Fill train/plain with odd files; the names that are photographs, and those that are none."""
    place = root / "train" / "plain"
    odd = {mode: texture("plain", number).convert("L").convert(mode) for number, mode in enumerate(("LA", "1", "I;16"))}
    for mode, image in odd.items():
        image.save(place / f"odd {mode.replace(';', '')}.png")
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
    bad = {
        "bad empty.jpg": b"", "bad words.jpg": b"words", "bad cut.jpg": whole[: len(whole) // 2],
        "bad form.jpg": b"%PDF-1.7\n", "bad drawing.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n",
    }  # fmt: skip
    for name, raw in bad.items():
        (place / name).write_bytes(raw)
    Image.new("L", (1, 1)).save(place / "bad dot.png")
    Image.new("L", (50_000, 1)).save(place / "bad thread.png")
    Image.new("1", (12_000, 12_000)).save(place / "bad bomb.png")
    os.symlink(place, place / "bad loop")
    os.symlink(place / "nothing.jpg", place / "bad dangling.jpg")
    os.mkfifo(place / "bad pipe.jpg")
    return used, {path.name for path in place.iterdir() if path.name.startswith("bad ")}


def hidden(root: Path) -> None:
    """What a file manager or a notebook leaves; passed over with a note."""
    for place in (root / "train" / ".ipynb_checkpoints", root / "train" / "plain" / ".ipynb_checkpoints"):
        place.mkdir()
        (place / "a.jpg").write_bytes(jpeg(40))
    (root / "train" / "plain" / "._a.jpg").write_bytes(b"\x00\x05\x16\x07")


def told(photos: Path, backbone: Path, *, skip_bad: bool) -> Told:
    return Told(
        folder=photos, model=str(backbone), recipe="probe", train_size=32, output=photos.parent / "out", device="cpu",
        skip_bad=skip_bad,
    )  # fmt: skip


def test_every_bad_file_is_named_in_one_line_and_nothing_is_written(photos: Path, backbone: Path) -> None:
    _, bad = put(photos)
    hidden(photos)
    with pytest.raises(InputError) as caught:
        finetune(told(photos, backbone, skip_bad=False))
    lines = str(caught.value).splitlines()
    for name in bad:
        assert len([line for line in lines if f"train/plain/{name}" in line]) == 1, name
    assert not any("odd " in line for line in lines)
    assert not (photos.parent / "out" / "models").exists()


def test_without_them_the_odd_ones_are_learned_from_and_each_one_left_out_is_told(photos: Path, backbone: Path) -> None:
    good = len(list((photos / "train" / "plain").iterdir()))
    used, bad = put(photos)
    hidden(photos)
    said: list[str] = []
    done = finetune(told(photos, backbone, skip_bad=True), say=said.append)
    assert done.record.train_images == 3 * good + len(used)
    assert not [name for name in bad if name not in "\n".join(said)]


def test_a_name_that_is_no_text_and_two_that_differ_in_case_alone_are_told(photos: Path, backbone: Path) -> None:
    place = os.fsencode(photos / "train" / "plain")
    with open(place + b"/\xff.jpg", "wb") as file:
        file.write(jpeg(50))
    for name in ("case.jpg", "CASE.jpg"):
        (photos / "train" / "plain" / name).write_bytes(jpeg(51))
    with pytest.raises(InputError) as caught:
        finetune(told(photos, backbone, skip_bad=False))
    said = str(caught.value)
    assert "\\xff.jpg" in said
    assert "case.jpg" in said and "CASE.jpg" in said
