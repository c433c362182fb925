"""Impossible recipes are refused, and the steps of a recipe are those of the training loop."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnetlab.errors import InputError
from resnetlab.recipes.train import SGD, OneCycle, Recipe
from resnetlab.schema import decode


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ({}, "epochs: missing. Fix: add epochs = 10"),
        (
            {"epochs": 1, "steps": 1},
            "epochs: given together with steps. Fix: remove one of the two",
        ),
        (
            {"epochs": 1, "batch_size": 1},
            "batch_size: batch normalization needs two images. Fix: batch_size = 2",
        ),
        (
            {"epochs": 1, "optimizer": {"name": "sgd", "momentum": 0.0, "nesterov": True}},
            "optimizer.nesterov: needs a momentum above 0. Fix: momentum = 0.9",
        ),
        (
            {"epochs": 1, "schedule": {"name": "one-cycle", "peak": 0}},
            "schedule.peak: the learning rate needs time to rise. Fix: peak = 0.3",
        ),
        (
            {"epochs": 1, "optimizer": {"name": "adam", "lrr": 0.1}},
            (
                "optimizer.lrr: unknown field (allowed: betas, eps, lr, name, weight_decay). "
                "Fix: did "
                'you mean "lr"?'
            ),
        ),
    ],
)
def test_an_impossible_recipe_is_refused(table: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError) as caught:
        decode(Recipe, table, "study.toml", "recipe")
    assert str(caught.value) == f"study.toml: recipe.{line}"


@given(images=st.integers(2, 500), batch=st.integers(2, 64), epochs=st.integers(1, 5))
def test_an_epoch_has_a_batch_for_every_image_but_no_batch_of_one_image(
    images: int, batch: int, epochs: int
) -> None:
    sizes = [min(batch, images - start) for start in range(0, images, batch)]
    batches = [size for size in sizes if size > 1]
    recipe = Recipe(batch_size=batch, epochs=epochs)
    assert recipe.steps_per_epoch(images) == len(batches)
    assert recipe.total_steps(images) == epochs * len(batches)


def test_a_number_of_steps_is_used_unchanged() -> None:
    assert Recipe(batch_size=10, steps=7).total_steps(1000) == 7


def test_the_defaults_equal_the_paper() -> None:
    assert (SGD().lr, SGD().momentum, SGD().nesterov, Recipe(epochs=1).batch_size) == (
        0.1,
        0.9,
        False,
        128,
    )
    assert Recipe(epochs=1).decay_norm_and_bias
    assert OneCycle().peak == 0.3
