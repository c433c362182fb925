"""What was tried to make a step on the processor faster, each in a process of its own: `python benchmarks/tries.py`.

ResNet-20 at batch 128, one thread, as resnetlab comes. Every variant in turns with the others; prints images per second
and the ratio to the variant that is kept, and writes `tries.json`.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from machine import machine

VARIANTS = {
    "kept": "as it is",
    "pages given back": "memory that a step frees goes back to the system (as the C library has it)",
    "slice": "option A takes every second pixel by a slice, whose gradient is not channels-last",
    "in place": "ReLU and the addition of the shortcut in place",
    "huge pages": "freed memory kept in pages of 2 MB",
    "fp32": "fp32 in place of bf16",
    "contiguous": "NCHW in place of channels-last",
}
WINDOWS, SECONDS, BATCH = 5, 2.0, 128


def change(variant: str) -> dict[str, str]:
    """Make this process that variant; what it changes of the numerics."""
    import torch.nn.functional as F

    from resnetlab.models import blocks, cifar, shortcuts
    from resnetlab.training import accelerate

    match variant:
        case "pages given back":
            accelerate.keep_freed_memory = lambda: None
        case "slice":
            step = lambda x, stride: x[:, :, ::stride, ::stride]  # noqa: E731
            shortcuts._EveryPixel.apply = step  # type: ignore[method-assign]
        case "in place":
            inplace: Any = type("F", (), {**vars(F), "relu": staticmethod(lambda x: F.relu(x, inplace=True))})
            blocks.F = cifar.F = inplace
            blocks.added = lambda way, x, branch: branch.add_(way(x))
        case "huge pages":
            os.environ["THP_MEM_ALLOC_ENABLE"] = "1"
        case "fp32":
            return {"precision": "fp32"}
        case "contiguous":
            return {"memory_format": "contiguous"}
    return {}


def train(variant: str) -> None:
    """Answer each line with the images per second of a window."""
    more = change(variant)
    import contender

    from resnetlab.data.resident import Resident
    from resnetlab.data.spec import Augment
    from resnetlab.models.families.cifar import cifar
    from resnetlab.training.accelerate import prepare, resolve
    from resnetlab.training.loop import Learner
    from resnetlab.training.numerics import Numerics
    from resnetlab.training.recipe import SGD, Recipe

    held = contender.images("cifar10")
    numerics = resolve(Numerics(device="cpu", **more), single=False)  # type: ignore[arg-type]
    device = prepare(numerics)
    augment = Augment(crop_padding=4, flip=True)
    recipe = Recipe(batch_size=BATCH, epochs=100, optimiser=SGD(lr=0.1, weight_decay=1e-4), augment=augment)
    learner = Learner(cifar(20), recipe, numerics, 0, held, 10, device)
    batches = learner.batches(Resident.of(held, device), 0)
    for _ in range(5):
        learner.train_step(*batches(slice(0, BATCH)))
    for _ in sys.stdin:
        began, steps = time.monotonic(), 0
        while (spent := time.monotonic() - began) < SECONDS:
            learner.train_step(*batches(slice(BATCH * (steps % 300), BATCH * (steps % 300 + 1))))
            steps += 1
        print(BATCH * steps / spent, flush=True)


def main() -> None:
    """Measure all variants in turns."""
    command = [sys.executable, __file__]
    rates: dict[str, list[float]] = {name: [] for name in VARIANTS}
    processes = {
        name: subprocess.Popen([*command, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for name in VARIANTS
    }
    try:
        for window in range(WINDOWS + 1):  # the first one warms up
            for name, process in processes.items():
                assert process.stdin is not None
                assert process.stdout is not None
                print(file=process.stdin, flush=True)
                rate = float(process.stdout.readline())
                rates[name] += [rate] if window else []
    finally:
        for process in processes.values():
            process.kill()
            process.communicate()
    medians = {name: statistics.median(held) for name, held in rates.items()}
    for name, rate in medians.items():
        low, high = min(rates[name]), max(rates[name])
        print(f"{name:18}{rate:6.0f} [{low:.0f}, {high:.0f}]  x {rate / medians['kept']:.2f}  {VARIANTS[name]}")
    found = {**machine(), "images_per_second": rates, "variants": VARIANTS}
    Path(__file__).with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    train(sys.argv[1]) if len(sys.argv) > 1 else main()
