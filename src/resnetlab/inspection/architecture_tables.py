"""Architecture tables of the sources, computed from the configs. Free of torch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from resnetlab.errors import input_error, suggest
from resnetlab.models.configs.cifar import DEPTH_REPORT, depth_report_config
from resnetlab.models.configs.imagenet import IMAGENET, WIDTHS, ImageNetConfig

SLIDES_FLOPS = {
    "resnet18": 1.8e9,
    "resnet34": 3.6e9,
    "resnet50": 3.8e9,
    "resnet101": 7.6e9,
    "resnet152": 11.3e9,
}
"""Row "FLOPs" in the slides' table, as in He et al. 2016, table 1: multiply-adds at 224x224."""

TABLE_NAMES = ("depth-report", "imagenet")

NOTES = {
    "depth-report": (
        (
            "Table 1 of the depth report counts blocks of two 3x3 convolutions; stem and "
            "classifier add two layers."
        ),
        "Its 18 has 7 blocks, so 16 weighted layers: it is built as the table says.",
    ),
    "imagenet": (
        "conv2_x to conv5_x: the convolutions of a block in brackets, then the number of blocks.",
        (
            "MACs: multiply-adds, with the stride of a bottleneck on its first or its middle "
            "convolution; FLOPs are twice as many."
        ),
        (
            "The slides' row FLOPs counts multiply-adds, with the stride on the first 1x1 "
            "convolution of a bottleneck."
        ),
        (
            "Their numbers are those of He et al. 2016, table 1, which cuts 3.66 and 3.86 to 3.6 "
            "and 3.8."
        ),
        (
            "With the stride on the 3x3 (middle, torchvision) a bottleneck's first convolution "
            "runs at the full size."
        ),
    ),
}


def architecture_table(
    name: str, channels: int = 3, num_classes: int = 10, image_size: int = 32, images: int = 0
) -> list[dict[str, Any]]:
    """Return the table of a family of networks.

    With `images`, the number of training images, it has parameters per training image too.
    The ImageNet table is for 224x224 images and 1,000 classes, as in the source, unless images are
    given.
    """
    match name:
        case "depth-report":
            return _depth_report(channels, num_classes, image_size, images)
        case "imagenet":
            if not images:  # no data set is given: that of the network's report
                channels, num_classes, image_size = 3, 1000, 224
            return _imagenet(channels, num_classes, image_size, images)
        case _:
            fix = suggest(name, TABLE_NAMES) or " or ".join(TABLE_NAMES)
            raise input_error(
                "FAMILY", "has no table", fix, got=name, allowed=", ".join(TABLE_NAMES)
            )


def _depth_report(
    channels: int, num_classes: int, image_size: int, images: int
) -> list[dict[str, Any]]:
    """Return the table of the depth report.

    Rows: 16 to 16, 16 to 32, 32 to 32 and so on; columns: the depth that the report names.
    """
    models = {depth: depth_report_config(depth, plain=False) for depth in DEPTH_REPORT}
    plain = {depth: depth_report_config(depth, plain=True) for depth in DEPTH_REPORT}
    rows: list[dict[str, Any]] = []
    widths = models[8].widths
    for stage, width in enumerate(widths):
        changes = {str(depth): 1 for depth in models}
        same_width = {
            str(depth): model.blocks[stage] - (stage > 0) for depth, model in models.items()
        }
        rows += [{"blocks": f"{widths[stage - 1]} to {width}"} | changes] if stage else []
        rows.append(
            {"blocks": f"{width} to {width}"}
            | {depth: count or None for depth, count in same_width.items()}
        )
    rows.append(
        {"blocks": "weighted layers"} | {str(depth): model.depth for depth, model in models.items()}
    )
    for kind, networks in (("residual", models), ("plain", plain)):
        costs = {
            str(depth): model.cost(channels, num_classes, image_size)
            for depth, model in networks.items()
        }
        rows.append(
            {"blocks": f"parameters, {kind}"} | {depth: cost[0] for depth, cost in costs.items()}
        )
        rows.append({"blocks": f"MACs, {kind}"} | {depth: cost[1] for depth, cost in costs.items()})
        if images:
            share = {depth: cost[0] / images for depth, cost in costs.items()}
            rows.append({"blocks": f"parameters per training image, {kind}"} | share)
    return rows


def _imagenet(
    channels: int, num_classes: int, image_size: int, images: int
) -> list[dict[str, Any]]:
    """Return the slides' table of networks (He et al. 2016, table 1): rows are layers, then costs.

    A cell such as `[3x3, 64; 3x3, 64] x 3` is a stage: the convolutions of a block, and the number
    of blocks.
    """
    models = {
        name: model
        for name, model in IMAGENET.items()
        if model.shortcut != "none" and model.cardinality == 1
    }
    rows: list[dict[str, Any]] = []

    def add_row(layer: str, output: str, cells: dict[str, Any]) -> None:
        rows.append({"layer": layer, "output": output} | cells)

    size = (image_size + 1) // 2
    add_row("conv1", f"{size}x{size}", dict.fromkeys(models, "7x7, 64, stride 2"))
    size = (size + 1) // 2
    add_row("max pool", f"{size}x{size}", dict.fromkeys(models, "3x3, stride 2"))
    for stage, width in enumerate(WIDTHS):
        size = (size + 1) // 2 if stage else size
        cells = {name: _stage_cell(model, width, stage) for name, model in models.items()}
        add_row(f"conv{stage + 2}_x", f"{size}x{size}", cells)
    add_row("average pool", "1x1", dict.fromkeys(models, ""))
    add_row("linear", str(num_classes), dict.fromkeys(models, ""))
    if image_size == 224:
        flops = {name: f"{SLIDES_FLOPS[name] / 1e9:g} x 10^9" for name in models}
        add_row("slides' FLOPs", "", flops)
    costs = {
        option: {
            name: _cost(replace(model, stride_on=option), channels, num_classes, image_size)
            for name, model in models.items()
        }
        for option in ("first", "middle")
    }
    middle = costs["middle"]
    for option, cost in costs.items():
        add_row(f"MACs ({option})", "", {name: macs for name, (_, macs) in cost.items()})
    add_row("FLOPs (middle)", "", {name: 2 * macs for name, (_, macs) in middle.items()})
    add_row("parameters", "", {name: parameters for name, (parameters, _) in middle.items()})
    if images:
        shares = {name: parameters / images for name, (parameters, _) in middle.items()}
        add_row("parameters per training image", "", shares)
    return rows


def _stage_cell(model: ImageNetConfig, width: int, stage: int) -> str:
    layers = [f"{kernel}x{kernel}, {out}" for out, kernel, _, _ in model.convolutions(width, 1)]
    return f"[{'; '.join(layers)}] x {model.blocks[stage]}"


def stack_stages(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows with each cell of a stage on several lines, one convolution on each."""
    lines: list[dict[str, Any]] = []
    for row in rows:
        cells = {name: str(value).replace("; ", "\n ").split("\n") for name, value in row.items()}
        height = max(map(len, cells.values()))
        padded = {name: [*parts, *[""] * (height - len(parts))] for name, parts in cells.items()}
        lines += [
            row if height == 1 else {name: parts[number] for name, parts in padded.items()}
            for number in range(height)
        ]
    return lines


def _cost(
    model: ImageNetConfig, channels: int, num_classes: int, image_size: int
) -> tuple[int, int]:
    return model.cost(channels, num_classes, image_size)
