"""How large gradients, weights, responses and activations are, layer by layer. Trains nothing.

Responses as in He et al. 2016, fig. 7: the standard deviation of what a layer gives, after its normalisation.
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

from resnetlab.data.device_images import Resident
from resnetlab.inspection.diagnostics_config import Gradients, LayerNorms
from resnetlab.training.preserve import unchanged
from resnetlab.training.rng import stream, stream_seed
from resnetlab.training.state import Learner

IMAGES = 128
"""Of the batch that is measured, and no more than a batch of the recipe: what fits in training fits here."""

_CUTS: set[Any] = {F.relu, torch.relu, Tensor.relu, F.relu6}
_SMOOTH: set[Any] = {torch.tanh, Tensor.tanh, F.silu, F.gelu, F.elu, F.leaky_relu, F.hardswish}


class _Watch(TorchFunctionMode):
    """Measures what each layer gives, at once: what follows may write into the same memory."""

    def __init__(self, names: dict[int, str]) -> None:
        super().__init__()
        self.names, self.last = names, ""
        self.found: dict[str, dict[str, Tensor]] = {}
        self.shapes: dict[str, torch.Size] = {}
        self.handles: dict[str, RemovableHandle] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if func in (F.conv2d, torch.conv2d, F.linear) and id(args[1]) in self.names:
            self.last = self.names[id(args[1])]
            self._response(out)
        elif func is F.batch_norm and self.last:
            if out.shape == self.shapes[self.last]:
                self._response(out)
        elif self.last and (func in _CUTS or func in _SMOOTH):
            held, given = self.found[self.last], out.detach()
            held["activation_norm"] = given.norm()
            if func in _CUTS:
                ever = (given > 0).flatten(2).any(2).any(0) if out.dim() > 2 else (given > 0).any(0)
                held["never_active_pct"] = 100 * (~ever).float().mean()
        return out

    def _response(self, out: Tensor) -> None:
        name, given = self.last, out.detach()
        self.found[name] = {"response_norm": given.norm(), "response_sd": given.std()}
        self.shapes[name] = out.shape
        if name in self.handles:  # of what came before the normalisation
            self.handles[name].remove()

        def note(gradient: Tensor) -> None:
            self.found[name]["response_gradient_norm"] = gradient.norm()

        self.handles[name] = out.register_hook(note)  # type: ignore[no-untyped-call]


def gradients(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[float | None, tuple[LayerNorms, ...]]:
    """Loss of one batch in training mode, and each convolution and linear layer that is used, in their order.

    images: (N, C, H, W), labels: (N,). Leaves the network as it found it, but for what it draws (dropout).
    """
    layers = {n: m for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    with unchanged(model), torch.enable_grad():
        model.train()
        with _Watch({id(layer.weight): name for name, layer in layers.items()}) as watch:
            loss = F.cross_entropy(model(images), labels)
        learned = [name for name in watch.found if layers[name].weight.requires_grad]
        down = torch.autograd.grad(loss, [layers[name].weight for name in learned], allow_unused=True)
    for name, gradient in zip(learned, down, strict=True):
        if gradient is not None:
            watch.found[name]["weight_gradient_norm"] = gradient.norm()
    rows = []
    for depth, (name, held) in enumerate(watch.found.items(), 1):
        held["weight_norm"] = layers[name].weight.detach().norm()
        values = {field: _finite(held.get(field)) for field in LayerNorms.__dataclass_fields__}
        rows.append(LayerNorms(**values | {"depth": depth, "layer": name}))
    return _finite(loss), tuple(rows)


def of_learner(learner: Learner, train: Resident, most: int = IMAGES) -> Gradients:
    """The norms at the weights in training of `learner`, in fp32; its random numbers and its network stay as they were.

    The batch is the first of an order drawn from the run's seed, so conditions with one seed meet the same images.
    """
    count = max(2, min(most, learner.recipe.batch_size))
    order = torch.randperm(len(train), generator=stream(learner.seed, "inspect"))[:count].to(learner.device)
    images, labels = learner.prepared(train.pixels[order]), train.labels[order]
    with torch.random.fork_rng(devices=[learner.device] if learner.device.type == "cuda" else []):
        torch.manual_seed(stream_seed(learner.seed, "inspect"))  # of dropout
        loss, layers = gradients(learner.model, images, labels)
    epoch = learner.step / learner.steps_per_epoch
    return Gradients(epoch=epoch, step=learner.step, images=len(order), loss_nats=loss, layers=layers)


def _finite(value: Tensor | None) -> float | None:
    number = math.nan if value is None else float(value.detach())
    return number if math.isfinite(number) else None
