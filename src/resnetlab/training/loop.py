"""Training loop.

It writes no file and evaluates nothing: it yields, and the body of the caller's loop does both.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch

from resnetlab.training.state import ImagesT, TrainState
from resnetlab.training.steps import EagerSteps

TICK_SECONDS = 0.5

STOP_SYNC_STEPS = 8
"""Number of steps between two checks whether any process of the run was asked to stop."""


EventKind = Literal["start", "step", "tick", "epoch", "interrupted"]


@dataclass(frozen=True)
class TrainEvent:
    """State of the loop when it yields.

    start: nothing is trained yet; turn: a step was taken; pulse: some time has passed; epoch: an
    epoch, or the run, is complete; stopped: `stop` returned true, and the generator ends. After a
    turn the device may still be computing.
    """

    kind: EventKind
    step: int
    total_steps: int
    epoch: float
    images_processed: int
    """Train images processed since the generator started."""
    seconds: float
    """Seconds spent in steps since the generator started."""


def train(
    state: TrainState[ImagesT],
    steps: EagerSteps[ImagesT],
    should_stop: Callable[[], bool],
    *,
    yield_every_step: bool = False,
) -> Iterator[TrainEvent]:
    """Train `learner` with `steps` to its last step, or until `stop()` is true.

    Training continues from `learner.step`. The order, crops and flips of an epoch follow from the
    seed and the epoch alone. The random state of the process is restored when the generator ends.
    With `turns` the loop yields after every step, so that another run can take one.
    """
    recipe, per_epoch = state.recipe, state.steps_per_epoch
    started, seconds, images_done, planned = time.monotonic(), 0.0, 0, -1
    pulse = started

    def pause(moment: EventKind) -> Iterator[TrainEvent]:
        nonlocal seconds, started, pulse
        if moment != "step":
            steps.synchronize()
        seconds += time.monotonic() - started
        yield TrainEvent(
            moment, state.step, state.total_steps, state.step / per_epoch, images_done, seconds
        )
        if moment != "step":
            steps.wait_for_current_stream()
        started = time.monotonic()
        pulse = pulse if moment == "step" else started

    with torch.random.fork_rng(devices=[state.device] if state.device.type == "cuda" else []):
        if state.step == 0:
            yield from pause("start")
        while state.step < state.total_steps:
            if _collective_stop(state, should_stop):
                yield from pause("interrupted")
                return
            epoch, index = divmod(state.step, per_epoch)
            if planned != epoch:
                steps.start_epoch(epoch)
                planned = epoch
            part = slice(index * recipe.batch_size, (index + 1) * recipe.batch_size)
            size = min(part.stop, state.num_train_images) - part.start
            steps.step(part, size)
            images_done += size
            if state.step % per_epoch == 0 or state.step == state.total_steps:
                yield from pause("epoch")
            elif time.monotonic() - pulse > TICK_SECONDS:
                yield from pause("tick")
            elif yield_every_step:
                yield from pause("step")


def _collective_stop(state: TrainState[ImagesT], should_stop: Callable[[], bool]) -> bool:
    """Return True if this process, or another process of the run, was asked to stop.

    All processes get the same answer at the same step.
    """
    if state.world.size == 1:
        return should_stop()
    return state.step % STOP_SYNC_STEPS == 0 and state.world.all_reduce_any(should_stop())
