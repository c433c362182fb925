"""Architecture tables of the sources, computed from the configs. Free of torch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from resnetlab.errors import input_error, suggest
from resnetlab.models.configs.cifar import DEPTH_REPORT, depth_report_config
from resnetlab.models.configs.imagenet import IMAGENET, ImageNetConfig

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
            "classifier "
            "add two layers."
        ),
        "Its 18 has 7 blocks, so 16 weighted layers: it is built as the table says.",
    ),
    "imagenet": (
        (
            "The slides' row FLOPs counts multiply-adds, with the stride on the first 1x1 "
            "convolution "
            "of a bottleneck."
        ),
        (
            "Their numbers are those of He et al. 2016, table 1, which cuts 3.66 and 3.86 to "
            "3.6 and "
            "3.8."
        ),
        (
            "With the stride on the 3x3 (middle, torchvision) a bottleneck's first "
            "convolution runs "
            "at the full size."
        ),
    ),
}


def architecture_table(
    name: str, channels: int = 3, classes: int = 10, side: int = 32, images: int = 0
) -> list[dict[str, Any]]:
    """Return the table of a family of networks.

    With `images`, the number of training images, it has parameters per training image too.
    The ImageNet table is for 224x224 images and 1,000 classes, as in the source, unless images are
    given.
    """
    match name:
        case "depth-report":
            return _depth_report(channels, classes, side, images)
        case "imagenet":
            return _imagenet(*((channels, classes, side) if images else (3, 1000, 224)), images)
        case _:
            fix = suggest(name, TABLE_NAMES) or " or ".join(TABLE_NAMES)
            raise input_error(
                "FAMILY", "has no table", fix, got=name, allowed=", ".join(TABLE_NAMES)
            )


def _depth_report(channels: int, classes: int, side: int, images: int) -> list[dict[str, Any]]:
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
            str(depth): model.cost(channels, classes, side) for depth, model in networks.items()
        }
        rows.append(
            {"blocks": f"parameters, {kind}"} | {depth: cost[0] for depth, cost in costs.items()}
        )
        rows.append({"blocks": f"MACs, {kind}"} | {depth: cost[1] for depth, cost in costs.items()})
        if images:
            share = {depth: cost[0] / images for depth, cost in costs.items()}
            rows.append({"blocks": f"parameters per training image, {kind}"} | share)
    return rows


def _imagenet(channels: int, classes: int, side: int, images: int) -> list[dict[str, Any]]:
    rows = []
    for name, model in IMAGENET.items():
        if model.shortcut == "none" or model.cardinality > 1:
            continue
        first, middle = (
            _cost(replace(model, stride_on=option), channels, classes, side)
            for option in ("first", "middle")
        )
        rows.append(
            {
                "model": name,
                "slides_flops": SLIDES_FLOPS[name] if side == 224 else None,
                "macs_stride_on_first": first[1],
                "macs_stride_on_middle": middle[1],
                "flops_stride_on_middle": 2 * middle[1],
                "parameters": middle[0],
            }
            | ({"parameters_per_training_image": middle[0] / images} if images else {})
        )
    return rows


def _cost(model: ImageNetConfig, channels: int, classes: int, side: int) -> tuple[int, int]:
    return model.cost(channels, classes, side)
