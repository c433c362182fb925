"""Networks with strided 1x1 convolutions of few channels are trained on any processor without
memory errors.
"""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from helpers.processes import environment
from helpers.subsampled import NETWORKS, build
from resnetlab.models.configs import CifarConfig
from resnetlab.models.nets.subsample import SubsampledConv2d, is_unsafe_conv

# Many backward passes while small blocks are allocated. On large images the rows that are written
# behind the buffer reach other blocks at once.
SCRIPT = """
import torch
from helpers.subsampled import NETWORKS, build
torch.set_num_threads(1)
images = torch.randn(6, 3, 112, 112).to(memory_format=torch.channels_last)
for name, config in NETWORKS.items():
    print(name, flush=True)
    model = build(config).to(memory_format=torch.channels_last).train()
    blocks = []
    for _ in range(20):
        model(images).sum().backward()
        blocks = [*blocks[-200:], *(torch.empty(3 * size + 1) for size in range(20))]
"""


# The same process twice, where the processor has no more than AVX2.
SAME = pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() == "AVX2", reason="this processor is the other case"
)


@pytest.mark.parametrize("isa", ["AVX2", pytest.param("as it is", marks=SAME)])
def test_training_does_not_corrupt_the_heap(isa: str) -> None:
    limits = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"} if isa == "AVX2" else {}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment(**limits),
    )
    assert done.returncode == 0, (
        f"while training the last of {done.stdout.split()}: {done.stderr[-500:]}"
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_every_affected_layer_is_subsampled(name: str) -> None:
    model = build(NETWORKS[name])
    affected = [module for module in model.modules() if is_unsafe_conv(module)]
    assert affected
    assert all(type(module) is SubsampledConv2d for module in affected)


@pytest.mark.parametrize("stride", [2, 3, (2, 1)])
@pytest.mark.parametrize("side", [7, 8])
def test_a_subsampled_convolution_equals_the_strided_convolution(
    stride: int | tuple[int, int], side: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    plain = nn.Conv2d(4, 6, 1, stride=stride).double()
    other = SubsampledConv2d(4, 6, 1, stride=stride).double()
    other.load_state_dict(plain.state_dict())
    x = torch.randn(2, 4, side, side, dtype=torch.float64, generator=generator)
    first, second = x.clone().requires_grad_(), x.clone().requires_grad_()
    plain(first).pow(2).sum().backward()
    other(second).pow(2).sum().backward()
    torch.testing.assert_close(other(x), plain(x))
    torch.testing.assert_close(second.grad, first.grad)
    torch.testing.assert_close(other.weight.grad, plain.weight.grad)


def test_wide_strided_and_three_by_three_convolutions_are_not_replaced() -> None:
    model = build(CifarConfig(blocks=(1, 1, 1), widths=(16, 32, 64), shortcut="B"))
    assert not any(isinstance(module, SubsampledConv2d) for module in model.modules())
