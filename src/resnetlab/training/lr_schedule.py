"""Learning rate schedules: the learning rate as a function of the step."""

from __future__ import annotations

import math
from typing import assert_never

from resnetlab.recipes.train import Constant, Cosine, Exponential, MultiStep, OneCycle, Schedule


def lr_factor(schedule: Schedule, step: int, total_steps: int, steps_per_epoch: int) -> float:
    """Return the factor of the full learning rate at `step`, counted from 0, of `total_steps`."""
    progress = step / total_steps
    if not isinstance(schedule, OneCycle) and progress < schedule.warmup:
        return (step + 1) / (schedule.warmup * total_steps + 1)
    match schedule:
        case Constant():
            return 1.0
        case MultiStep():
            passed = sum(progress >= milestone for milestone in schedule.milestones)
            return float(schedule.gamma**passed)
        case Exponential():
            return float(schedule.gamma ** (step // steps_per_epoch))
        case Cosine():
            fraction = (progress - schedule.warmup) / (1 - schedule.warmup)
            return _half_cosine(1.0, schedule.final, fraction)
        case OneCycle():
            if progress < schedule.peak:
                return _half_cosine(schedule.start, 1.0, progress / schedule.peak)
            return _half_cosine(
                1.0, schedule.final, (progress - schedule.peak) / (1 - schedule.peak)
            )
        case _:
            assert_never(schedule)


def _half_cosine(start: float, end: float, fraction: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * fraction)) / 2
