"""Resolution of `auto` settings in numerics; imports torch only if there may be a GPU."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from resnetlab.errors import input_error
from resnetlab.recipes.numerics import Numerics, available_cpus
from resnetlab.training.hardware import (
    gpu_count,
    gpu_has_bf16,
    has_cuda,
    has_mps,
    processor_has_bf16,
)


def resolve_numerics(numerics: Numerics, *, single_run: bool) -> Numerics:
    """Return `numerics` with every `auto` replaced.

    With `single_run`, one run uses all cores; in a study each run uses one thread. Raises
    InputError if this machine lacks the requested device, or if bf16 is requested on a processor
    that only emulates it.
    """
    device = _resolve_device(numerics.device)
    precision = numerics.precision
    if precision == "auto":
        precision = "bf16" if bf16_is_fast(device) else "fp32"
    if precision == "bf16-emulated" and (device != "cpu" or processor_has_bf16()):
        precision = "bf16"
    check_bf16_support(replace(numerics, device=device, precision=precision))
    layout = numerics.memory_format
    if layout == "auto":
        layout = "contiguous" if device == "mps" else "channels_last"
    if numerics.batch_norm == "synchronized" and (device != "cuda" or numerics.world_size == 1):
        fix = "--set numerics.batch_norm=local"
        raise input_error(
            "",
            "synchronized needs several processes, each with a GPU",
            fix,
            field="numerics.batch_norm",
        )
    capture = numerics.cuda_graphs
    if capture == "on" and device != "cuda":
        raise input_error(
            "",
            "only steps on a GPU are captured",
            "--set numerics.cuda_graphs=auto",
            field="numerics.cuda_graphs",
        )
    threads = numerics.threads or (
        max(1, available_cpus() // numerics.world_size) if single_run else 1
    )
    if device != "cuda":  # without a GPU there is nothing to capture
        capture = "auto"
    elif capture == "auto":
        capture = "on"
    return replace(
        numerics,
        device=device,
        precision=precision,
        memory_format=layout,
        threads=threads if device == "cpu" else 1,
        cuda_graphs=capture,
    )


def lacks_bf16(numerics: Numerics) -> bool:
    """Return True if this processor has no instructions for the bf16 of the numerics."""
    return numerics.device == "cpu" and numerics.precision == "bf16" and not processor_has_bf16()


def check_bf16_support(numerics: Numerics) -> None:
    """Raise InputError if bf16 would be emulated although the config does not allow it."""
    if lacks_bf16(numerics):
        problem = (
            "this processor has no instructions for bf16 and would emulate it, many times slower "
            "than fp32"
        )
        fix = "--set numerics.precision=fp32, or bf16-emulated if you accept that"
        raise input_error("", problem, fix, field="numerics.precision", got="bf16")


def check_device_index(device: str, index: int) -> None:
    """Raise InputError unless the machine has a GPU of that index."""
    count = gpu_count() if device == "cuda" and index else 1
    if device == "cuda" and index >= count:
        allowed = ", ".join(f"cuda:{number}" for number in range(count))
        raise input_error(
            "--device",
            "no such GPU on this machine",
            "--device cuda",
            got=f"cuda:{index}",
            allowed=allowed,
        )


def _resolve_device(
    requested: Literal["auto", "cpu", "cuda", "mps"],
) -> Literal["cpu", "cuda", "mps"]:
    if requested == "cpu":
        return "cpu"
    if requested == "auto":
        if has_cuda():
            return "cuda"
        return "mps" if has_mps() else "cpu"
    available = {"cpu": True, "cuda": has_cuda(), "mps": has_mps()}
    if not available[requested]:
        names = ", ".join(name for name, present in available.items() if present)
        raise input_error(
            "",
            f"no {requested} device on this machine",
            "--device auto",
            field="device",
            allowed=names,
        )
    return requested


def bf16_is_fast(device: str) -> bool:
    """Return True if the device `cpu`, `cuda` or `mps` multiplies bf16 numbers itself."""
    if device == "cuda":
        return gpu_has_bf16()
    return device == "cpu" and processor_has_bf16()
