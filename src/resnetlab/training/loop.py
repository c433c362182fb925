"""Training loop. It writes no file, evaluates nothing and reads no clock: its callers do.

step.py has the step itself. events.py calls the loop and adds the times. runs/session.py evaluates
and saves checkpoints between the steps.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Literal

from resnetlab.training.rng import preserve_random_state
from resnetlab.training.state import TrainState

EventKind = Literal["start", "step", "epoch", "interrupted"]


def train(
    state: TrainState, take_step: Callable[[], None], should_stop: Callable[[], bool]
) -> Generator[EventKind]:
    """Train from `state.step` to the last step, or until `should_stop()` is true.

    The random state of the process is restored when the generator ends.

    Args:
        state: Training state, which `take_step` changes.
        take_step: Function that takes the next step: a `TrainingStep`, or a `GraphedStep`, which
            captures it as a CUDA graph (`make_step`).
        should_stop: Function that is called before each step.

    Yields:
        "start" before step 0, "epoch" after the last step of an epoch or of the run, "step" after
        any other step, and "interrupted" last if `should_stop()` was true. After "step" the device
        may still be computing.
    """
    with preserve_random_state(state.device):
        if state.step == 0:
            yield "start"
        while state.step < state.total_steps:
            if should_stop():
                yield "interrupted"
                return
            take_step()
            ends_epoch = state.step % state.steps_per_epoch == 0 or state.step == state.total_steps
            yield "epoch" if ends_epoch else "step"
