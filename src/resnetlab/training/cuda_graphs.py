"""Captured steps: a whole step recorded once as a CUDA graph and replayed, with the bits of plain ones.

What changes from step to step lies in tensors that stay where they are: the epoch's plan, the place of the batch in
it, and the learning rates. The first steps of a process are plain (libraries choose their kernels and allocate; the
optimiser makes its state). Then one step is recorded, which trains nothing, and the next two are taken both ways: where
a bit differs, or nothing can be recorded, the rest of the run goes the plain way and says why.

Written to torch's notes on CUDA graphs (Semantics of CUDA, "CUDA Graphs"): warm-up, capture and replays on one side
stream; gradients None before the capture, so that they lie in the graph's own memory; nothing asked of the device.
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
"""Plain steps of a process before it records one, as torch's notes ask."""

CHECKED = 2
"""Steps that are then taken both ways. The second has another batch and another rate than the recorded one."""


def why_plain(learner: Learner) -> str:
    """Why the steps of `learner` cannot be captured; empty where they can, as far as can be said before they begin."""
    reasons = {
        "steps are captured on GPUs alone": learner.numerics.capture == "auto",
        "numerics.capture is off": learner.numerics.capture == "off",
        "several processes share each batch": learner.team.size > 1,
        "RandAugment's operations are chosen on the processor": learner.recipe.augment.randaugment is not None,
        "the code of an external network may do more on the processor than is recorded": isinstance(
            learner.spec, External
        ),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


class CudaGraphs:
    """A side stream of the GPU, and what is recorded on it.

    One for each learner: graphs of one stream share the workspace of cuBLAS, and one that goes takes it along.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    @contextlib.contextmanager
    def lane(self) -> Iterator[None]:
        """What is asked of the GPU inside goes to the side stream."""
        with torch.cuda.stream(self.stream):
            yield

    def follow(self) -> None:
        """Let the side stream wait for what was asked of the GPU elsewhere."""
        self.stream.wait_stream(torch.cuda.current_stream(self.device))

    def rest(self) -> None:
        """Wait until the side stream has nothing left to do."""
        self.stream.synchronize()

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record `work`, which is not done; what is given back does it. Raises RuntimeError where it cannot be."""
        gc.collect()  # or tensors of earlier runs might be let go of in the middle of the capture
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.stream):
            work()
        return graph.replay

    def random_state(self) -> list[Tensor]:
        """Where the generators stand that a layer could draw from."""
        return [torch.get_rng_state(), torch.cuda.get_rng_state(self.device)]


class Captured(Steps[Resident]):
    """The steps of a learner on its resident images: whole batches replayed, a shorter last one plain."""

    learner: Learner
    plan: EpochPlan

    def __init__(self, learner: Learner, images: Resident, graphs: CudaGraphs) -> None:
        super().__init__(learner, images)
        self.graphs = graphs
        self.warm, self.checks = WARM, CHECKED
        self.replay: Callable[[], None] | None = None
        self.place = torch.zeros(1, dtype=torch.int64, device=learner.device)  # of the batch's first image in the epoch
        self.ahead = torch.arange(learner.recipe.batch_size, device=learner.device)
        self.planned = False
        graphs.follow()

    def begin(self, epoch: int) -> None:
        """Put the epoch's plan where the recorded step looks for it."""
        with self.graphs.lane():
            plan = self.learner.plan(self.images, epoch)
            if not self.planned:
                self.plan, self.planned = plan, True
                self.batches = partial(self.learner.batch, self.images, plan)
                return
            for field in fields(plan):
                getattr(self.plan, field.name).copy_(getattr(plan, field.name))

    def take(self, part: slice, size: int) -> None:
        """Step on that part of the epoch, which has `size` images."""
        learner = self.learner
        with self.graphs.lane():
            if learner.plain or size < learner.recipe.batch_size:
                super().take(part, size)
                return
            if self.warm:
                self._watched(part, size)
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
        """Wait until the side stream has nothing left to do."""
        self.graphs.rest()

    def resume(self) -> None:
        """Let the side stream wait for evaluations and all else that was asked of the GPU meanwhile."""
        self.graphs.follow()

    def _watched(self, part: slice, size: int) -> None:
        """A plain step, and whether a layer draws in it: it draws by the number of the step, which a replay has not."""
        step = self.learner.step
        super().take(part, size)
        drawn = self.graphs.random_state()
        self.learner.seed_layers(step)
        if not all(map(torch.equal, drawn, self.graphs.random_state())):
            self.learner.plain = "a layer draws random numbers"
        self.warm -= 1

    def _record(self) -> None:
        self.learner.optimiser.zero_grad()
        try:
            self.replay = self.graphs.record(self._whole_step)
        except RuntimeError as error:  # so that memory, or a layer that asks the device, costs the speed alone
            self.learner.plain = f"a step cannot be recorded: {str(error).splitlines()[0][:160]}"

    def _whole_step(self) -> None:
        learner = self.learner
        scores = learner.update(*learner.batch(self.images, self.plan, self.place + self.ahead))
        index = self.place // learner.recipe.batch_size
        learner.losses.index_copy_(0, index, scores[:1])
        learner.wrong.index_copy_(0, index, scores[1:].long())

    def _check(self, part: slice, size: int) -> None:
        """Take a step both ways; where the replay is not the plain step, forget what was recorded."""
        step = self.learner.step
        wrong = self._both_ways(part, size)
        if wrong:
            self.learner.plain, self.replay = wrong, None
        if self.learner.step == step:  # without the memory that the recorded step held
            super().take(part, size)
        self.checks -= 1

    def _both_ways(self, part: slice, size: int) -> str:
        """Replay a step, undo it, and take it the plain way, which stands; what is wrong with the replay, if anything.

        The copies lie in the processor's memory: where the GPU's holds a plain step, this asks for no more of it.
        """
        held = self.learner.tensors()
        before = _copied(held)
        if self.replay is not None:
            self.replay()
        replayed = _copied(held)
        _put_back(held, before)
        try:
            super().take(part, size)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            _put_back(held, before)
            return "memory does not hold a recorded step beside a plain one"
        differing = [name for name, tensor in held.items() if not _same_bits(tensor.cpu(), replayed[name])]
        return f"a replayed step differs from a plain one in {differing[0]}" if differing else ""


def _copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.to("cpu", copy=True) for name, tensor in tensors.items()}


@torch.no_grad()
def _put_back(tensors: dict[str, Tensor], before: dict[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        tensor.copy_(before[name])


def _same_bits(left: Tensor, right: Tensor) -> bool:
    """Also where both are not a number."""
    return torch.equal(left.reshape(-1).view(torch.uint8), right.reshape(-1).view(torch.uint8))


def steps_of(learner: Learner, images: Resident) -> Steps[Resident]:
    """Captured steps where there can be any, else plain ones; `learner.plain` says why."""
    learner.plain = why_plain(learner)
    return Steps(learner, images) if learner.plain else Captured(learner, images, CudaGraphs(learner.device))
