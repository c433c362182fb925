"""Time to open a folder of 60,000 small images, for the first and the second time.

Run `python benchmarks/folder.py`. It prints both times, writes `benchmarks/folder.json`, and exits
with 1 if the second one is a second or more.
"""

from __future__ import annotations

import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import machine
from PIL import Image

IMAGES, SIDE, CLASSES = 60_000, 32, 10
LIMIT = 1.0
"""Seconds."""

OPEN = """
import sys, time
from pathlib import Path
from resnetlab.data.sources import open_source
began = time.monotonic()
source = open_source(sys.argv[1], cache=Path(sys.argv[2]))
print(time.monotonic() - began, len(source.train) + len(source.test), source.sha256)
"""


def main() -> int:
    """Measure, print, write; return the exit code."""
    with tempfile.TemporaryDirectory() as place:
        root, cache = Path(place) / "images", Path(place) / "cache"
        write(root)
        runs = [opened(root, cache) for _ in range(4)]
    assert len({content for _, content in runs}) == 1
    first, again = runs[0][0], statistics.median(seconds for seconds, _ in runs[1:])
    print(
        f"{IMAGES:,} images of {SIDE} pixels: {first:.1f} s when they are decoded, "
        f"{again:.2f} s once they were seen"
    )
    contents = {
        **machine(),
        "images": IMAGES,
        "side": SIDE,
        "first_seconds": first,
        "seen_seconds": again,
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(contents, indent=1) + "\n")
    return int(again >= LIMIT)


def write(root: Path) -> None:
    """Write a folder of images: half PNG, half JPEG, five sixths for training, an hour old."""
    generator = np.random.default_rng(0)
    kinds = [("png", "PNG"), ("jpg", "JPEG")]
    files = [
        encoded(generator.integers(0, 256, (SIDE, SIDE, 3), np.uint8), kinds[place % 2][1])
        for place in range(1000)
    ]
    then = time.time() - 3600
    for place in range(IMAGES):
        folder = root / ("test" if place % 6 == 0 else "train") / f"class-{place // 6 % CLASSES}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{place:05}.{kinds[place % 2][0]}"
        path.write_bytes(files[place % 1000])
        os.utime(path, (then, then))


def encoded(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], kind: str) -> bytes:
    """Encode an image as a file of that format."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def opened(root: Path, cache: Path) -> tuple[float, str]:
    """Seconds that a process of its own takes to open the folder, without its imports; and what it
    found.
    """
    words, person = (
        [sys.executable, "-c", OPEN, str(root), str(cache)],
        os.environ | {"RESNETLAB_CACHE": str(cache)},
    )
    output = subprocess.run(words, check=True, capture_output=True, text=True, env=person).stdout
    seconds, content = output.split(maxsplit=1)
    return float(seconds), content


if __name__ == "__main__":
    sys.exit(main())
