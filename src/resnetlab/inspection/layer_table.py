"""What a network costs, as the rows of a table, and what the sources say of the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from resnetlab.errors import InputError
from resnetlab.inspection.architecture_tables import SLIDES
from resnetlab.inspection.layer_rows import Layers
from resnetlab.inspection.render_table import square
from resnetlab.models.configs import External, ImageNetResNet, Model
from resnetlab.models.configs.imagenet import IMAGENET
from resnetlab.models.external import external_facts


def layer_rows(layers: Layers) -> list[dict[str, Any]]:
    """A row a layer; parameters and memory with the normalisations and activations that follow it."""
    rows = []
    for row in layers.rows:
        paths = row.paths
        rows.append(
            {
                "layer": row.name, "kind": row.kind, "output": row.output, "kernel": square(row.kernel),
                "stride": square(row.stride), "padding": square(row.padding), "parameters": row.parameters,
                "macs": row.macs, "flops": row.flops,
                "field": square(paths.size) if paths else "?",
                "smallest_field": square(paths.smallest_size) if paths else "?",
                "jump": square(paths.jump) if paths and len(row.output) == 3 else "",
                "activation_bytes": row.activation_bytes, "then": ", ".join(row.then),
            }
        )  # fmt: skip
    return rows


def totals(layers: Layers) -> dict[str, Any]:
    """Of all layers, for one image."""
    held: dict[str, Any] = {
        "model": layers.name, "input": layers.image, "parameters": layers.parameters, "macs": layers.macs,
        "flops": layers.flops, "activation_bytes": layers.activation_bytes,
        "not_in_macs": layers.uncounted,
    }  # fmt: skip
    return held | ({"parameters_not_used": layers.unused} if layers.unused else {})


def known(model: Model) -> dict[str, Any]:
    """Of a network of others, what its library says of the weights that it has: side, preprocessing, classes."""
    if not isinstance(model, External) or not model.library:
        return {}
    try:
        held = external_facts(replace(model, weights=model.weights or "hub"))
    except InputError:  # a library without weights for this network
        return {}
    said = {"side": held.side, "classes": len(held.classes)}
    scale = {"mean": held.mean, "deviation": held.deviation}
    return {f"weights_{name}": value for name, value in said.items() if value} | {
        f"weights_{name}": ", ".join(f"{part:g}" for part in values) for name, values in scale.items() if values
    }


NOTES = (
    "MACs are multiply-adds of convolutions and linear layers for one image; FLOPs are twice as many.",
    "not in macs: numbers that other operations give, of which no cost is counted.",
    "field: pixels along a side that an output depends on, padding included, by the largest way through the shortcuts.",
    "smallest field: by the smallest way.",
    "activation bytes: every number that a layer and what follows it give, fp32, one image, nothing freed.",
)


def notes(model: Model, image: tuple[int, int, int]) -> list[str]:
    """How to read the table, and the slides' number beside ours where they have the network."""
    more = []
    if isinstance(model, ImageNetResNet) and image == (3, 224, 224):
        for name, said in SLIDES.items():
            held = IMAGENET[name]
            if replace(model, stride_on=held.stride_on) == held:
                more.append(explained(name, said))
    return [*NOTES, *more]


def explained(name: str, said: float) -> str:
    """The slides' number against ours, in a sentence."""
    first, middle = (_macs(name, place) for place in ("first", "middle"))
    if first == middle:
        return (
            f"The slides say {said:.3g} FLOPs for {name}: {middle:,} multiply-adds; basic blocks, one place to stride"
        )
    return (
        f"The slides say {said:.3g} FLOPs for {name}: {first:,} multiply-adds with the stride on the first 1x1 "
        f"convolution of a block (stride_on = first, the paper); on the 3x3 (middle, torchvision) {middle:,}"
    )


def _macs(name: str, place: Any) -> int:
    macs: int = replace(IMAGENET[name], stride_on=place).cost(3, 1000, 224)[1]
    return macs
