"""Fully connected layers as convolutions: the same network, on an image of any size that its maps can bear.

A fully connected layer over maps (C, H, W) is a convolution with a window of H x W; one over a vector, a 1x1
convolution; a pooling over all of the training image, one over a window of that size (practical 5-6, questions 4 to 6).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from resnetlab.errors import mistake

Pair = tuple[int, int]


class Convolutional(nn.Module):
    """`model` with its fully connected layers read as convolutions; the weights are copied, and the same numbers.

    `image` (C, H, W) is that for which the fully connected layers were made. Evaluation mode.
    """

    def __init__(self, model: nn.Module, image: tuple[int, int, int], name: str = "network") -> None:
        super().__init__()
        self.net = copy.deepcopy(model).eval()
        self.name = name
        if hasattr(self.net, "spec"):
            vars(self.net)["spec"] = _AnySize()  # what the fully connected layers asked of an image holds no more
        self.kernels: dict[int, Pair] = {}
        self.windows: list[Pair] = []
        held = next(self.net.parameters())
        unlike = mistake(name, "cannot be read as convolutions", "a network whose maps are flattened or pooled once")
        try:
            with torch.no_grad(), _AsConvolutions(self, learn=True):
                scores = self.net(torch.zeros(1, *image, device=held.device, dtype=held.dtype))
        except RuntimeError:
            raise unlike from None
        if scores.dim() != 4:
            raise unlike

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) to a map of scores (N, K, H', W'): 1x1 for images of the training size.

        Raises InputError for an image that is too small.
        """
        try:
            with _AsConvolutions(self, learn=False):
                scores: Tensor = self.net(images)
        except RuntimeError as error:
            size = "x".join(map(str, images.shape[1:]))
            reason = str(error).splitlines()[0][:160]
            fix = "an image at least as large as that of the training"
            raise mistake(self.name, f"cannot take {size}: {reason}", fix) from None
        return scores

    def layers(self) -> list[tuple[str, int, Pair, int]]:
        """Name, maps taken, window and maps given of each fully connected layer as a convolution."""
        linear = [(name, m) for name, m in self.net.named_modules() if isinstance(m, nn.Linear)]
        held = [(name, m, self.kernels[id(m.weight)]) for name, m in linear if id(m.weight) in self.kernels]
        return [(name, m.in_features // (k[0] * k[1]), k, m.out_features) for name, m, k in held]


class _AnySize:
    """Stands for a spec that finds no fault with an image."""

    def cost(self, *_: int) -> None:
        """Nothing is counted."""


_FLAT: set[Any] = {torch.flatten, Tensor.flatten, Tensor.view, Tensor.reshape, torch.reshape}


class _AsConvolutions(TorchFunctionMode):
    """Flattens nothing, pools by windows, and convolves where the network would connect fully."""

    def __init__(self, held: Convolutional, learn: bool) -> None:
        super().__init__()
        self.held, self.learn, self.pooled = held, learn, 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        x = args[0] if args and isinstance(args[0], Tensor) else None
        if x is None or x.dim() != 4:
            return func(*args, **kwargs)
        if func in _FLAT:
            sizes = args[1:] if func not in (torch.flatten, Tensor.flatten) else (0, 0)
            sizes = sizes[0] if len(sizes) == 1 and not isinstance(sizes[0], int) else sizes
            return x if len(sizes) == 2 else func(*args, **kwargs)
        if func is F.adaptive_avg_pool2d:
            return F.avg_pool2d(x, self._window(x, args[1] if len(args) > 1 else kwargs["output_size"]), 1)
        if func is F.linear:
            weight, bias = args[1], args[2] if len(args) > 2 else kwargs.get("bias")
            if self.learn:
                self.held.kernels[id(weight)] = (x.shape[2], x.shape[3])
            kernel = self.held.kernels[id(weight)]
            return F.conv2d(x, weight.view(weight.shape[0], x.shape[1], *kernel), bias)
        return func(*args, **kwargs)

    def _window(self, x: Tensor, cells: Any) -> Pair:
        """Of an adaptive pooling at the training size; one that gives cells must leave the maps as they are there."""
        down, across = (cells, cells) if isinstance(cells, int) else cells
        if self.learn:
            window = (x.shape[2] // down, x.shape[3] // across)
            if (down, across) != (1, 1) and window != (1, 1):
                raise mistake(self.held.name, "pools into cells at this size", "--train-input of the size it is for")
            self.held.windows.append(window)
        self.pooled += 1
        return self.held.windows[self.pooled - 1]


def score_map(
    model: nn.Module, trained: tuple[int, int, int], image: tuple[int, int, int], name: str
) -> dict[str, Any]:
    """What comes of `model` on a larger image: the layers, the map, and how far outputs differ at the training size."""
    as_convolutions = Convolutional(model, trained, name)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        small = torch.randn(2, *trained, generator=generator)
        apart = (model.eval()(small) - as_convolutions(small).flatten(1)).abs().max()
        scores = as_convolutions(torch.randn(1, *image, generator=generator))
    down, across = scores.shape[2:]
    layers = {
        name: f"{window[0]}x{window[1]} convolution, {taken} to {given} maps"
        for name, taken, window, given in as_convolutions.layers()
    }
    return {
        "model": name, "training_input": trained, "input": image, "layers": layers,
        "scores": tuple(scores.shape[1:]), "places": f"{down * across} windows of the training size in one pass",
        "largest_difference_at_training_size": float(apart),
    }  # fmt: skip
