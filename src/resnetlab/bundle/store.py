"""Model folders on the disk: written whole or not at all, and checked when they are read.

What else can be read as a model, reading.py says.
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
from resnetlab.bundle.reading import portable, read_file
from resnetlab.bundle.spec import CARD, FILE, SCHEMA, WEIGHTS, ModelFile
from resnetlab.codec import encode
from resnetlab.errors import mistake
from resnetlab.files import full_disk, sha256, sync_folder, write_json, write_text
from resnetlab.models.build import allocated, build_model, skeleton
from resnetlab.models.count import parameters
from resnetlab.models.spec import External
from resnetlab.models.weights import load_weights, read_weights, write_weights


@dataclass(frozen=True)
class Bundle:
    """A network in evaluation mode, on the processor, in fp32, and what is known of it."""

    module: nn.Module
    file: ModelFile


def save_bundle(folder: Path, module: nn.Module, file: ModelFile) -> ModelFile:
    """Write `module`'s weights with `file` as a model folder, and give the file as written.

    A model folder that is there is replaced in one step; another folder is left alone. Raises InputError when the
    weights are not those of `file.model`, and ResourceError when the disk is full.
    """
    if folder.exists() and not (folder / FILE).is_file() and not _empty(folder):
        raise mistake(str(folder), "is there and is no model's folder", "give a new folder")
    state = {name: tensor.detach().cpu() for name, tensor in module.state_dict().items()}
    file = replace(file, schema=SCHEMA, model=portable(file.model, len(file.classes)))
    rebuilt = _filled(file, state, str(folder))  # what would not load is not written
    folder.parent.mkdir(parents=True, exist_ok=True)
    mark = secrets.token_hex(8)
    new, old = (folder.parent / f".{folder.name}.{mark}.{kind}" for kind in ("part", "old"))
    try:
        with full_disk(folder):
            new.mkdir()
            write_weights(new / WEIGHTS, state, _words(file))
            file = replace(file, weights_sha256=sha256(new / WEIGHTS), parameters=parameters(rebuilt))
            write_json(new / FILE, encode(file))
            write_text(new / CARD, card(file))
            if folder.exists():
                folder.rename(old)
            new.rename(folder)
            sync_folder(folder.parent)
    finally:
        if old.exists() and not folder.exists():
            old.rename(folder)
        for left in (new, old):
            shutil.rmtree(left, ignore_errors=True)
    return file


def load_bundle(folder: Path) -> Bundle:
    """The model in `folder`. Raises InputError when a byte of its weights is not what was written."""
    file = read_file(folder)
    path = folder / WEIGHTS
    if file.weights_sha256 and path.is_file() and sha256(path) != file.weights_sha256:
        raise mistake(str(path), "differs from its SHA-256", "restore the folder from a copy, or make it again")
    tensors, _ = read_weights(path)
    return Bundle(_filled(file, tensors, str(path)).eval().requires_grad_(False), file)


def _words(file: ModelFile) -> dict[str, Any]:
    """What the weights say of themselves where they are taken out of their folder."""
    view = file.view
    return {
        "model": encode(file.model), "classes": file.classes, "channels": view.channels, "side": view.size,
        "mean": view.mean, "deviation": view.deviation, "licence": file.licence.name,
    }  # fmt: skip


def _filled(file: ModelFile, tensors: dict[str, Tensor], where: str) -> nn.Module:
    channels, classes = file.view.channels, len(file.classes)
    if isinstance(file.model, External):  # others may compute buffers that no file holds
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
