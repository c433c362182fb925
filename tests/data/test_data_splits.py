"""A split loses no image, uses none twice, gives every class its share, and depends on `split_seed`
only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnetlab.data import stratify
from resnetlab.data.config import DataConfig, Source
from resnetlab.data.sources import content_hash
from resnetlab.data.splits import split_dataset
from resnetlab.errors import InputError

COUNTS = st.lists(st.integers(1, 40), min_size=2, max_size=8)
SHARES = st.floats(0, 0.6)


GOLDEN_ORDER = [9, 4, 8, 5, 1, 0, 7, 6, 2, 3]
GOLDEN_CUT = [3, 5, 8, 15, 17]


def source_of(
    counts: list[int], with_validation: bool = False, order: list[int] | None = None
) -> Source:
    """Return a source whose images carry their own number; `order` renumbers the classes without
    moving an image.
    """
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    names = [f"class {k}" for k in range(len(counts))]
    if order is not None:
        labels = np.argsort(order)[labels]
        names = [names[k] for k in order]
    pixels = np.zeros((len(labels), 4, 4, 1), np.uint8)
    pixels[:, 0, :4, 0] = np.arange(len(labels), dtype="<u4").view(np.uint8).reshape(-1, 4)
    images = content_hash.make_images(pixels, labels)
    validation = images if with_validation else None
    return content_hash.build_source(
        "numbers", names, train=images, test=images, validation=validation
    )


def numbers(images: Any) -> list[int]:
    return (
        images.pixels[:, 0, :4, 0].copy().view("<u4")[:, 0].tolist() if images is not None else []
    )


def cuttable(counts: list[int], share: float) -> bool:
    return round(share * sum(counts)) <= sum(counts) - len(counts)


@given(COUNTS, SHARES, st.integers(0, 5))
def test_a_split_is_disjoint_complete_and_in_the_order_of_the_source(
    counts: list[int], share: float, seed: int
) -> None:
    data = DataConfig(source="numbers", validation=share, split_seed=seed)
    if not cuttable(counts, share):
        with pytest.raises(InputError, match="cannot be set apart"):
            split_dataset(source_of(counts), data)
        return
    made = split_dataset(source_of(counts), data)
    train, validation = numbers(made.train), numbers(made.validation)
    assert sorted(train + validation) == list(range(sum(counts)))
    assert train == sorted(train)
    assert validation == sorted(validation)
    assert len(validation) == round(share * sum(counts))
    assert set(made.train.labels) == set(range(len(counts)))
    assert numbers(made.test) == list(range(sum(counts)))


@given(st.lists(st.integers(10, 60), min_size=2, max_size=8), st.floats(0.01, 0.5))
def test_every_class_is_within_one_image_of_its_share(counts: list[int], share: float) -> None:
    made = split_dataset(source_of(counts), DataConfig(source="numbers", validation=share))
    total = round(share * sum(counts))
    drawn = (
        np.bincount(made.validation.labels, minlength=len(counts))
        if made.validation
        else np.zeros(len(counts))
    )
    assert (np.abs(drawn - np.array(counts) * total / sum(counts)) < 1).all()


@given(COUNTS, st.floats(0, 0.3), st.randoms(use_true_random=False))
def test_the_order_of_the_classes_does_not_change_the_split(
    counts: list[int], share: float, random: Any
) -> None:
    if not cuttable(counts, share):
        return
    order = list(range(len(counts)))
    random.shuffle(order)
    data = DataConfig(source="numbers", validation=share)
    assert numbers(split_dataset(source_of(counts), data).validation) == numbers(
        split_dataset(source_of(counts, order=order), data).validation
    )


def test_the_same_seed_gives_the_same_split_and_ignores_the_global_numpy_generator() -> None:
    data = DataConfig(source="numbers", validation=0.2, split_seed=3)
    first = split_dataset(source_of([30, 20, 10]), data)
    np.random.seed(99)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    second = split_dataset(source_of([30, 20, 10]), data)
    assert numbers(first.validation) == numbers(second.validation)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_another_seed_gives_another_split() -> None:
    cuts = {
        tuple(
            numbers(
                split_dataset(
                    source_of([30, 30]), DataConfig(source="n", split_seed=seed)
                ).validation
            )
        )
        for seed in range(8)
    }
    assert len(cuts) == 8


def test_the_draw_equals_the_published_split() -> None:
    """Golden: a change here changes every run's data and must raise the form's number."""
    assert stratify.stable_permutation(10, "validation", 0, "cat").tolist() == GOLDEN_ORDER
    assert (
        numbers(
            split_dataset(source_of([12, 8]), DataConfig(source="n", validation=0.25)).validation
        )
        == GOLDEN_CUT
    )


def test_more_images_of_one_class_do_not_change_the_draw_of_another_class() -> None:
    labels = np.array([0] * 20 + [1] * 20)
    grown = np.array([0] * 20 + [1] * 60)
    few = stratify.stratified_mask(labels, ["a", "b"], 8, "validation", 0, where="", fix="")
    many = stratify.stratified_mask(grown, ["a", "b"], 16, "validation", 0, where="", fix="")
    assert few[:20].tolist() == many[:20].tolist()


def test_a_share_of_zero_gives_no_validation_split() -> None:
    made = split_dataset(source_of([5, 5]), DataConfig(source="numbers", validation=0))
    assert made.validation is None
    assert len(made.train) == 10


def test_the_validation_split_of_a_source_has_priority_over_a_share() -> None:
    source = source_of([5, 5], with_validation=True)
    made = split_dataset(source, DataConfig(source="numbers", validation=0.4))
    assert made.validation is source.validation
    assert len(made.train) == 10
    assert made.identity.validation == 0


def test_classes_of_one_image_stay_in_train() -> None:
    made = split_dataset(source_of([1, 1, 1, 17]), DataConfig(source="numbers", validation=0.5))
    assert np.bincount(made.train.labels).tolist() == [1, 1, 1, 7]
    assert set(made.validation.labels) == {3}


@given(COUNTS, st.data())
def test_train_images_takes_a_stratified_part_of_train_and_does_not_change_validation(
    counts: list[int], data: st.DataObject
) -> None:
    share = 0.1 if cuttable(counts, 0.1) else 0
    full = split_dataset(source_of(counts), DataConfig(source="numbers", validation=share))
    size = data.draw(st.integers(len(counts), len(full.train)))
    small = split_dataset(
        source_of(counts), DataConfig(source="numbers", validation=share, train_images=size)
    )
    assert len(small.train) == size
    assert set(numbers(small.train)) <= set(numbers(full.train))
    assert numbers(small.validation) == numbers(full.validation)
    assert set(small.train.labels) == set(range(len(counts)))
    assert small.identity.train_images == size


@pytest.mark.parametrize(("size", "fix"), [(19, "train_images = 18"), (1, "train_images = 2")])
def test_too_many_or_too_few_train_images_are_refused_in_one_line(size: int, fix: str) -> None:
    with pytest.raises(InputError) as caught:
        split_dataset(source_of([10, 10]), DataConfig(source="numbers", train_images=size))
    assert str(caught.value) == (
        f"numbers: train_images: not that many, or fewer than the classes (got {size}; "
        f"allowed: 2 to 18). Fix: {fix}"
    )


def test_the_identity_contains_the_content_and_the_split_settings() -> None:
    source = source_of([10, 10])
    identity = split_dataset(
        source, DataConfig(source="elsewhere", validation=0.2, split_seed=4, test_curve=True)
    ).identity
    assert (
        identity.sha256,
        identity.validation,
        identity.split_seed,
        identity.test_curve,
        identity.train_images,
    ) == (
        source.sha256,
        0.2,
        4,
        True,
        None,
    )


@given(st.lists(st.integers(7, 30), min_size=2, max_size=6))
def test_a_three_way_split_has_70_15_and_15_percent_of_each_class(counts: list[int]) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    splits = np.array(
        stratify.split_three_ways(labels, [str(k) for k in range(len(counts))], 0.15, "here")
    )
    assert (splits == "test").sum() == round(0.15 * len(labels)) == (splits == "validation").sum()
    for k, count in enumerate(counts):
        assert abs((splits[labels == k] == "test").sum() - 0.15 * count) < 1.5
        assert (splits[labels == k] == "train").any()
