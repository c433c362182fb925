"""Write the golden tables again: `python tests/golden/regenerate.py`. Review what changes as data.

networks.tsv: every network with a name, counted on the network as built (the meta device), not from
its config. layers.tsv: output size and weights of each layer of the small classic networks.
fields.tsv: what `inspect model` says of each layer: output, parameters, multiply-adds, receptive
fields, jump. families.tsv: what `inspect table` says of the depth report's table 1 and of the
ImageNet networks. windows.tsv: the arithmetic of `inspect conv` and `inspect pool`, the cases of
the practical's figure 1 among them.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from resnetlab.inspection.architecture_tables import TABLE_NAMES, architecture_table
from resnetlab.inspection.layer_table import layer_rows
from resnetlab.inspection.layers import trace_layers
from resnetlab.inspection.sliding_window import SlidingWindow, window_details
from resnetlab.inspection.table_format import format_size
from resnetlab.models.build import build_uninitialized
from resnetlab.models.configs import ModelConfig
from resnetlab.models.model_cost import traced_cost
from resnetlab.models.parse import parse_model
from resnetlab.models.registry import get_model_config, registered_models

HERE = Path(__file__).parent

LAYERS = {
    "lenet5 1x28x28": ("lenet5", 1, 28),
    "alexnet-cifar 3x32x32": ("alexnet-cifar", 3, 32),
    "alexnet-cifar ceil_mode 3x28x28": ({"name": "alexnet-cifar", "ceil_mode": True}, 3, 28),
}

FIELDS = (
    "lenet5",
    "alexnet-cifar",
    "cifar-plain20",
    "cifar-resnet20",
    "cifar-resnet20-b",
    "depth-report-resnet18",
    "resnet18",
    "resnet50",
    "vgg16",
    "densenet40-k12",
)

WINDOWS = (
    (4, 4, 1, 3, 1, 0, 1),
    (5, 5, 1, 3, 1, 1, 1),
    (4, 4, 1, 2, 2, 0, 0),
    (5, 5, 1, 3, 2, 1, 1),  # figure 1
    (32, 32, 3, 5, 1, 2, 32),
    (16, 16, 32, 5, 1, 2, 64),
    (8, 8, 64, 5, 1, 2, 64),
    (28, 28, 1, 5, 1, 2, 6),
    (14, 14, 6, 5, 1, 0, 16),
    (224, 224, 3, 7, 2, 3, 64),
    (224, 224, 3, 11, 4, 2, 96),
    (56, 56, 64, 1, 1, 0, 256),
    (32, 32, 32, 2, 2, 0, 0),
    (112, 112, 64, 3, 2, 1, 0),
    (7, 7, 512, 7, 7, 0, 0),
    (9, 12, 3, 3, 2, 1, 4),
)
"""Height, width, depth, kernel, stride, padding, filters; of a pooling 0 filters."""


def networks() -> list[str]:
    """Return a line a network: name, input, classes, weighted layers, parameters, multiply-adds."""
    lines = ["name\tinput\tclasses\tdepth\tparameters\tmacs"]
    for entry in registered_models():
        parameters, macs = traced_cost(
            get_model_config(entry.name, "", ""), entry.channels, entry.num_classes, entry.side
        )
        image = f"{entry.channels}x{entry.side}x{entry.side}"
        lines.append(
            f"{entry.name}\t{image}\t{entry.num_classes}\t{entry.model.depth}\t{parameters}\t{macs}"
        )
    return lines


def layers() -> list[str]:
    """Return a line a layer: network, layer, output size, weights, biases."""
    lines = ["network\tlayer\toutput\tweights\tbiases"]
    for title, (value, channels, side) in LAYERS.items():
        lines += [f"{title}\t{line}" for line in layers_of(parse_model(value, ""), channels, side)]
    return lines


def layers_of(config: ModelConfig, channels: int, side: int) -> list[str]:
    """Convolutions, poolings that are modules, and linear layers, in the order in which an image
    meets them.
    """
    lines: list[str] = []
    with torch.device("meta"):
        model = build_uninitialized(config, channels, 10).eval()
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


def fields() -> list[str]:
    """Return a line a row of `inspect model`; fields and jumps in pixels, through the longest and
    the shortest way.
    """
    names = (
        "layer",
        "kind",
        "output",
        "parameters",
        "macs",
        "receptive_field",
        "smallest_receptive_field",
        "jump",
        "activation_bytes",
    )
    lines = ["\t".join(("network", *names))]
    for name in FIELDS:
        entry = next(entry for entry in registered_models() if entry.name == name)
        layers = trace_layers(
            entry.model, (entry.channels, entry.side, entry.side), entry.num_classes
        )
        lines += [
            "\t".join((name, *(_cell(row[key]) for key in names))) for row in layer_rows(layers)
        ]
    return lines


def families() -> list[str]:
    """Return a line a cell of each table: family, row, column, value."""
    lines = ["family\trow\tcolumn\tvalue"]
    for family in TABLE_NAMES:
        for row in architecture_table(family):
            name, *columns = row
            lines += [
                f"{family}\t{row[name]}\t{column}\t{_cell(row[column])}" for column in columns
            ]
    return lines


def windows() -> list[str]:
    """Return a line a layer: filters 0 is a pooling."""
    names = ("height", "width", "depth", "kernel", "stride", "padding", "filters")
    given = ("output", "weights", "macs", "fully_connected_weights")
    lines = ["\t".join((*names, *given))]
    for height, width, depth, kernel, stride, padding, filters in WINDOWS:
        sizes = (height, width, depth, kernel, stride, padding)
        window = window_details(SlidingWindow(*sizes, filters or None))
        lines.append(
            "\t".join((*map(str, (*sizes, filters)), *(_cell(window.get(name)) for name in given)))
        )
    return lines


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.10g}"
    return format_size(value) if isinstance(value, tuple) else "" if value is None else str(value)


TABLES = {
    "networks": networks,
    "layers": layers,
    "fields": fields,
    "families": families,
    "windows": windows,
}


def main() -> None:
    """Write every table."""
    for name, made in TABLES.items():
        lines = made()
        (HERE / f"{name}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
