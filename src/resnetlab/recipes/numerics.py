"""Settings that may change the bits of a run (numerics) and that must not (placement)."""

from __future__ import annotations

import os
from typing import Annotated, Literal, NamedTuple, get_args

from resnetlab.errors import input_error
from resnetlab.schema import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    strict_dataclass,
)

DeviceType = Literal["auto", "cpu", "cuda", "mps"]
"""Type of a device, without the index of a GPU."""

DEVICES: tuple[DeviceType, ...] = get_args(DeviceType)


@strict_dataclass
class Numerics:
    """Numeric settings of a run: device, precision, memory layout.

    They are part of its identity, once `auto` and 0 are resolved for this machine.
    """

    device: DeviceType = "auto"
    """Device type of the run; `auto` takes a GPU if there is one. The index of a GPU is placement.
    """
    precision: Literal["auto", "fp32", "bf16", "bf16-emulated"] = "auto"
    """Number format.

    A processor without bf16 instructions refuses `bf16`; `bf16-emulated` runs there all the same,
    many times slower than fp32. On a processor with the instructions, `bf16-emulated` is `bf16`.
    """
    memory_format: Literal["auto", "contiguous", "channels_last"] = "auto"
    """Order of the values of an image in memory; `auto` is `channels_last`, and
    `contiguous` on mps.
    """
    world_size: PositiveInt = 1
    """Number of processes that share each batch of a run (torchrun)."""
    grad_accum_steps: PositiveInt = 1
    """Number of microbatches that a process computes one after another, to save memory."""
    batch_norm: Literal["local", "synchronized"] = "local"
    """Scope of batch statistics: a process's part of a batch, or (on GPUs) all processes."""
    threads: NonNegativeInt = 0
    """CPU threads of a run; 0 means 1 in a study and all cores in a single run."""
    cuda_graphs: Literal["auto", "on", "off"] = "auto"
    """CUDA graphs: steps are captured once and replayed, and the optimizer reads its learning rate
    as an fp32 number on the GPU.

    `auto` means `on` for a GPU; on other devices nothing is captured, and it stays `auto`.
    """


@strict_dataclass
class Placement:
    """Settings of speed and scheduling. A test checks that none of them changes a bit."""

    workers: NonNegativeInt = 0
    """Number of worker processes of a study; 0 chooses by the number of cores."""
    device_index: NonNegativeInt = 0
    """Index of the GPU."""
    parallel_seeds: PositiveInt = 1
    """Number of runs of one condition that a worker process trains side by side."""
    gpus_per_run: Annotated[PositiveFloat, "GPUs, or a share of one"] = 1.0
    """GPUs of a cluster that one run gets, if it computes on a GPU; may be a fraction."""
    checkpoint_seconds: NonNegativeFloat = 30.0
    """Minimum time in seconds between checkpoints at the ends of epochs."""
    max_checkpoint_seconds: NonNegativeFloat = 300.0
    """Time in seconds after which a checkpoint is written within an epoch."""
    profile: bool = False
    """Profiling: write a trace and a table of times into the run's folder."""


def parse_device(text: str) -> tuple[DeviceType, int]:
    """Split `cuda:1` into device type and index, 0 if none is given.

    Raises InputError if it is no device.
    """
    name, colon, index = text.strip().lower().partition(":")
    device_type = next((device for device in DEVICES if device == name), None)
    is_index = name == "cuda" and index.isdecimal() and len(index) < 4
    if device_type is None or (colon and not is_index):
        allowed = f"{', '.join(DEVICES)}, or cuda:N for the GPU of that index"
        raise input_error(
            "--device", "no such device", "--device auto", got=text[:60], allowed=allowed
        )
    return device_type, int(index or 0)


class TorchrunEnv(NamedTuple):
    """Place of this process among those that torchrun started; without it, a single process."""

    rank: int
    world_size: int
    local_rank: int


def torchrun_env() -> TorchrunEnv:
    """Return the rank, the number of processes and the local rank from torchrun's variables."""
    variables = (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0))
    return TorchrunEnv(*(int(os.environ.get(name, default)) for name, default in variables))


def available_cpus() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
