"""What this machine does for `auto`, and the settings by which a run keeps its bits."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace

import torch

from resnetlab.errors import mistake
from resnetlab.training.memory import keep_freed_memory
from resnetlab.training.numerics import Numerics, cores


def resolve(numerics: Numerics, *, single: bool) -> Numerics:
    """`numerics` without `auto`. `single`: one run takes all cores; in a study each takes one thread.

    Raises InputError when a device is asked for that is not here.
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
    if device == "cpu":
        # An avx512_bf16 or amx unit multiplies bf16 itself; without one it is emulated, and slower than fp32.
        probe: Callable[[], dict[str, object]] = getattr(torch.cpu, "get_capabilities", dict)  # not in every torch
        capabilities = probe()
        return any(bool(capabilities.get(name)) for name in ("avx512_bf16", "amx_bf16"))
    return False


def check_index(device: str, index: int) -> None:
    """Raise InputError unless the machine has a GPU of that index."""
    count = torch.cuda.device_count() if device == "cuda" and index else 1
    if device == "cuda" and index >= count:
        allowed = ", ".join(f"cuda:{number}" for number in range(count))
        raise mistake("--device", "no such GPU on this machine", "--device cuda", got=f"cuda:{index}", allowed=allowed)


def prepare(numerics: Numerics, device_index: int = 0) -> torch.device:
    """Set this process up for a run of resolved `numerics`, and give its device.

    One kernel is chosen for one shape, whatever else runs, and fp32 means fp32 on a GPU as well. Raises InputError for
    a GPU that the machine does not have.
    """
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
    if numerics.precision == "bf16":
        # A capture must not meet weights that were cast outside it (torch's notes on CUDA graphs).
        return torch.autocast(numerics.device, torch.bfloat16, cache_enabled=numerics.device != "cuda")
    return contextlib.nullcontext()


def layout(numerics: Numerics) -> torch.memory_format:
    """How images and weights lie in memory."""
    return torch.channels_last if numerics.memory_format == "channels_last" else torch.contiguous_format
