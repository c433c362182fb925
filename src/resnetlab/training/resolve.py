"""What this machine does where numerics say `auto`. Imports torch only where the machine may have a GPU."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from resnetlab.errors import mistake
from resnetlab.training.hardware import gpu_count, gpu_has_bf16, has_cuda, has_mps, processor_has_bf16
from resnetlab.training.numerics import Numerics, cores


def resolve(numerics: Numerics, *, single: bool) -> Numerics:
    """`numerics` without `auto`. `single`: one run takes all cores; in a study each takes one thread.

    Raises InputError when a device is asked for that is not here, or bf16 on a processor that only emulates it.
    """
    device = _device(numerics.device)
    precision = numerics.precision
    if precision == "auto":
        precision = "bf16" if _bf16_profits(device) else "fp32"
    if precision == "bf16-emulated" and (device != "cpu" or processor_has_bf16()):
        precision = "bf16"
    refuse_emulation(replace(numerics, device=device, precision=precision))
    layout = numerics.memory_format
    if layout == "auto":
        layout = "contiguous" if device == "mps" else "channels_last"
    if numerics.batch_norm == "synchronised" and (device != "cuda" or numerics.ranks == 1):
        fix = "--set numerics.batch_norm=local"
        raise mistake("", "synchronised needs several processes, each with a GPU", fix, field="numerics.batch_norm")
    capture = numerics.capture
    if capture == "on" and device != "cuda":
        raise mistake("", "only steps on a GPU are captured", "--set numerics.capture=auto", field="numerics.capture")
    threads = numerics.threads or (max(1, cores() // numerics.ranks) if single else 1)
    return replace(
        numerics, device=device, precision=precision, memory_format=layout, threads=threads if device == "cpu" else 1,
        capture=("off" if capture == "off" else "on") if device == "cuda" else "auto",
    )  # fmt: skip


def refuse_emulation(numerics: Numerics) -> None:
    """Raise InputError where bf16 would have to be emulated without the consent of the config."""
    if numerics.device == "cpu" and numerics.precision == "bf16" and not processor_has_bf16():
        what = "this processor has no instructions for bf16 and would emulate it, many times slower than fp32"
        fix = "--set numerics.precision=fp32, or bf16-emulated if you accept that"
        raise mistake("", what, fix, field="numerics.precision", got="bf16")


def check_index(device: str, index: int) -> None:
    """Raise InputError unless the machine has a GPU of that index."""
    count = gpu_count() if device == "cuda" and index else 1
    if device == "cuda" and index >= count:
        allowed = ", ".join(f"cuda:{number}" for number in range(count))
        raise mistake("--device", "no such GPU on this machine", "--device cuda", got=f"cuda:{index}", allowed=allowed)


def _device(asked: Literal["auto", "cpu", "cuda", "mps"]) -> Literal["cpu", "cuda", "mps"]:
    if asked == "cpu":
        return "cpu"
    if asked == "auto":
        return "cuda" if has_cuda() else "mps" if has_mps() else "cpu"
    here = {"cpu": True, "cuda": has_cuda(), "mps": has_mps()}
    if not here[asked]:
        found = ", ".join(name for name, present in here.items() if present)
        raise mistake("", f"no {asked} device on this machine", "--device auto", field="device", allowed=found)
    return asked


def _bf16_profits(device: Literal["cpu", "cuda", "mps"]) -> bool:
    if device == "cuda":
        return gpu_has_bf16()
    return device == "cpu" and processor_has_bf16()
