"""A block that is switched off leaves its shortcut, and the network is unchanged afterwards."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from resnetlab.api.single_runs import train
from resnetlab.inspection.block_ablation import draw_block_sets, named_blocks, without_branch
from resnetlab.models.build import build_model
from resnetlab.models.parse import parse_model
from resnetlab.training.rng import make_generator

Call = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    "name", ["cifar-resnet14", "cifar-resnet14-b", "cifar-plain14", "cifar-resnet14-gated"]
)
def test_a_block_without_its_branch_gives_its_shortcut_and_is_restored_afterwards(
    name: str,
) -> None:
    model = build_model(
        parse_model(name, "test"), 3, 10, lambda part: make_generator(0, "init", part)
    ).eval()
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = model(images)
        for name_of, block in named_blocks(model).items():
            x = torch.rand(1, block.conv1.in_channels, 8, 8)
            with without_branch(block):
                out = block(x)
                if name_of.endswith(".1") and "gated" not in name:
                    assert torch.equal(out, F.relu(block.shortcut(x)) if block.shortcut else x)
                assert not torch.equal(model(images), before)
        assert torch.equal(model(images), before)


@pytest.mark.parametrize("count", [1, 2, 3, 9, 27, 28, 54, 200])
def test_sets_of_blocks_are_all_pairs_and_random_orders_up_to_a_limit(count: int) -> None:
    sets = draw_block_sets(count)
    assert sets == draw_block_sets(count)
    assert len(set(sets)) == len(sets) <= 500
    for numbers in sets:
        assert list(numbers) == sorted({*numbers})
        assert len(numbers) >= 2
        assert {*numbers} <= {*range(1, count + 1)}
    if count <= 27:
        assert {*itertools.combinations(range(1, count + 1), 2)} <= {*sets}
    if count >= 2:
        assert tuple(range(1, count + 1)) in sets
        # Each random set contains one that is smaller, down to a pair.
        by_size = {size: [{*s} for s in sets if len(s) == size] for size in map(len, sets)}
        for small, large in itertools.pairwise(sorted(by_size)):
            assert all(any(s < numbers for s in by_size[small]) for numbers in by_size[large])


def test_block_ablation_of_a_run_gives_a_row_for_each_block(
    call: Call, small_npz: Path, tmp_path: Path
) -> None:
    table = parse_model({"depth": 8, "widths": [4, 4, 8]}, "test")
    record = train(table, str(small_npz), "digits", settings=["recipe.epochs=1"], output=tmp_path)
    folder = tmp_path / "runs" / record.id
    code, out, _ = call("block-ablation", str(folder), "--json")
    rows = json.loads(out)["rows"]
    assert code == 0
    assert [row["without"] for row in rows] == ["nothing", "stages.0.0", "stages.1.0", "stages.2.0"]
    assert record.result
    assert record.result.test
    assert rows[0]["accuracy_pct"] == pytest.approx(100 - record.result.test.top1_error_pct)


def test_a_folder_without_a_finished_run_is_refused_in_one_line(call: Call, tmp_path: Path) -> None:
    code, out, err = call("block-ablation", str(tmp_path))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "no finished run" in err
