"""How much memory something took at most, and whether an error says that there was not enough."""

from __future__ import annotations

import gc
import resource
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
    for outer in _watched:
        outer.bytes = max(outer.bytes, _most(device))
    _watched.append(peak)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # Linux: begin the high-water mark anew
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
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python's or torch's says that memory ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(
        sign in str(error) for sign in ("not enough memory", "can't allocate memory", "CUDNN_STATUS_ALLOC_FAILED")
    )
