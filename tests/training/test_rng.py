"""A draw from a random stream depends on the name of the stream and never on earlier draws."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from resnetlab.training.rng import derive_seed, make_generator

name = st.text(max_size=5) | st.integers(0, 99)


def test_random_streams_have_their_frozen_values() -> None:
    """Whoever changes these changes every run: raise ALGORITHM_VERSION."""
    assert derive_seed(0, "init", "x") == 464405661246798527
    assert torch.rand(3, generator=make_generator(0, "init", "x")).tolist() == [
        0.9798468947410583,
        0.4497656226158142,
        0.6368974447250366,
    ]
    assert torch.randperm(8, generator=make_generator(0, "epoch", 0, "order")).tolist() == [
        5,
        3,
        4,
        2,
        6,
        0,
        7,
        1,
    ]


def test_a_stream_is_not_changed_by_other_draws() -> None:
    first = torch.rand(4, generator=make_generator(3, "epoch", 1))
    torch.rand(9)
    torch.rand(9, generator=make_generator(3, "epoch", 2))
    assert torch.equal(torch.rand(4, generator=make_generator(3, "epoch", 1)), first)


def test_creating_a_stream_does_not_change_the_global_generator() -> None:
    before = torch.get_rng_state()
    torch.rand(4, generator=make_generator(3, "epoch", 1))
    assert torch.equal(torch.get_rng_state(), before)


@given(
    st.integers(0, 2**64),
    st.integers(0, 2**64),
    st.lists(name, max_size=3),
    st.lists(name, max_size=3),
)
def test_two_names_give_two_streams(
    left_seed: int, right_seed: int, left: list, right: list
) -> None:
    same = [left_seed, *map(str, left)] == [right_seed, *map(str, right)]
    assert (derive_seed(left_seed, *left) == derive_seed(right_seed, *right)) == same


@given(st.integers(0, 2**64), st.lists(name, max_size=3))
def test_the_seed_of_a_stream_is_valid_for_every_generator(seed: int, names: list) -> None:
    assert 0 <= derive_seed(seed, *names) < 2**63


def test_the_boundary_between_name_parts_changes_the_seed() -> None:
    seeds = {
        derive_seed(0, "ab", "c"),
        derive_seed(0, "a", "bc"),
        derive_seed(0, "abc"),
        derive_seed(0, "", "abc"),
    }
    assert len(seeds) == 4
    assert derive_seed(1, "2") != derive_seed(12)
