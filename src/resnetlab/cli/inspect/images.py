"""Command of `resnetlab inspect` about the images that a recipe trains on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from resnetlab.cli import completion
from resnetlab.cli.common import DataSource, Json, OutputDir, SettingsOption, notify
from resnetlab.cli.loading import announce_loading
from resnetlab.cli.pictures import write_picture
from resnetlab.cli.tables import Csv, Markdown, output_format


def augmentation(
    recipe: Annotated[
        str,
        typer.Argument(
            help="Name of a recipe in the catalog, or a TOML file.",
            metavar="RECIPE",
            autocompletion=completion.recipes,
        ),
    ],
    data: DataSource = "digits",
    settings: SettingsOption = [],  # noqa: B006
    images: Annotated[int, typer.Option(help="Number of train images to measure.", min=1)] = 500,
    draw: Annotated[
        Path | None,
        typer.Option("--draw", help="Write a contact sheet of variants as PNG.", metavar="FILE"),
    ] = None,
    output: OutputDir = Path(),
    json: Json = False,
    csv: Csv = False,
    markdown: Markdown = False,
) -> None:
    """Measure what the crops and flips of a recipe can give, and cannot.

    Example:  resnetlab inspect augmentation practical --data cifar10 --set recipe.augment.crop=28
    """
    table_format = output_format(json, csv, markdown)
    from resnetlab.studies.parsing.overrides import Overrides
    from resnetlab.studies.parsing.study_file import parse_study

    tables = {
        "name": "augmentation",
        "question": "",
        "model": "cifar-resnet20",
        "data": data,
        "recipe": recipe,
        "seeds": [0],
    }
    condition = parse_study(tables, "", Overrides(settings=tuple(settings))).conditions[0]
    announce_loading(quiet=json)
    from resnetlab.data.splits import load_dataset
    from resnetlab.inspection.augmentation import measure_augmentation
    from resnetlab.inspection.augmentation_summary import augmentation_sentences, draw_variants
    from resnetlab.inspection.table_format import render_table
    from resnetlab.runs.kinds import from_scratch_recipe

    augment = from_scratch_recipe(condition.recipe, recipe).augment
    dataset = load_dataset(condition.data, output / "cache", notify)
    limits = measure_augmentation(dataset, augment, images, recipe)
    details = {
        "data": dataset.name,
        "recipe": recipe,
        "images": limits.images,
        "places": limits.places,
        "flips": limits.flips,
        "variants": limits.places * limits.flips,
        "different_variants_mean": limits.distinct,
        "different_variants_fewest": limits.fewest_distinct,
    }
    details |= {
        f"correlation_with_{name.replace(' ', '_')}": r for name, r in limits.correlations.items()
    }
    notes = augmentation_sentences(limits)
    if limits.labels:
        notes.append(
            "same label: the nearest other train image, by its pixels, has the label of the image."
        )
    typer.echo(render_table(limits.labels, table_format, details=details, notes=notes))
    if draw:
        title = f"{dataset.name}, recipe {recipe}: crops and flips"
        write_picture(draw, draw_variants(dataset, augment, title))
