"""Commands of `resnetlab inspect` on trained weights: ablation, gradients, landscapes, filters."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resnetlab.cli.common import Json, OutputDir, notify
from resnetlab.cli.inspect.options import DataOption, Run, parse_name
from resnetlab.cli.loading import ProgressLine, announce_loading
from resnetlab.cli.pictures import write_picture
from resnetlab.cli.tables import Csv, Markdown, output_format
from resnetlab.errors import input_error

if TYPE_CHECKING:
    from resnetlab.inspection.diagnostics_records import GradientNorms


def block_ablation(
    run: Run,
    data: DataOption = "",
    sets: Annotated[
        bool,
        typer.Option(
            "--sets",
            help="Leave out sets of blocks too, pairs and random ones, and write the result "
            "into RUN.",
        ),
    ] = False,
    json: Json = False,
    csv: Csv = False,
    markdown: Markdown = False,
) -> None:
    """Print the accuracy of a run without each of its blocks (block ablation)."""
    table_format = output_format(json, csv, markdown)
    from resnetlab.inspection.table_format import render_table
    from resnetlab.runs.paths import check_finished
    from resnetlab.runs.run_folder import RunFolder
    from resnetlab.schema import encode

    ablations = RunFolder(run).measurements.read_block_ablation()
    if ablations is None or (sets and ablations.lacks_sets):
        check_finished(run)
        announce_loading(quiet=json)
        from resnetlab.runs.measure_blocks import measure_block_sets, measure_blocks

        measure = measure_block_sets if sets else measure_blocks
        ablations = measure(run, data, notify)
    if len(ablations.blocks) == 1:
        raise input_error(
            str(run), "its network has no blocks", "give the run of a residual or plain network"
        )
    notes = [
        (
            f"Accuracy on {ablations.images:,} test images in percent, drop in percentage points; "
            "no network is trained again."
        )
    ]
    rows = [encode(block) for block in ablations.blocks]
    if sets:
        from resnetlab.inspection.block_set_summary import set_rows

        rows = set_rows(ablations)
        notes.append("Each set of blocks is in diagnostics/block-ablation.json of the run.")
    typer.echo(render_table(rows, table_format, notes=notes))


def gradients(
    names: Annotated[
        list[str],
        typer.Argument(
            help="Name from `resnetlab models`, or folder of a run; two stand side by side.",
            metavar="MODEL|RUN...",
        ),
    ],
    data: Annotated[
        str,
        typer.Option(
            "--data", help="Data set: digits, cifar10, an .npz file or a folder.", metavar="DATA"
        ),
    ] = "",
    images: Annotated[int, typer.Option(help="Number of images in the batch.", min=2)] = 128,
    seed: Annotated[int, typer.Option(help="Seed of the initial weights of a MODEL.", min=0)] = 0,
    draw: Annotated[
        Path | None,
        typer.Option("--draw", help="Write the norms by layer as SVG.", metavar="FILE"),
    ] = None,
    output: OutputDir = Path(),
    json: Json = False,
    csv: Csv = False,
    markdown: Markdown = False,
) -> None:
    """Print norms of gradients, weights, responses and activations by layer.

    They are those of the initial weights of MODEL, or those that RUN has saved.
    """
    table_format = output_format(json, csv, markdown)
    from resnetlab.api.networks import gradient_notes
    from resnetlab.inspection.gradient_summary import (
        MeasuredNetwork,
        draw_gradients,
        gradient_rows,
        gradient_sentences,
        side_by_side_rows,
    )
    from resnetlab.inspection.table_format import render_table

    networks = [
        MeasuredNetwork(*_named_norms(name, data, images, seed, output, json)) for name in names
    ]
    notes = [*gradient_sentences(networks), *gradient_notes(networks, seed)]
    compact = table_format == "text" and len(networks) > 1
    rows = side_by_side_rows(networks) if compact else gradient_rows(networks)
    typer.echo(render_table(rows, table_format, notes=notes))
    if draw:
        write_picture(draw, draw_gradients(networks))


def _named_norms(
    name: str, data: str, images: int, seed: int, output: Path, quiet: bool
) -> tuple[str, tuple[GradientNorms, ...]]:
    """Return the name of a network, and the norms that a run has saved or that are measured now."""
    from resnetlab.api.networks import gradients_at_init, gradients_of_run

    run = Path(name)
    if (run / "run.json").exists():
        from resnetlab.runs.paths import check_finished
        from resnetlab.runs.run_folder import RunFolder

        saved = RunFolder(run).measurements.read_gradient_norms()
        if not saved:
            check_finished(run)
            announce_loading(quiet=quiet)
            saved = (gradients_of_run(run, data, images, notify),)
        return run.resolve().name, saved
    if not data:
        raise input_error(
            "--data", "missing", "give --data digits, or the folder of a run instead of MODEL"
        )
    config = parse_name(name)
    announce_loading(config, quiet=quiet)
    return name, (gradients_at_init(config, data, output, seed, images, notify),)


def landscape(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders of finished runs, compared.", metavar="RUN...")
    ],
    data: DataOption = "",
    planes: Annotated[int, typer.Option(help="Random planes through the weights.", min=1)] = 3,
    points: Annotated[
        int, typer.Option(help="Grid points on each axis, an odd number.", min=5)
    ] = 11,
    images: Annotated[
        int, typer.Option(help="Train images whose mean loss is measured.", min=2)
    ] = 128,
    seed: Annotated[int, typer.Option(help="Seed of directions and images.", min=0)] = 0,
    batch_statistics: Annotated[
        bool,
        typer.Option(
            "--batch-statistics",
            help="Use the batch norm statistics of the images at each point, not the running ones.",
        ),
    ] = False,
    draw: Annotated[
        Path | None, typer.Option("--draw", help="Write contour plots as SVG.", metavar="FILE")
    ] = None,
    json: Json = False,
    csv: Csv = False,
    markdown: Markdown = False,
) -> None:
    """Measure filter-normalized loss landscapes of runs on random planes."""
    table_format = output_format(json, csv, markdown)
    from resnetlab.api.landscapes import landscape_config, measure_landscapes
    from resnetlab.inspection.landscape_figure import draw_landscapes
    from resnetlab.inspection.landscape_summary import landscape_sentences, plane_rows, spread_rows
    from resnetlab.inspection.table_format import render_table
    from resnetlab.runs.paths import check_finished

    config = landscape_config(planes, points, images, "--{}".format)
    for run in runs:
        check_finished(run)
    announce_loading(quiet=json)
    progress = ProgressLine()
    measured = measure_landscapes(runs, data, config, seed, batch_statistics, notify, progress)
    rows = spread_rows(measured) if table_format == "text" else plane_rows(measured, json)
    typer.echo(render_table(rows, table_format, notes=landscape_sentences(measured)))
    if draw:
        write_picture(draw, draw_landscapes(measured))


def filters(
    run: Run,
    data: DataOption = "",
    images: Annotated[
        str, typer.Option(help="Indices of test images, from 0.", metavar="LIST")
    ] = "0,1,2",
    out: Annotated[Path, typer.Option(help="Folder for the figure.", metavar="DIR")] = Path(),
    json: Json = False,
    csv: Csv = False,
    markdown: Markdown = False,
) -> None:
    """Draw the filters of a run's first layer and their feature maps as a PNG."""
    table_format = output_format(json, csv, markdown)
    indices = _parse_indices(images)
    from resnetlab.runs.paths import check_finished

    check_finished(run)
    announce_loading(quiet=json)
    from resnetlab.data.device_images import DeviceImages
    from resnetlab.inspection.filters import (
        CaptionedImage,
        filter_rows,
        first_filters,
        render_figure,
    )
    from resnetlab.inspection.table_format import render_table
    from resnetlab.runs.load import open_run
    from resnetlab.training.evaluate import evaluate

    opened = open_run(run, data, notify)
    test, classes = opened.dataset.test, opened.dataset.classes
    if max(indices) >= len(test):
        problem, fix = f"the test split has {len(test):,} images", f"0 to {len(test) - 1}"
        raise input_error("--images", problem, fix, got=max(indices))
    on_device = opened.test_images()
    batch = DeviceImages(on_device.pixels[indices], on_device.labels[indices])
    state = opened.state
    result = first_filters(state.model, state.preprocess(batch.pixels), str(run))
    predicted = evaluate(state.model, state.eval_forward_pixels, batch).logits.argmax(1).tolist()
    captioned = [
        CaptionedImage(
            test.pixels[index],
            f"test image {index}: {classes[test.labels[index]]}, predicted as {classes[label]}",
        )
        for index, label in zip(indices, predicted, strict=True)
    ]
    drawn = render_figure(result, captioned, run.resolve().name)
    notes = [f"{result.layer}, over the images {images} in evaluation mode."]
    typer.echo(render_table(filter_rows(result), table_format, notes=notes))
    write_picture(out / f"{run.resolve().name}-filters.png", drawn)


def _parse_indices(text: str) -> list[int]:
    """Parse `--images`: a list of indices. Raises InputError if one is no number."""
    parts = text.split(",")
    if not all(re.fullmatch(r"\s*[0-9]{1,18}\s*", part) for part in parts):
        raise input_error("--images", "not a list of numbers", "--images 0,1,2", got=text)
    return [int(part) for part in parts]
