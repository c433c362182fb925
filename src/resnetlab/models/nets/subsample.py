"""Safe strided 1x1 convolution: oneDNN's gradient corrupts memory with few input channels."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

SAFE_CHANNELS = 16
"""Input channels without the fault: fp32 numbers in a vector of AVX-512 (of AVX2: 8)."""


class SubsampledConv2d(nn.Conv2d):
    """A 1x1 convolution that takes every `stride`-th pixel first, then convolves with stride one.

    It is the same function with the same parameters as `nn.Conv2d`. The class exists because of a
    fault in oneDNN (torch 2.15, oneDNN 3.13, in `jit_avx2_1x1_convolution_bwd_weights_t` and its
    two relatives for AVX-512). For channels-last images, the gradient of the weights of a strided
    1x1 convolution is computed in a buffer of H x W x C_in numbers, but its rows are placed as if
    C_in were at least a whole vector. With fewer channels the heap behind the buffer is
    overwritten, which ends in SIGABRT, SIGSEGV or wrong numbers. With AVX2 that happens at any
    size, with AVX-512 (fp32 and bf16) from about 48 pixels. With a stride of one, oneDNN needs no
    such buffer.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C_out, ceil(H / stride), ceil(W / stride)) for (B, C_in, H, W)."""
        rows, columns = self.stride
        return F.conv2d(x[:, :, ::rows, ::columns], self.weight, self.bias)


def is_unsafe_conv(module: nn.Module) -> bool:
    """Return True for a convolution whose backward pass may trigger the fault of oneDNN."""
    return (
        isinstance(module, nn.Conv2d)
        and module.kernel_size == (1, 1)
        and max(module.stride) > 1
        and module.padding in ((0, 0), "valid")
        and module.groups == 1
        and module.in_channels < SAFE_CHANNELS
    )


def replace_unsafe_convs(model: nn.Module) -> nn.Module:
    """Turn each affected convolution of `model` into a `SubsampledConv2d`; return the model.

    Names and tensors of the state dict stay as they are. A subclass of `nn.Conv2d` with a forward
    pass of its own is left alone: it may do more than a convolution.
    """
    for module in model.modules():
        if type(module).forward is nn.Conv2d.forward and is_unsafe_conv(module):
            module.__class__ = SubsampledConv2d
    return model
