"""The benchmark of a GPU measures and compares what its page says. The tests run it on the CPU at
small sizes; its figures need a GPU.
"""

from __future__ import annotations

import sys

import gpu
import pytest
import torch

from resnetlab.models.configs import CifarConfig

TINY = CifarConfig(blocks=(1, 1, 1), widths=(4, 4, 4))


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "WARM_STEPS", 1)
    monkeypatch.setattr(gpu, "SIDE", 8)
    monkeypatch.setattr(gpu, "cifar_config", lambda _: TINY)


def test_each_contender_has_a_speed_and_the_page_contains_all_speeds() -> None:
    bench = gpu.Bench("cpu", gpu.made(40), seconds=0.05)
    pace = gpu.speeds(bench, 20, 8)
    assert list(pace) == ["stock", "tuned", "eager", "captured", "parallel"]
    assert min(pace.values()) > 0
    values = gpu.ratios(
        {"stock": 100.0, "tuned": 200.0, "eager": 400.0, "captured": 1000.0, "parallel": 4000.0}
    )
    assert values == {
        "stock": 10.0,
        "tuned": 5.0,
        "eager": 2.5,
        "five in parallel to stock": 40.0,
        "time of five in parallel": 1.25,
    }
    page = gpu.build_page(
        {
            **gpu.machine(),
            "gpu": "a GPU",
            "seconds each": 1.0,
            "bits": {"sgd": "OK"},
            "images_per_second": {"resnet20-b8": pace},
            "ratios": {"resnet20-b8": values},
            "grid": {"study": "shortcuts"},
        }
    )
    assert "- resnet20-b8: time of five in parallel 1.25" in page
    bench.began -= gpu.BUDGET_SECONDS
    assert gpu.speeds(bench, 20, 8) == {}, "what does not fit into the budget is left out"


def test_bits_are_compared_and_a_difference_is_reported() -> None:
    bench = gpu.Bench("cpu", gpu.made(40), seconds=0.05)
    results = gpu.bits(bench, TINY, 8, 6)
    assert len(results) == len(gpu.EQUAL) + 1
    assert set(results.values()) == {"OK, but eager: only steps on a GPU are captured"}
    train_states = [bench.train_state(TINY, gpu.training(8), seed) for seed in (0, 1)]
    assert gpu.differing(*train_states)
    assert gpu.verdict(same=False, eager_reason="") == "DIFFERENT"


def test_the_grid_is_the_grid_of_the_shortcut_report(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = gpu.Bench("cpu", gpu.made(40), seconds=0.05)
    monkeypatch.setattr(gpu.Bench, "pace", lambda *_: 10_000.0)
    minutes = 12 * 5 * 10 * 50_000 / 10_000 / 60
    assert gpu.grid(bench) == {
        "study": "shortcuts",
        "minutes of training": minutes,
        "not measured": [],
    }


def test_the_benchmark_without_a_gpu_ends_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    assert gpu.main() == 4
    assert (
        capsys.readouterr().err == "benchmarks/gpu.py: no CUDA GPU is here: nothing is measured\n"
    )
