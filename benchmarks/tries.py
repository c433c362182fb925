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
    "first stage NCHW": "the first stage in NCHW, the others channels-last",
    "last stage NCHW": "the last stage in NCHW, the others channels-last",
    "pointwise compiled": "batch norm, addition and ReLU by torch.compile, not convolutions",
    "blocks compiled": "each block by torch.compile",
    "network compiled": "the whole network by torch.compile",
    "unfused optimizer": "SGD as one call a parameter and operation (fused by default)",
    "foreach optimizer": "SGD by torch's foreach functions",
    "micro-batches": "four micro-batches of 32 a step, whose batch norm uses 32 images",
}


def change(variant: str) -> dict[str, Any]:
    """Change this process into a variant, and return what it changes in the numerics."""
    import torch
    import torch.nn.functional as F
    from torch._dynamo import config

    from resnetlab.models.nets import blocks, cifar, shortcuts
    from resnetlab.training import device

    config.recompile_limit = 64  # each block may be compiled for shapes of its own
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
        case "first stage NCHW" | "last stage NCHW":
            contiguous_stage(cifar.CifarNetwork, 0 if variant.startswith("first") else 2)
        case "pointwise compiled":
            blocks.BasicBlock.forward = block_of_compiled_parts()  # type: ignore[method-assign]
        case "blocks compiled":
            blocks.BasicBlock.forward = torch.compile(  # type: ignore[method-assign]
                blocks.BasicBlock.forward, dynamic=False
            )
        case "network compiled":
            cifar.CifarNetwork.forward = torch.compile(  # type: ignore[method-assign]
                cifar.CifarNetwork.forward, dynamic=False
            )
        case "unfused optimizer" | "foreach optimizer":
            sgd, foreach = torch.optim.SGD, variant.startswith("foreach")
            torch.optim.SGD = lambda *args, **options: sgd(  # type: ignore[assignment, misc]
                *args, **(options | {"fused": False, "foreach": foreach})
            )
        case "micro-batches":
            return {"grad_accum_steps": 4}
    return {}


def contiguous_stage(network: Any, index: int) -> None:
    """Give a stage of the networks of this process weights and images in NCHW."""
    import torch

    forward = network.forward

    def forward_with_contiguous_stage(self: Any, images: torch.Tensor) -> torch.Tensor:
        if not hasattr(self, "hook"):
            stage, later = self.stages[index], torch.channels_last
            self.hook = stage.register_forward_pre_hook(
                lambda _, inputs: tuple(x.contiguous() for x in inputs)
            )
            stage.register_forward_hook(lambda _, __, out: out.contiguous(memory_format=later))
            for parameter in self.stages[index].parameters():
                parameter.data = parameter.data.contiguous()
        logits: torch.Tensor = forward(self, images)
        return logits

    network.forward = forward_with_contiguous_stage


def block_of_compiled_parts() -> Any:
    """Return the forward function of a basic block whose operations between convolutions are
    compiled.
    """
    import torch
    import torch.nn.functional as F

    norm_relu = torch.compile(lambda norm, x: F.relu(norm(x)), dynamic=False)
    norm_add_relu = torch.compile(lambda norm, way, x: F.relu(norm(x) + way), dynamic=False)

    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        middle = norm_relu(self.norm1, self.conv1(x))
        out: torch.Tensor = norm_add_relu(self.norm2, self.shortcut(x), self.conv2(middle))
        return out

    return forward


def main() -> None:
    """Measure all variants in a round robin."""
    about = machine()  # before the measurement, so that its load is that of other processes
    warm_ups: dict[str, float] = {}
    rates = steps.measure({name: [[sys.executable, __file__, name]] for name in VARIANTS}, warm_ups)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for name, rate in medians.items():
        low, high = min(rates[name]), max(rates[name])
        print(
            f"{name:20}{rate:6.0f} [{low:.0f}, {high:.0f}]  x {rate / medians['kept']:.2f}  "
            f"first window {warm_ups[name]:.0f} s  {VARIANTS[name]}"
        )
    name = "tries-avx2.json" if about["instruction_set"] == "AVX2" else "tries.json"
    found = {
        **about,
        "images_per_second": rates,
        "first_window_seconds": warm_ups,
        "variants": VARIANTS,
    }
    Path(__file__).with_name(name).write_text(json.dumps(found, indent=1) + "\n")


def train(variant: str) -> None:
    """Train as a variant when asked."""
    changed = change(variant)
    import contender  # after what is changed in this process

    contender.answer(contender.our_loop(20, 128, "cifar10", single=False, **changed))


if __name__ == "__main__":
    train(sys.argv[1]) if len(sys.argv) > 1 else main()
