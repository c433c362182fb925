"""Fully convolutional form of a network: linear layers become convolutions, so that it takes larger
images.

A linear layer over maps (C, H, W) becomes a convolution with a window of H x W; one over a vector
becomes a 1x1 convolution; a pooling over the whole training image becomes a pooling with a window
of that size (practical 5-6, questions 4 to 6).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from resnetlab.errors import input_error

Pair = tuple[int, int]


class FullyConvolutional(nn.Module):
    """Fully convolutional copy of `model`, with the same weights, in evaluation mode.

    `image` (C, H, W) is the size for which the linear layers were made.
    """

    def __init__(
        self, model: nn.Module, image_shape: tuple[int, int, int], name: str = "network"
    ) -> None:
        super().__init__()
        self.net = copy.deepcopy(model).eval()
        self.name = name
        if hasattr(self.net, "spec"):
            vars(self.net)["spec"] = (
                _AnySize()
            )  # the size check of the linear layers does not apply to the copy
        self.kernels: dict[int, Pair] = {}
        self.windows: list[Pair] = []
        parameter = next(self.net.parameters())
        unsupported = input_error(
            name,
            "cannot be converted to convolutions",
            "choose a network whose maps are flattened or pooled once",
        )
        try:
            with torch.no_grad(), _AsConvolutions(self, record_sizes=True):
                scores = self.net(
                    torch.zeros(1, *image_shape, device=parameter.device, dtype=parameter.dtype)
                )
        except RuntimeError:
            raise unsupported from None
        if scores.dim() != 4:
            raise unsupported

    def forward(self, images: Tensor) -> Tensor:
        """Return a map of scores (N, K, H', W') for images (N, C, H, W): 1x1 for images of the
        training size.

        Raises InputError for an image that is too small.
        """
        try:
            with _AsConvolutions(self, record_sizes=False):
                scores: Tensor = self.net(images)
        except RuntimeError as error:
            size = "x".join(map(str, images.shape[1:]))
            reason = str(error).splitlines()[0][:160]
            fix = "give an image at least as large as in training"
            raise input_error(self.name, f"does not accept {size}: {reason}", fix) from None
        return scores

    def layers(self) -> list[tuple[str, int, Pair, int]]:
        """Return name, input maps, window and output maps of each linear layer as a convolution."""
        linear = [(name, m) for name, m in self.net.named_modules() if isinstance(m, nn.Linear)]
        converted = [
            (name, m, self.kernels[id(m.weight)])
            for name, m in linear
            if id(m.weight) in self.kernels
        ]
        return [
            (name, m.in_features // (k[0] * k[1]), k, m.out_features) for name, m, k in converted
        ]


class _AnySize:
    """Config that accepts images of any size."""

    def cost(self, *_: int) -> None:
        """Accept any image."""


_FLATTEN_OPS: set[Any] = {torch.flatten, Tensor.flatten, Tensor.view, Tensor.reshape, torch.reshape}


class _AsConvolutions(TorchFunctionMode):
    """Function mode that replaces flattening, adaptive pooling and linear layers by their
    convolutional forms.
    """

    def __init__(self, network: FullyConvolutional, record_sizes: bool) -> None:
        super().__init__()
        self.network, self.record_sizes, self.num_pools = network, record_sizes, 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        x = args[0] if args and isinstance(args[0], Tensor) else None
        if x is None or x.dim() != 4:
            return func(*args, **kwargs)
        if func in _FLATTEN_OPS:
            sizes = args[1:] if func not in (torch.flatten, Tensor.flatten) else (0, 0)
            sizes = sizes[0] if len(sizes) == 1 and not isinstance(sizes[0], int) else sizes
            return x if len(sizes) == 2 else func(*args, **kwargs)
        if func is F.adaptive_avg_pool2d:
            return F.avg_pool2d(
                x, self._window(x, args[1] if len(args) > 1 else kwargs["output_size"]), 1
            )
        if func is F.linear:
            weight, bias = args[1], args[2] if len(args) > 2 else kwargs.get("bias")
            if self.record_sizes:
                self.network.kernels[id(weight)] = (x.shape[2], x.shape[3])
            kernel = self.network.kernels[id(weight)]
            return F.conv2d(x, weight.view(weight.shape[0], x.shape[1], *kernel), bias)
        return func(*args, **kwargs)

    def _window(self, x: Tensor, cells: Any) -> Pair:
        """Return the window of an adaptive pooling at the training size.

        A pooling into several cells must leave the maps unchanged at that size.
        """
        down, across = (cells, cells) if isinstance(cells, int) else cells
        if self.record_sizes:
            window = (x.shape[2] // down, x.shape[3] // across)
            if (down, across) != (1, 1) and window != (1, 1):
                raise input_error(
                    self.network.name,
                    "pools into cells at this size",
                    "give --train-input the size that it was made for",
                )
            self.network.windows.append(window)
        self.num_pools += 1
        return self.network.windows[self.num_pools - 1]


def score_map(
    model: nn.Module,
    train_image_shape: tuple[int, int, int],
    image_shape: tuple[int, int, int],
    name: str,
) -> dict[str, Any]:
    """Apply the fully convolutional form of `model` to a larger image.

    Return the layers, the map of scores, and the largest difference of outputs at the training
    size.
    """
    as_convolutions = FullyConvolutional(model, train_image_shape, name)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        small = torch.randn(2, *train_image_shape, generator=generator)
        largest_difference = (model.eval()(small) - as_convolutions(small).flatten(1)).abs().max()
        scores = as_convolutions(torch.randn(1, *image_shape, generator=generator))
    down, across = scores.shape[2:]
    layers = {
        name: f"{window[0]}x{window[1]} convolution, {in_maps} to {out_maps} maps"
        for name, in_maps, window, out_maps in as_convolutions.layers()
    }
    return {
        "model": name,
        "training_input": train_image_shape,
        "input": image_shape,
        "layers": layers,
        "scores": tuple(scores.shape[1:]),
        "places": f"{down * across} windows of the training size in one pass",
        "largest_difference_at_training_size": float(largest_difference),
    }
