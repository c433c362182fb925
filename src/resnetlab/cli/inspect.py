"""Commands of `resnetlab inspect`: parse, call one function, print.

Heavy imports stay inside them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from resnetlab.cli.loading import announce_loading
from resnetlab.cli.manners import Json, OutputDir, notify
from resnetlab.errors import input_error

if TYPE_CHECKING:
    from resnetlab.inspection.diagnostics_config import GradientNorms
    from resnetlab.inspection.render_table import TableFormat
    from resnetlab.inspection.sliding_window import SlidingWindow
    from resnetlab.inspection.window_examples import PoolMode

inspect = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Inspect a network or a run."
)

ModelName = Annotated[
    str, typer.Argument(help="Name from `resnetlab models`, or timm/NAME.", metavar="MODEL")
]
Input = Annotated[
    str, typer.Option("--input", help="Channels x height x width of an image.", metavar="CxHxW")
]
Classes = Annotated[
    int, typer.Option("--classes", help="Number of classes; 0 for the number of the source.", min=0)
]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
Markdown = Annotated[bool, typer.Option("--markdown", help="Print Markdown.")]


@inspect.command("model")
def model(
    names: Annotated[
        list[str],
        typer.Argument(
            help="Name from `resnetlab models`, timm/NAME or a model file; several are compared.",
            metavar="MODEL...",
        ),
    ],
    image: Input = "",
    classes: Classes = 0,
    stride_on: Annotated[
        str,
        typer.Option(
            help="Convolution with the stride of a bottleneck: first (the paper) or middle."
        ),
    ] = "",
    draw: Annotated[
        Path | None,
        typer.Option(
            "--draw",
            help="Write the network as SVG; several networks stand side by side.",
            metavar="FILE",
        ),
    ] = None,
    freeze: Annotated[
        str,
        typer.Option(
            help="Frozen part, to count trainable parameters: backbone, none, or a number."
        ),
    ] = "",
    data: Annotated[
        str,
        typer.Option("--data", help="Data set, to add parameters per training image."),
    ] = "",
    train_images: Annotated[
        int,
        typer.Option(help="Number of training images, to add parameters per image.", min=0),
    ] = 0,
    output: OutputDir = Path(),
    json: Json = False,
    csv: Csv = False,
    markdown: Markdown = False,
) -> None:
    """List the layers of a network: sizes, parameters and their shares, cost, receptive field."""
    form = output_format(json, csv, markdown)
    if data and train_images:
        raise input_error("--data, --train-images", "given together", "keep one of the two")
    specs = [_parse_model(name, stride_on, classes) for name in names]
    announce_loading(specs[0], quiet=json)
    from resnetlab.inspection import layer_table
    from resnetlab.inspection.layers import trace_layers
    from resnetlab.inspection.render_table import render

    dataset = _open_source(data, output) if data else None
    train_images = len(dataset.train) if dataset else train_images
    traces, num_classes = [], 0
    for name, spec in zip(names, specs, strict=True):
        channels, height, width, default_classes = _default_input(name)
        if dataset:
            channels, height, width = dataset.channels, dataset.image_size, dataset.image_size
            default_classes = len(dataset.classes)
        size = _input_size(name, image) if image else (channels, height, width)
        num_classes = classes or default_classes
        traces.append(trace_layers(spec, size, num_classes))
    if len(names) > 1:
        rows = [
            layer_table.network_row(trace, getattr(spec, "depth", None))
            | (
                layer_table.parameters_per_image(trace.parameters, train_images)
                if train_images
                else {}
            )
            for trace, spec in zip(traces, specs, strict=True)
        ]
        typer.echo(render(rows, form))
    else:
        layers, spec = traces[0], specs[0]
        facts = layer_table.totals(layers) | layer_table.pretrained_metadata(spec)
        if train_images:
            facts |= layer_table.parameters_per_image(layers.parameters, train_images)
        if freeze:
            from resnetlab.models.transfer import count_trainable_parameters

            facts["trainable"] = count_trainable_parameters(
                spec, layers.image_shape[0], num_classes, freeze
            )
        rows = layer_table.layer_rows(layers)
        notes = layer_table.notes(spec, layers.image_shape, layers)
        if form == "text":
            rows = layer_table.compact_rows(rows)
        typer.echo(render(rows, form, facts=facts, notes=notes))
    if draw:
        from resnetlab.inspection.drawing import draw_networks

        _write_svg(draw, draw_networks(traces))


def _open_source(data: str, output: Path) -> Any:
    """Return a data set with all of its training images, none of them held out for validation."""
    from resnetlab.data.config import DataConfig
    from resnetlab.data.splits import load_dataset

    return load_dataset(DataConfig(source=data, validation=0.0), output / "cache", notify)


def output_format(json: bool, csv: bool, markdown: bool) -> TableFormat:
    """Return the format of the one given option. Raises InputError for more than one."""
    if json + csv + markdown > 1:
        raise input_error(
            "--json, --csv, --markdown", "more than one output format", "give one of them"
        )
    return "json" if json else "csv" if csv else "markdown" if markdown else "text"


def _parse_model(name: str, stride_on: str = "", classes: int = 0) -> Any:
    from resnetlab.models.configs.external import allow_typed, check_code, with_num_classes
    from resnetlab.models.parse import parse_model

    allow_typed(name)
    spec = parse_model({"name": name, "stride_on": stride_on} if stride_on else name, "MODEL", "")
    check_code(spec)
    return with_num_classes(spec, classes) if classes else spec


def _default_input(name: str) -> tuple[int, int, int, int]:
    """Return the default channels, height, width and number of classes of a network: those of its
    registered name, or of the first network of its family.
    """
    from resnetlab.models.registry import registered_models

    entries = registered_models()
    family = _parse_model(name).family if name.endswith(".toml") else ""
    same = [entry for entry in entries if name == entry.name or family == entry.model.family]
    if same:
        return same[0].channels, same[0].side, same[0].side, same[0].num_classes
    return (3, 224, 224, 1000) if "/" in name else (3, 32, 32, 10)


def _input_size(name: str, text: str) -> tuple[int, int, int]:
    return _parse_sizes(text, "--input", "--input 3x32x32") if text else _default_input(name)[:3]


def _parse_sizes(text: str, where: str, fix: str) -> tuple[int, int, int]:
    match = re.fullmatch(r"([0-9]{1,5})[xX*]([0-9]{1,5})[xX*]([0-9]{1,5})", text.strip())
    sizes = tuple(map(int, match.groups())) if match else ()
    if len(sizes) != 3 or 0 in sizes:
        raise input_error(where, "not three sizes, each at least 1", fix, got=text)
    return sizes[0], sizes[1], sizes[2]


def _write_svg(path: Path, text: str) -> None:
    from resnetlab.files import write_text

    if path.is_dir():
        raise input_error(str(path), "is a folder", "name a file in it")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
    notify(f"wrote {path}")


Kernel = Annotated[int, typer.Option(help="Side of the window in pixels.")]
Draw = Annotated[
    Path | None, typer.Option("--draw", help="Write the sliding window as SVG.", metavar="FILE")
]


@inspect.command("conv")
def conv(
    image: Annotated[
        str,
        typer.Option(
            "--input", help="Height x width x maps of the input: 32x32x3.", metavar="HxWxD"
        ),
    ],
    kernel: Kernel,
    filters: Annotated[int, typer.Option(help="Number of output maps.")] = 1,
    stride: Annotated[int, typer.Option(help="Stride in pixels.")] = 1,
    padding: Annotated[int, typer.Option(help="Number of rows of zeros on each side.")] = 0,
    keep_size: Annotated[
        bool, typer.Option("--keep-size", help="Compute the padding that keeps height and width.")
    ] = False,
    bias: Annotated[bool, typer.Option(help="Count one more weight per filter.")] = True,
    flip_kernel: Annotated[
        bool,
        typer.Option(
            "--flip-kernel",
            help="Compare the layer's cross-correlation with a convolution, on a small example.",
        ),
    ] = False,
    draw: Draw = None,
    json: Json = False,
    csv: Csv = False,
    markdown: Markdown = False,
) -> None:
    """Compute the output and the weights of a convolution, against a dense layer."""
    form = output_format(json, csv, markdown)
    from resnetlab.inspection.window_examples import flipped_kernel_facts

    window = _window(image, kernel, stride, padding, filters, keep_size, bias)
    more = flipped_kernel_facts(kernel) if flip_kernel else {}
    _print_window(window, more, draw, form)


@inspect.command("pool")
def pool(
    image: Annotated[
        str,
        typer.Option(
            "--input", help="Height x width x maps of the input: 32x32x32.", metavar="HxWxD"
        ),
    ],
    kernel: Kernel = 2,
    stride: Annotated[
        int, typer.Option(help="Stride in pixels; 0 for the size of the kernel.")
    ] = 0,
    padding: Annotated[int, typer.Option(help="Number of rows on each side.")] = 0,
    mode: Annotated[
        str, typer.Option(help="Value of a window: max, its largest, or average, its mean.")
    ] = "max",
    draw: Draw = None,
    json: Json = False,
    csv: Csv = False,
    markdown: Markdown = False,
) -> None:
    """Compute the output size of a pooling, and what it changes."""
    form = output_format(json, csv, markdown)
    from resnetlab.inspection.window_examples import pooling_facts

    window = _window(image, kernel, stride or kernel, padding, None, False, True)
    if mode not in ("max", "average"):
        raise input_error("--mode", "unknown", "--mode max", got=mode, allowed="max, average")
    more = pooling_facts(kernel, stride or kernel, padding, cast("PoolMode", mode))
    _print_window(window, more, draw, form)


def _window(
    image: str,
    kernel: int,
    stride: int,
    padding: int,
    filters: int | None,
    solve_padding: bool,
    bias: bool,
) -> SlidingWindow:
    from resnetlab.inspection.sliding_window import SlidingWindow, pad_to_same_size

    height, width, depth = _parse_sizes(image, "--input", "--input 32x32x3")
    if not solve_padding:
        return SlidingWindow(height, width, depth, kernel, stride, padding, filters, bias)
    fits = max(padding, kernel)  # solve for the padding, starting from one with which it fits
    return pad_to_same_size(
        SlidingWindow(height, width, depth, kernel, stride, fits, filters, bias)
    )


def _print_window(
    window: SlidingWindow, more: dict[str, Any], svg_path: Path | None, form: TableFormat
) -> None:
    from resnetlab.inspection.render_table import format_size, render
    from resnetlab.inspection.sliding_window import draw_window, window_facts

    picture = draw_window(window) if svg_path else ""
    facts = window_facts(window) | more
    if form == "text" or form == "json":
        typer.echo(render([], form, facts=facts))
    else:
        rows = [
            {"what": name, "value": format_size(v) if isinstance(v, tuple) else v}
            for name, v in facts.items()
        ]
        typer.echo(render(rows, form))
    if svg_path:
        _write_svg(svg_path, picture)


@inspect.command("table")
def architecture_table(
    name: Annotated[
        str, typer.Argument(help="Family of networks: depth-report or imagenet.", metavar="FAMILY")
    ],
    data: Annotated[
        str, typer.Option("--data", help="Data set, to add parameters per training image.")
    ] = "",
    output: OutputDir = Path(),
    json: Json = False,
    csv: Csv = False,
    markdown: Markdown = False,
) -> None:
    """Print the table of networks of a source, from their configs."""
    form = output_format(json, csv, markdown)
    from resnetlab.inspection.architecture_tables import NOTES, architecture_table
    from resnetlab.inspection.render_table import render

    rows, facts = architecture_table(name), {}
    if data:
        dataset = _open_source(data, output)
        images = len(dataset.train)
        rows = architecture_table(
            name, dataset.channels, len(dataset.classes), dataset.image_size, images
        )
        facts = {"data": dataset.name, "training_images": images}
    typer.echo(render(rows, form, facts=facts, notes=NOTES[name]))


@inspect.command("fully-convolutional")
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
    spec = _parse_model(name, classes=classes)
    size, trained = _input_size(name, image), _input_size(name, train_input)
    if size[0] != trained[0] or size[1] < trained[1] or size[2] < trained[2]:
        least = "x".join(map(str, trained))
        raise input_error(
            "--input",
            "smaller than the training image, or of other channels",
            f"at least {least}",
            got=image,
        )
    announce_loading(spec, quiet=json)
    from resnetlab.inspection.fully_convolutional import score_map
    from resnetlab.inspection.render_table import render
    from resnetlab.models.build import build_model
    from resnetlab.training.rng import make_generator

    model = build_model(
        spec,
        trained[0],
        classes or _default_input(name)[3],
        lambda part: make_generator(0, "init", part),
    )
    facts = score_map(model, trained, size, name)
    unchanged = facts.pop("unchanged_layers")
    rows = [
        {"layer of the unchanged network": layer, f"accepts {image}": reason}
        for layer, reason in unchanged.items()
    ]
    if json:
        rows, facts = [], facts | {"unchanged_layers": unchanged}
    typer.echo(render(rows, "json" if json else "text", facts=facts))


@inspect.command("identity")
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
    form = output_format(json, csv, markdown)
    announce_loading(quiet=json)
    from resnetlab.inspection.identity_mapping import (
        LEARNING_RATES,
        identity_sentences,
        measure_identity_mapping,
    )
    from resnetlab.inspection.render_table import render

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
    typer.echo(render(rows, form, notes=notes))


Run = Annotated[Path, typer.Argument(help="Folder of a finished run.", metavar="RUN")]
DataOption = Annotated[
    str, typer.Option("--data", help="Present location of the data.", metavar="DATA")
]


@inspect.command("block-ablation")
def block_ablation(
    run: Run,
    data: DataOption = "",
    json: Json = False,
    csv: Csv = False,
    markdown: Markdown = False,
) -> None:
    """Print the accuracy of a run without each of its blocks (block ablation)."""
    form = output_format(json, csv, markdown)
    from resnetlab.inspection.render_table import render
    from resnetlab.runs.directory import RunDirectory, check_finished
    from resnetlab.schema import encode

    ablations = RunDirectory(run).block_ablation()
    if ablations is None:
        check_finished(run)
        announce_loading(quiet=json)
        from resnetlab.inspection.block_ablation import ablate_blocks as dropped
        from resnetlab.runs.load import open_run

        opened = open_run(run, data, notify)
        ablations = dropped(opened.state, opened.test)
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
    typer.echo(render([encode(block) for block in ablations.blocks], form, notes=notes))


@inspect.command("gradients")
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
    form = output_format(json, csv, markdown)
    from resnetlab.inspection.gradient_summary import (
        MeasuredNetwork,
        draw_gradients,
        gradient_rows,
        gradient_sentences,
        side_by_side_rows,
    )
    from resnetlab.inspection.render_table import render

    networks = []
    for name in names:
        run = Path(name)
        if (run / "run.json").exists():
            from resnetlab.runs.directory import RunDirectory

            saved = RunDirectory(run).gradient_norms()
            norms = saved or (_gradients_of_run(run, data, images, json),)
            networks.append(MeasuredNetwork(run.resolve().name, norms))
        elif data:
            spec = _parse_model(name)
            announce_loading(spec, quiet=json)
            norms = (_gradients_at_init(spec, data, output, seed, images),)
            networks.append(MeasuredNetwork(name, norms))
        else:
            raise input_error(
                "--data", "missing", "give --data digits, or the folder of a run instead of MODEL"
            )
    sources = [f"{network.name} ({network.norms[0].images} images)" for network in networks]
    notes = [
        *gradient_sentences(networks),
        f"One batch of training images, training mode, fp32: {', '.join(sources)}.",
        f"The initial weights of a MODEL are those of seed {seed}.",
        "Norms are over the whole batch, gradients of its mean loss.",
        (
            "response: output of a layer after its normalization; its sd is that of He et al. "
            "2016, fig. 7."
        ),
        "activation: output of the activation that follows, before another layer.",
        "never active: set to 0 by the following ReLU at every position of every image.",
    ]
    compact = form == "text" and len(networks) > 1
    rows = side_by_side_rows(networks) if compact else gradient_rows(networks)
    typer.echo(render(rows, form, notes=notes))
    if draw:
        _write_svg(draw, draw_gradients(networks))


def _gradients_of_run(run_folder: Path, data: str, images: int, quiet: bool) -> GradientNorms:
    """Measure the gradients at the final weights of a run that saved none during training."""
    from resnetlab.runs.directory import check_finished

    check_finished(run_folder)
    announce_loading(quiet=quiet)
    from resnetlab.inspection.gradients import measure_gradients
    from resnetlab.runs.load import open_run

    opened = open_run(run_folder, data, notify)
    return measure_gradients(opened.state, opened.train, images)


def _gradients_at_init(spec: Any, data: str, output: Path, seed: int, images: int) -> GradientNorms:
    import torch

    from resnetlab.data.config import DataConfig
    from resnetlab.data.device_images import DeviceImages
    from resnetlab.data.splits import load_dataset
    from resnetlab.inspection.gradients import measure_gradients
    from resnetlab.models.flops import model_cost
    from resnetlab.recipes.numerics import Numerics
    from resnetlab.recipes.train import Recipe
    from resnetlab.training.state import ScratchTrainState

    dataset, device = (
        load_dataset(DataConfig(source=data), output / "cache", notify),
        torch.device("cpu"),
    )
    model_cost(spec, dataset.channels, len(dataset.classes), dataset.image_size)
    numerics = Numerics(device="cpu", precision="fp32", memory_format="contiguous", threads=1)
    recipe = Recipe(batch_size=images, epochs=1)
    state = ScratchTrainState(
        spec, recipe, numerics, seed, dataset.train, len(dataset.classes), device
    )
    return measure_gradients(state, DeviceImages.from_images(dataset.train, device), images)


@inspect.command("filters")
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
    form = output_format(json, csv, markdown)
    if not all(part.strip().isdigit() for part in images.split(",")):
        raise input_error("--images", "not a list of numbers", "--images 0,1,2", got=images)
    numbers = [int(part) for part in images.split(",")]
    from resnetlab.runs.directory import check_finished

    check_finished(run)
    announce_loading(quiet=json)
    from resnetlab.data.device_images import DeviceImages
    from resnetlab.files import atomic_write
    from resnetlab.inspection.filters import (
        CaptionedImage,
        filter_rows,
        first_filters,
        render_figure,
    )
    from resnetlab.inspection.render_table import render
    from resnetlab.runs.load import open_run
    from resnetlab.training.evaluate import evaluate

    opened = open_run(run, data, notify)
    test, classes = opened.dataset.test, opened.dataset.classes
    if max(numbers) >= len(test):
        raise input_error(
            "--images",
            f"the test split has {len(test):,} images",
            f"0 to {len(test) - 1}",
            got=max(numbers),
        )
    batch = DeviceImages(opened.test.pixels[numbers], opened.test.labels[numbers])
    state = opened.state
    result = first_filters(state.model, state.preprocess(batch.pixels), str(run))
    predicted = evaluate(state.model, state.forward, batch).logits.argmax(1).tolist()
    captioned = [
        CaptionedImage(
            test.pixels[number],
            f"test image {number}: {classes[test.labels[number]]}, predicted as {classes[guess]}",
        )
        for number, guess in zip(numbers, predicted, strict=True)
    ]
    drawn = render_figure(result, captioned, run.resolve().name)
    typer.echo(
        render(
            filter_rows(result),
            form,
            notes=[f"{result.layer}, over the images {images} in evaluation mode."],
        )
    )
    path = out / f"{run.resolve().name}-filters.png"
    with atomic_write(path, "wb") as file:
        file.write(drawn)
    notify(f"wrote {path}")
