"""How large gradients, weights and responses are, layer by layer, at the first weights. Trains nothing.

Responses as in He et al. 2016, fig. 7: the standard deviation of what a layer gives, after its normalisation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_RELU: set[Any] = {F.relu, torch.relu, Tensor.relu}


class _Watch(TorchFunctionMode):
    """Keeps what each layer gives, and of each ReLU which units are ever above 0, with the last layer before it."""

    def __init__(self, names: dict[int, str]) -> None:
        super().__init__()
        self.names, self.last = names, ""
        self.given: dict[str, Tensor] = {}
        self.alive: dict[str, Tensor] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if func in (F.conv2d, torch.conv2d, F.linear) and id(args[1]) in self.names:
            self.last = self.names[id(args[1])]
            self.given[self.last] = out
        elif func is F.batch_norm and self.last:
            if out.shape == self.given[self.last].shape:
                self.given[self.last] = out
        elif func in _RELU and self.last:
            ever = (out.detach() > 0).flatten(2).any(2).any(0) if out.dim() > 2 else (out.detach() > 0).any(0)
            self.alive[self.last] = ever
        return out


def gradients(model: nn.Module, images: Tensor, labels: Tensor) -> list[dict[str, Any]]:
    """A row a convolution or linear layer, in the order of the network, for one batch in training mode.

    images: (N, C, H, W), labels: (N,). `never_active_pct` is the share of the layer's maps or units that the ReLU after
    it cuts off at every place of every image; none where no ReLU follows before the next layer.
    """
    layers = {n: m for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    model.train()
    model.zero_grad()
    with _Watch({id(layer.weight): name for name, layer in layers.items()}) as watch:
        loss = F.cross_entropy(model(images), labels)
    given = list(watch.given.items())
    down = torch.autograd.grad(loss, [*(out for _, out in given), *(layers[name].weight for name, _ in given)])
    rows = []
    for at, (name, out) in enumerate(given):
        alive = watch.alive.get(name)
        rows.append(
            {
                "depth": at + 1, "layer": name, "weight_gradient_norm": float(down[len(given) + at].norm()),
                "weight_norm": float(layers[name].weight.detach().norm()),
                "response_gradient_norm": float(down[at].norm()), "response_norm": float(out.detach().norm()),
                "response_sd": float(out.detach().std()),
                "never_active_pct": None if alive is None else 100 * float((~alive).float().mean()),
            }
        )  # fmt: skip
    return rows
