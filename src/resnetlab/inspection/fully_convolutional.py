"""Fully convolutional form of a network: linear layers become convolutions, for larger images.

A linear layer over maps (C, H, W) becomes a convolution with a window of H x W; one over a vector
becomes a 1x1 convolution; a pooling over the whole training image becomes a pooling with a window
of that size (practical 5-6, questions 4 to 6).
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from resnetlab.errors import first_line, input_error
from resnetlab.messages import format_count

Pair = tuple[int, int]


class FullyConvolutional(nn.Module):
    """Fully convolutional copy of `model`, with the same weights, in evaluation mode.

    `image_shape` (C, H, W) is the size for which the linear layers were made.
    """

    def __init__(
        self, model: nn.Module, image_shape: tuple[int, int, int], name: str = "network"
    ) -> None:
        super().__init__()
        self.net = copy.deepcopy(model).eval()
        self.name = name
        if hasattr(self.net, "config"):
            # The size check of the linear layers does not apply to the copy.
            vars(self.net)["config"] = _AnySize(self.net.config)
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
        """Return scores (B, K, H', W') of (B, C, H, W): 1x1 at the training size.

        Raises InputError for an image that is too small.
        """
        try:
            with _AsConvolutions(self, record_sizes=False):
                scores: Tensor = self.net(images)
        except RuntimeError as error:
            size = "x".join(map(str, images.shape[1:]))
            fix = "give an image at least as large as in training"
            raise input_error(
                self.name, f"does not accept {size}: {first_line(error)}", fix
            ) from None
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
    """Config that accepts images of any size, and is `config` in all else."""

    def __init__(self, config: Any) -> None:
        self._config = config

    def __getattr__(self, name: str) -> Any:
        return getattr(self._config, name)

    def cost(self, *_: int) -> None:
        """Accept any image."""


_FLATTEN_OPS: set[Any] = {torch.flatten, Tensor.flatten, Tensor.view, Tensor.reshape, torch.reshape}


class _AsConvolutions(TorchFunctionMode):
    """Function mode that turns flattening, adaptive pooling and linear layers into convolutions."""

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


@dataclass(frozen=True)
class LayerAcceptance:
    """Layer of an unchanged network with its output for a larger image."""

    layer: str
    kind: str
    accepts: bool
    reason: str


_LAYER_KINDS: dict[Any, str] = {
    F.conv2d: "convolution",
    torch.conv2d: "convolution",
    F.linear: "linear",
    F.max_pool2d: "max pooling",
    torch.max_pool2d: "max pooling",
    F.avg_pool2d: "average pooling",
    F.adaptive_avg_pool2d: "adaptive average pooling",
}


class _AcceptanceRecorder(TorchFunctionMode):
    """Function mode that records the layers that accept a larger image.

    A layer that does not accept its input returns zeros of its usual size, so that the pass goes
    on.
    """

    def __init__(self, names: dict[int, str]) -> None:
        super().__init__()
        self.names = names
        self.layers: list[LayerAcceptance] = []
        self.failed = ""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kind = _LAYER_KINDS.get(func)
        if kind is None:
            return func(*args, **(kwargs or {}))
        x = args[0]
        name = self.names.get(id(args[1]), kind) if len(args) > 1 else kind
        if kind.endswith("pooling"):
            name = f"{kind} {1 + sum(layer.kind == kind for layer in self.layers)}"
        if kind == "linear" and x.shape[-1] != args[1].shape[1]:
            reason = f"takes {args[1].shape[1]:,} numbers and gets {x.shape[-1]:,}"
            self.layers.append(LayerAcceptance(name, kind, False, reason))
            self.failed = self.failed or name
            return x.new_zeros(*x.shape[:-1], args[1].shape[0])
        out = func(*args, **(kwargs or {}))
        sizes = " to ".join("x".join(map(str, tensor.shape[1:])) for tensor in (x, out))
        reason = f"follows {self.failed}" if self.failed else sizes
        self.layers.append(LayerAcceptance(name, kind, not self.failed, reason))
        return out


def layers_of_unchanged_network(
    network: FullyConvolutional, image_shape: tuple[int, int, int]
) -> list[LayerAcceptance]:
    """Return the unchanged network's layers in order, and if each accepts this (C, H, W)."""
    parameter = next(network.net.parameters())
    recorder = _AcceptanceRecorder(
        {
            id(module.weight): name
            for name, module in network.net.named_modules()
            if isinstance(module, nn.Conv2d | nn.Linear)
        }
    )
    images = torch.zeros(1, *image_shape, device=parameter.device, dtype=parameter.dtype)
    with torch.no_grad(), recorder:
        network.net(images)
    return recorder.layers


def acceptance_sentence(layers: list[LayerAcceptance], image_shape: tuple[int, int, int]) -> str:
    """Return one sentence that says which layers of the unchanged network accept this image."""
    size = "x".join(map(str, image_shape))
    refusing = [layer for layer in layers if not layer.accepts]

    def counts(chosen: list[LayerAcceptance]) -> str:
        kinds = Counter(f"{layer.kind} layer" for layer in chosen)
        return " and ".join(format_count(n, kind) for kind, n in kinds.items())

    accepting = [layer for layer in layers if layer.accepts]
    if not refusing:
        pools = [layer for layer in layers if layer.kind.startswith("adaptive")]
        because = ""
        if pools:
            same = "the same number of values at every size"
            because = f": {pools[-1].layer} gives the linear layers {same}"
        return f"Unchanged, every layer accepts {size} ({counts(layers)}){because}."
    first = refusing[0]
    return (
        f"Unchanged, {counts(accepting)} accept {size}, but {counts(refusing)} do not: "
        f"{first.layer} {first.reason}."
    )


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
    unchanged = layers_of_unchanged_network(as_convolutions, image_shape)
    layers = {
        name: f"{window[0]}x{window[1]} convolution, {in_maps} to {out_maps} maps"
        for name, in_maps, window, out_maps in as_convolutions.layers()
    }
    return {
        "model": name,
        "training_input": train_image_shape,
        "input": image_shape,
        "unchanged_network": acceptance_sentence(unchanged, image_shape),
        "unchanged_layers": {
            layer.layer: f"{'yes' if layer.accepts else 'no'}, {layer.reason}"
            for layer in unchanged
        },
        "layers": layers,
        "scores": tuple(scores.shape[1:]),
        "places": f"{down * across} windows of the training size in one pass",
        "largest_difference_at_training_size": float(largest_difference),
    }
