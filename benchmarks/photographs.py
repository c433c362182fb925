"""Training crops of photographs per second, compared with torchvision's ImageFolder.

Run `python benchmarks/photographs.py`. Their side is `ImageFolder`, `RandomResizedCrop(224)` and a
`DataLoader`, in the calling process and with two workers, and the same with our flips and colors.
Our side is the loader of a fine-tuning stage, with exact and with scaled decoding, for ten epochs:
nothing is decoded before the first one, and the later ones find what fits in the cache. Windows
alternate, each in a new process, for photographs of several sizes. It prints medians and ratios to
the better loader, writes `benchmarks/photographs.json`, and exits with 1 if ten epochs of scaled
decoding are below the target.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
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

from resnetlab.data.sources.folder.manifest import ManifestRow
from resnetlab.data.transforms.eval_transform import EvalTransform
from resnetlab.data.transforms.photo_train import draw_photo_epoch
from resnetlab.files import sha256
from resnetlab.finetuning.dataset import PhotoSplit
from resnetlab.finetuning.stage.state import PhotoBatches
from resnetlab.training.memory import retain_freed_memory
from resnetlab.training.rng import make_generator

SIZES = {(1000, 750): 200, (1500, 1000): 200, (3000, 2000): 100}
"""Width and height, and how many photographs."""
SIZE, BATCH, WINDOWS, EPOCHS = 224, 32, 5, 10
TARGET = 2.0

COLORS = (transforms.RandomHorizontalFlip(), transforms.ColorJitter(0.3, 0.3, 0.3))
"""What our stage does besides."""

SIDES = ("theirs", "ours")


def main() -> int:
    """Measure, print, write; return the exit code."""
    found = {
        f"{width}x{height}": measure(width, height, count)
        for (width, height), count in SIZES.items()
    }
    contents = {
        **machine(),
        "photographs": {f"{w}x{h}": count for (w, h), count in SIZES.items()},
        "windows": WINDOWS,
        "epochs": EPOCHS,
        "sizes": found,
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(contents, indent=1) + "\n")
    return int(
        min(size["ratios"][f"ours, scaled, {EPOCHS} epochs"] for size in found.values()) < TARGET
    )


def measure(width: int, height: int, count: int) -> dict[str, dict[str, float]]:
    """Return images per second and their ratios, for photographs of that size."""
    taken: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as root:
        write(Path(root), width, height, count)
        for window in range(WINDOWS):
            for side in SIDES:
                command = [
                    sys.executable,
                    __file__,
                    side,
                    root,
                    str(width),
                    str(height),
                    str(window),
                ]
                text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
                for name, images in json.loads(text).items():
                    taken.setdefault(name, []).append(images)
    pace = {name: round(statistics.median(each), 1) for name, each in taken.items()}
    best, alike = (
        max(pace[f"{who}, {n} workers"] for n in (0, 2)) for who in ("ImageFolder", "with colors")
    )
    print(f"{width} x {height}")
    for name, images in pace.items():
        print(
            f"{name:28} {images:7.1f} images/s  {images / best:5.2f} x ImageFolder at its best, "
            f"{images / alike:5.2f} x with colors"
        )
    ratios = {name: round(images / best, 2) for name, images in pace.items()}
    ratios |= {
        f"{name}, to ImageFolder with colors": round(pace[name] / alike, 2)
        for name in pace
        if "ours" in name
    }
    return {"images_per_second": pace, "ratios": ratios}


def side(name: str, root: Path, width: int, height: int, window: int) -> dict[str, float]:
    """Return images per second of one side, measured in this process."""
    torch.set_num_threads(1)
    found = {}
    if name == "theirs":
        for workers in (0, 2):
            for kind, more in (("ImageFolder", ()), ("with colors", COLORS)):
                batches = loader(root, workers, *more)
                count, seconds = timed(
                    lambda batches=batches: sum(len(labels) for _, labels in batches)
                )  # type: ignore[misc]
                found[f"{kind}, {workers} workers"] = count / seconds
    else:
        retain_freed_memory()  # as training does
        for decode in ("exact", "scaled"):
            photographs = part(root, (height, width))
            taken = [
                timed(partial(ours, photographs, decode, number, window))
                for number in range(EPOCHS)
            ]
            count, each = taken[0][0], [seconds for _, seconds in taken]
            found[f"ours, {decode}, first"] = count / each[0]
            found[f"ours, {decode}, later"] = count / statistics.median(each[1:])
            found[f"ours, {decode}, {EPOCHS} epochs"] = count * EPOCHS / sum(each)
    return found


def timed(epoch: Callable[[], int]) -> tuple[int, float]:
    """Return the number of photographs of an epoch, and its seconds."""
    began = time.monotonic()
    return epoch(), time.monotonic() - began


def loader(
    root: Path, workers: int, *more: Callable[[Image.Image], Image.Image]
) -> DataLoader[tuple[torch.Tensor, torch.Tensor]]:
    """As tutorials write it; its workers have started, and nothing is left of what they fetched
    ahead.
    """
    shown = transforms.Compose([transforms.RandomResizedCrop(SIZE), *more, transforms.ToTensor()])
    batches = DataLoader(
        ImageFolder(root, shown),
        BATCH,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    if workers:
        for _ in batches:
            pass
    return batches


def ours(photographs: PhotoSplit, decode: str, number: int, window: int) -> int:
    """Load the batches of an epoch of a stage, and return the number of photographs."""
    transform = EvalTransform(size=SIZE, mean=(0.5,) * 3, std=(0.5,) * 3)
    stage = SimpleNamespace(augment="standard", decode=decode, name="all")
    partitioned = SimpleNamespace(frozen_part=None, boundary="")
    model = SimpleNamespace(preprocess=lambda pixels: pixels, device=torch.device("cpu"))
    recipe = SimpleNamespace(batch_size=BATCH)
    state = SimpleNamespace(
        transform=transform,
        stage=stage,
        partitioned=partitioned,
        finetune_model=model,
        recipe=recipe,
        batches_key="",
        seed=0,
    )
    draws = draw_photo_epoch(len(photographs), partial(make_generator, window, "pass", number))
    batches = PhotoBatches(state, photographs, draws, number)  # type: ignore[arg-type]
    starts = range(0, len(photographs), BATCH)
    return sum(len(batches(slice(at, at + BATCH), slice(0, BATCH))[1]) for at in starts)


def part(root: Path, shape: tuple[int, int]) -> PhotoSplit:
    """Return the photographs as fine-tuning reads them; none is decoded yet."""
    paths = sorted(root.rglob("*.jpg"))
    rows = [
        ManifestRow(str(p.relative_to(root)), p.parent.name, "train", sha256(p), shape)
        for p in paths
    ]
    return PhotoSplit(root, tuple(rows), np.zeros(len(rows), np.int64))


def write(root: Path, width: int, height: int, count: int) -> None:
    """Write JPEG photographs of two classes, made of smooth random fields and grain."""
    for number, image in zip(range(count), scenes(width, height), strict=False):
        path = root / f"class-{number % 2}" / f"{number:03}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, quality=90)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if sys.argv[1:]:
        loader_name, place, *numbers = sys.argv[1:]
        print(json.dumps(side(loader_name, Path(place), *map(int, numbers))))
    else:
        sys.exit(main())
