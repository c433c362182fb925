"""Commands of `resnetlab inspect` about networks: their layers, sizes and costs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resnetlab.cli.common import Json, OutputDir, notify
from resnetlab.cli.inspect.options import (
    Classes,
    Input,
    ModelName,
    input_size,
    open_images,
    parse_name,
)
from resnetlab.cli.loading import announce_loading
from resnetlab.cli.pictures import write_picture
from resnetlab.cli.tables import Csv, Markdown, output_format
from resnetlab.errors import input_error

if TYPE_CHECKING:
    from resnetlab.inspection.layer_rows import LayerTrace
    from resnetlab.inspection.table_format import TableFormat
    from resnetlab.models.configs import ModelConfig

ModelNames = Annotated[
    list[str],
    typer.Argument(
        help="Name from `resnetlab models`, timm/NAME, local-dir:FOLDER, hf-hub:OWNER/NAME or a "
        "model file; several are compared.",
        metavar="MODEL...",
    ),
]
StrideOn = Annotated[
    str,
    typer.Option(help="Convolution with the stride of a bottleneck: first (the paper) or middle."),
]
Draw = Annotated[
    Path | None,
    typer.Option(
        "--draw",
        help="Write the network as SVG; several networks stand side by side.",
        metavar="FILE",
    ),
]
Freeze = Annotated[
    str,
    typer.Option(help="Frozen part, to count trainable parameters: backbone, none, or a number."),
]
Data = Annotated[
    str, typer.Option("--data", help="Data set, to add parameters per training image.")
]
TrainImages = Annotated[
    int, typer.Option(help="Number of training images, to add parameters per image.", min=0)
]


def model(
    names: ModelNames,
    image: Input = "",
    classes: Classes = 0,
    stride_on: StrideOn = "",
    draw: Draw = None,
    freeze: Freeze = "",
    data: Data = "",
    train_images: TrainImages = 0,
    output: OutputDir = Path(),
    json: Json = False,
    csv: Csv = False,
    markdown: Markdown = False,
) -> None:
    """List the layers of a network: sizes, parameters and their shares, cost, receptive field."""
    table_format = output_format(json, csv, markdown)
    if data and train_images:
        raise input_error("--data, --train-images", "given together", "keep one of the two")
    specs = [parse_name(name, stride_on, classes) for name in names]
    announce_loading(specs[0], quiet=json)
    from resnetlab.api.networks import default_input
    from resnetlab.inspection.layers import trace_layers

    dataset = open_images(data, output) if data else None
    train_images = len(dataset.train) if dataset else train_images
    traces, num_classes = [], 0
    for name, config in zip(names, specs, strict=True):
        channels, height, width, default_classes = default_input(name)
        if dataset:
            channels, height, width = dataset.channels, dataset.image_size, dataset.image_size
            default_classes = len(dataset.classes)
        size = input_size(name, image) if image else (channels, height, width)
        num_classes = classes or default_classes
        trace = trace_layers(config, size, num_classes)
        if len(names) > 1 and name.endswith(".toml"):
            trace = replace(trace, name=Path(name).stem)  # two files may have the same short name
        traces.append(trace)
    if len(names) > 1:
        typer.echo(_compare_networks(specs, traces, train_images, table_format))
    else:
        trainable = {}
        if freeze:
            from resnetlab.models.transfer import count_trainable_parameters

            channels = traces[0].image_shape[0]
            trainable["trainable"] = count_trainable_parameters(
                specs[0], channels, num_classes, freeze
            )
        typer.echo(_list_layers(specs[0], traces[0], train_images, trainable, table_format))
    if draw:
        from resnetlab.inspection.drawing import draw_networks

        write_picture(draw, draw_networks(traces))


def _compare_networks(
    specs: list[ModelConfig], traces: list[LayerTrace], train_images: int, table_format: TableFormat
) -> str:
    """Return a table with a row for each network."""
    from resnetlab.inspection import layer_table
    from resnetlab.inspection.table_format import render_table

    rows = []
    for config, trace in zip(specs, traces, strict=True):
        row = layer_table.network_row(trace, getattr(config, "depth", None))
        if train_images:
            row |= layer_table.parameters_per_image(trace.parameters, train_images)
        rows.append(row)
    return render_table(rows, table_format)


def _list_layers(
    config: ModelConfig,
    trace: LayerTrace,
    train_images: int,
    trainable: dict[str, int],
    table_format: TableFormat,
) -> str:
    """Return a table with a row for each layer of a network."""
    from resnetlab.inspection import layer_table
    from resnetlab.inspection.table_format import render_table

    details = layer_table.totals(trace) | layer_table.pretrained_metadata(config)
    if train_images:
        details |= layer_table.parameters_per_image(trace.parameters, train_images)
    rows = layer_table.layer_rows(trace)
    notes = layer_table.notes(config, trace.image_shape, trace)
    if table_format == "text":
        rows = layer_table.compact_rows(rows)
    return render_table(rows, table_format, details=details | trainable, notes=notes)


def architecture_table(
    name: Annotated[
        str, typer.Argument(help="Family of networks: depth-report or imagenet.", metavar="FAMILY")
    ],
    data: Data = "",
    output: OutputDir = Path(),
    json: Json = False,
    csv: Csv = False,
    markdown: Markdown = False,
) -> None:
    """Print the table of networks of a source, from their configs."""
    table_format = output_format(json, csv, markdown)
    from resnetlab.inspection.architecture_tables import NOTES, architecture_table, stack_stages
    from resnetlab.inspection.table_format import render_table

    rows, details = architecture_table(name), {}
    if data:
        dataset = open_images(data, output)
        images = len(dataset.train)
        rows = architecture_table(
            name, dataset.channels, len(dataset.classes), dataset.image_size, images
        )
        details = {"data": dataset.name, "training_images": images}
    if table_format == "text":
        rows = stack_stages(rows)
    typer.echo(render_table(rows, table_format, details=details, notes=NOTES[name]))


def fully_convolutional(
    name: ModelName,
    image: Annotated[
        str, typer.Option("--input", help="Size of the larger image.", metavar="CxHxW")
    ],
    train_input: Annotated[
        str, typer.Option(help="Image size that the network was made for.", metavar="CxHxW")
    ] = "",
    classes: Classes = 0,
    json: Json = False,
) -> None:
    """Convert dense layers to convolutions and print scores on a larger image."""
    config = parse_name(name, num_classes=classes)
    size, trained = input_size(name, image), input_size(name, train_input)
    if size[0] != trained[0] or size[1] < trained[1] or size[2] < trained[2]:
        least = "x".join(map(str, trained))
        raise input_error(
            "--input",
            "smaller than the training image, or of other channels",
            f"at least {least}",
            got=image,
        )
    announce_loading(config, quiet=json)
    from resnetlab.api.networks import default_input
    from resnetlab.inspection.fully_convolutional import score_map
    from resnetlab.inspection.table_format import render_table
    from resnetlab.models.build import build_model
    from resnetlab.training.rng import make_generator

    model = build_model(
        config,
        trained[0],
        classes or default_input(name)[3],
        lambda part: make_generator(0, "init", part),
    )
    details = score_map(model, trained, size, name)
    unchanged = details.pop("unchanged_layers")
    rows = [
        {"layer of the unchanged network": layer, f"accepts {image}": reason}
        for layer, reason in unchanged.items()
    ]
    if json:
        rows, details = [], details | {"unchanged_layers": unchanged}
    typer.echo(render_table(rows, "json" if json else "text", details=details))


def identity(
    seeds: Annotated[int, typer.Option(help="Number of stacks of each kind.", min=1, max=20)] = 3,
    steps: Annotated[
        int, typer.Option(help="Number of Adam steps, with 32 maps each.", min=1, max=2000)
    ] = 120,
    json: Json = False,
    csv: Csv = False,
    markdown: Markdown = False,
) -> None:
    """Measure how well plain and residual stacks learn the identity mapping."""
    table_format = output_format(json, csv, markdown)
    announce_loading(quiet=json)
    from resnetlab.inspection.identity_mapping import (
        LEARNING_RATES,
        identity_sentences,
        measure_identity_mapping,
    )
    from resnetlab.inspection.table_format import render_table

    rows = measure_identity_mapping(seeds=seeds, steps=steps, notify=notify)
    notes = [
        *identity_sentences(rows),
        (
            "before, after: the unexplained share of the maps' variance, in percent; least and "
            "most: over the seeds."
        ),
        "A residual stack has to learn F = 0, a plain one F = x; both start from the same weights.",
        (f"Each stack has the best of the learning rates {', '.join(map(str, LEARNING_RATES))}."),
    ]
    typer.echo(render_table(rows, table_format, notes=notes))
