"""Memory: what is kept for the next step, how much something took at most, and whether an error says it ran out."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch


class Peak:
    """The most bytes that were held while it was watched: of a GPU its own, else of the process."""

    bytes = 0


_watched: list[Peak] = []
"""Those that are not done: each watch begins the system's one mark anew, so the ones around it note it before."""


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Peak]:
    """Watch the memory of what is done inside, also where it ends in an error; may stand within another."""
    peak = Peak()
    gc.collect()
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)  # what is free and kept is not held
    for outer in _watched:
        outer.bytes = max(outer.bytes, _most(device))
    _watched.append(peak)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # Linux: begin the high-water mark anew
    try:
        yield peak
    finally:
        _watched.remove(peak)
        peak.bytes = max(peak.bytes, _most(device))


def _most(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _resident()


def _resident() -> int:
    """The process's high-water mark in bytes."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    try:
        import resource
    except ImportError:
        return _windows_peak()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def _windows_peak() -> int:
    """What Windows calls the peak working set of the process, in bytes; 0 where the system is another one.

    Source: PROCESS_MEMORY_COUNTERS in psapi.h; a DWORD's pair and eight sizes, of which the first is the peak.
    """
    counters = (ctypes.c_size_t * 10)()
    size = 8 + 8 * ctypes.sizeof(ctypes.c_size_t)
    with suppress(AttributeError, OSError):
        kernel = getattr(ctypes, "windll").kernel32  # noqa: B009 (only Windows has it)
        kernel.GetCurrentProcess.restype = ctypes.c_void_p
        process = ctypes.c_void_p(kernel.GetCurrentProcess())
        if kernel.K32GetProcessMemoryInfo(process, ctypes.byref(counters), size):
            return int.from_bytes(bytes(counters)[8 : 8 + ctypes.sizeof(ctypes.c_size_t)], sys.byteorder)
    return 0


def keep_freed_memory() -> None:
    """Let glibc keep what a step frees, for the next one asks for just as much: pages that are given back and fetched
    again cost time (`benchmarks/tries.py`). Other C libraries have no such call."""
    _set_malloc_options(most_mapped=0, trim_threshold=2**31 - 1, top_pad=64 * 2**20)


def release_freed_memory() -> None:
    """Undo `keep_freed_memory`: glibc's defaults (mallopt(3)), and what is free goes back to the system."""
    _set_malloc_options(most_mapped=65_536, trim_threshold=128 * 1024, top_pad=128 * 1024)
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def _set_malloc_options(most_mapped: int, trim_threshold: int, top_pad: int) -> None:
    m_trim_threshold, m_top_pad, m_mmap_max = -1, -2, -4  # malloc.h
    with suppress(AttributeError, OSError, TypeError):
        set_option = ctypes.CDLL(None).mallopt
        set_option(m_mmap_max, most_mapped)
        set_option(m_trim_threshold, trim_threshold)
        set_option(m_top_pad, top_pad)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python's or torch's says that memory ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(
        sign in str(error) for sign in ("not enough memory", "can't allocate memory", "CUDNN_STATUS_ALLOC_FAILED")
    )
