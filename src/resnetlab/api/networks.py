"""Inspection of networks and runs from Python: tables of layers, gradients and blocks.

Heavy imports stay inside the functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnetlab.errors import input_error
from resnetlab.messages import Notify, format_count, silent
from resnetlab.table import Table

if TYPE_CHECKING:
    from resnetlab.inspection.diagnostics_records import GradientNorms
    from resnetlab.inspection.gradient_summary import MeasuredNetwork
    from resnetlab.models.configs import ModelConfig


def inspect_model(
    model: str | ModelConfig,
    image_shape: Sequence[int] | None = None,
    *,
    num_classes: int = 0,
    trust_code: bool = False,
) -> Table:
    """List the layers of a network with sizes, parameters, cost and receptive fields.

    Args:
        model: Name in the catalog, `timm/NAME`, model file, function of a module, or config.
        image_shape: Channels, height and width of an image; None for those of the network.
        num_classes: Number of classes; 0 for that of the network.
        trust_code: Consent to run the code (`package.module:function`) that `model` names.

    Returns:
        A row for each layer. `notes` explain the columns and name the largest layer.

    Raises:
        InputError: The network is unknown, or the image does not fit it.
    """
    config = read_network(model, num_classes=num_classes, trust_code=trust_code)
    from resnetlab.inspection import layer_table
    from resnetlab.inspection.layers import trace_layers

    *shape, default_classes = default_input(model if isinstance(model, str) else "", config)
    channels, height, width = image_shape or shape
    trace = trace_layers(config, (channels, height, width), num_classes or default_classes)
    totals = layer_table.totals(trace)
    title = f"{trace.name}: {totals['parameters']:,} parameters, {totals['macs']:,} MACs"
    notes = layer_table.notes(config, trace.image_shape, trace)
    return Table.from_rows(layer_table.layer_rows(trace), title, notes)


def inspect_gradients(
    networks: str | Sequence[str],
    data: str = "",
    *,
    images: int = 128,
    seed: int = 0,
    output: str | Path = ".",
    trust_code: bool = False,
) -> Table:
    """Measure norms of gradients, weights, responses and activations by layer.

    Args:
        networks: Names of networks, or folders of runs; one, or several.
        data: Name of a data set, path of an .npz file or a folder; not needed for a run that saved
            its norms.
        images: Number of images in the batch.
        seed: Seed of the initial weights of a network that is no run.
        output: Folder of `cache`.
        trust_code: Consent to run the code (`package.module:function`) that a name names.

    Returns:
        A row for each layer, epoch and network.

    Raises:
        InputError: A network is unknown, a run is not finished, or the data are missing.
    """
    from resnetlab.inspection.gradient_summary import (
        MeasuredNetwork,
        gradient_rows,
        gradient_sentences,
    )

    measured = []
    norms: tuple[GradientNorms, ...]
    for name in [networks] if isinstance(networks, str) else networks:
        run = Path(name)
        if (run / "run.json").exists():
            from resnetlab.runs.paths import check_finished
            from resnetlab.runs.run_folder import RunFolder

            norms = RunFolder(run).measurements.read_gradient_norms()
            if not norms:
                check_finished(run)
                norms = (gradients_of_run(run, data, images, silent),)
            name = run.resolve().name
        elif not data:
            raise input_error("data", "missing", 'give data="digits", or the folder of a run')
        else:
            config = read_network(name, trust_code=trust_code)
            norms = (gradients_at_init(config, data, Path(output), seed, images, silent),)
        measured.append(MeasuredNetwork(name, norms))
    notes = [*gradient_sentences(measured), *gradient_notes(measured, seed)]
    return Table.from_rows(gradient_rows(measured), "Norms by layer", notes)


def inspect_blocks(run: str | Path, data: str = "") -> Table:
    """Measure the accuracy of a run without each of its blocks: `inspect block-ablation`.

    Args:
        run: Folder of a finished run.
        data: Present path of the data, if it has changed.

    Returns:
        A row for each block, and one for the whole network. Accuracies are in percent.

    Raises:
        InputError: The run is not finished, or its network has no blocks.
    """
    from resnetlab.runs.paths import check_finished
    from resnetlab.runs.run_folder import RunFolder
    from resnetlab.schema import encode

    folder = Path(run)
    ablations = RunFolder(folder).measurements.read_block_ablation()
    if ablations is None:
        check_finished(folder)
        from resnetlab.runs.measure_blocks import measure_blocks

        ablations = measure_blocks(folder, data)
    title = f"Accuracy on {format_count(ablations.images, 'test image')} without each block"
    return Table.from_rows(map(encode, ablations.blocks), title)


def read_network(
    model: str | ModelConfig, stride_on: str = "", num_classes: int = 0, *, trust_code: bool = False
) -> ModelConfig:
    """Return the config of a network. Raises InputError if it needs consent that was not given."""
    from resnetlab.models.configs.external import allow_code, check_code, with_num_classes
    from resnetlab.models.parse import parse_model
    from resnetlab.models.timm_source import parse_model_source

    if not isinstance(model, str):
        config = model
    elif stride_on:
        config = parse_model({"name": model, "stride_on": stride_on}, "MODEL", "")
    else:
        config = parse_model_source(model, "MODEL", weights=False)
    if trust_code:
        allow_code(config)
    check_code(config)
    return with_num_classes(config, num_classes) if num_classes else config


def default_input(name: str, config: Any = None) -> tuple[int, int, int, int]:
    """Return the default channels, height, width and number of classes of a network: those of its
    registered name, or of the first network of its family.

    Args:
        name: Name of the network, or model file.
        config: Config of the network, if it is known.
    """
    from resnetlab.models.registry import registered_models
    from resnetlab.models.timm_source import is_timm_source, read_timm_source

    if is_timm_source(name):
        folder = read_timm_source(name, "MODEL")
        return folder.channels, folder.size, folder.size, folder.num_classes
    entries = registered_models()
    if config is None and name.endswith(".toml"):
        config = read_network(name)
    family = getattr(config, "family", "")
    same = [entry for entry in entries if name == entry.name]
    same += [entry for entry in entries if family == entry.model.family]
    if same:
        return same[0].channels, same[0].side, same[0].side, same[0].num_classes
    return (3, 224, 224, 1000) if "/" in name else (3, 32, 32, 10)


def gradients_of_run(run_folder: Path, data: str, images: int, notify: Notify) -> GradientNorms:
    """Measure the gradients at the final weights of a run that saved none during training."""
    from resnetlab.inspection.gradients import measure_gradients
    from resnetlab.runs.load import open_run

    opened = open_run(run_folder, data, notify)
    return measure_gradients(opened.state, opened.train_images(), images)


def gradients_at_init(
    config: ModelConfig, data: str, output: Path, seed: int, images: int, notify: Notify
) -> GradientNorms:
    """Measure the gradients at the initial weights of a network."""
    import torch

    from resnetlab.data.config import DataConfig
    from resnetlab.data.device_images import DeviceImages
    from resnetlab.data.splits import load_dataset
    from resnetlab.inspection.gradients import measure_gradients
    from resnetlab.models.model_cost import model_cost
    from resnetlab.recipes.numerics import Numerics
    from resnetlab.recipes.train import Recipe
    from resnetlab.training.from_scratch_state import FromScratchState

    dataset = load_dataset(DataConfig(source=data), output / "cache", notify)
    device = torch.device("cpu")
    model_cost(config, dataset.channels, len(dataset.classes), dataset.image_size)
    numerics = Numerics(device="cpu", precision="fp32", memory_format="contiguous", threads=1)
    recipe = Recipe(batch_size=images, epochs=1)
    state = FromScratchState(
        config, recipe, numerics, seed, dataset.train, len(dataset.classes), device
    )
    return measure_gradients(state, DeviceImages.from_images(dataset.train, device), images)


def gradient_notes(networks: Sequence[MeasuredNetwork], seed: int) -> list[str]:
    """Return sentences that explain the columns of a table of norms."""
    from resnetlab.inspection.gradient_summary import RELU_NOTE

    sources = [
        f"{network.name} ({format_count(network.norms[0].images, 'image')})" for network in networks
    ]
    return [
        f"One batch of training images, training mode, fp32: {', '.join(sources)}.",
        f"The initial weights of a MODEL are those of seed {seed}.",
        "Norms are over the whole batch, gradients of its mean loss.",
        (
            "response: output of a layer after its normalization; its sd is that of He et al. "
            "2016, fig. 7."
        ),
        "activation: output of the activation that follows, before another layer.",
        RELU_NOTE,
        (
            "active: values above 0 after the following ReLU; never active: maps or units that "
            "it sets to 0 at every position of every image."
        ),
    ]
