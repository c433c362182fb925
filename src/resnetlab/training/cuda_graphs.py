"""CUDA graphs: a training step is captured once and replayed, with the same bits as an eager step.

Everything that changes from step to step is in tensors at fixed addresses: the random draws of the
epoch, the position of the batch in it, and the learning rates. The first steps of a process are
eager, because libraries choose their kernels and the optimizer creates its state. Then one step is
captured, which trains nothing, and the next two steps are taken both ways. If a bit differs, or the
step cannot be captured, the rest of the run is eager and records the reason.

The code follows torch's notes on CUDA graphs (CUDA semantics, "CUDA Graphs"): warm-up, capture and
replays use one side stream; gradients are None before the capture, so that they lie in the graph's
own memory; the CPU never waits for the device inside a captured step.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import partial

import torch
from torch import Tensor

from resnetlab.data.transforms.epoch_draws import EpochDraws
from resnetlab.errors import first_line
from resnetlab.training.batches import InMemoryBatches
from resnetlab.training.from_scratch_state import FromScratchState
from resnetlab.training.memory import is_out_of_memory
from resnetlab.training.step import train_step
from resnetlab.training.training_step import TrainingStep

WARMUP_STEPS = 3
"""Number of eager steps before the capture, as torch's notes ask."""

VERIFY_STEPS = 2
"""Number of steps that are then taken both ways.

The second one has another batch and another learning rate than the captured one.
"""


class CudaGraphs:
    """Side stream of the GPU with the CUDA graphs that are captured on it.

    Each run has its own: graphs of one stream share the workspace of cuBLAS, and a graph that is
    deleted frees it.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    @contextlib.contextmanager
    def on_stream(self) -> Iterator[None]:
        """Send the GPU work of the `with` block to the side stream."""
        with torch.cuda.stream(self.stream):
            yield

    def wait_for_current_stream(self) -> None:
        """Let the side stream wait for the work that was queued on the current stream."""
        self.stream.wait_stream(torch.cuda.current_stream(self.device))

    def synchronize(self) -> None:
        """Wait until the side stream has finished its work."""
        self.stream.synchronize()

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        """Capture `function` without running it and return a function that replays it.

        Raises RuntimeError if it cannot be captured.
        """
        gc.collect()  # otherwise tensors of earlier runs might be freed during the capture
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.stream):
            function()
        return graph.replay

    def rng_state(self) -> list[Tensor]:
        """Return the states of the random generators of the CPU and of this GPU."""
        return [torch.get_rng_state(), torch.cuda.get_rng_state(self.device)]


class GraphedStep(TrainingStep):
    """Step that replays a CUDA graph for each full batch of images on the device."""

    state: FromScratchState
    draws: EpochDraws | None = None

    def __init__(
        self, state: FromScratchState, batches: InMemoryBatches, graphs: CudaGraphs
    ) -> None:
        super().__init__(state, batches)
        self.batches, self.graphs = batches, graphs
        self.warmup_left, self.checks_left = WARMUP_STEPS, VERIFY_STEPS
        self.replay: Callable[[], None] | None = None
        # Index in the epoch of the batch's first image, and offsets of all its images from there.
        self.batch_start = torch.zeros(1, dtype=torch.int64, device=state.device)
        self.batch_offsets = torch.arange(state.recipe.batch_size, device=state.device)
        graphs.wait_for_current_stream()

    def start_epoch(self, epoch: int) -> None:
        """Copy the random draws of an epoch into the tensors that the captured step reads."""
        with self.graphs.on_stream():
            draws = self.batches.draws(epoch)
            if self.draws is None:
                self.draws = draws
            else:
                for field in fields(draws):
                    getattr(self.draws, field.name).copy_(getattr(draws, field.name))
        self.load = partial(self.batches.load, self.draws)

    def load_and_train(self, positions: slice) -> None:
        """Take a step on the images at these positions of the epoch's order."""
        state = self.state
        with self.graphs.on_stream():
            if state.eager_reason or positions.stop - positions.start < state.recipe.batch_size:
                super().load_and_train(positions)
                return
            if self.warmup_left:
                self._warmup_step(positions)
                return
            self.batch_start.fill_(positions.start)
            state.set_lr()
            if self.replay is None:
                self._capture()
            if self.replay is None:
                super().load_and_train(positions)
            elif self.checks_left:
                self._verify_replay(positions)
            else:
                self.replay()
                state.step += 1

    def synchronize(self) -> None:
        """Wait until the side stream has finished its work."""
        self.graphs.synchronize()

    def wait_for_current_stream(self) -> None:
        """Let the side stream wait for the GPU work that the caller queued meanwhile."""
        self.graphs.wait_for_current_stream()

    def _warmup_step(self, positions: slice) -> None:
        """Take an eager step and detect random draws of a layer.

        Such draws depend on the step number, which a replay does not have.
        """
        step = self.state.step
        super().load_and_train(positions)
        state_after_step = self.graphs.rng_state()
        self.state.seed_dropout(step)
        if not all(map(torch.equal, state_after_step, self.graphs.rng_state())):
            self.state.eager_reason = "a layer draws random numbers"
        self.warmup_left -= 1

    def _capture(self) -> None:
        """Capture a step. If that fails, store the reason: the run goes on with eager steps."""
        self.state.optimizer.zero_grad()
        try:
            self.replay = self.graphs.capture(self._captured_step)
        except RuntimeError as error:
            # Too little memory, or a layer that waits for the device. The run goes on, only slower.
            self.state.eager_reason = f"a step cannot be captured: {first_line(error)}"

    def _captured_step(self) -> None:
        """Train on the batch at `batch_start` and store its loss and number of errors."""
        state = self.state
        assert self.draws is not None
        positions = self.batch_start + self.batch_offsets
        metrics = train_step(state, *self.batches.batch(self.draws, positions))
        index = self.batch_start // state.recipe.batch_size
        state.losses.index_copy_(0, index, metrics[:1])
        state.error_counts.index_copy_(0, index, metrics[1:].long())

    def _verify_replay(self, positions: slice) -> None:
        """Take a step both ways; if the replay differs from the eager step, discard the graph."""
        step = self.state.step
        reason = self._compare_with_eager(positions)
        if reason:
            self.state.eager_reason, self.replay = reason, None
        if self.state.step == step:  # again, now that the memory of the graph is free
            super().load_and_train(positions)
        self.checks_left -= 1

    def _compare_with_eager(self, positions: slice) -> str:
        """Replay a step, undo it, and take it eagerly.

        Return the reason why the replay must not be used, or "". The copies lie in CPU memory, so
        that the check needs no more GPU memory than an eager step.
        """
        tensors = self.state.state_dict()
        before = _copy_to_cpu(tensors)
        if self.replay is not None:
            self.replay()
        replayed = _copy_to_cpu(tensors)
        _restore(tensors, before)
        try:
            super().load_and_train(positions)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            _restore(tensors, before)
            return "there is too little memory for a captured step beside an eager one"
        differing = [
            name for name, tensor in tensors.items() if not _same_bits(tensor.cpu(), replayed[name])
        ]
        return f"a replayed step differs from an eager one in {differing[0]}" if differing else ""


def _copy_to_cpu(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.to("cpu", copy=True) for name, tensor in tensors.items()}


@torch.no_grad()
def _restore(tensors: dict[str, Tensor], saved: dict[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        tensor.copy_(saved[name])


def _same_bits(left: Tensor, right: Tensor) -> bool:
    """Return True if all bits are equal, also where both values are NaN."""
    return torch.equal(left.reshape(-1).view(torch.uint8), right.reshape(-1).view(torch.uint8))
