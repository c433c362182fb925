"""Training crops of photographs a second, beside torchvision's ImageFolder: `python benchmarks/photographs.py`.

Theirs: `ImageFolder`, `RandomResizedCrop(224)` and a `DataLoader`, in the calling process and with two workers; and the
same with the flips and colours of ours. Ours: what a stage of fine-tuning shows, with its flips and colours, decoded
exactly and scaled; the first pass over the photographs, and later ones, for which what fits the bound was kept. Windows
alternate. Prints medians and ratios, writes `benchmarks/photographs.json`, and ends with 1 below the target.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from machine import machine
from PIL import Image
from scenes import scenes
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from resnetlab.data.sources.manifest import Row
from resnetlab.data.view import View
from resnetlab.files import sha256
from resnetlab.finetune.photographs import Part
from resnetlab.finetune.stage import _Stream
from resnetlab.finetune.views import draw_epoch
from resnetlab.training.random import stream

PHOTOGRAPHS, WIDTH, HEIGHT, SIZE, BATCH, WINDOWS = 200, 1500, 1000, 224, 32, 5
TARGET = 2.0
"""Times ImageFolder with two workers, over ten epochs of scaled decoding."""
EPOCHS = 10
PASSES = ("first", "second", "third")
"""Later ones find more of what they need: a photograph is kept at each part of its sides that was asked for."""

COLOURS = (transforms.RandomHorizontalFlip(), transforms.ColorJitter(0.3, 0.3, 0.3))
"""What our stage does besides."""

Window = Callable[[int], int]
"""Shows every photograph once, and says how many there were."""


def main() -> int:
    """Measure, print, write; the exit code."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        write(root)
        taken: dict[str, list[float]] = {}
        for window in range(WINDOWS):
            for name, passes in contenders(root).items():
                for number, show in enumerate(passes):
                    began = time.monotonic()
                    count = show(window)
                    kind = name if len(passes) == 1 else f"{name}, {PASSES[number]} pass"
                    taken.setdefault(kind, []).append(count / (time.monotonic() - began))
    pace = {name: statistics.median(found) for name, found in taken.items()}
    for decode in ("exact", "scaled"):
        first, second, third = (pace[f"ours, {decode}, {name} pass"] for name in PASSES)
        pace[f"ours, {decode}, {EPOCHS} epochs"] = EPOCHS / (1 / first + 1 / second + (EPOCHS - 2) / third)
    best, alike = (max(pace[f"{who}, {n} workers"] for n in (0, 2)) for who in ("ImageFolder", "with colours"))
    for name, images in pace.items():
        print(f"{name:28} {images:7.1f} images/s  {images / best:5.2f} x ImageFolder at its best, "
              f"{images / alike:5.2f} x with colours")  # fmt: skip
    ratios = {name: round(images / best, 2) for name, images in pace.items()}
    ratios |= {f"{name}, to ImageFolder with colours": round(pace[name] / alike, 2) for name in pace if "ours" in name}
    held = {**machine(), "photographs": PHOTOGRAPHS, "width": WIDTH, "height": HEIGHT, "windows": WINDOWS}
    held |= {"images_per_second": {name: round(images, 1) for name, images in pace.items()}, "ratios": ratios}
    Path(__file__).with_suffix(".json").write_text(json.dumps(held, indent=1) + "\n")
    return int(ratios[f"ours, scaled, {EPOCHS} epochs"] < TARGET)


def contenders(root: Path) -> dict[str, list[Window]]:
    """Who shows the photographs, anew: one pass over them, and more for those who keep what they decoded."""
    found: dict[str, list[Window]] = {}
    for workers in (0, 2):
        found[f"ImageFolder, {workers} workers"] = [partial(theirs, loader(root, workers))]
        found[f"with colours, {workers} workers"] = [partial(theirs, loader(root, workers, *COLOURS))]
    for decode in ("exact", "scaled"):
        photographs = part(root)
        found[f"ours, {decode}"] = [partial(ours, photographs, decode, number) for number in range(len(PASSES))]
    return found


def loader(
    root: Path, workers: int, *more: Callable[[Image.Image], Image.Image]
) -> DataLoader[tuple[torch.Tensor, torch.Tensor]]:
    """As tutorials write it; its workers are started before the clock."""
    shown = transforms.Compose([transforms.RandomResizedCrop(SIZE), *more, transforms.ToTensor()])
    held = DataLoader(
        ImageFolder(root, shown), BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )
    if workers:
        next(iter(held))
    return held


def theirs(held: DataLoader[tuple[torch.Tensor, torch.Tensor]], _: int) -> int:
    """An epoch of a DataLoader."""
    return sum(len(labels) for _, labels in held)


def ours(photographs: Part, decode: str, number: int, window: int) -> int:
    """An epoch of a stage's batches."""
    view = View(size=SIZE, mean=(0.5,) * 3, deviation=(0.5,) * 3)
    stage = SimpleNamespace(augment="standard", decode=decode, name="all")
    halves = SimpleNamespace(trunk=None, at="")
    subject = SimpleNamespace(images=lambda pixels: pixels, device=torch.device("cpu"))
    recipe = SimpleNamespace(batch_size=BATCH)
    tuner = SimpleNamespace(view=view, stage=stage, halves=halves, subject=subject, recipe=recipe, seed=0)
    draws = draw_epoch(len(photographs), partial(stream, window, "pass", number))
    batches = _Stream(tuner, photographs, draws, number)  # type: ignore[arg-type]
    return sum(len(batches(slice(at, at + BATCH))[1]) for at in range(0, len(photographs), BATCH))


def part(root: Path) -> Part:
    """The photographs as fine-tuning reads them, none of them decoded yet."""
    paths = sorted(root.rglob("*.jpg"))
    rows = [Row(str(p.relative_to(root)), p.parent.name, "train", sha256(p), (HEIGHT, WIDTH)) for p in paths]
    return Part(root, tuple(rows), np.zeros(len(rows), np.int64))


def write(root: Path) -> None:
    """Photographs made up of smooth random fields and grain, of two classes, as JPEG of quality 90."""
    for number, image in zip(range(PHOTOGRAPHS), scenes(WIDTH, HEIGHT), strict=False):
        path = root / f"class-{number % 2}" / f"{number:03}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, quality=90)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
