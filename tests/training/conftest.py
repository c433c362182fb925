"""Fixtures of the tests of training: small runs, and a comparison of tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from helpers.small_training import SmallTraining
from helpers.threads import one_thread


@pytest.fixture(scope="session")
def small() -> SmallTraining:
    return SmallTraining()


@pytest.fixture
def same() -> Callable[[dict[str, Tensor], dict[str, Tensor]], None]:
    """Assert that two sets of tensors have the same names, types and bits."""

    def check(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
        assert list(left) == list(right)
        for name, tensor in left.items():
            other = right[name]
            assert tensor.dtype == other.dtype, name
            assert torch.equal(tensor, other), (
                f"{name} differs by {(tensor.double() - other.double()).abs().max()}"
            )

    return check


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield
