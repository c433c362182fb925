"""Device setup: settings of the process that make runs bit-exact, autocast and memory format."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

from resnetlab.recipes.numerics import Numerics
from resnetlab.training.memory import release_freed_memory, retain_freed_memory
from resnetlab.training.resolve import check_bf16_support, check_device_index


def setup_device(numerics: Numerics, device_index: int = 0) -> torch.device:
    """Set this process up for a run with resolved `numerics` and return its device.

    cuDNN chooses one kernel for one shape, whatever else runs, and fp32 is true fp32 on a GPU too.
    Raises InputError if the run was planned in bf16 on another machine and this processor would
    emulate it, or if this machine lacks the GPU.
    """
    check_bf16_support(numerics)
    check_device_index(numerics.device, device_index)
    torch.set_num_threads(numerics.threads)
    if numerics.device == "cpu":
        retain_freed_memory()
    if numerics.device == "cuda":
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.cuda.set_device(device_index)
        return torch.device("cuda", device_index)
    return torch.device(numerics.device)


@contextlib.contextmanager
def preserve_device_settings() -> Iterator[None]:
    """Restore on exit what `setup_device` changes: threads, cuDNN settings, memory options."""
    threads, cudnn = torch.get_num_threads(), torch.backends.cudnn
    flags = (
        cudnn.benchmark,
        cudnn.deterministic,
        cudnn.allow_tf32,
        torch.backends.cuda.matmul.allow_tf32,
    )
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        (
            cudnn.benchmark,
            cudnn.deterministic,
            cudnn.allow_tf32,
            torch.backends.cuda.matmul.allow_tf32,
        ) = flags
        release_freed_memory()


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished the work that this thread's current stream has queued."""
    match device.type:
        case "cuda":
            torch.cuda.current_stream(device).synchronize()
        case "mps":
            torch.mps.synchronize()


def autocast(numerics: Numerics) -> contextlib.AbstractContextManager[object]:
    """Return the context for a forward pass: autocast to bf16, or nothing."""
    if numerics.precision in ("bf16", "bf16-emulated"):
        # A captured step must not use weights that were cast outside it (torch's notes on CUDA
        # graphs).
        return torch.autocast(
            numerics.device, torch.bfloat16, cache_enabled=numerics.device != "cuda"
        )
    return contextlib.nullcontext()


def memory_format(numerics: Numerics) -> torch.memory_format:
    """Return the memory format of images and weights."""
    if numerics.memory_format == "channels_last":
        return torch.channels_last
    return torch.contiguous_format


def to_memory_format(images: Tensor, numerics: Numerics) -> Tensor:
    """Return images (B, C, H, W) in the memory format of the run; features (B, F) are unchanged."""
    if images.dim() != 4:
        return images
    return images.contiguous(memory_format=memory_format(numerics))
