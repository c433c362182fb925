"""Write the golden tables again: `python tests/golden/regenerate.py`. Review what changes as data.

networks.tsv: every network with a name, counted on the network as built (the meta device), not from its spec.
layers.tsv: output size and weights of each layer of the small classic networks.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from resnetlab.models.build import skeleton
from resnetlab.models.count import built_cost
from resnetlab.models.names import entries, named_model
from resnetlab.models.spec import Model, parse_model

HERE = Path(__file__).parent

LAYERS = {
    "lenet5 1x28x28": ("lenet5", 1, 28),
    "alexnet-cifar 3x32x32": ("alexnet-cifar", 3, 32),
    "alexnet-cifar ceil_mode 3x28x28": ({"name": "alexnet-cifar", "ceil_mode": True}, 3, 28),
}


def networks() -> list[str]:
    """A line a network: name, input, classes, weighted layers, parameters, multiply-adds."""
    lines = ["name\tinput\tclasses\tdepth\tparameters\tmacs"]
    for entry in entries():
        parameters, macs = built_cost(named_model(entry.name, "", ""), entry.channels, entry.classes, entry.side)
        image = f"{entry.channels}x{entry.side}x{entry.side}"
        lines.append(f"{entry.name}\t{image}\t{entry.classes}\t{entry.model.depth}\t{parameters}\t{macs}")
    return lines


def layers() -> list[str]:
    """A line a layer: network, layer, output size, weights, biases."""
    lines = ["network\tlayer\toutput\tweights\tbiases"]
    for title, (value, channels, side) in LAYERS.items():
        lines += [f"{title}\t{line}" for line in layers_of(parse_model(value, ""), channels, side)]
    return lines


def layers_of(spec: Model, channels: int, side: int) -> list[str]:
    """Convolutions, poolings that are modules, and linear layers, in the order in which an image meets them."""
    lines: list[str] = []
    with torch.device("meta"):
        model = skeleton(spec, channels, 10).eval()
        images = torch.zeros(1, channels, side, side)

    def note(name: str) -> object:
        def hook(module: nn.Module, _: object, out: torch.Tensor) -> None:
            shape = "x".join(map(str, out.shape[1:]))
            weights = sum(p.numel() for n, p in module.named_parameters() if n == "weight")
            biases = sum(p.numel() for n, p in module.named_parameters() if n == "bias")
            lines.append(f"{name}\t{shape}\t{weights}\t{biases}")

        return hook

    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.MaxPool2d):
            module.register_forward_hook(note(name))  # type: ignore[arg-type]
    model(images)
    return lines


def main() -> None:
    """Write both tables."""
    for name, lines in (("networks.tsv", networks()), ("layers.tsv", layers())):
        (HERE / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
