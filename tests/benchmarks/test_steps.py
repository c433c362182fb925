"""The benchmark of training steps compares equal work, and its figures follow from its
measurements.
"""

from __future__ import annotations

import subprocess
import sys

import contender
import numpy as np
import pytest
import steps
import stock
import torch


def test_ratios_use_medians_and_the_faster_of_the_stock_loops() -> None:
    rates = {name: [100.0, 100.0, 900.0] for name in steps.CONTENDERS}
    rates |= {
        "stock-w0": [50.0, 40.0, 45.0],
        "stock-w2": [10.0, 60.0, 50.0],
        "one-auto": [90.0, 125.0, 100.0],
    }
    ratios = steps.ratios(rates)
    assert (ratios["stock"], ratios["tuned"], ratios["study_one"]) == (2.0, 1.0, 1.0)


def test_the_page_shows_every_ratio_and_every_rate() -> None:
    rates = {
        name: [float(number), number + 1.0, number + 2.0]
        for number, name in enumerate(steps.CONTENDERS, 10)
    }
    text = steps.build_page(
        {"resnet20-b32": rates}, {"load": 0.1, "packages": {"torch": "1"}}, "2026-01-02"
    )
    for value in steps.ratios(rates).values():
        assert f"{value:.2f}" in text
    for values in rates.values():
        assert f"{values[1]:,.0f} [{values[0]:,.0f}, {values[2]:,.0f}]" in text


@pytest.mark.parametrize("kind", ["stock", "tuned", "timm"])
def test_the_loss_of_each_other_loop_falls(kind: str) -> None:
    """Two kinds of images that a linear layer can tell: the loss falls, so that it is a training
    loop that is timed.
    """
    torch.manual_seed(0)
    labels = np.arange(64) % 2
    pixels = np.where(labels[:, None, None, None] == 1, 200, 50).astype(np.uint8) * np.ones(
        (1, 8, 8, 1), np.uint8
    )
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2))
    if kind == "timm":
        loop = stock.timm_epochs(model, pixels, labels, 16, workers=0)
    else:
        tuned, device = kind == "tuned", torch.device("cpu")
        loop = stock.epochs(model, pixels, labels, 16, tuned=tuned, device=device, workers=0)
    assert [next(loop) for _ in range(40)] == [16] * 40
    images = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.25
    assert (model(images).argmax(1).numpy() == labels).all()


def test_our_loop_counts_the_images_that_it_trained() -> None:
    loop = contender.our_loop(8, 128, "digits", precision="fp32", single=False)
    counts = [next(loop) for _ in range(3)]
    assert counts[0] == 0  # before the first step
    assert all(count > 0 for count in counts[1:])
    assert sum(counts) <= 1_437 * 2


def test_our_loop_yields_each_step_where_steps_are_timed() -> None:
    loop = contender.our_loop(
        8, 128, "digits", precision="fp32", single=False, yield_every_step=True
    )
    assert [next(loop) for _ in range(4)] == [0, 128, 128, 128]


@pytest.mark.slow
def test_contenders_train_when_requested_and_end_with_the_benchmark() -> None:
    """Real processes: a stock loop with workers and one of ours answer with images and seconds, and
    are ended.
    """
    with steps.started(steps.commands(["stock-w2", "study-fp32"], 8, 32, "digits")) as contents:
        assert all(one.window(1.0) > 0 for one in contents.values())
        processes = [process for one in contents.values() for process in one.processes]
    assert all(process.poll() is not None for process in processes)


@pytest.mark.slow
def test_a_contender_that_ends_early_is_reported() -> None:
    command = [sys.executable, "-c", "input()"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process, pytest.raises(SystemExit, match="a contender ended"):
        steps.Contender([process]).window(0.1)
