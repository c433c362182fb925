"""The processes that share one run: torchrun starts them, gradients and scores pass between them. Decides no number."""

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
"""After which a process that waits for one that hangs gives up."""


@dataclass(frozen=True)
class Team:
    """This process among those of a run: `rank` of `size`, `local` on its machine. One alone by default."""

    rank: int = 0
    size: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the one that reads and writes the run's folder."""
        return self.rank == 0

    def parts(self, images: int, accumulate: int) -> list[slice]:
        """This process's parts of a batch of `images`: `accumulate` of them, one after another."""
        sizes = [len(part) for part in torch.arange(images).tensor_split(self.size * accumulate)]
        starts = [sum(sizes[:index]) for index in range(len(sizes))]
        mine = range(self.rank * accumulate, (self.rank + 1) * accumulate)
        return [slice(starts[index], starts[index] + sizes[index]) for index in mine]

    def total(self, values: Tensor) -> Tensor:
        """The sum of `values` over the processes, in place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def agreed(self, flag: bool) -> bool:
        """Whether any process says so: the same answer for all."""
        return any(self.gathered(flag))

    def gathered(self, value: T) -> list[T]:
        """Every process's `value`, by rank."""
        if self.size == 1:
            return [value]
        values: list[T | None] = [None] * self.size
        dist.all_gather_object(values, value)
        return values  # type: ignore[return-value]

    def from_first(self, value: T) -> T:
        """The first process's `value`."""
        if self.size == 1:
            return value
        held = [value]
        dist.broadcast_object_list(held, src=0)
        return held[0]


ALONE = Team()


def from_environment() -> Team:
    """As torchrun says; alone where it did not start this process."""
    return Team(*place())


@contextlib.contextmanager
def joined(team: Team, device: str) -> Iterator[None]:
    """Be connected to the others of `team`."""
    if team.size == 1:
        yield
        return
    if device == "cuda":
        torch.cuda.set_device(team.local)
    elif device != "cpu":
        raise mistake("", "several processes need cpu or cuda", "--set numerics.device=cpu", field="device", got=device)
    store, rank, size = next(rendezvous("env://", timeout=TIMEOUT))
    # Processes that torchrun starts again must not find the addresses of those before them.
    store = PrefixStore(f"attempt-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    backend = "nccl" if device == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=TIMEOUT)
    try:
        yield
    finally:
        dist.destroy_process_group()
