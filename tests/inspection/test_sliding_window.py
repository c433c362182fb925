"""The arithmetic of one layer equals that of torch, and its picture shows the window."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnetlab.errors import InputError
from resnetlab.inspection.sliding_window import SlidingWindow, draw_window, pad_to_same_size
from resnetlab.inspection.window_examples import (
    PoolMode,
    changes_by_shift,
    convolve,
    cross_correlate,
    flipped_kernel_details,
    pool_map,
    unchanged_by_shift,
)

Call = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", [0, 1, 2])
def test_a_layer_has_the_output_and_weights_of_torch(
    kernel: int, stride: int, padding: int
) -> None:
    window = SlidingWindow(9, 12, 3, kernel, stride, padding, 4)
    layer = nn.Conv2d(3, 4, kernel, stride, padding)
    out = layer(torch.zeros(1, 3, 9, 12))
    assert window.output == (*out.shape[2:], 4)
    assert window.weights == sum(p.numel() for p in layer.parameters())
    assert window.macs == out.numel() * 3 * kernel**2
    if padding <= kernel // 2:
        pooled = nn.MaxPool2d(kernel, stride, padding)(torch.zeros(1, 3, 9, 12))
        assert SlidingWindow(9, 12, 3, kernel, stride, padding).output == (*pooled.shape[2:], 3)


def test_the_first_convolution_of_the_practical_is_compared_with_a_linear_layer(call: Call) -> None:
    code, out, _ = call(
        "conv", "--input", "32x32x3", "--kernel", "5", "--padding", "2", "--filters", "32", "--json"
    )
    result = json.loads(out)
    assert code == 0
    assert (result["output"], result["weights"]) == ([32, 32, 32], 2432)
    assert result["fully_connected_weights"] == (32 * 32 * 3 + 1) * 32 * 32 * 32
    assert "weights" in call("pool", "--input", "32x32x32", "--markdown")[1]
    assert call("pool", "--input", "32x32x32")[1].startswith("input ")


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (5, 1), (7, 1), (1, 1), (3, 2), (4, 2)])
def test_the_padding_for_an_equal_output_size_is_computed(kernel: int, stride: int) -> None:
    window = pad_to_same_size(SlidingWindow(8, 8, 3, kernel, stride, 7, 4))
    out = nn.Conv2d(3, 4, kernel, stride, window.padding)(torch.zeros(1, 3, 8, 8))
    assert tuple(out.shape[2:]) == (8, 8)
    assert stride > 1 or window.padding == (kernel - 1) // 2


def test_a_window_without_a_padding_for_an_equal_output_size_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"no padding keeps 8x8 with kernel 4 and stride 1.* Fix: an odd kernel"
    ):
        pad_to_same_size(SlidingWindow(8, 8, 3, 4, 1, 4, 4))


@pytest.mark.parametrize(
    ("window", "padding", "seen"),
    [
        (SlidingWindow(4, 4, 1, 3, 1, 0, 1), 0, 9),  # the practical's figure 1a
        (SlidingWindow(5, 5, 1, 3, 1, 1, 1), 24, 9),  # 1b
        (SlidingWindow(4, 4, 1, 2, 2, 0), 0, 4),  # 1c
        (SlidingWindow(5, 5, 1, 3, 2, 1, 1), 24, 9),  # 1d
    ],
)
def test_the_four_cases_of_figure_1_are_drawn(
    window: SlidingWindow, padding: int, seen: int
) -> None:
    drawn = ET.fromstring(draw_window(window))
    squares = [e.get("class", "") for e in drawn.iter("{http://www.w3.org/2000/svg}rect")]
    down, across, _ = window.output
    assert squares.count("given") == 1
    assert squares.count("output") == down * across - 1
    assert sum(name.startswith("padding") for name in squares) == padding
    assert sum(name.startswith("input") for name in squares) == window.height * window.width
    assert sum(name.endswith("seen") for name in squares) == seen


def test_draw_writes_a_file_and_refuses_too_many_cells(call: Call, tmp_path: Path) -> None:
    file = tmp_path / "figure" / "1b.svg"
    assert (
        call("conv", "--input", "5x5x1", "--kernel", "3", "--keep-size", "--draw", str(file))[0]
        == 0
    )
    assert ET.parse(file).getroot().tag.endswith("svg")
    code, out, err = call("conv", "--input", "224x224x3", "--kernel", "3", "--draw", str(file))
    assert (code, out) == (2, "")
    assert "too many to draw" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("conv", "--input", "2x2x3", "--kernel", "5"), "the smallest side that works is 5"),
        (("conv", "--input", "8x8", "--kernel", "3"), "not three sizes"),
        (("conv", "--input", "8x8x1", "--kernel", "0"), "--kernel: less than 1"),
        (("pool", "--input", "8x8x1", "--padding", "2"), "at most 1"),
        (("conv", "--input", "8x8x1", "--kernel", "4", "--keep-size"), "an odd kernel, such as 5"),
    ],
)
def test_an_impossible_window_is_refused_in_one_line(
    call: Call, arguments: tuple[str, ...], message: str
) -> None:
    code, out, err = call(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_a_layer_is_a_cross_correlation_and_its_flipped_kernel_a_convolution(call: Call) -> None:
    generator = np.random.default_rng(1)
    image, kernel = generator.normal(size=(6, 7)), generator.normal(size=(3, 2))
    layer = F.conv2d(torch.tensor(image)[None, None], torch.tensor(kernel)[None, None])[0, 0]
    np.testing.assert_allclose(cross_correlate(image.tolist(), kernel.tolist()), layer)
    # The convolution of polynomials in one variable, row by row, is numpy's.
    row, weights = image[:1], kernel[:1]
    np.testing.assert_allclose(
        convolve(row.tolist(), weights.tolist())[0], np.convolve(row[0], weights[0], "valid")
    )
    details = flipped_kernel_details(2)
    assert details["cross_correlation"].startswith("37 47 / 67 77 ")  # 1 + 2*2 + 4*3 + 5*4 = 37
    assert details["convolution"].startswith("23 33 / 53 63 ")  # 1*4 + 2*3 + 4*2 + 5*1 = 23
    assert flipped_kernel_details(1)["difference"].startswith("0 of 4 values differ")
    code, out, _ = call("conv", "--input", "8x8x1", "--kernel", "3", "--flip-kernel")
    assert code == 0
    assert "348 393 / 528 573 (a layer computes this)" in out


def pooled(values: Tensor, kernel: int, stride: int, padding: int, mode: PoolMode) -> Tensor:
    function = F.max_pool2d if mode == "max" else F.avg_pool2d
    return function(values[None, None], kernel, stride, padding)[0, 0]


@pytest.mark.parametrize("mode", ["max", "average"])
@pytest.mark.parametrize("sizes", [(2, 2, 0), (3, 2, 1), (3, 1, 1), (2, 3, 0), (4, 2, 2)])
def test_pooling_and_its_response_to_a_shift_equal_torch(
    mode: PoolMode, sizes: tuple[int, int, int]
) -> None:
    kernel, stride, _ = sizes
    values = torch.randn(9, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(pool_map(values.numpy(), *sizes, mode), pooled(values, *sizes, mode))
    unchanged = 0
    for column in range(12, 12 + stride):
        maps = torch.zeros(2, 31, 31, dtype=torch.float64)
        maps[0, 15, column], maps[1, 15, column + 1] = 1, 1
        # A whole period of the windows, so that each row is seen by some window where k < s.
        one, other = (pooled(image, *sizes, mode) for image in maps)
        unchanged += int(torch.equal(one, other))
    assert unchanged_by_shift(*sizes) == unchanged
    wide = torch.tensor(np.random.default_rng(0).normal(size=(32 + kernel, 33 + kernel)))
    before, after = changes_by_shift(*sizes, mode)
    one, other = (pooled(part, *sizes, mode) for part in (wide[:, :-1], wide[:, 1:]))
    assert before == pytest.approx(
        float((wide[:, :-1] - wide[:, 1:]).abs().mean() / wide[:, :-1].std(correction=0))
    )
    assert after == pytest.approx(float((one - other).abs().mean() / one.std(correction=0)))


def test_conv_and_pool_explain_their_numbers_in_sentences(call: Call) -> None:
    out = call("conv", "--input", "32x32x3", "--kernel", "3")[1]
    assert "x' = (x + 2p - k) // s + 1" in out
    # (32 x 32 x 3 + 1) x 30 x 30 = 2,765,700 against 28
    assert "a fully connected layer has 98,775 times as many weights as the convolution" in out
    assert "27 of 3,072 inputs (0.88 %), with the same weights at each of 900 positions" in out
    out = call("pool", "--input", "32x32x32", "--mode", "average")[1]
    assert "an output is the mean of a 2x2 window of one map" in out
    assert "the pooled map stays the same from 1 of 2 positions (50 %)" in out
    assert "1 of 4 positions stays" in out
    assert "changes the result less than it changes the map" in out
    code, _, err = call("pool", "--input", "32x32x32", "--mode", "min")
    assert (code, err.count("\n")) == (2, 1)
    assert "allowed: max, average" in err
