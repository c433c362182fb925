"""Hardware detection: devices and instructions of this machine.

It asks the operating system first, so that a plan needs no torch.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from resnetlab.torch_check import has_torch

GPU_FILES = (
    "/dev/nvidiactl",
    "/dev/nvidia0",
    "/dev/nvhost-gpu",
    "/dev/dxg",
    "/dev/kfd",
    "/proc/driver/nvidia/version",
)
"""Files of Linux that exist if a GPU can be used: NVIDIA, NVIDIA on Jetson and under WSL, AMD."""

BF16_FLAGS = ("avx512_bf16", "amx_bf16")
"""Instructions that multiply bf16 numbers, as Linux and torch name them."""


def has_cuda() -> bool:
    """Return True if torch can compute on a GPU through CUDA (or ROCm)."""
    if not has_torch() or (
        not _torch_is_loaded()
        and sys.platform == "linux"
        and not any(map(os.path.exists, GPU_FILES))
    ):
        return False
    return bool(_import_torch().cuda.is_available())


def has_mps() -> bool:
    """Return True if torch can compute on the GPU of an Apple processor."""
    if not has_torch() or (not _torch_is_loaded() and sys.platform != "darwin"):
        return False
    return bool(_import_torch().backends.mps.is_available())


def gpu_count() -> int:
    """Return the number of GPUs that torch can use through CUDA."""
    return int(_import_torch().cuda.device_count())


def gpu_has_bf16() -> bool:
    """Return True if the GPU has tensor cores for bf16: compute capability 8 or newer."""
    return int(_import_torch().cuda.get_device_capability()[0]) >= 8


def processor_has_bf16() -> bool:
    """Return True if this processor has instructions that multiply bf16 numbers; others emulate it.

    The environment variable ONEDNN_MAX_CPU_ISA, which limits the instructions that oneDNN uses, is
    respected.
    """
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "DEFAULT").upper()
    if limit not in ("ALL", "DEFAULT") and not any(
        name in limit for name in ("BF16", "FP16", "AMX", "AVX10")
    ):
        return False
    flags = None if _torch_is_loaded() else read_cpuinfo()[1]
    if flags is not None:
        return any(name in flags for name in BF16_FLAGS)
    # Older versions of torch have no such function.
    get_capabilities: Callable[[], dict[str, object]] = getattr(
        _import_torch().cpu, "get_capabilities", dict
    )
    capabilities = get_capabilities()
    return any(bool(capabilities.get(name)) for name in BF16_FLAGS)


def instruction_set() -> str:
    """Return the vector instructions that torch uses here: `AVX2`, `AVX512 with bf16`."""
    name: str = _import_torch().backends.cpu.get_cpu_capability()
    return f"{name} with bf16" if processor_has_bf16() else name


def read_cpuinfo() -> tuple[str, frozenset[str] | None]:
    """Return the processor's name and flags as Linux lists them; "" and None elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "", None
    # Reversed, so that the fields of the first processor replace those of all others.
    fields = {
        key.strip(): value.strip()
        for key, _, value in (line.partition(":") for line in reversed(lines))
    }
    flags = fields.get("flags") or fields.get("Features")
    return fields.get("model name", ""), frozenset(flags.split()) if flags else None


def total_memory_bytes() -> int:
    """Return the bytes of memory of this machine; 0 if the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return 0


def _torch_is_loaded() -> bool:
    """Return True if torch is imported already: its own answer is the most reliable."""
    return sys.modules.get("torch") is not None


def _import_torch() -> Any:
    import torch

    return torch
