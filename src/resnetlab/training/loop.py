"""Training loop.

It writes no file and evaluates nothing: it yields, and the body of the caller's loop does both.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch

from resnetlab.training.state import Images, Trainee
from resnetlab.training.steps import Steps

PULSE_SECONDS = 0.5

AGREE_STEPS = 8
"""Number of steps between two checks whether any process of the run was asked to stop."""


Moment = Literal["start", "turn", "pulse", "epoch", "stopped"]


@dataclass(frozen=True)
class Progress:
    """State of the loop when it yields.

    start: nothing is trained yet; turn: a step was taken; pulse: some time has passed; epoch: an
    epoch, or the run, is complete; stopped: `stop` returned true, and the generator ends. After a
    turn the device may still be computing.
    """

    moment: Moment
    step: int
    total: int
    epoch: float
    images: int
    """Train images processed since the generator started."""
    seconds: float
    """Seconds spent in steps since the generator started."""


def train(
    learner: Trainee[Images], steps: Steps[Images], stop: Callable[[], bool], *, turns: bool = False
) -> Iterator[Progress]:
    """Train `learner` with `steps` to its last step, or until `stop()` is true.

    Training continues from `learner.step`. The order, crops and flips of an epoch follow from the
    seed and the epoch alone. The random state of the process is restored when the generator ends.
    With `turns` the loop yields after every step, so that another run can take one.
    """
    recipe, per_epoch = learner.recipe, learner.steps_per_epoch
    started, seconds, images_done, planned = time.monotonic(), 0.0, 0, -1
    pulse = started

    def pause(moment: Moment) -> Iterator[Progress]:
        nonlocal seconds, started, pulse
        if moment != "turn":
            steps.rest()
        seconds += time.monotonic() - started
        yield Progress(
            moment, learner.step, learner.total, learner.step / per_epoch, images_done, seconds
        )
        if moment != "turn":
            steps.resume()
        started = time.monotonic()
        pulse = pulse if moment == "turn" else started

    with torch.random.fork_rng(devices=[learner.device] if learner.device.type == "cuda" else []):
        if learner.step == 0:
            yield from pause("start")
        while learner.step < learner.total:
            if _should_stop(learner, stop):
                yield from pause("stopped")
                return
            epoch, index = divmod(learner.step, per_epoch)
            if planned != epoch:
                steps.begin(epoch)
                planned = epoch
            part = slice(index * recipe.batch_size, (index + 1) * recipe.batch_size)
            size = min(part.stop, learner.train_images) - part.start
            steps.take(part, size)
            images_done += size
            if learner.step % per_epoch == 0 or learner.step == learner.total:
                yield from pause("epoch")
            elif time.monotonic() - pulse > PULSE_SECONDS:
                yield from pause("pulse")
            elif turns:
                yield from pause("turn")


def _should_stop(learner: Trainee[Images], stop: Callable[[], bool]) -> bool:
    """Return True if this process, or another process of the run, was asked to stop.

    All processes get the same answer at the same step.
    """
    if learner.team.size == 1:
        return stop()
    return learner.step % AGREE_STEPS == 0 and learner.team.agreed(stop())
