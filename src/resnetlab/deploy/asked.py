"""What can be checked of a command before torch is imported: the model's folder, classes, views and forms.

Free of torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from resnetlab.bundle.reading import check_licence, read_file
from resnetlab.bundle.spec import ModelFile
from resnetlab.data.view import View
from resnetlab.deploy.pictures import Labelled, find_pictures
from resnetlab.errors import InputError, Problem, mistake, nearest

Tta = Literal["none", "flip", "ten-crop"]
"""Test-time augmentation: probabilities are averaged over the picture and its mirror image, or over ten crops."""

Form = Literal["onnx", "torch-export"]
"""Of a model that is written for other programs."""

CHECKED = 8
"""Photographs on which a file for other programs is compared with PyTorch."""

MAX_TOLD = 20


def check_model(folder: Path, accept_licence: bool, tta: str = "none") -> ModelFile:
    """What is known of the model in `folder`. Raises InputError when there is none that may be used as `tta` asks."""
    file = read_file(folder)
    check_licence(folder, file, accept_licence)
    check_tta(file.view, tta)
    return file


def check_tta(view: View, tta: str) -> None:
    """Raise InputError unless `tta` is known and goes with `view`."""
    if tta not in get_args(Tta):
        raise mistake("--tta", "unknown", "--tta flip", got=tta, allowed=", ".join(get_args(Tta)))
    if tta == "ten-crop" and view.rule != "crop":
        raise mistake("--tta", f"the model is shown {view.rule} photographs, which leave no corners", "--tta flip")


def check_label(label: str, classes: Sequence[str]) -> None:
    """Raise InputError unless `label` is one of the model's classes, or empty."""
    if label and label not in classes:
        fix = nearest(label, classes) or "give a class of model.json"
        raise mistake("--class", f"none of the model's {len(classes):,} classes", fix, got=label)


def check_form(file: ModelFile, form: str) -> None:
    """Raise InputError unless the model can be written in the form."""
    if form not in get_args(Form):
        raise mistake("--to", "unknown", "--to onnx", got=form, allowed=", ".join(get_args(Form)))
    if file.view.rule == "whole":
        fix = "a model that crops, or predict and serve, which take every shape"
        raise mistake(file.name, "sees whole photographs, so that its input has no one shape", fix)


def check_photographs(folder: Path) -> None:
    """Raise InputError unless a folder has as many photographs as an exported file is checked on."""
    found = len(find_pictures([folder])[0])
    if found < CHECKED:
        raise too_few(folder, found)


def too_few(folder: Path, found: int) -> InputError:
    """The mistake of a folder that has `found` photographs for the check of an export."""
    what = f"{found} photographs, of the {CHECKED} that the check needs"
    return mistake(str(folder), what, "leave --check-on out")


def match_classes(classes: Sequence[str], data: Labelled) -> dict[str, int]:
    """The output of each class of the data, by name. Raises InputError with every class that the model lacks."""
    index = {name: k for k, name in enumerate(classes)}
    missing = [name for name in dict.fromkeys(data.labels) if name not in index]
    if missing:
        of = f"the model's {len(classes):,} classes"
        problems = [
            Problem(
                data.data,
                f'class "{name}" is none of {of}',
                nearest(name, classes) or "rename its folder, or leave it out",
            )
            for name in missing[:MAX_TOLD]
        ]
        if len(missing) > MAX_TOLD:
            problems.append(Problem(data.data, f"and {len(missing) - MAX_TOLD:,} classes more", "mend these first"))
        raise InputError(*problems)
    return index
