"""Processes that share one run (torch.distributed). torchrun starts them; they exchange gradients
and scores.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from resnetlab.errors import mistake
from resnetlab.recipes.numerics import place

T = TypeVar("T")

TIMEOUT = timedelta(minutes=10)
"""Time limit for a process that waits for another one that hangs."""


@dataclass(frozen=True)
class Team:
    """Rank of this process and number of processes of the run: `rank` of `size`, `local` on its
    machine.

    The default is a single process.
    """

    rank: int = 0
    size: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """True for the process that reads and writes the run's folder (rank 0)."""
        return self.rank == 0

    def parts(self, images: int, accumulate: int) -> list[slice]:
        """Return this process's slices of a batch of `images`: `accumulate` slices, one after
        another.
        """
        sizes = [len(part) for part in torch.arange(images).tensor_split(self.size * accumulate)]
        starts = [sum(sizes[:index]) for index in range(len(sizes))]
        own = range(self.rank * accumulate, (self.rank + 1) * accumulate)
        return [slice(starts[index], starts[index] + sizes[index]) for index in own]

    def total(self, values: Tensor) -> Tensor:
        """Sum `values` over the processes, in place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def agreed(self, flag: bool) -> bool:
        """Return True if `flag` is true in any process. All processes get the same answer."""
        return any(self.gathered(flag))

    def gathered(self, value: T) -> list[T]:
        """Return the `value` of every process, by rank."""
        if self.size == 1:
            return [value]
        values: list[T | None] = [None] * self.size
        dist.all_gather_object(values, value)
        return values  # type: ignore[return-value]

    def from_first(self, value: T) -> T:
        """Return the first process's `value` in every process."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]


ALONE = Team()


def from_environment() -> Team:
    """Return the team that torchrun's variables describe, or `ALONE` without torchrun."""
    return Team(*place())


@contextlib.contextmanager
def joined(team: Team, device: str) -> Iterator[None]:
    """Connect to the other processes of `team` for the `with` block.

    Raises InputError for a device other than cpu and cuda.
    """
    if team.size == 1:
        yield
        return
    if device == "cuda":
        torch.cuda.set_device(team.local)
    elif device != "cpu":
        raise mistake(
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
