"""Parts of the time of a training step on a processor: convolutions by pass and layer, and others.

Run `python benchmarks/step_parts.py`: ResNet-20 at batch 128, one thread, resnetlab's own loop. The
times of convolutions are those that oneDNN reports of its primitives, the others those of torch's
profiler. The speed of a convolution is its rate of floating-point operations as a share of the best
rate of three matrix products of torch, in fp32 with one thread. Writes `step_parts-avx2.json` or
`step_parts-avx512.json`, by the instruction set that torch uses. `--depth 56 --batch 32` measures
another network or batch and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
WARM_UP_STEPS, STEPS = 3, 10

GROUPS = {
    "convolution": "convolutions",
    "batch_norm": "batch normalization",
    "relu": "ReLU",
    "clamp_min": "ReLU",
    "threshold_backward": "ReLU",
    "_foreach": "optimizer",
    "_fused": "optimizer",
    "aten::add": "additions",
}
"""Group of each operation of torch, by a part of its name. All others are `the rest`."""


def convolution_flops(problem: str) -> float:
    """Return the floating-point operations of one pass over a layer.

    Args:
        problem: oneDNN's description, such as
            `mb128_ic16oc32_ih32oh16kh3sh2dh0ph1_iw32ow16kw3sw2dw0pw1`.
    """
    sizes = {name: int(value) for name, value in re.findall(r"([a-z]+)(\d+)", problem)}
    names = ("mb", "ic", "oc", "oh", "ow", "kh", "kw")
    flops = 2.0 / sizes.get("g", 1)
    for name in names:
        flops *= sizes[name]
    return flops


def parse_verbose(text: str, steps: int) -> list[dict[str, Any]]:
    """Return the convolutions of oneDNN's verbose output, the most expensive first.

    Args:
        text: Output of a process with `ONEDNN_VERBOSE=profile_exec`.
        steps: Number of training steps in it.
    """
    totals: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for line in text.splitlines():
        fields = line.split(",")
        if "exec" in fields and "convolution" in fields:
            kind = fields.index("convolution")
            implementation, direction, problem = fields[kind + 1], fields[kind + 2], fields[-2]
            totals[direction, problem, implementation].append(float(fields[-1]))
    rows = [
        {
            "pass": direction,
            "layer": problem,
            "implementation": implementation,
            "calls_per_step": len(times) / steps,
            "ms_per_step": round(sum(times) / steps, 3),
            "gflop_per_second": round(
                convolution_flops(problem) * len(times) / sum(times) / 1e6, 1
            ),
        }
        for (direction, problem, implementation), times in totals.items()
    ]
    return sorted(rows, key=lambda row: -row["ms_per_step"])


def group_of(operation: str) -> str:
    """Return the group of an operation of torch."""
    return next((group for part, group in GROUPS.items() if part in operation), "the rest")


def train(depth: int, batch: int, report: str) -> None:
    """Train some steps in this process, and print the times of oneDNN or of torch's profiler."""
    import torch
    from contender import our_loop

    loop = our_loop(depth, batch, "cifar10", single=False, yield_every_step=True, precision="fp32")
    next(loop)  # before the first step
    for _ in range(WARM_UP_STEPS):
        next(loop)
    if report == "onednn":
        with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
            for _ in range(STEPS):
                next(loop)
        return
    start = time.perf_counter()
    for _ in range(STEPS):
        next(loop)
    seconds = (time.perf_counter() - start) / STEPS
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        for _ in range(STEPS):
            next(loop)
    groups: dict[str, float] = defaultdict(float)
    for event in profiler.key_averages():
        groups[group_of(event.key)] += event.self_cpu_time_total / 1000 / STEPS
    matmul = max(_matrix_product_rate(size) for size in (256, 512, 1024))
    print(json.dumps({"step_ms": 1000 * seconds, "groups_ms": groups, "matmul_gflops": matmul}))


def _matrix_product_rate(size: int) -> float:
    """Return the best rate of a square matrix product, in 10^9 operations a second."""
    import torch

    a, b, best = torch.randn(size, size), torch.randn(size, size), 0.0
    for _ in range(10):
        start = time.perf_counter()
        for _ in range(10):
            a @ b
        best = max(best, 10 * 2 * size**3 / (time.perf_counter() - start) / 1e9)
    return best


def _child(depth: int, batch: int, report: str) -> str:
    command = [sys.executable, __file__, "--depth", str(depth), "--batch", str(batch)]
    result = subprocess.run(
        [*command, "--report", report], check=True, stdout=subprocess.PIPE, text=True
    )
    return result.stdout


def measure(depth: int, batch: int) -> dict[str, Any]:
    """Return the parts of a step: the time of each convolution and of each group of operations."""
    rows = parse_verbose(_child(depth, batch, "onednn"), STEPS)
    parts: dict[str, Any] = json.loads(_child(depth, batch, "profiler").splitlines()[-1])
    for row in rows:
        row["share_of_matmul"] = round(row["gflop_per_second"] / parts["matmul_gflops"], 2)
    rounded = {name: round(ms, 2) for name, ms in parts["groups_ms"].items()}
    return {
        "depth": depth,
        "batch_size": batch,
        "images_per_second_of_a_core": round(1000 * batch / parts["step_ms"], 1),
        "step_ms": round(parts["step_ms"], 1),
        "matmul_gflop_per_second_of_a_core": round(parts["matmul_gflops"], 1),
        "groups_ms": dict(sorted(rounded.items(), key=lambda item: -item[1])),
        "convolutions": rows,
    }


def print_parts(parts: dict[str, Any]) -> None:
    """Print the parts of a step as two tables."""
    total = sum(parts["groups_ms"].values())
    print(
        f"ResNet-{parts['depth']}, batch {parts['batch_size']}: {parts['step_ms']} ms a step, "
        f"{parts['images_per_second_of_a_core']} images/s of one core, matrix product "
        f"{parts['matmul_gflop_per_second_of_a_core']} GFLOP/s"
    )
    for name, ms in parts["groups_ms"].items():
        print(f"  {name:22} {ms:8.2f} ms {100 * ms / total:5.1f} %")
    for row in parts["convolutions"]:
        print(
            f"  {row['pass']:18} {row['layer']:62} {row['calls_per_step']:3g} calls "
            f"{row['ms_per_step']:7.2f} ms {100 * row['share_of_matmul']:4.0f} % of a matrix "
            f"product, {row['implementation']}"
        )


def main() -> None:
    """Measure the parts of a step, print them, and write them unless options were given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depth", type=int, default=20, help="depth of the residual network")
    parser.add_argument("--batch", type=int, default=128, help="batch size")
    parser.add_argument("--report", choices=["onednn", "profiler"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.report:
        train(options.depth, options.batch, options.report)
        return
    from machine import machine

    about = machine()  # before the measurement, so that its load is that of other processes
    parts = measure(options.depth, options.batch)
    print_parts(parts)
    if len(sys.argv) == 1:
        name = "avx512" if "AVX512" in about["instruction_set"].upper() else "avx2"
        path = HERE / f"step_parts-{name}.json"
        path.write_text(json.dumps(about | parts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
