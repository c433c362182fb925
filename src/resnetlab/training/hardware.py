"""The devices and instructions of this machine. Asks the operating system first, so that a plan needs no torch."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

GPU_FILES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/nvhost-gpu", "/dev/dxg", "/dev/kfd", "/proc/driver/nvidia/version")
"""Linux has one of these where a GPU can be used: NVIDIA, NVIDIA on Jetson and under WSL, AMD."""

BF16_FLAGS = ("avx512_bf16", "amx_bf16")
"""Instructions that multiply bf16 numbers, as Linux and torch name them."""


def has_cuda() -> bool:
    """Return whether torch can compute on a GPU through CUDA (or ROCm)."""
    if not _loaded() and sys.platform == "linux" and not any(map(os.path.exists, GPU_FILES)):
        return False
    return bool(_torch().cuda.is_available())


def has_mps() -> bool:
    """Return whether torch can compute on the GPU of an Apple processor."""
    if not _loaded() and sys.platform != "darwin":
        return False
    return bool(_torch().backends.mps.is_available())


def gpu_count() -> int:
    """Return how many GPUs torch can compute on through CUDA."""
    return int(_torch().cuda.device_count())


def gpu_has_bf16() -> bool:
    """Return whether the CUDA GPU has tensor cores for bf16: compute capability 8 (Ampere) or newer."""
    return int(_torch().cuda.get_device_capability()[0]) >= 8


def processor_has_bf16() -> bool:
    """Return whether this processor multiplies bf16 numbers itself; others emulate it.

    ONEDNN_MAX_CPU_ISA, by which a person keeps oneDNN from newer instructions, counts too.
    """
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "DEFAULT").upper()
    if limit not in ("ALL", "DEFAULT") and not any(name in limit for name in ("BF16", "FP16", "AMX", "AVX10")):
        return False
    flags = None if _loaded() else _linux_flags()
    if flags is not None:
        return any(name in flags for name in BF16_FLAGS)
    probe: Callable[[], dict[str, object]] = getattr(_torch().cpu, "get_capabilities", dict)  # not in every torch
    capabilities = probe()
    return any(bool(capabilities.get(name)) for name in BF16_FLAGS)


def instruction_set() -> str:
    """Name the vector instructions that torch uses on this processor: `AVX2`, `AVX512 with bf16`."""
    name: str = _torch().backends.cpu.get_cpu_capability()
    return f"{name} with bf16" if processor_has_bf16() else name


def _loaded() -> bool:
    """Torch knows best; it is asked wherever it was imported already."""
    return "torch" in sys.modules


def _torch() -> Any:
    import torch

    return torch


def _linux_flags() -> frozenset[str] | None:
    """The processor's features; None where the system does not list them as x86 processors under Linux do."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("flags"):
                return frozenset(line.partition(":")[2].split())
    except OSError:
        pass
    return None
