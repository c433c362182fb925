"""Stand-in on the CPU for CUDA graphs.

Like a CUDA graph it replays operations on the same memory, runs no Python code again, reuses the
numbers that Python gave, and refuses an operation that waits for the device. The kernels, streams
and memory pools of a GPU are not imitated.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from resnetlab.training.cuda_graphs import GraphedStep


def address(tensor: Tensor) -> int:
    """Return the address of the memory of a tensor."""
    return tensor.untyped_storage().data_ptr()


class Recorder(TorchDispatchMode):
    """Record of each operation with its tensors, and of the values of tensors from outside."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, list[tuple[int, Tensor]]]] = []
        self.made: set[int] = set()
        self.outside: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("operation not permitted when stream is capturing")
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        for tensor in given:
            if address(tensor) not in self.made | self.outside.keys():
                storage = tensor.untyped_storage()
                self.outside[address(tensor)] = storage, storage.clone()
        out = func(*args, **(kwargs or {}))
        views = {address(tensor) for tensor in given}
        leaves = enumerate(tree_leaves(out))
        fresh = [
            (index, leaf)
            for index, leaf in leaves
            if isinstance(leaf, Tensor) and address(leaf) not in views
        ]
        self.made |= {address(tensor) for _, tensor in fresh}
        if fresh or func._schema.is_mutable:
            self.calls.append((func, args, kwargs or {}, fresh))
        return out


class FakeCudaGraphs:
    """Stand-in for `cuda_graphs.CudaGraphs` that records and replays operations on the CPU.

    `stale` are functions from a step to a tensor whose later changes the replays ignore.
    """

    captured = replayed = 0
    stale: tuple[Callable[[GraphedStep], Tensor], ...] = ()

    def __init__(self, device: torch.device) -> None:
        assert device.type == "cpu"

    def on_stream(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def wait_for_current_stream(self) -> None:
        pass

    def synchronize(self) -> None:
        pass

    def rng_state(self) -> list[Tensor]:
        return [torch.get_rng_state()]

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        kind = type(self)
        recorder = Recorder()
        step = function.__self__  # type: ignore[attr-defined]
        try:
            with recorder:
                function()
        finally:
            for storage, before in recorder.outside.values():
                storage.copy_(before)
        kind.captured += 1
        stale = {id(find(step)): find(step).clone() for find in self.stale}

        def replay() -> None:
            kind.replayed += 1
            with torch.no_grad():
                for func, args, kwargs, fresh in recorder.calls:
                    seen = tree_map_only(
                        Tensor, lambda tensor: stale.get(id(tensor), tensor), (args, kwargs)
                    )
                    out = tree_leaves(func(*seen[0], **seen[1]))
                    for index, tensor in fresh:
                        tensor.copy_(out[index])

        return replay
