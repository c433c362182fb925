"""Layer table: the cost of a network as rows, with the numbers that the sources state."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from resnetlab.errors import InputError
from resnetlab.inspection.architecture_tables import SLIDES_FLOPS
from resnetlab.inspection.layer_rows import Layer, LayerTrace
from resnetlab.inspection.table_format import format_size, format_square_size
from resnetlab.models.configs import ExternalConfig, ImageNetConfig, ModelConfig, VGGConfig
from resnetlab.models.configs.imagenet import IMAGENET
from resnetlab.models.external import weights_metadata


def layer_rows(layers: LayerTrace) -> list[dict[str, Any]]:
    """Return one row per layer, with the normalization and activation that follow it."""
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
                "share_of_parameters_pct": 100 * row.parameters / max(1, layers.parameters),
                "macs": row.macs,
                "flops": row.flops,
                "receptive_field": format_square_size(field.size) if field else "?",
                "smallest_receptive_field": (
                    format_square_size(field.smallest_size) if field else "?"
                ),
                "jump": format_square_size(field.jump) if field and len(row.output) == 3 else "",
                "activation_bytes": row.activation_bytes,
                "then": ", ".join(row.followed_by),
            }
        )
    return rows


def compact_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of `layer_rows` with fewer and narrower columns, for a terminal."""
    lines = []
    for row in rows:
        smallest, largest = row["smallest_receptive_field"], row["receptive_field"]
        window = [row["kernel"], row["stride"], row["padding"]]
        lines.append(
            {
                "layer": row["layer"],
                "operations": " ".join([row["kind"], row["then"].replace(", ", " ")]).rstrip(),
                "output": row["output"],
                "k/s/p": "/".join(part or "-" for part in window) if any(window) else "",
                "parameters": row["parameters"],
                "share %": f"{row['share_of_parameters_pct']:.1f}",
                "macs": row["macs"],
                "receptive field": largest if smallest == largest else f"{smallest}-{largest}",
            }
        )
    return lines


def network_row(layers: LayerTrace, depth: int | None) -> dict[str, Any]:
    """Return one row for a network, to compare it with others; `depth` counts weighted layers."""
    convolutions = [row for row in layers.rows if row.kind.startswith("conv")]
    field = convolutions[-1].receptive_field if convolutions else None
    return {
        "network": layers.name,
        "input": layers.image_shape,
        "weighted_layers": depth,
        "shortcuts": sum(row.kind in ("add", "concatenate") for row in layers.rows),
        "parameters": layers.parameters,
        "macs": layers.macs,
        "receptive_field_of_last_convolution": format_square_size(field.size) if field else "?",
        "activation_bytes": layers.activation_bytes,
    }


def parameters_per_image(parameters: int, train_images: int) -> dict[str, Any]:
    """Return the details of `inspect model` about the number of training images."""
    return {
        "training_images": train_images,
        "parameters_per_training_image": round(parameters / train_images, 1),
    }


def largest_layer(layers: LayerTrace) -> str:
    """Return a sentence about the row with the largest share of the parameters."""
    rows = [row for row in layers.rows if row.parameters]
    if not rows:
        return "No layer has parameters."
    sentences = [_largest([row.parameters for row in rows], rows, layers.parameters, "parameters")]
    if layers.macs:
        sentences.append(_largest([row.macs for row in rows], rows, layers.macs, "MACs"))
    return " ".join(sentences)


def _field_against_image(layers: LayerTrace) -> list[str]:
    """Return a sentence about the first row whose receptive field is as large as the image."""
    height, width = layers.image_shape[1:]
    for row in layers.rows:
        field = row.receptive_field
        if field and field.size[0] >= height and field.size[1] >= width:
            size, image = format_size(field.size), format_size((height, width))
            start = f"From {row.name} on, the receptive field ({size})"
            return [f"{start} is as large as the image ({image}) or larger."]
    return []


def _largest(counts: list[int], rows: list[Layer], total: int, unit: str) -> str:
    largest, share = max(counts), f"{100 * max(counts) / total:.1f} % of the {unit}"
    first, others = rows[counts.index(largest)].name, counts.count(largest) - 1
    if not others:
        return f"{first} has {share}, the largest share."
    plural = (
        "another layer of its size have" if others == 1 else f"{others} others of its size have"
    )
    return f"{first} and {plural} {share} each, the largest share."


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
    """Return details about the weights of an external network: side, preprocessing, classes."""
    if not isinstance(model, ExternalConfig) or not model.library:
        return {}
    try:
        details = weights_metadata(replace(model, weights=model.weights or "hub"))
    except InputError:  # a library without weights for this network
        return {}
    counts = {"side": details.side, "classes": len(details.class_names)}
    normalization = {"mean": details.mean, "std": details.std}
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
        "share: of the parameters of the network, in percent; k/s/p: kernel, stride and padding in "
        "pixels."
    ),
    (
        "receptive field: pixels along a side that an output depends on, padding included; with "
        "shortcuts, along the shortest and the longest path."
    ),
    (
        "activation bytes: all outputs of a layer and of the operations that follow it, fp32, "
        "one image, nothing freed."
    ),
)

PADDING_NOTE = (
    "Shortcut option A pads with maps of zeros where the number of maps grows, and adds no pixel. "
    "The padding of 4 in He et al. 2016, sec. 4.2, is that of the train images: 4 pixels on each "
    "side before a random crop (recipe.augment.crop_padding = 4, as in the recipe cifar)."
)


def notes(model: ModelConfig, image: tuple[int, int, int], layers: LayerTrace) -> list[str]:
    """Return notes that explain the table, and the slides' number if they have the network."""
    slide_notes = [largest_layer(layers), *_field_against_image(layers)]
    if any(row.kind.startswith(("dropout", "alpha dropout")) for row in layers.rows):
        slide_notes.append(
            "dropout: acts in training mode only, where it sets each value (dropout2d: each map) "
            "to 0 with this probability; in evaluation mode it changes nothing."
        )
    if getattr(model, "shortcut", "") == "A":
        slide_notes.append(PADDING_NOTE)
    if isinstance(model, VGGConfig) and model.adaptive_pool:
        slide_notes.append(
            "The average pooling before fc1 is that of torchvision; vgg16-paper has none, as in "
            "the paper, and takes images of 224x224 only."
        )
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
        f"The slides state {slides_flops:.3g} FLOPs for {name}: {first:,} multiply-adds with the "
        "stride on the first 1x1 convolution of a block (stride_on = first, the paper); on the 3x3 "
        f"(middle, torchvision) {middle:,}"
    )


def _macs(name: str, stride_on: Any) -> int:
    macs: int = replace(IMAGENET[name], stride_on=stride_on).cost(3, 1000, 224)[1]
    return macs
