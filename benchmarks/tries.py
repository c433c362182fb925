"""Variants that were tried to make a step on the CPU faster, each in its own process.

Run `python benchmarks/tries.py`: ResNet-20 at batch 128 with one thread and default settings. All
variants train in a round robin. It prints images per second and the ratio to the chosen variant,
and writes `tries.json`, or `tries-avx2.json` where torch uses AVX2. To measure AVX2 on another
processor: `ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 python benchmarks/tries.py`.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from pathlib import Path
from typing import Any

import steps
from machine import machine

VARIANTS = {
    "kept": "as it is",
    "pages given back": "memory that a step frees goes back to the system (as by default)",
    "slice": "option A takes every second pixel by a slice, whose gradient is not channels-last",
    "in place": "ReLU and the addition of the shortcut in place",
    "huge pages": "freed memory kept in pages of 2 MB",
    "fp32": "fp32 in place of bf16",
    "contiguous": "NCHW in place of channels-last",
}


def change(variant: str) -> dict[str, str]:
    """Change this process into a variant, and return what it changes in the numerics."""
    import torch.nn.functional as F

    from resnetlab.models.nets import blocks, cifar, shortcuts
    from resnetlab.training import device

    match variant:
        case "pages given back":
            device.retain_freed_memory = lambda: None
        case "slice":
            step = lambda x, stride: x[:, :, ::stride, ::stride]  # noqa: E731
            shortcuts._StridedSlice.apply = step  # type: ignore[method-assign]
        case "in place":
            inplace: Any = type(
                "F", (), {**vars(F), "relu": staticmethod(lambda x: F.relu(x, inplace=True))}
            )
            blocks.F = cifar.F = inplace
            blocks.add_shortcut = lambda way, x, branch: branch.add_(way(x))
        case "huge pages":
            os.environ["THP_MEM_ALLOC_ENABLE"] = "1"
        case "fp32":
            return {"precision": "fp32"}
        case "contiguous":
            return {"memory_format": "contiguous"}
    return {}


def main() -> None:
    """Measure all variants in a round robin."""
    rates = steps.measure({name: [[sys.executable, __file__, name]] for name in VARIANTS})
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for name, rate in medians.items():
        low, high = min(rates[name]), max(rates[name])
        print(
            f"{name:18}{rate:6.0f} [{low:.0f}, {high:.0f}]  x {rate / medians['kept']:.2f}  "
            f"{VARIANTS[name]}"
        )
    about = machine()
    name = "tries-avx2.json" if about["instruction_set"] == "AVX2" else "tries.json"
    found = {**about, "images_per_second": rates, "variants": VARIANTS}
    Path(__file__).with_name(name).write_text(json.dumps(found, indent=1) + "\n")


def train(variant: str) -> None:
    """Train as a variant when asked."""
    changed = change(variant)
    import contender  # after what is changed in this process

    contender.answer(contender.our_loop(20, 128, "cifar10", single=False, **changed))


if __name__ == "__main__":
    train(sys.argv[1]) if len(sys.argv) > 1 else main()
