"""Training steps as CUDA graphs: a step is captured once and replayed, with the same bits as an
eager step.

Everything that changes from step to step lies in tensors at fixed addresses: the plan of the epoch,
the position of the batch in it, and the learning rates. The first steps of a process are eager
(libraries choose their kernels and allocate memory; the optimizer creates its state). Then one step
is captured, which trains nothing, and the next two steps are taken both ways. If a bit differs, or
the step cannot be captured, the rest of the run is eager and records the reason.

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

from resnetlab.data.device_images import Resident
from resnetlab.data.transforms.epoch_draws import EpochPlan
from resnetlab.models.configs.external import External
from resnetlab.training.memory import is_out_of_memory
from resnetlab.training.state import Learner
from resnetlab.training.steps import Steps

WARM = 3
"""Number of eager steps before the capture, as torch's notes ask."""

CHECKED = 2
"""Number of steps that are then taken both ways.

The second one has another batch and another learning rate than the captured one.
"""


def why_plain(learner: Learner) -> str:
    """Return the reason why the steps of `learner` cannot be captured, or "" if they can, as far as
    is known before training.
    """
    reasons = {
        "steps are captured on GPUs alone": learner.numerics.capture == "auto",
        "numerics.capture is off": learner.numerics.capture == "off",
        "several processes share each batch": learner.team.size > 1,
        "RandAugment's operations are chosen on the processor": learner.recipe.augment.randaugment
        is not None,
        "the code of an external network may do more on the processor than is recorded": isinstance(
            learner.spec, External
        ),
    }
    return next((reason for reason, applies in reasons.items() if applies), "")


class CudaGraphs:
    """Side stream of the GPU with the CUDA graphs that are captured on it.

    Each learner has its own: graphs of one stream share the workspace of cuBLAS, and a graph that
    is deleted frees it.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    @contextlib.contextmanager
    def lane(self) -> Iterator[None]:
        """Send the GPU work of the `with` block to the side stream."""
        with torch.cuda.stream(self.stream):
            yield

    def follow(self) -> None:
        """Let the side stream wait for the work that was queued on the current stream."""
        self.stream.wait_stream(torch.cuda.current_stream(self.device))

    def rest(self) -> None:
        """Wait until the side stream has finished its work."""
        self.stream.synchronize()

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Capture `work` without running it and return a function that runs it.

        Raises RuntimeError if it cannot be captured.
        """
        gc.collect()  # otherwise tensors of earlier runs might be freed during the capture
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.stream):
            work()
        return graph.replay

    def random_state(self) -> list[Tensor]:
        """Return the states of the random generators that a layer could draw from (CPU and this
        GPU).
        """
        return [torch.get_rng_state(), torch.cuda.get_rng_state(self.device)]


class Captured(Steps[Resident]):
    """Steps that replay a CUDA graph for each full batch of images on the device; a shorter last
    batch is eager.
    """

    learner: Learner
    plan: EpochPlan

    def __init__(self, learner: Learner, images: Resident, graphs: CudaGraphs) -> None:
        super().__init__(learner, images)
        self.graphs = graphs
        self.warm, self.checks = WARM, CHECKED
        self.replay: Callable[[], None] | None = None
        self.place = torch.zeros(
            1, dtype=torch.int64, device=learner.device
        )  # index of the batch's first image
        self.ahead = torch.arange(learner.recipe.batch_size, device=learner.device)
        self.planned = False
        graphs.follow()

    def begin(self, epoch: int) -> None:
        """Copy the plan of `epoch` into the tensors that the captured step reads."""
        with self.graphs.lane():
            plan = self.learner.plan(self.images, epoch)
            if not self.planned:
                self.plan, self.planned = plan, True
                self.batches = partial(self.learner.batch, self.images, plan)
                return
            for field in fields(plan):
                getattr(self.plan, field.name).copy_(getattr(plan, field.name))

    def take(self, part: slice, size: int) -> None:
        """Take a step on `part` of the epoch, which has `size` images."""
        learner = self.learner
        with self.graphs.lane():
            if learner.plain or size < learner.recipe.batch_size:
                super().take(part, size)
                return
            if self.warm:
                self._warm_up(part, size)
                return
            self.place.fill_(part.start)
            learner.set_rates()
            if self.replay is None:
                self._record()
            if self.replay is None:
                super().take(part, size)
            elif self.checks:
                self._check(part, size)
            else:
                self.replay()
                learner.step += 1

    def rest(self) -> None:
        """Wait until the side stream has finished its work."""
        self.graphs.rest()

    def resume(self) -> None:
        """Let the side stream wait for evaluations and all other GPU work that the caller queued
        meanwhile.
        """
        self.graphs.follow()

    def _warm_up(self, part: slice, size: int) -> None:
        """Take an eager step and detect random draws of a layer.

        Such draws depend on the step number, which a replay does not have.
        """
        step = self.learner.step
        super().take(part, size)
        state_after_step = self.graphs.random_state()
        self.learner.seed_layers(step)
        if not all(map(torch.equal, state_after_step, self.graphs.random_state())):
            self.learner.plain = "a layer draws random numbers"
        self.warm -= 1

    def _record(self) -> None:
        """Capture a step; on failure store the reason, so that the run goes on with eager steps."""
        self.learner.optimiser.zero_grad()
        try:
            self.replay = self.graphs.record(self._captured_step)
        except RuntimeError as error:
            # Too little memory, or a layer that waits for the device. The run goes on, only slower.
            self.learner.plain = f"a step cannot be recorded: {str(error).splitlines()[0][:160]}"

    def _captured_step(self) -> None:
        """Train on the batch at `self.place` and store its loss and error count."""
        learner = self.learner
        scores = learner.update(*learner.batch(self.images, self.plan, self.place + self.ahead))
        index = self.place // learner.recipe.batch_size
        learner.losses.index_copy_(0, index, scores[:1])
        learner.wrong.index_copy_(0, index, scores[1:].long())

    def _check(self, part: slice, size: int) -> None:
        """Take a step both ways; if the replay differs from the eager step, discard the graph."""
        step = self.learner.step
        reason = self._compare_with_eager(part, size)
        if reason:
            self.learner.plain, self.replay = reason, None
        if self.learner.step == step:  # again, now that the memory of the graph is free
            super().take(part, size)
        self.checks -= 1

    def _compare_with_eager(self, part: slice, size: int) -> str:
        """Replay a step, undo it, and take it eagerly.

        Return the reason why the replay must not be used, or "". The copies lie in CPU memory, so
        that the check needs no more GPU memory than an eager step.
        """
        tensors = self.learner.tensors()
        before = _copy_to_cpu(tensors)
        if self.replay is not None:
            self.replay()
        replayed = _copy_to_cpu(tensors)
        _restore(tensors, before)
        try:
            super().take(part, size)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            _restore(tensors, before)
            return "memory does not hold a recorded step beside a plain one"
        differing = [
            name for name, tensor in tensors.items() if not _same_bits(tensor.cpu(), replayed[name])
        ]
        return f"a replayed step differs from a plain one in {differing[0]}" if differing else ""


def _copy_to_cpu(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.to("cpu", copy=True) for name, tensor in tensors.items()}


@torch.no_grad()
def _restore(tensors: dict[str, Tensor], saved: dict[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        tensor.copy_(saved[name])


def _same_bits(left: Tensor, right: Tensor) -> bool:
    """Return True if all bits are equal, also where both values are NaN."""
    return torch.equal(left.reshape(-1).view(torch.uint8), right.reshape(-1).view(torch.uint8))


def steps_of(learner: Learner, images: Resident) -> Steps[Resident]:
    """Return captured steps if `learner` allows them, else eager steps; `learner.plain` holds the
    reason.
    """
    learner.plain = why_plain(learner)
    return (
        Steps(learner, images)
        if learner.plain
        else Captured(learner, images, CudaGraphs(learner.device))
    )
