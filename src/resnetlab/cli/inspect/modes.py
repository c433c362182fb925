"""Commands of `resnetlab inspect` about dropout, and about training and evaluation mode."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resnetlab.cli.common import Json, OutputDir, notify
from resnetlab.cli.inspect.options import parse_name
from resnetlab.cli.loading import announce_loading
from resnetlab.cli.tables import Csv, Markdown, output_format
from resnetlab.errors import input_error
from resnetlab.messages import format_count

if TYPE_CHECKING:
    from resnetlab.data.device_images import DeviceImages
    from resnetlab.training.from_scratch_state import FromScratchState

MAX_LISTED_LAYERS = 20

NetworkOrRun = Annotated[
    str,
    typer.Argument(
        help="Name from `resnetlab models`, model file, or folder of a run.", metavar="MODEL|RUN"
    ),
]
Data = Annotated[
    str,
    typer.Option(
        "--data", help="Data set: digits, cifar10, an .npz file or a folder.", metavar="DATA"
    ),
]
Epochs = Annotated[
    int,
    typer.Option(
        help="Epochs in which a MODEL is trained first by the recipe `digits`; 0 for none.", min=0
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of the weights of a MODEL.", min=0)]


def dropout(
    network: NetworkOrRun,
    data: Data = "",
    masks: Annotated[
        int, typer.Option(help="Number of sampled dropout masks.", min=2, max=10_000)
    ] = 50,
    images: Annotated[int, typer.Option(help="Number of test images.", min=1)] = 500,
    epochs: Epochs = 5,
    seed: Seed = 0,
    output: OutputDir = Path(),
    json: Json = False,
    csv: Csv = False,
    markdown: Markdown = False,
) -> None:
    """Compare evaluation mode with the mean of many sampled dropout masks."""
    table_format = output_format(json, csv, markdown)
    state, test, note = _open(network, data, output, epochs, seed, json)
    from resnetlab.inspection import dropout_average
    from resnetlab.inspection.table_format import render_table

    average = dropout_average.sample_dropout(state, _first(test, images), masks)
    notes = [*dropout_average.average_sentences(average), note, *dropout_average.NOTES]
    details = dropout_average.average_details(average)
    typer.echo(
        render_table(
            dropout_average.average_rows(average), table_format, details=details, notes=notes
        )
    )


def modes(
    network: NetworkOrRun,
    data: Data = "",
    images: Annotated[int, typer.Option(help="Number of test images in the batch.", min=2)] = 128,
    epochs: Epochs = 5,
    seed: Seed = 0,
    output: OutputDir = Path(),
    json: Json = False,
    csv: Csv = False,
    markdown: Markdown = False,
) -> None:
    """Pass one batch twice in training mode and twice in evaluation mode."""
    table_format = output_format(json, csv, markdown)
    state, test, note = _open(network, data, output, epochs, seed, json)
    from resnetlab.inspection.mode_comparison import NOTES, compare_modes, mode_sentences
    from resnetlab.inspection.table_format import render_table
    from resnetlab.schema import encode

    comparison = compare_modes(state, _first(test, images))
    details = {"images": comparison.images, "layers_that_change": comparison.layers}
    if table_format == "text":
        details |= {kind: _list(list(layers)) for kind, layers in comparison.layers.items()}
        del details["layers_that_change"]
    rows = [encode(row) for row in comparison.rows]
    notes = [*mode_sentences(comparison), note, *NOTES]
    typer.echo(render_table(rows, table_format, details=details, notes=notes))


def _list(names: list[str]) -> str:
    """Return the names as text, at most `MAX_LISTED_LAYERS` of them and a count."""
    more = len(names) - MAX_LISTED_LAYERS
    return ", ".join(names[:MAX_LISTED_LAYERS]) + (f" and {more} more" if more > 0 else "")


def _open(
    network: str, data: str, output: Path, epochs: int, seed: int, quiet: bool
) -> tuple[FromScratchState, DeviceImages, str]:
    """Return a network, its test images and a sentence about its weights."""
    if (Path(network) / "run.json").exists():
        announce_loading(quiet=quiet)
        from resnetlab.runs.load import open_run

        opened = open_run(Path(network), data, notify)
        note = f"Weights of the run {Path(network).resolve().name}; its test images."
        return opened.state, opened.test_images(), note
    if not data:
        fix = "give --data digits, or the folder of a run instead of MODEL"
        raise input_error("--data", "missing", fix)
    config = parse_name(network)
    announce_loading(config, quiet=quiet)
    from resnetlab.data.config import DataConfig
    from resnetlab.data.device_images import DeviceImages
    from resnetlab.data.splits import load_dataset
    from resnetlab.inspection.short_training import build_state
    from resnetlab.runs.kinds import from_scratch_recipe
    from resnetlab.studies.parsing.conditions import load_recipe

    dataset = load_dataset(DataConfig(source=data), output / "cache", notify)
    recipe = from_scratch_recipe(load_recipe("digits"), "digits")
    state = build_state(config, dataset, recipe, seed, epochs, notify)
    length = format_count(epochs, "epoch")
    trained = f"trained for {length} by the recipe digits" if epochs else "initial weights"
    note = f"{network}, seed {seed}, {trained}; test images of {dataset.name}."
    return state, DeviceImages.from_images(dataset.test, state.device), note


def _first(images: DeviceImages, count: int) -> DeviceImages:
    """Return the first images of a fixed random order, at most `count`."""
    import torch

    from resnetlab.data.device_images import DeviceImages
    from resnetlab.training.rng import make_generator

    order = torch.randperm(len(images), generator=make_generator(0, "inspect"))[:count]
    order = order.to(images.pixels.device)
    return DeviceImages(images.pixels[order], images.labels[order])
