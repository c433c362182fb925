"""The peak memory of a block of code is measured, also in nested blocks."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from resnetlab.training.memory import is_out_of_memory

SIZE = 150_000_000
"""Bytes, far above what the script takes besides."""

SCRIPT = f"""
import torch
from resnetlab.training.memory import peak_memory
cpu = torch.device("cpu")
with peak_memory(cpu) as outer:
    torch.ones({SIZE // 4})
    with peak_memory(cpu) as inner:
        pass
print(outer.bytes - inner.bytes)
with peak_memory(cpu) as outer:
    with peak_memory(cpu) as inner:
        torch.ones({SIZE // 4})
print(outer.bytes - inner.bytes)
"""


def test_a_nested_memory_measurement_hides_no_peak_of_the_outer_one() -> None:
    """In a process of its own: one that has trained keeps what was freed."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120, check=True
    )
    before, within = map(int, done.stdout.split())
    assert before > SIZE // 2
    assert within >= 0


FREED_MEMORY_SCRIPT = f"""
import torch
from resnetlab.training.memory import retain_freed_memory, peak_memory
retain_freed_memory()
torch.ones({SIZE // 4})
for size in (4, {SIZE // 4}):
    with peak_memory(torch.device("cpu")) as peak:
        torch.ones(size)
    print(peak.bytes)
"""


def test_freed_memory_in_the_allocator_is_not_counted() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FREED_MEMORY_SCRIPT],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    small, large = map(int, done.stdout.split())
    assert large - small > SIZE // 2


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (ValueError("not enough memory"), False),
    ],
)
def test_errors_of_each_device_are_recognized_as_out_of_memory(
    error: Exception, expected: bool
) -> None:
    assert is_out_of_memory(error) is expected
