"""F = 0 is easier than F = x, measured."""

from __future__ import annotations

import json
from collections.abc import Callable

import torch

from resnetlab.inspection.identity_mapping import build_stack, measure_identity_mapping, random_maps

Call = Callable[..., tuple[int, str, str]]


def test_a_deeper_residual_stack_beats_its_plain_twin_at_the_identity_by_more() -> None:
    rows = {
        (row["blocks"], row["stack"]): row
        for row in measure_identity_mapping(depths=(1, 4), seeds=2, steps=30, lrs=(1e-3, 3e-2))
    }
    for blocks in (1, 4):
        assert rows[blocks, "residual"]["most_pct"] < rows[blocks, "plain"]["least_pct"]
        assert rows[blocks, "residual"]["after_pct"] < rows[blocks, "residual"]["before_pct"]
    assert rows[4, "plain"]["after_pct"] > rows[1, "plain"]["after_pct"]


def test_twins_start_from_the_same_weights_and_meet_the_same_maps() -> None:
    plain, residual = (build_stack(2, kind, 3).state_dict() for kind in (False, True))
    assert plain.keys() == residual.keys()
    assert all(torch.equal(plain[name], residual[name]) for name in plain)
    assert torch.equal(random_maps(0, 1), random_maps(0, 1))
    assert not torch.equal(random_maps(0, 1), random_maps(0, 2))


def test_a_residual_stack_whose_branches_are_zero_is_the_identity() -> None:
    model = build_stack(3, True, 0)
    with torch.no_grad():
        for block in model:
            block.norm2.weight.zero_()
        assert torch.equal(model(random_maps(0, 0)), random_maps(0, 0))


def test_inspect_identity_has_both_kinds_of_stack(call: Call) -> None:
    code, out, _ = call("identity", "--seeds", "1", "--steps", "2", "--json")
    assert code == 0
    assert {row["stack"] for row in json.loads(out)["rows"]} == {"plain", "residual"}
