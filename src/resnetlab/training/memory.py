"""Memory of process and GPU: peak use, freed memory that glibc retains, out-of-memory errors."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch


class Peak:
    """Peak memory in bytes of a measured block: the GPU's on a CUDA device, else the process's."""

    bytes = 0


_active: list[Peak] = []
"""Measurements that are still open.

Each new one resets the system's only high-water mark, so it first saves the mark to the outer ones.
"""


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Peak]:
    """Measure the peak memory of the `with` block, also after an error; blocks may be nested."""
    peak = Peak()
    gc.collect()
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)  # freed memory that glibc retains must not count
    for outer in _active:
        outer.bytes = max(outer.bytes, _peak_bytes(device))
    _active.append(peak)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):  # Linux: 5 resets the high-water mark
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    try:
        yield peak
    finally:
        _active.remove(peak)
        peak.bytes = max(peak.bytes, _peak_bytes(device))


def _peak_bytes(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _peak_resident()


def _peak_resident() -> int:
    """Return the process's peak resident memory in bytes."""
    with suppress(OSError):
        text = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        for line in text.splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    try:
        import resource
    except ImportError:
        return _windows_peak()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _windows_peak() -> int:
    """Return the peak working set of the process on Windows in bytes, or 0 on another system.

    Source: PROCESS_MEMORY_COUNTERS in psapi.h: a pair of DWORDs and eight sizes. The first size is
    the peak.
    """
    counters = (ctypes.c_size_t * 10)()
    size = 8 + 8 * ctypes.sizeof(ctypes.c_size_t)
    with suppress(AttributeError, OSError):
        kernel = getattr(ctypes, "windll").kernel32  # noqa: B009
        kernel.GetCurrentProcess.restype = ctypes.c_void_p
        process = ctypes.c_void_p(kernel.GetCurrentProcess())
        if kernel.K32GetProcessMemoryInfo(process, ctypes.byref(counters), size):
            return int.from_bytes(
                bytes(counters)[8 : 8 + ctypes.sizeof(ctypes.c_size_t)], sys.byteorder
            )
    return 0


def retain_freed_memory() -> None:
    """Let glibc retain the memory that a step frees, since the next step needs as much.

    Returning pages to the system and fetching them again costs time (`benchmarks/tries.py`). Other
    C libraries have no such call.
    """
    _set_malloc_options(max_mapped=0, trim_threshold=2**31 - 1, top_pad=64 * 2**20)


def release_freed_memory() -> None:
    """Undo `retain_freed_memory` (mallopt(3)) and return free memory to the system."""
    _set_malloc_options(max_mapped=65_536, trim_threshold=128 * 1024, top_pad=128 * 1024)
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def _set_malloc_options(max_mapped: int, trim_threshold: int, top_pad: int) -> None:
    m_trim_threshold, m_top_pad, m_mmap_max = -1, -2, -4  # malloc.h
    with suppress(AttributeError, OSError, TypeError):
        set_option = ctypes.CDLL(None).mallopt
        set_option(m_mmap_max, max_mapped)
        set_option(m_trim_threshold, trim_threshold)
        set_option(m_top_pad, top_pad)


def is_out_of_memory(error: BaseException) -> bool:
    """Return True if an error of Python or torch means out of memory (OOM).

    `locked_run` in runs/lifecycle.py handles such an error of a run.
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    phrases = (
        "not enough memory",
        "can't allocate memory",
        "CUDNN_STATUS_ALLOC_FAILED",
        "CUBLAS_STATUS_ALLOC_FAILED",
        "MPS backend out of memory",
    )
    return isinstance(error, RuntimeError) and any(phrase in str(error) for phrase in phrases)
