"""The draws of an epoch: ahead, named, each kind on its own."""

from __future__ import annotations

import itertools
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resnetlab.data.plan import EpochPlan, plan_epoch
from resnetlab.training.random import stream


def plan(images: int = 60, side: int = 8, padding: int = 4, seed: int = 0, epoch: int = 0) -> EpochPlan:
    return plan_epoch(images, side, padding, partial(stream, seed, "epoch", epoch))


PARTS = ("order", "corner", "mirror", "hole")


@settings(deadline=None, max_examples=40)
@given(images=st.integers(1, 200), side=st.integers(1, 40), padding=st.integers(0, 5), seed=st.integers(0, 2**40))
def test_an_epoch_meets_every_image_once_with_draws_within_their_bounds(
    images: int, side: int, padding: int, seed: int
) -> None:
    drawn = plan(images, side, padding, seed)
    assert sorted(drawn.order.tolist()) == list(range(images))
    assert drawn.corner.shape == drawn.hole.shape == (images, 2)
    assert drawn.mirror.shape == (images,)
    assert drawn.mirror.dtype == torch.bool
    assert 0 <= drawn.corner.min() <= drawn.corner.max() <= 2 * padding
    assert 0 <= drawn.hole.min() <= drawn.hole.max() < side


def test_a_plan_follows_from_seed_and_epoch_alone() -> None:
    torch.manual_seed(1)
    first = plan()
    torch.rand(100)
    again = plan()
    assert all(torch.equal(getattr(first, part), getattr(again, part)) for part in PARTS)


def test_other_seeds_and_epochs_have_other_orders() -> None:
    orders = {tuple(plan(seed=seed, epoch=epoch).order.tolist()) for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16


@pytest.mark.parametrize("change", [{"padding": 0}, {"padding": 2}, {"side": 32}])
def test_what_is_drawn_for_augmentation_changes_no_order(change: dict[str, int]) -> None:
    assert torch.equal(plan().order, plan(**change).order)
    assert torch.equal(plan().mirror, plan(**change).mirror)


def test_draws_are_fair() -> None:
    drawn = plan(images=20_000, side=5, padding=1)
    assert abs(drawn.mirror.float().mean() - 0.5) < 0.02
    for values, high in ((drawn.corner, 3), (drawn.hole, 5)):
        pairs = torch.bincount(values[:, 0] * high + values[:, 1], minlength=high**2) / len(values)
        assert torch.allclose(pairs, torch.full((high**2,), 1 / high**2), atol=0.01)
    columns = torch.stack([drawn.corner[:, 0], drawn.corner[:, 1], drawn.mirror, drawn.hole[:, 0], drawn.hole[:, 1]])
    related = torch.corrcoef(columns.float())
    assert all(abs(related[i, j]) < 0.03 for i, j in itertools.combinations(range(5), 2)), "no draw tells another"


def test_a_plan_moves_whole() -> None:
    moved = plan().to(torch.device("meta"))
    assert all(getattr(moved, part).device.type == "meta" for part in PARTS)
