"""Photographs per second in the first epoch, compared with torchvision's ImageFolder.

Run `python benchmarks/first_epoch.py PHOTOGRAPHS`. It takes photographs of a folder, resizes them
so that their longer side has 1,000 to 1,500 pixels, and saves them as JPEG of quality 90 in a
temporary folder. Their side is `ImageFolder` with `RandomResizedCrop(224)`, flips, colors and a
`DataLoader`, in the calling process and with one and two workers, which have started before the
clock does. Our side is the loader of a fine-tuning stage with the same kinds of changes, with
exact and with scaled decoding, with and without simplejpeg; nothing is decoded before the epoch.
Each side runs in a new process, in turns. It prints medians and ratios to the best loader of
ImageFolder, writes `benchmarks/first_epoch.json`, and exits with 1 if scaled decoding with
simplejpeg is below the target.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from machine import machine
from photographs import COLORS, loader, ours, timed
from PIL import Image

from resnetlab.data.sources import fast_jpeg
from resnetlab.data.sources.folder.manifest import ManifestRow
from resnetlab.files import sha256
from resnetlab.finetuning.dataset import PhotoSplit
from resnetlab.training.memory import retain_freed_memory

LONGER_SIDE = (1000, 1500)
COUNT, WINDOWS, TARGET = 200, 7, 1.5
WORKERS = (0, 1, 2)
DECODERS = ("simplejpeg", "Pillow")


def main() -> int:
    """Measure, print, write; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photographs", type=Path, help="folder of photographs, searched in depth")
    parser.add_argument("--count", type=int, default=COUNT, help="number of photographs")
    parser.add_argument("--windows", type=int, default=WINDOWS, help="measurements of each side")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--number", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(measure_side(options.side, options.photographs, options.number)))
        return 0
    description = machine()
    taken: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as root:
        megabytes = write(options.photographs, Path(root), options.count) / 1e6
        for window in range(options.windows):
            for side in ("ImageFolder", *DECODERS):
                for name, images in measure(side, root, window).items():
                    taken.setdefault(name, []).append(images)
    pace = {name: round(statistics.median(each), 1) for name, each in taken.items()}
    best = max(images for name, images in pace.items() if name.startswith("ImageFolder"))
    ratios = {name: round(images / best, 2) for name, images in pace.items()}
    for name, images in pace.items():
        print(f"{name:28} {images:7.1f} images/s  {ratios[name]:5.2f} x ImageFolder at its best")
    contents = {
        **description,
        "load_after": round(os.getloadavg()[0], 2),
        "photographs": options.count,
        "megabytes": round(megabytes, 1),
        "longer_side": LONGER_SIDE,
        "windows": options.windows,
        "images_per_second": pace,
        "of_each_window": {name: [round(x, 1) for x in each] for name, each in taken.items()},
        "ratios": ratios,
        "target": TARGET,
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(contents, indent=1) + "\n")
    return int(ratios["resnetlab, scaled, simplejpeg"] < TARGET)


def measure(side: str, root: str, window: int) -> dict[str, float]:
    """Return images per second of one side, from a new process."""
    command = [sys.executable, __file__, root, "--side", side, "--number", str(window)]
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return {str(name): float(images) for name, images in json.loads(text).items()}


def measure_side(side: str, root: Path, window: int) -> dict[str, float]:
    """Return images per second of one side, measured in this process."""
    torch.set_num_threads(1)
    found = {}
    if side == "ImageFolder":
        for workers in WORKERS:
            batches = loader(root, workers, *COLORS)
            count, seconds = timed(
                lambda batches=batches: sum(len(labels) for _, labels in batches)  # type: ignore[misc]
            )
            found[f"ImageFolder, {workers} workers"] = count / seconds
        return found
    if side == "Pillow":
        sys.modules["simplejpeg"] = None  # type: ignore[assignment]  # as if not installed
    elif note := fast_jpeg.fallback_note():
        sys.exit(note)
    retain_freed_memory()  # as training does
    for decode in ("exact", "scaled"):
        photographs = as_split(root)
        count, seconds = timed(lambda: ours(photographs, decode, 0, window))  # noqa: B023
        found[f"resnetlab, {decode}, {side}"] = count / seconds
    return found


def as_split(root: Path) -> PhotoSplit:
    """Return the photographs as fine-tuning reads them; none is decoded yet."""
    rows = []
    for path in sorted(root.rglob("*.jpg")):
        with Image.open(path) as image:
            size = (image.height, image.width)
        name = str(path.relative_to(root))
        rows.append(ManifestRow(name, path.parent.name, "train", sha256(path), size))
    return PhotoSplit(root, tuple(rows), np.zeros(len(rows), np.int64))


def write(source: Path, root: Path, count: int) -> int:
    """Write resized photographs of two classes, evenly spaced in the source; return the bytes."""
    paths = sorted(p for p in source.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))
    if len(paths) < count:
        sys.exit(f"{source} has {len(paths)} JPEG photographs, and {count} are needed")
    sides = np.random.default_rng(0).integers(*LONGER_SIDE, count, endpoint=True)
    total = 0
    for number, side in enumerate(sides.tolist()):
        with Image.open(paths[number * len(paths) // count]) as image:
            scale = side / max(image.size)
            size = (round(image.width * scale), round(image.height * scale))
            resized = image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
        path = root / f"class-{number % 2}" / f"{number:03}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        resized.save(path, quality=90)
        total += path.stat().st_size
    return total


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
