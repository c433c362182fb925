"""What this machine does for `auto`, and the settings by which a run keeps its bits."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import replace

import torch

from resnetlab.errors import mistake
from resnetlab.training.memory import keep_freed_memory
from resnetlab.training.numerics import Numerics, cores


def resolve(numerics: Numerics, *, single: bool) -> Numerics:
    """`numerics` without `auto`. `single`: one run takes all cores; in a study each takes one thread.

    Raises InputError when a device is asked for that is not here, or bf16 on a processor that only emulates it.
    """
    device = numerics.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    here = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not here[device]:
        found = ", ".join(name for name, present in here.items() if present)
        raise mistake("", f"no {device} device on this machine", "--device auto", field="device", allowed=found)
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


def _bf16_profits(device: str) -> bool:
    if device == "cuda":
        return torch.cuda.get_device_capability()[0] >= 8  # Ampere: tensor cores for bf16
    return device == "cpu" and processor_has_bf16()


def processor_has_bf16() -> bool:
    """Return whether this processor multiplies bf16 numbers itself (avx512_bf16, amx_bf16); others emulate it.

    ONEDNN_MAX_CPU_ISA, by which a person keeps oneDNN from newer instructions, counts too.
    """
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "DEFAULT").upper()
    if limit not in ("ALL", "DEFAULT") and not any(name in limit for name in ("BF16", "FP16", "AMX", "AVX10")):
        return False
    probe: Callable[[], dict[str, object]] = getattr(torch.cpu, "get_capabilities", dict)  # not in every torch
    capabilities = probe()
    return any(bool(capabilities.get(name)) for name in ("avx512_bf16", "amx_bf16"))


def refuse_emulation(numerics: Numerics) -> None:
    """Raise InputError where bf16 would have to be emulated without the consent of the config."""
    if numerics.device == "cpu" and numerics.precision == "bf16" and not processor_has_bf16():
        what = "this processor has no instructions for bf16 and would emulate it, many times slower than fp32"
        fix = "--set numerics.precision=fp32, or bf16-emulated if you accept that"
        raise mistake("", what, fix, field="numerics.precision", got="bf16")


def instruction_set() -> str:
    """Name the vector instructions that torch uses on this processor: `AVX2`, `AVX512 with bf16`."""
    name: str = torch.backends.cpu.get_cpu_capability()
    return f"{name} with bf16" if processor_has_bf16() else name


def check_index(device: str, index: int) -> None:
    """Raise InputError unless the machine has a GPU of that index."""
    count = torch.cuda.device_count() if device == "cuda" and index else 1
    if device == "cuda" and index >= count:
        allowed = ", ".join(f"cuda:{number}" for number in range(count))
        raise mistake("--device", "no such GPU on this machine", "--device cuda", got=f"cuda:{index}", allowed=allowed)


def prepare(numerics: Numerics, device_index: int = 0) -> torch.device:
    """Set this process up for a run of resolved `numerics`, and give its device.

    One kernel is chosen for one shape, whatever else runs, and fp32 means fp32 on a GPU as well. Raises InputError
    where the run was planned in bf16, on another machine, and this processor would emulate it, and for a GPU that this
    machine does not have.
    """
    refuse_emulation(numerics)
    check_index(numerics.device, device_index)
    torch.set_num_threads(numerics.threads)
    if numerics.device == "cpu":
        keep_freed_memory()
    if numerics.device == "cuda":
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.cuda.set_device(device_index)
        return torch.device("cuda", device_index)
    return torch.device(numerics.device)


def autocast(numerics: Numerics) -> contextlib.AbstractContextManager[object]:
    """The context in which a network computes."""
    if numerics.precision in ("bf16", "bf16-emulated"):
        # A capture must not meet weights that were cast outside it (torch's notes on CUDA graphs).
        return torch.autocast(numerics.device, torch.bfloat16, cache_enabled=numerics.device != "cuda")
    return contextlib.nullcontext()


def layout(numerics: Numerics) -> torch.memory_format:
    """How images and weights lie in memory."""
    return torch.channels_last if numerics.memory_format == "channels_last" else torch.contiguous_format
