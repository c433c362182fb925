"""A residual stack learns the identity more easily than a plain stack does."""

from __future__ import annotations

import json
from collections.abc import Callable

import torch

from resnetlab.inspection.identity_mapping import (
    build_stack,
    identity_sentences,
    measure_identity_mapping,
    random_maps,
)

Call = Callable[..., tuple[int, str, str]]


def test_the_advantage_of_a_residual_stack_at_the_identity_grows_with_depth() -> None:
    rows = {
        (row["blocks"], row["stack"]): row
        for row in measure_identity_mapping(depths=(1, 4), seeds=2, steps=30, lrs=(1e-3, 3e-2))
    }
    for blocks in (1, 4):
        assert rows[blocks, "residual"]["max_pct"] < rows[blocks, "plain"]["min_pct"]
        assert rows[blocks, "residual"]["after_pct"] < rows[blocks, "residual"]["before_pct"]
    assert rows[4, "plain"]["after_pct"] > rows[1, "plain"]["after_pct"]


def test_plain_and_residual_stacks_start_from_the_same_weights_and_get_the_same_maps() -> None:
    plain, residual = (build_stack(2, kind, 3).state_dict() for kind in (False, True))
    assert plain.keys() == residual.keys()
    assert all(torch.equal(plain[name], residual[name]) for name in plain)
    assert torch.equal(random_maps(0, 1), random_maps(0, 1))
    assert not torch.equal(random_maps(0, 1), random_maps(0, 2))


def test_a_residual_stack_with_zero_branches_is_the_identity() -> None:
    model = build_stack(3, True, 0)
    with torch.no_grad():
        for block in model.children():
            block.norm2.weight.zero_()
        assert torch.equal(model(random_maps(0, 0)), random_maps(0, 0))


def test_inspect_identity_has_both_kinds_of_stack(call: Call) -> None:
    code, out, err = call("identity", "--seeds", "1", "--steps", "2", "--json")
    assert code == 0
    assert "8 blocks, residual: 3 stacks, 2 steps each (6 of 6)" in err
    assert {row["stack"] for row in json.loads(out)["rows"]} == {"plain", "residual"}


def test_the_conclusion_follows_from_the_rows() -> None:
    def row(blocks: int, stack: str, after: float, least: float, most: float) -> dict[str, object]:
        values = {"after_pct": after, "min_pct": least, "max_pct": most}
        return {"blocks": blocks, "stack": stack, **values}

    sentences = identity_sentences(
        [
            row(1, "plain", 20, 18, 22),
            row(1, "residual", 5, 4, 6),
            row(4, "plain", 30, 10, 50),
            row(4, "residual", 20, 15, 25),
            row(8, "plain", 10, 9, 11),
            row(8, "residual", 40, 30, 50),
        ]
    )
    assert sentences[0].endswith("the residual stack is nearer to the identity, 4 times.")
    assert sentences[1].endswith("their seeds overlap, so that neither is nearer to the identity.")
    assert sentences[2].endswith("the plain stack is nearer to the identity, 4 times.")
    assert sentences[3].startswith("The residual stack learns the identity better at 1 of 3 depths")
