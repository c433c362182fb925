"""Checks of a command before torch is imported: model folder, classes, views and export formats.

Does not import torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from resnetlab.bundle.reading import check_licence, read_file
from resnetlab.bundle.spec import ModelFile
from resnetlab.data.transforms.eval_transform import View
from resnetlab.deploy.inputs import Labelled, find_pictures
from resnetlab.errors import InputError, Problem, mistake, nearest

Tta = Literal["none", "flip", "ten-crop"]
"""Test-time augmentation: average the probabilities over the image and its mirror image, or over
ten crops.
"""

Form = Literal["onnx", "torch-export"]
"""Format of an exported model."""

CHECKED = 8
"""Number of images for the comparison of an exported file with PyTorch."""

MAX_TOLD = 20


def check_model(folder: Path, accept_licence: bool, tta: str = "none") -> ModelFile:
    """Read the description of the model in `folder`.

    Raises InputError if there is no model, its license is not accepted, or it does not support
    `tta`.
    """
    file = read_file(folder)
    check_licence(folder, file, accept_licence)
    check_tta(file.view, tta)
    return file


def check_tta(view: View, tta: str) -> None:
    """Raise InputError unless `tta` exists and suits `view`."""
    if tta not in get_args(Tta):
        raise mistake("--tta", "unknown", "--tta flip", got=tta, allowed=", ".join(get_args(Tta)))
    if tta == "ten-crop" and view.rule != "crop":
        raise mistake(
            "--tta",
            f"the model is shown {view.rule} photographs, which leave no corners",
            "--tta flip",
        )


def check_label(label: str, classes: Sequence[str]) -> None:
    """Raise InputError unless `label` is one of the model's classes, or empty."""
    if label and label not in classes:
        fix = nearest(label, classes) or "give a class of model.json"
        raise mistake("--class", f"none of the model's {len(classes):,} classes", fix, got=label)


def check_form(file: ModelFile, form: str) -> None:
    """Raise InputError unless the model can be exported in this format."""
    if form not in get_args(Form):
        raise mistake("--to", "unknown", "--to onnx", got=form, allowed=", ".join(get_args(Form)))
    if file.view.rule == "whole":
        fix = "a model that crops, or predict and serve, which take every shape"
        raise mistake(file.name, "sees whole photographs, so that its input has no one shape", fix)


def check_photographs(folder: Path) -> None:
    """Raise InputError if a folder has too few photographs for the check of an export."""
    count = len(find_pictures([folder])[0])
    if count < CHECKED:
        raise too_few(folder, count)


def too_few(folder: Path, count: int) -> InputError:
    """Return the error of a folder with too few photographs for the check of an export."""
    what = f"{count} photographs, of the {CHECKED} that the check needs"
    return mistake(str(folder), what, "leave --check-on out")


def match_classes(classes: Sequence[str], data: Labelled) -> dict[str, int]:
    """Map each class of the data to its output.

    Raises InputError with every class that the model lacks.
    """
    index = {name: k for k, name in enumerate(classes)}
    missing = [name for name in dict.fromkeys(data.labels) if name not in index]
    if missing:
        options = f"the model's {len(classes):,} classes"
        problems = [
            Problem(
                data.data,
                f'class "{name}" is none of {options}',
                nearest(name, classes) or "rename its folder, or leave it out",
            )
            for name in missing[:MAX_TOLD]
        ]
        if len(missing) > MAX_TOLD:
            problems.append(
                Problem(
                    data.data, f"and {len(missing) - MAX_TOLD:,} classes more", "mend these first"
                )
            )
        raise InputError(*problems)
    return index
