"""Layer table: the cost of a network as rows, with the numbers that the sources state."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from resnetlab.errors import InputError
from resnetlab.inspection.architecture_tables import SLIDES_FLOPS
from resnetlab.inspection.layer_rows import LayerTrace
from resnetlab.inspection.render_table import format_square_size
from resnetlab.models.configs import ExternalConfig, ImageNetConfig, ModelConfig
from resnetlab.models.configs.imagenet import IMAGENET
from resnetlab.models.external import weights_metadata


def layer_rows(layers: LayerTrace) -> list[dict[str, Any]]:
    """Return one row per layer; parameters and memory include the normalization and activation that
    follow it.
    """
    rows = []
    for row in layers.rows:
        field = row.receptive_field
        rows.append(
            {
                "layer": row.name,
                "kind": row.kind,
                "output": row.output,
                "kernel": format_square_size(row.kernel),
                "stride": format_square_size(row.stride),
                "padding": format_square_size(row.padding),
                "parameters": row.parameters,
                "macs": row.macs,
                "flops": row.flops,
                "field": format_square_size(field.size) if field else "?",
                "smallest_field": format_square_size(field.smallest_size) if field else "?",
                "jump": format_square_size(field.jump) if field and len(row.output) == 3 else "",
                "activation_bytes": row.activation_bytes,
                "then": ", ".join(row.followed_by),
            }
        )
    return rows


def totals(layers: LayerTrace) -> dict[str, Any]:
    """Return the totals of all layers, for one image."""
    values: dict[str, Any] = {
        "model": layers.name,
        "input": layers.image_shape,
        "parameters": layers.parameters,
        "macs": layers.macs,
        "flops": layers.flops,
        "activation_bytes": layers.activation_bytes,
        "not_in_macs": layers.uncounted,
    }
    return values | ({"parameters_not_used": layers.unused} if layers.unused else {})


def pretrained_metadata(model: ModelConfig) -> dict[str, Any]:
    """Return the library's facts about the weights of an external network: side, preprocessing,
    classes.
    """
    if not isinstance(model, ExternalConfig) or not model.library:
        return {}
    try:
        facts = weights_metadata(replace(model, weights=model.weights or "hub"))
    except InputError:  # a library without weights for this network
        return {}
    counts = {"side": facts.side, "classes": len(facts.class_names)}
    normalization = {"mean": facts.mean, "std": facts.std}
    return {f"weights_{name}": value for name, value in counts.items() if value} | {
        f"weights_{name}": ", ".join(f"{part:g}" for part in values)
        for name, values in normalization.items()
        if values
    }


NOTES = (
    (
        "MACs are multiply-adds of convolutions and linear layers for one image; FLOPs are twice "
        "as many."
    ),
    "not in macs: number of outputs of the operations whose cost is not counted.",
    (
        "field: pixels along a side that an output depends on, padding included, along the "
        "longest path through the shortcuts."
    ),
    "smallest field: the same along the shortest path.",
    (
        "activation bytes: all outputs of a layer and of the operations that follow it, fp32, "
        "one image, nothing freed."
    ),
)


def notes(model: ModelConfig, image: tuple[int, int, int]) -> list[str]:
    """Return notes that explain the table, and the slides' number if they have the network."""
    slide_notes = []
    if isinstance(model, ImageNetConfig) and image == (3, 224, 224):
        for name, slides_flops in SLIDES_FLOPS.items():
            network = IMAGENET[name]
            if replace(model, stride_on=network.stride_on) == network:
                slide_notes.append(compare_with_slides(name, slides_flops))
    return [*NOTES, *slide_notes]


def compare_with_slides(name: str, slides_flops: float) -> str:
    """Return one sentence that compares the slides' number with this package's."""
    first, middle = (_macs(name, option) for option in ("first", "middle"))
    if first == middle:
        return (
            f"The slides state {slides_flops:.3g} FLOPs for {name}: {middle:,} multiply-adds; "
            "a basic block has one place for its stride"
        )
    return (
        f"The slides state {slides_flops:.3g} FLOPs for {name}: {first:,} multiply-adds with "
        "the stride on the first 1x1 "
        "convolution of a block (stride_on = first, the paper); on the 3x3 (middle, "
        f"torchvision) {middle:,}"
    )


def _macs(name: str, stride_on: Any) -> int:
    macs: int = replace(IMAGENET[name], stride_on=stride_on).cost(3, 1000, 224)[1]
    return macs
