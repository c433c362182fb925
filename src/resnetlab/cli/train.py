"""Commands `train` and `resume`: parse, call one function, print.

Heavy imports stay inside them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from resnetlab.cli import completion
from resnetlab.cli.common import (
    DataSource,
    Device,
    DryRun,
    Json,
    RecipeName,
    SettingsOption,
    SkipBad,
    Track,
)
from resnetlab.cli.common import OutputDir as Output
from resnetlab.cli.folder_options import DEFAULT_FOLDER_OPTIONS, FolderOptions, with_folder_options
from resnetlab.errors import input_error

ModelName = Annotated[
    str,
    typer.Argument(
        help="Name such as cifar-resnet20 (`resnetlab models` lists them), or your own "
        "MODULE:FUNCTION.",
        autocompletion=completion.models,
    ),
]
Epochs = Annotated[
    int | None, typer.Option(help="Number of epochs: short for --set recipe.epochs=N.")
]
BatchSize = Annotated[int | None, typer.Option("-b", "--batch-size", help="Images per step.")]
LearningRate = Annotated[float | None, typer.Option(help="Learning rate, before the schedule.")]
OptimizerName = Annotated[str | None, typer.Option(help="Optimizer: sgd, adam, adamw or rmsprop.")]
Schedule = Annotated[
    str | None,
    typer.Option(help="Learning rate schedule: constant, step, exponential, cosine or one-cycle."),
]
WeightDecay = Annotated[float | None, typer.Option(help="Weight decay.")]
ImageSize = Annotated[int | None, typer.Option(help="Side in pixels for a folder of photographs.")]
Seed = Annotated[int, typer.Option(help="Seed of all random numbers.", min=0)]
GradientNorms = Annotated[
    str,
    typer.Option(
        help="Save the gradient norm of each layer after these epochs (0: before training).",
        metavar="EPOCHS",
    ),
]
AblateBlocks = Annotated[
    bool, typer.Option("--ablate-blocks", help="Test the trained network without each block.")
]
Profile = Annotated[
    bool, typer.Option("--profile", help="Print the time per operation and save a trace.")
]


@with_folder_options
def train(
    model: ModelName,
    data: DataSource = "digits",
    recipe: RecipeName = "cifar",
    settings: SettingsOption = [],  # noqa: B006
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: LearningRate = None,
    opt: OptimizerName = None,
    sched: Schedule = None,
    weight_decay: WeightDecay = None,
    img_size: ImageSize = None,
    seed: Seed = 0,
    gradient_norms: GradientNorms = "",
    ablate_blocks: AblateBlocks = False,
    profile: Profile = False,
    skip_bad: SkipBad = False,
    folder_options: FolderOptions = DEFAULT_FOLDER_OPTIONS,
    output: Output = Path(),
    device: Device = "",
    track: Track = [],  # noqa: B006
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Train one network."""
    from resnetlab.inspection.diagnostics_config import DiagnosticsConfig
    from resnetlab.models.configs.external import allow_typed
    from resnetlab.recipes.numerics import Placement, parse_device

    allow_typed(model)
    norm_epochs = _parse_epochs(gradient_norms)
    kind, index = parse_device(device) if device else (None, 0)
    fields = {
        "recipe.epochs": epochs,
        "recipe.batch_size": batch_size,
        "recipe.optimizer.name": opt,
        "recipe.optimizer.lr": lr,
        "recipe.optimizer.weight_decay": weight_decay,
        "recipe.schedule.name": sched,
        "data.image_size": img_size,
        "numerics.device": kind,
        "data.skip_bad": "true" if skip_bad else None,
    }
    given = [f"{field}={value}" for field, value in fields.items() if value is not None]
    from resnetlab.cli import train_run

    train_run.train(
        model,
        data,
        recipe,
        seed=seed,
        settings=[*given, *folder_options.settings(), *settings],
        diagnostics=DiagnosticsConfig(gradient_norms=norm_epochs, ablate_blocks=ablate_blocks),
        output=output,
        placement=Placement(profile=profile, device_index=index),
        as_json=json,
        dry_run=dry_run,
        track=track,
    )


def _parse_epochs(text: str) -> tuple[int, ...]:
    """Parse `--gradient-norms`: a list of epochs, or nothing.

    Raises InputError if one is no number.
    """
    parts = text.split(",") if text else []
    if not all(part.strip().isdecimal() for part in parts):
        fix = "--gradient-norms 0,1,5"
        raise input_error("--gradient-norms", "not a list of epochs", fix, got=text)
    return tuple(dict.fromkeys(map(int, parts)))


def resume(
    run: Annotated[Path, typer.Argument(help="Folder of the run.", metavar="RUN")],
    from_step: Annotated[
        int | None,
        typer.Option(
            "--from-step", help="Step of the checkpoint to resume from; 0 starts again.", min=0
        ),
    ] = None,
    data: DataSource = "",
    epochs: Annotated[
        int | None,
        typer.Option(help="Train another run, with this number of epochs, from the start.", min=1),
    ] = None,
    device: Device = "",
    json: Json = False,
) -> None:
    """Continue an interrupted run."""
    from resnetlab.cli import train_run

    train_run.resume(run, from_step, data or None, device, epochs, as_json=json)
