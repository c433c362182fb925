"""The random draws of an epoch are made in advance, and each kind has a named stream of its own."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from resnetlab.data.config import Augment, RandAugment
from resnetlab.data.transforms.epoch_draws import NUM_OPERATIONS, EpochDraws, draw_epoch
from resnetlab.training.rng import make_generator


def plan(
    images: int = 60, side: int = 8, padding: int = 4, seed: int = 0, epoch: int = 0, **augment: Any
) -> EpochDraws:
    augmentation = Augment(**({"crop_padding": padding} | augment))
    return draw_epoch(images, side, augmentation, partial(make_generator, seed, "epoch", epoch))


PARTS = (
    "order",
    "crop_offset",
    "hflip",
    "cutout_center",
    "op",
    "op_flip",
    "mix_lambda",
    "mix_sort_keys",
)
EVERYTHING: dict[str, Any] = {
    "padding": 0,
    "crop": 5,
    "randaugment": RandAugment(operations=3),
    "mixup": 0.4,
}


@given(
    images=st.integers(1, 200),
    side=st.integers(1, 40),
    padding=st.integers(0, 5),
    seed=st.integers(0, 2**40),
)
def test_an_epoch_has_every_image_once_with_draws_within_their_bounds(
    images: int, side: int, padding: int, seed: int
) -> None:
    drawn = plan(images, side, padding, seed)
    assert sorted(drawn.order.tolist()) == list(range(images))
    assert drawn.crop_offset.shape == drawn.cutout_center.shape == (images, 2)
    assert drawn.hflip.shape == (images,)
    assert drawn.hflip.dtype == torch.bool
    assert 0 <= drawn.crop_offset.min() <= drawn.crop_offset.max() <= 2 * padding
    assert 0 <= drawn.cutout_center.min() <= drawn.cutout_center.max() < side


def test_the_draws_of_an_epoch_depend_only_on_seed_and_epoch() -> None:
    torch.manual_seed(1)
    first = plan(**EVERYTHING)
    torch.rand(100)
    again = plan(**EVERYTHING)
    assert all(torch.equal(getattr(first, part), getattr(again, part)) for part in PARTS)


def test_other_seeds_and_epochs_have_other_orders() -> None:
    orders = {
        tuple(plan(seed=seed, epoch=epoch).order.tolist())
        for seed in range(4)
        for epoch in range(4)
    }
    assert len(orders) == 16


@pytest.mark.parametrize("change", [{"padding": 0}, {"padding": 2}, {"side": 32}, EVERYTHING])
def test_augmentation_draws_do_not_change_the_order_of_images(change: dict[str, Any]) -> None:
    assert torch.equal(plan().order, plan(**change).order)
    assert torch.equal(plan().hflip, plan(**change).hflip)


def test_flips_and_crops_are_drawn_with_equal_probabilities() -> None:
    drawn = plan(images=20_000, side=5, padding=1)
    assert abs(drawn.hflip.float().mean() - 0.5) < 0.02
    for values, high in ((drawn.crop_offset, 3), (drawn.cutout_center, 5)):
        pairs = torch.bincount(values[:, 0] * high + values[:, 1], minlength=high**2) / len(values)
        assert torch.allclose(pairs, torch.full((high**2,), 1 / high**2), atol=0.01)
    columns = torch.stack(
        [
            drawn.crop_offset[:, 0],
            drawn.crop_offset[:, 1],
            drawn.hflip,
            drawn.cutout_center[:, 0],
            drawn.cutout_center[:, 1],
        ]
    )
    related = torch.corrcoef(columns.float())
    assert all(abs(related[i, j]) < 0.03 for i, j in itertools.combinations(range(5), 2)), (
        "no draw tells another"
    )


def test_all_draws_of_an_epoch_move_to_the_device() -> None:
    moved = plan(**EVERYTHING).to(torch.device("meta"))
    assert all(getattr(moved, part).device.type == "meta" for part in PARTS)


def test_a_smaller_crop_is_drawn_uniformly_from_the_whole_image() -> None:
    corner = plan(images=5_000, side=8, padding=0, crop=5).crop_offset
    assert (int(corner.min()), int(corner.max())) == (0, 3)
    assert torch.allclose(
        torch.bincount(corner.flatten()) / 10_000, torch.full((4,), 0.25), atol=0.02
    )


@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
def test_mixup_shares_have_the_mean_and_the_variance_of_their_beta_distribution(
    alpha: float,
) -> None:
    share = plan(images=40_000, mixup=alpha).mix_lambda.double()
    assert 0 <= share.min() <= share.max() <= 1
    assert abs(share.mean() - 0.5) < 0.01
    assert share.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.03)


def test_randaugment_operations_are_drawn_uniformly_with_a_random_direction() -> None:
    drawn = plan(images=28_000, randaugment=RandAugment(operations=2))
    counts = torch.bincount(drawn.op.flatten(), minlength=NUM_OPERATIONS)
    assert torch.allclose(
        counts / 56_000, torch.full((NUM_OPERATIONS,), 1 / NUM_OPERATIONS), atol=0.005
    )
    assert abs(drawn.op_flip.float().mean() - 0.5) < 0.01
    assert drawn.op.shape == drawn.op_flip.shape == (28_000, 2)


def test_draws_that_are_not_requested_are_empty() -> None:
    drawn = plan()
    assert (
        drawn.op.numel(),
        drawn.op_flip.numel(),
        drawn.mix_lambda.numel(),
        drawn.mix_sort_keys.numel(),
    ) == (0, 0, 0, 0)
