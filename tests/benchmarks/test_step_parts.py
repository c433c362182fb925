"""The benchmark of the parts of a training step reads their times from the output of oneDNN."""

from __future__ import annotations

import pytest
import step_parts
import torch
from torch.utils.flop_counter import FlopCounterMode

LINE = (
    "onednn_verbose,v1,primitive,exec,cpu,convolution,jit:avx2,backward_weights,"
    "src:f32::blocked:acdb::f0 wei:f32::blocked:Acdb16a::f0,attr-scratchpad:user,"
    "alg:convolution_direct,mb128_ic16oc32_ih32oh16kh3sh2dh0ph1_iw32ow16kw3sw2dw0pw1,{ms}"
)


def test_floating_point_operations_of_a_layer_are_those_that_torch_counts() -> None:
    layer = torch.nn.Conv2d(16, 32, 3, 2, 1, bias=False)
    with FlopCounterMode(display=False) as counter:
        layer(torch.zeros(128, 16, 32, 32))
    problem = LINE.split(",")[-2]
    assert step_parts.convolution_flops(problem) == counter.get_total_flops()
    grouped = problem.replace("ic16oc32", "g4ic16oc32")
    assert step_parts.convolution_flops(grouped) == counter.get_total_flops() / 4


def test_calls_of_a_convolution_are_summed_and_other_lines_ignored() -> None:
    other = "onednn_verbose,v1,primitive,exec,cpu,reorder,jit:uni,undef,,,,16x16x3x3,9.0"
    text = "\n".join([LINE.format(ms="10"), other, LINE.format(ms="6"), "a line of a person"])
    (row,) = step_parts.parse_verbose(text, steps=2)
    assert (row["pass"], row["implementation"]) == ("backward_weights", "jit:avx2")
    assert (row["calls_per_step"], row["ms_per_step"]) == (1.0, 8.0)
    flops = step_parts.convolution_flops(row["layer"])
    assert row["gflop_per_second"] == pytest.approx(flops / 8e-3 / 1e9, abs=0.05)


@pytest.mark.parametrize(
    ("operation", "group"),
    [
        ("aten::convolution_backward", "convolutions"),
        ("aten::native_batch_norm_backward", "batch normalization"),
        ("aten::threshold_backward", "ReLU"),
        ("aten::add_", "additions"),
        ("aten::_foreach_add_", "optimizer"),
        ("aten::index_select", "the rest"),
    ],
)
def test_each_operation_of_torch_belongs_to_one_group(operation: str, group: str) -> None:
    assert step_parts.group_of(operation) == group
