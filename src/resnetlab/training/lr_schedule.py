"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math
from typing import assert_never

from resnetlab.recipes.train import Constant, Cosine, Exponential, OneCycle, Schedule, Step


def rate(schedule: Schedule, step: int, total: int, steps_per_epoch: int) -> float:
    """What to multiply the full learning rate by at `step`, counted from 0, of `total`."""
    done = step / total
    if not isinstance(schedule, OneCycle) and done < schedule.warmup:
        return (step + 1) / (schedule.warmup * total + 1)
    match schedule:
        case Constant():
            return 1.0
        case Step():
            passed = sum(done >= milestone for milestone in schedule.milestones)
            return float(schedule.gamma**passed)
        case Exponential():
            return float(schedule.gamma ** (step // steps_per_epoch))
        case Cosine():
            share = (done - schedule.warmup) / (1 - schedule.warmup)
            return _half_cosine(1.0, schedule.final, share)
        case OneCycle():
            if done < schedule.peak:
                return _half_cosine(schedule.start, 1.0, done / schedule.peak)
            return _half_cosine(1.0, schedule.final, (done - schedule.peak) / (1 - schedule.peak))
        case _:
            assert_never(schedule)


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
