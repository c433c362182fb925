"""Options of the commands `finetune` and `fixres`, and checks that need no heavy import."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from resnetlab.errors import input_error

Folder = Annotated[
    Path, typer.Argument(help="Folder of photographs, with a folder per class.", metavar="DIR")
]
ModelName = Annotated[
    str,
    typer.Option(
        "--model",
        help="timm/NAME, torchvision/NAME, local-dir:FOLDER, hf-hub:OWNER/NAME or a TOML file; the "
        "default is a downloaded one.",
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option("--weights", help="Safetensors file of pre-trained weights.", metavar="FILE"),
]
Seed = Annotated[int, typer.Option(help="Seed of all random numbers.", min=0)]
Tries = Annotated[
    list[str],
    typer.Option(
        "--try",
        help="Network to try on its features, or local for all on this machine; validation "
        "selects one. May be repeated.",
        metavar="NAME",
    ),
]
Balance = Annotated[
    Literal["auto", "none", "weights", "sampler"],
    typer.Option(
        help="Method for uneven classes: none, weights, sampler, or auto, by validation.",
        metavar="METHOD",
    ),
]
FinetuneRecipe = Annotated[
    str, typer.Option(help="Recipe: full, probe, fixres, proof-of-concept or a TOML file.")
]
FixresRecipe = Annotated[str, typer.Option(help="Recipe: fixres, proof-of-concept or a TOML file.")]
FrozenLayers = Annotated[
    str,
    typer.Option(help="Frozen part in every stage: backbone, none, or a number of first parts."),
]
TrainSize = Annotated[int | None, typer.Option(help="Image size in training, in pixels.", min=8)]
TestSize = Annotated[
    int | None,
    typer.Option(help="Image size in evaluation, in pixels; the default is the train size.", min=8),
]
SizesOption = Annotated[
    str, typer.Option(help="Image sizes in pixels, separated by commas.", metavar="SIZES")
]
Epochs = Annotated[int | None, typer.Option(help="Maximum number of epochs of each stage.", min=1)]
BatchSize = Annotated[
    int | None,
    typer.Option(
        "-b",
        "--batch-size",
        help="Images per step of the stages on augmented photographs (of every stage if there is "
        "none).",
    ),
]
LearningRate = Annotated[
    float | None,
    typer.Option(help="Learning rate of the same stages, before the schedule."),
]
Workers = Annotated[
    int, typer.Option(help="Threads that decode photographs; 0 for one per core.", min=0, max=256)
]
TimeLimitOption = Annotated[
    str, typer.Option(help="Time limit for the whole command: 90s, 10m, 2h, or 0 for none.")
]
Baseline = Annotated[
    Path | None, typer.Option(help="Earlier model to compare with on the same test images.")
]
Preview = Annotated[
    Path | None, typer.Option(help="Draw the train and test crops of this photograph and stop.")
]
Folds = Annotated[
    int | None,
    typer.Option(
        help="Cross-validation: fine-tune once for each of so many parts, which is the test split.",
        min=2,
    ),
]
Name = Annotated[
    str,
    typer.Option(
        help="Name of the model's folder; the default is made of data, network and recipe."
    ),
]
NoTest = Annotated[
    bool,
    typer.Option(
        "--no-test",
        help="Set no images apart for a test split; then nothing measures the model independently.",
    ),
]


def check_folder(folder: Path) -> None:
    """Raise InputError unless the folder of photographs exists."""
    if not folder.is_dir():
        raise input_error(
            str(folder), "no such folder", "give a folder of photographs, with a folder per class"
        )


def parse_sizes(text: str, option: str) -> tuple[int, ...]:
    """Convert sizes such as `128,224` to pixels. Raises InputError if one is no size."""
    parts = [part.strip() for part in text.split(",")]
    is_size = [bool(re.fullmatch("[0-9]{1,4}", part)) and 8 <= int(part) <= 4096 for part in parts]
    if not all(is_size) or len({int(part) for part in parts}) < len(parts):
        raise input_error(
            option, "not distinct sizes from 8 to 4096", f"{option} 128,224", got=text
        )
    return tuple(int(part) for part in parts)


def parse_time_limit(text: str) -> float | None:
    """Convert a time such as `10m` to seconds, or 0 to None, no limit.

    Raises InputError if it is no time.
    """
    match = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)([smh]?)", text.strip())
    allowed = "90s, 10m, 2h, or 0 for none"
    if match is None:
        raise input_error(
            "--time-limit", "not a time", "--time-limit 10m", got=text, allowed=allowed
        )
    if not match[2] and float(match[1]):
        fix = f"--time-limit {match[1]}m for minutes, or --time-limit {match[1]}s for seconds"
        raise input_error("--time-limit", "a time without a unit", fix, got=text, allowed=allowed)
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600, "": 0}[match[2]] or None
