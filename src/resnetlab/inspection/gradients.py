"""Norms of gradients, weights, responses and activations, layer by layer. Trains nothing.

Responses are as in He et al. 2016, fig. 7: the standard deviation of a layer's output after its
normalization.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from resnetlab.data.device_images import DeviceImages
from resnetlab.inspection.diagnostics_records import GradientNorms, LayerNorms
from resnetlab.models.preserve_model import preserve_buffers_and_mode
from resnetlab.training.from_scratch_state import FromScratchState
from resnetlab.training.rng import derive_seed, make_generator, preserve_random_state

MAX_IMAGES = 128
"""Maximum number of images in the measured batch.

It is also at most the recipe's batch size, so it fits into memory.
"""

_RELU: set[Any] = {F.relu, torch.relu, Tensor.relu, F.relu6}
_SMOOTH_ACTIVATIONS: set[Any] = {
    torch.tanh,
    Tensor.tanh,
    F.silu,
    F.gelu,
    F.elu,
    F.leaky_relu,
    F.hardswish,
}


class _ActivationRecorder(TorchFunctionMode):
    """Function mode that measures outputs at once: later operations may overwrite their memory."""

    def __init__(self, names: dict[int, str]) -> None:
        super().__init__()
        self.names, self.last_layer = names, ""
        self.measures: dict[str, dict[str, Tensor]] = {}
        self.shapes: dict[str, torch.Size] = {}
        self.handles: dict[str, RemovableHandle] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if func in (F.conv2d, torch.conv2d, F.linear) and id(args[1]) in self.names:
            self.last_layer = self.names[id(args[1])]
            self._record_response(out)
        elif func is F.batch_norm and self.last_layer:
            if out.shape == self.shapes[self.last_layer]:
                self._record_response(out)
        elif self.last_layer and (func in _RELU or func in _SMOOTH_ACTIVATIONS):
            measures, values = self.measures[self.last_layer], out.detach()
            measures["activation_norm"] = values.norm()
            if func in _RELU:
                is_active = values > 0
                ever = is_active.flatten(2).any(2).any(0) if out.dim() > 2 else is_active.any(0)
                measures["never_active_pct"] = 100 * (~ever).float().mean()
                measures["active_pct"] = 100 * is_active.float().mean()
        return out

    def _record_response(self, out: Tensor) -> None:
        name, values = self.last_layer, out.detach()
        self.measures[name] = {"response_norm": values.norm(), "response_sd": values.std()}
        self.shapes[name] = out.shape
        if name in self.handles:  # the hook on the output before normalization
            self.handles[name].remove()

        def record_gradient(gradient: Tensor) -> None:
            self.measures[name]["response_gradient_norm"] = gradient.norm()

        self.handles[name] = out.register_hook(record_gradient)  # type: ignore[no-untyped-call]


def measure_layer_norms(
    model: nn.Module, images: Tensor, labels: Tensor
) -> tuple[float | None, tuple[LayerNorms, ...]]:
    """Measure one batch in training mode, layer by layer.

    The network stays unchanged; only random draws (dropout) advance.

    Args:
        model: Network to measure.
        images: Images (B, C, H, W).
        labels: Class indices (B,).

    Returns:
        The loss in nats, and the norms of each used convolution and linear layer, in order.
    """
    layers = {n: m for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    with preserve_buffers_and_mode(model), torch.enable_grad():
        model.train()
        with _ActivationRecorder(
            {id(layer.weight): name for name, layer in layers.items()}
        ) as recorder:
            loss = F.cross_entropy(model(images), labels)
        trainable = [name for name in recorder.measures if layers[name].weight.requires_grad]
        weight_gradients = torch.autograd.grad(
            loss, [layers[name].weight for name in trainable], allow_unused=True
        )
    for name, gradient in zip(trainable, weight_gradients, strict=True):
        if gradient is not None:
            recorder.measures[name]["weight_gradient_norm"] = gradient.norm()
    rows = []
    for depth, (name, measures) in enumerate(recorder.measures.items(), 1):
        measures["weight_norm"] = layers[name].weight.detach().norm()
        values = {field: _finite(measures.get(field)) for field in LayerNorms.__dataclass_fields__}
        rows.append(LayerNorms(**values | {"depth": depth, "layer": name}))
    return _finite(loss), tuple(rows)


def measure_gradients(
    state: FromScratchState, train: DeviceImages, max_images: int = MAX_IMAGES
) -> GradientNorms:
    """Return the norms at the current training weights of `state`, in fp32.

    The network and its random state stay unchanged. The batch is the start of an order drawn from
    the run's seed, so that conditions with the same seed use the same images.
    """
    count = max(2, min(max_images, state.recipe.batch_size))
    order = torch.randperm(len(train), generator=make_generator(state.seed, "inspect"))[:count].to(
        state.device
    )
    images, labels = state.preprocess(train.pixels[order]), train.labels[order]
    with preserve_random_state(state.device):
        torch.manual_seed(derive_seed(state.seed, "inspect"))  # for dropout
        loss, layers = measure_layer_norms(state.model, images, labels)
    epoch = state.step / state.steps_per_epoch
    return GradientNorms(
        epoch=epoch, step=state.step, images=len(order), loss_nats=loss, layers=layers
    )


def _finite(value: Tensor | None) -> float | None:
    number = math.nan if value is None else float(value.detach())
    return number if math.isfinite(number) else None
