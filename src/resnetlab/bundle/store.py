"""Model folders on the disk: atomic writes, and loading with a check of the SHA-256.

The module `reading` lists the other folders that can be loaded as a model.
"""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from resnetlab.bundle.card import card
from resnetlab.bundle.reading import NEXT, next_table, portable, read_file
from resnetlab.bundle.spec import CARD, FILE, SCHEMA, WEIGHTS, ModelFile
from resnetlab.errors import mistake
from resnetlab.files import (
    full_disk,
    is_in_use,
    patiently,
    replace_file,
    sha256,
    sync_folder,
    write_json,
    write_text,
)
from resnetlab.models.build import allocated, build_model, skeleton
from resnetlab.models.configs import External
from resnetlab.models.flops import parameters
from resnetlab.models.weights import load_weights, read_weights, write_weights
from resnetlab.schema import encode


@dataclass(frozen=True)
class Bundle:
    """Network in evaluation mode, on the CPU, in fp32, with its description."""

    module: nn.Module
    file: ModelFile


def save_bundle(folder: Path, module: nn.Module, file: ModelFile) -> ModelFile:
    """Write the weights of `module` and the description `file` as a model folder.

    An existing model folder is replaced: after an interruption at any moment it contains the old
    model or the new one. Any other existing folder is an error.

    Returns:
        The description as written, with the SHA-256 of the weights and the number of parameters.

    Raises:
        InputError: The weights do not fit `file.model`, the folder is not a model folder, or
            another program has the weights open (Windows).
        ResourceError: The disk is full.
    """
    if folder.exists() and not _is_model_folder(folder) and not _empty(folder):
        raise mistake(str(folder), "is there and is no model's folder", "give a new folder")
    state = {name: tensor.detach().cpu() for name, tensor in module.state_dict().items()}
    file = replace(file, schema=SCHEMA, model=portable(file.model, len(file.classes)))
    rebuilt = _with_weights(
        file, state, str(folder)
    )  # raises if the weights could not be loaded again
    folder.parent.mkdir(parents=True, exist_ok=True)
    mark = secrets.token_hex(8)
    new = folder.parent / f".{folder.name}.{mark}.part"
    try:
        with full_disk(folder):
            new.mkdir()
            write_weights(new / WEIGHTS, state, _weights_metadata(file))
            file = replace(
                file, weights_sha256=sha256(new / WEIGHTS), parameters=parameters(rebuilt)
            )
            write_json(new / FILE, encode(file))
            write_text(new / CARD, card(file))
            if folder.exists():
                _replace_files(new, folder)
            else:
                patiently(lambda: new.rename(folder))
            sync_folder(folder.parent)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return file


def _replace_files(new: Path, folder: Path) -> None:
    """Move the files of `new` into `folder`, so that a kill at any moment leaves the old model or
    the new one.

    The folder itself is not renamed, because Windows cannot rename a folder with an open file.
    Raises InputError if the weights are open.
    """
    if (folder / NEXT).exists():  # a save was interrupted
        if next_table(folder) is None:
            (folder / NEXT).unlink()
        else:
            replace_file(folder / NEXT, folder / FILE)
    replace_file(new / FILE, folder / NEXT)
    sync_folder(folder)
    try:
        replace_file(new / WEIGHTS, folder / WEIGHTS)
    except PermissionError as error:
        (folder / NEXT).unlink()
        if not is_in_use(error):
            raise
        fix = "end the program that uses the model, then give the same command again"
        raise mistake(str(folder / WEIGHTS), "is open in another program", fix) from None
    replace_file(new / CARD, folder / CARD)
    sync_folder(folder)
    replace_file(folder / NEXT, folder / FILE)
    sync_folder(folder)


def _is_model_folder(folder: Path) -> bool:
    return (folder / FILE).is_file() or (folder / NEXT).is_file()


def load_bundle(folder: Path) -> Bundle:
    """Load the model in `folder`. Raises InputError if the weights do not match their SHA-256."""
    file = read_file(folder)
    path = folder / WEIGHTS
    if not _matches_sha256(path, file):
        file = read_file(folder)  # the model may have been replaced between the two reads
    if not _matches_sha256(path, file):
        raise mistake(
            str(path),
            "differs from its SHA-256",
            "restore the folder from a copy, or make it again",
        )
    tensors, _ = read_weights(path)
    return Bundle(_with_weights(file, tensors, str(path)).eval().requires_grad_(False), file)


def _matches_sha256(weights: Path, file: ModelFile) -> bool:
    return (
        not file.weights_sha256 or not weights.is_file() or sha256(weights) == file.weights_sha256
    )


def _weights_metadata(file: ModelFile) -> dict[str, Any]:
    """Return metadata for the weights file, so that it can be used without its folder."""
    view = file.view
    return {
        "model": encode(file.model),
        "classes": file.classes,
        "channels": view.channels,
        "side": view.size,
        "mean": view.mean,
        "deviation": view.deviation,
        "licence": file.licence.name,
    }


def _with_weights(file: ModelFile, tensors: dict[str, Tensor], where: str) -> nn.Module:
    channels, classes = file.view.channels, len(file.classes)
    if isinstance(
        file.model, External
    ):  # such networks may compute buffers that are not in the file
        module = build_model(file.model, channels, classes, lambda _: torch.Generator())
    else:
        with torch.device("meta"):
            module = skeleton(file.model, channels, classes)
        module = allocated(module)
    load_weights(module, tensors, where)
    return module


def _empty(folder: Path) -> bool:
    with suppress(NotADirectoryError):
        return not os.listdir(folder)  # noqa: PTH208
    return False
