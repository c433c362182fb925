"""Networks with strided 1x1 convolutions of few channels are trained without corrupting memory, on any processor."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from resnetlab.models.build import build_model
from resnetlab.models.configs import CifarNet, External, Model
from resnetlab.models.nets.subsample import SubsampledConv2d, is_affected
from resnetlab.training.rng import stream

NARROW = CifarNet(blocks=(1, 1, 1), widths=(2, 4, 8), shortcut="B")
NETWORKS = {
    "projection": NARROW,
    "projection-before-norm": replace(NARROW, arrangement="full-preactivation"),
    "projection-everywhere": replace(NARROW, shortcut="C"),
    "nearly-wide": CifarNet(blocks=(1, 1, 1), widths=(12, 15, 16), shortcut="B"),
    "gate": replace(NARROW, shortcut="gated"),
    "others": External(source="test_subsample:strided", kwargs={}),
}

# Many backward passes while small blocks are allocated. On large images the rows that are written behind the buffer
# reach other blocks at once.
SCRIPT = """
import sys, torch
sys.path.insert(0, {folder!r})
from test_subsample import NETWORKS, build
torch.set_num_threads(1)
images = torch.randn(6, 3, 112, 112).to(memory_format=torch.channels_last)
for name, spec in NETWORKS.items():
    print(name, flush=True)
    model = build(spec).to(memory_format=torch.channels_last).train()
    blocks = []
    for _ in range(20):
        model(images).sum().backward()
        blocks = [*blocks[-200:], *(torch.empty(3 * size + 1) for size in range(20))]
"""


class _Strided(nn.Module):
    """A network of somebody else, whose first layer is the affected one."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(3, 8, 1, stride=2)
        self.head = nn.Linear(8, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(F.relu(self.reduce(x)).mean((2, 3)))
        return out


def strided(num_classes: int) -> nn.Module:
    """Return a small network with an affected layer."""
    return _Strided(num_classes)


def build(spec: Model) -> nn.Module:
    return build_model(spec, 3, 5, lambda name: stream(0, "init", name))


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "test_subsample", sys.modules[__name__])


# The same process twice, where the processor has no more than AVX2.
SAME = pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() == "AVX2", reason="this processor is the other case")


@pytest.mark.parametrize("isa", ["AVX2", pytest.param("as it is", marks=SAME)])
def test_training_does_not_corrupt_the_heap(isa: str) -> None:
    script = SCRIPT.format(folder=str(Path(__file__).parent))
    limits = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"} if isa == "AVX2" else {}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", **limits},
    )  # fmt: skip
    assert done.returncode == 0, f"while training the last of {done.stdout.split()}: {done.stderr[-500:]}"


@pytest.mark.parametrize("name", NETWORKS)
def test_every_affected_layer_is_subsampled(name: str) -> None:
    model = build(NETWORKS[name])
    affected = [module for module in model.modules() if is_affected(module)]
    assert affected
    assert all(type(module) is SubsampledConv2d for module in affected)


@pytest.mark.parametrize("stride", [2, 3, (2, 1)])
@pytest.mark.parametrize("side", [7, 8])
def test_it_is_the_function_of_the_strided_convolution(stride: int | tuple[int, int], side: int) -> None:
    draw = torch.Generator().manual_seed(0)
    plain = nn.Conv2d(4, 6, 1, stride=stride).double()
    other = SubsampledConv2d(4, 6, 1, stride=stride).double()
    other.load_state_dict(plain.state_dict())
    x = torch.randn(2, 4, side, side, dtype=torch.float64, generator=draw)
    first, second = x.clone().requires_grad_(), x.clone().requires_grad_()
    plain(first).pow(2).sum().backward()
    other(second).pow(2).sum().backward()
    torch.testing.assert_close(other(x), plain(x))
    torch.testing.assert_close(second.grad, first.grad)
    torch.testing.assert_close(other.weight.grad, plain.weight.grad)


def test_wide_strided_and_three_by_three_convolutions_stay_as_they_are() -> None:
    model = build(CifarNet(blocks=(1, 1, 1), widths=(16, 32, 64), shortcut="B"))
    assert not any(isinstance(module, SubsampledConv2d) for module in model.modules())
