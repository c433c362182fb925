"""The learning rate of each step equals torch's schedulers and the formulas of the recipe."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from resnetlab.recipes.train import Constant, Cosine, Exponential, MultiStep, OneCycle, Schedule
from resnetlab.training.lr_schedule import lr_factor


def rates(schedule: Schedule, total: int, per_epoch: int = 10) -> list[float]:
    return [lr_factor(schedule, step, total, per_epoch) for step in range(total)]


def torch_rates(total: int, make: Any, every: int = 1) -> list[float]:
    """Return the learning rates of a torch scheduler that starts at 1, step by step."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(optimizer)
    rates = []
    for step in range(total):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if (step + 1) % every == 0:
            scheduler.step()
    return rates


def test_the_cosine_schedule_equals_torch() -> None:
    expected = torch_rates(50, lambda o: lr_scheduler.CosineAnnealingLR(o, 50, eta_min=0.1))
    assert rates(Cosine(final=0.1), 50) == pytest.approx(expected, rel=1e-9)


def test_the_exponential_schedule_equals_torch_stepped_after_each_epoch() -> None:
    expected = torch_rates(53, lambda o: lr_scheduler.ExponentialLR(o, 0.7), every=10)
    assert rates(Exponential(gamma=0.7), 53, 10) == pytest.approx(expected, rel=1e-9)


def test_the_step_schedule_equals_torch_with_milestones_as_shares_of_the_run() -> None:
    expected = torch_rates(40, lambda o: lr_scheduler.MultiStepLR(o, [20, 30], 0.1))
    assert rates(MultiStep(milestones=(0.5, 0.75), gamma=0.1), 40) == pytest.approx(
        expected, rel=1e-9
    )


@pytest.mark.parametrize(("peak", "total"), [(0.3, 40), (0.5, 31), (0.25, 80)])
def test_the_one_cycle_schedule_equals_torch(peak: float, total: int) -> None:
    """Torch puts the peak at pct_start * total_steps - 1 and the end at total_steps - 1: one step
    more, so shifted.
    """
    expected = torch_rates(
        total,
        lambda o: lr_scheduler.OneCycleLR(
            o,
            max_lr=1.0,
            total_steps=total + 1,
            pct_start=(peak * total + 1) / (total + 1),
            anneal_strategy="cos",
            div_factor=25,
            final_div_factor=1e4,
            cycle_momentum=False,
        ),
    )
    assert rates(OneCycle(peak=peak, start=1 / 25, final=1 / 25 / 1e4), total) == pytest.approx(
        expected, rel=1e-6
    )


def test_the_classic_schedule_drops_at_32k_and_48k_of_64k_steps() -> None:
    for step, expected in (
        (0, 1),
        (31_999, 1),
        (32_000, 0.1),
        (47_999, 0.1),
        (48_000, 0.01),
        (63_999, 0.01),
    ):
        assert lr_factor(MultiStep(), step, 64_000, 352) == pytest.approx(expected, rel=1e-12)


@given(total=st.integers(1, 2000), tenth=st.integers(0, 9))
def test_a_milestone_applies_from_the_first_step_at_or_after_its_share(
    total: int, tenth: int
) -> None:
    schedule = MultiStep(milestones=(tenth / 10,), gamma=0.5)
    for step in range(max(0, total * tenth // 10 - 2), min(total, total * tenth // 10 + 3)):
        assert lr_factor(schedule, step, total, 10) == (0.5 if 10 * step >= tenth * total else 1.0)


fraction = st.floats(0, 0.95)
schedules = st.one_of(
    st.builds(Constant, warmup=fraction),
    st.builds(
        MultiStep,
        milestones=st.lists(fraction, max_size=3).map(tuple),
        gamma=st.floats(0.05, 1),
        warmup=fraction,
    ),
    st.builds(Exponential, gamma=st.floats(0.5, 1), warmup=fraction),
    st.builds(Cosine, final=fraction, warmup=fraction),
    st.builds(
        OneCycle,
        peak=st.floats(0.05, 0.95),
        start=st.floats(0.001, 1, exclude_max=True),
        final=fraction,
    ),
)


@given(schedule=schedules, total=st.integers(1, 300), per_epoch=st.integers(1, 50))
def test_every_learning_rate_is_above_zero_and_at_most_the_full_one(
    schedule: Schedule, total: int, per_epoch: int
) -> None:
    for factor in rates(schedule, total, per_epoch):
        assert 0 < factor <= 1 + 1e-12
        assert math.isfinite(factor)


@given(schedule=schedules.filter(lambda s: not isinstance(s, OneCycle)), total=st.integers(1, 300))
def test_warm_up_rises_evenly_and_continues_into_the_schedule_without_a_drop(
    schedule: Any, total: int
) -> None:
    warming = [
        factor
        for step, factor in enumerate(rates(schedule, total))
        if step / total < schedule.warmup
    ]
    steps = [b - a for a, b in itertools.pairwise([0.0, *warming])]
    assert all(rise == pytest.approx(warming[0], rel=1e-6) for rise in steps)
    assert all(rise > 0 for rise in steps)
    assert not warming or warming[-1] <= 1


@given(schedule=schedules.filter(lambda s: not isinstance(s, OneCycle)), total=st.integers(2, 300))
def test_after_warm_up_the_rate_never_rises(schedule: Any, total: int) -> None:
    after = [
        factor
        for step, factor in enumerate(rates(schedule, total))
        if step / total >= schedule.warmup
    ]
    assert all(b <= a + 1e-12 for a, b in itertools.pairwise(after))


@given(
    total=st.integers(10, 300),
    peak=st.floats(0.1, 0.9),
    start=st.floats(0.001, 0.9),
    final=st.floats(0, 0.9),
)
def test_one_cycle_starts_at_start_rises_to_the_peak_and_falls_to_final(
    total: int, peak: float, start: float, final: float
) -> None:
    factors = rates(OneCycle(peak=peak, start=start, final=final), total)
    top = math.ceil(peak * total)
    assert factors[0] == pytest.approx(start)
    assert all(b >= a for a, b in itertools.pairwise(factors[:top]))
    assert all(b <= a for a, b in itertools.pairwise(factors[top:]))
    assert factors[-1] >= final


def test_the_learning_rate_depends_only_on_the_step() -> None:
    schedule = Cosine(warmup=0.2)
    forwards = rates(schedule, 30)
    assert [lr_factor(schedule, step, 30, 10) for step in reversed(range(30))] == forwards[::-1]
