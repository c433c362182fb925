"""What may change the bits of a run (numerics) and what must not (placement). Free of torch."""

from __future__ import annotations

import os
from typing import Annotated, Literal

from resnetlab.codec import Amount, Positive, PositiveAmount, Whole, spec
from resnetlab.errors import mistake


@spec
class Numerics:
    """Part of a run's identity, once `auto` and 0 are resolved to what this machine does."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "bf16-emulated"] = "auto"
    """`bf16` is refused on a processor that has no instructions for it. `bf16-emulated` takes it there all the same,
    many times slower than fp32; where the instructions exist, it is `bf16`."""
    memory_format: Literal["auto", "contiguous", "channels_last"] = "auto"
    ranks: Positive = 1
    """Processes that share each batch of a run (torchrun); each computes its part of it."""
    accumulate: Positive = 1
    """Parts of a batch that one process computes one after another, for want of memory."""
    batch_norm: Literal["local", "synchronised"] = "local"
    """Over a process's part of a batch, or (on GPUs) over the parts of all processes."""
    threads: Whole = 0
    """Threads of one run on the processor; 0 for 1 in a study, all cores in a single run."""
    capture: Literal["auto", "on", "off"] = "auto"
    """Steps recorded once and replayed (CUDA graphs), for which the optimiser takes its learning rate as an fp32
    number on the GPU. `auto` is `on` there; elsewhere nothing is captured, and it stays `auto`."""


@spec
class Placement:
    """Where and how often; a test holds that none of it changes a bit."""

    workers: Whole = 0
    """Worker processes of a study; 0 for as many as the cores carry."""
    device_index: Whole = 0
    abreast: Positive = 1
    """Runs of one condition that a worker process trains side by side."""
    gpus_per_run: Annotated[PositiveAmount, "GPUs, or a share of one"] = 1.0
    """What a run is given of a cluster's GPUs, where it computes on one."""
    checkpoint_seconds: Amount = 30.0
    """Checkpoints at the end of an epoch are no closer than this."""
    longest_loss_seconds: Amount = 300.0
    """Within an epoch, a checkpoint after this long."""
    profile: bool = False
    """Say where the time goes: a trace and a table in the run's folder."""


DEVICES = ("auto", "cpu", "cuda", "mps")


def parse_device(text: str) -> tuple[str, int]:
    """Split `cuda:1` into the device's type and its index, which is 0 where none is given. Raises InputError."""
    name, colon, index = text.strip().lower().partition(":")
    fits = name in DEVICES and (not colon or (name == "cuda" and index.isdecimal() and len(index) < 4))
    if not fits:
        allowed = f"{', '.join(DEVICES)}, or cuda:N for the GPU of that index"
        raise mistake("--device", "no such device", "--device auto", got=text[:60], allowed=allowed)
    return name, int(index or 0)


def place() -> tuple[int, int, int]:
    """Rank, processes of the run, and rank on this machine, as torchrun says; (0, 1, 0) where it did not start this."""
    words = (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0))
    rank, size, local = (int(os.environ.get(word, alone)) for word, alone in words)
    return rank, size, local


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
