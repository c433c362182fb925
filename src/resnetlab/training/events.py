"""Events of a training run: the training loop with its progress and times."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

from resnetlab.training.distributed import collective_stop
from resnetlab.training.loop import EventKind, train
from resnetlab.training.state import TrainState
from resnetlab.training.training_step import TrainingStep

TICK_SECONDS = 0.5


@dataclass(frozen=True)
class TrainEvent:
    """Progress of a run at a pause; after a "step" the device may still be computing."""

    kind: EventKind | Literal["tick"]
    """Kind of the event, as in `train`; tick: a step after which TICK_SECONDS have passed."""
    step: int
    total_steps: int
    epoch: float
    images_processed: int
    """Number of train images processed in this session."""
    seconds: float
    """Time spent in steps in this session."""


def train_events(
    state: TrainState,
    take_step: TrainingStep,
    should_stop: Callable[[], bool],
    *,
    yield_every_step: bool = False,
) -> Generator[TrainEvent, None, None]:
    """Train with `train` and yield an event at the start, every TICK_SECONDS, after each epoch, and
    when it is interrupted.

    The clock stops while the caller handles an event. With `yield_every_step` an event follows each
    step, so that another run can take one.
    """
    images, seconds = state.images_processed, 0.0
    started = last_tick = time.monotonic()
    with closing(train(state, take_step, collective_stop(state.world, should_stop))) as events:
        for event in events:
            is_tick = event == "step" and time.monotonic() - last_tick > TICK_SECONDS
            is_pause = is_tick or event != "step"
            if not is_pause and not yield_every_step:
                continue
            if is_pause:
                take_step.synchronize()
            seconds += time.monotonic() - started
            yield TrainEvent(
                kind="tick" if is_tick else event,
                step=state.step,
                total_steps=state.total_steps,
                epoch=state.step / state.steps_per_epoch,
                images_processed=state.images_processed - images,
                seconds=seconds,
            )
            if is_pause:
                take_step.wait_for_current_stream()
            started = time.monotonic()
            last_tick = started if is_pause else last_tick
