"""Processes that share one run (torch.distributed), started by torchrun."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from resnetlab.errors import input_error
from resnetlab.recipes.numerics import torchrun_env

T = TypeVar("T")

STOP_SYNC_STEPS = 8
"""Number of steps between two checks whether any process of the run was asked to stop."""

TIMEOUT = timedelta(minutes=10)
"""Time limit for a process that waits for another one that hangs."""


@dataclass(frozen=True)
class World:
    """Rank of this process and number of processes of the run; by default a single process."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_main_process(self) -> bool:
        """True for the process that reads and writes the run's folder (rank 0)."""
        return self.rank == 0

    def microbatch_slices(self, batch_size: int, grad_accum_steps: int) -> list[slice]:
        """Return this process's `grad_accum_steps` slices of a batch, one after another."""
        size, remainder = divmod(batch_size, self.size * grad_accum_steps)
        first = self.rank * grad_accum_steps
        # The first `remainder` slices have one image more.
        starts = [
            index * size + min(index, remainder)
            for index in range(first, first + grad_accum_steps + 1)
        ]
        return [slice(start, end) for start, end in itertools.pairwise(starts)]

    def part_of_batch(self, batch_size: int, grad_accum_steps: int) -> slice:
        """Return the slice of a batch that this process loads: all its microbatches together."""
        slices = self.microbatch_slices(batch_size, grad_accum_steps)
        return slice(slices[0].start, slices[-1].stop)

    def all_reduce_sum(self, values: Tensor) -> Tensor:
        """Sum `values` over the processes, in place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def any_rank(self, flag: bool) -> bool:
        """Return True if `flag` is true in any process. All processes get the same answer."""
        return any(self.all_gather(flag))

    def all_gather(self, value: T) -> list[T]:
        """Return the `value` of every process, by rank."""
        if self.size == 1:
            return [value]
        values: list[T | None] = [None] * self.size
        dist.all_gather_object(values, value)
        return values  # type: ignore[return-value]

    def broadcast(self, value: T) -> T:
        """Return the first process's `value` in every process."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]


SINGLE_PROCESS = World()


def collective_stop(world: World, should_stop: Callable[[], bool]) -> Callable[[], bool]:
    """Return a function that is true once `should_stop` is true in any process of the run.

    Every process must call it at the same steps. It asks the others at every STOP_SYNC_STEPS-th
    call only.
    """
    if world.size == 1:
        return should_stop
    calls = itertools.count()
    return lambda: next(calls) % STOP_SYNC_STEPS == 0 and world.any_rank(should_stop())


def torchrun_world() -> World:
    """Return the world that torchrun's variables describe, or a single process."""
    return World(*torchrun_env())


@contextlib.contextmanager
def process_group(world: World, device: str) -> Iterator[None]:
    """Connect to the other processes of `world` for the `with` block.

    Raises InputError for a device other than cpu and cuda.
    """
    if world.size == 1:
        yield
        return
    if device == "cuda":
        torch.cuda.set_device(world.local_rank)
    elif device != "cpu":
        raise input_error(
            "",
            "several processes need cpu or cuda",
            "--set numerics.device=cpu",
            field="device",
            got=device,
        )
    store, rank, size = next(rendezvous("env://", timeout=TIMEOUT))
    # After a restart by torchrun, processes must not read the addresses of the previous attempt.
    store = PrefixStore(f"attempt-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    backend = "nccl" if device == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=TIMEOUT)
    try:
        yield
    finally:
        dist.destroy_process_group()
