"""Model folders on the disk: atomic writes, and loading with a check of the SHA-256.

The module `read` lists the other folders that can be loaded as a model.
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

from resnetlab import trust
from resnetlab.errors import input_error
from resnetlab.files import (
    atomic_write,
    disk_errors_as_resource_error,
    fsync_folder,
    is_in_use,
    replace_file,
    retry_while_in_use,
    sha256,
    write_json,
    write_text,
)
from resnetlab.model_folder.card import model_card
from resnetlab.model_folder.confidence import Confidence, describe_missing, read_confidence
from resnetlab.model_folder.model_file import (
    CARD_FILE,
    MODEL_FILE,
    OLD_WEIGHTS_FILE,
    TIMM_FILE,
    WEIGHTS_FILE,
    ModelFile,
)
from resnetlab.model_folder.read import (
    PENDING_FILE,
    description_sha256,
    read_model_file,
    read_pending_table,
    weights_path,
    without_weights_source,
)
from resnetlab.model_folder.timm_folder import make_timm_config, timm_architecture
from resnetlab.models.build import allocate_on_cpu, build_model, build_uninitialized
from resnetlab.models.code_hash import changed_modules, with_module_hashes
from resnetlab.models.configs import ExternalConfig
from resnetlab.models.model_cost import count_parameters
from resnetlab.models.weights import load_weights, read_weights, write_weights
from resnetlab.schema import SCHEMA, encode


@dataclass(frozen=True)
class LoadedModel:
    """Network in evaluation mode, on the CPU, in fp32, with its description."""

    module: nn.Module
    file: ModelFile
    confidence: Confidence | None = None
    """Temperature, prediction sets and novelty; None for a model without them."""
    confidence_note: str = ""
    """Sentence about a model without them."""


def save_model_folder(folder: Path, module: nn.Module, file: ModelFile) -> ModelFile:
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
    if folder.exists() and not _is_model_folder(folder) and not _is_empty(folder):
        raise input_error(str(folder), "exists and is not a model folder", "give a new folder")
    state = {name: tensor.detach().cpu() for name, tensor in module.state_dict().items()}
    network = with_module_hashes(without_weights_source(file.model, len(file.classes)))
    file = replace(file, schema=SCHEMA, model=network)
    # This raises InputError if the weights could not be loaded again.
    rebuilt = _build_with_weights(file, state, str(folder))
    folder.parent.mkdir(parents=True, exist_ok=True)
    mark = secrets.token_hex(8)
    new = folder.parent / f".{folder.name}.{mark}.part"
    try:
        with disk_errors_as_resource_error(folder):
            new.mkdir()
            write_weights(new / WEIGHTS_FILE, state, _weights_metadata(file))
            file = replace(
                file,
                weights_sha256=sha256(new / WEIGHTS_FILE),
                parameters=count_parameters(rebuilt),
            )
            file = replace(file, sha256=description_sha256(encode(file)))
            write_json(new / MODEL_FILE, encode(file))
            write_text(new / CARD_FILE, model_card(file))
            if timm_architecture(file.model):
                traits = getattr(rebuilt, "pretrained_cfg", {})
                write_json(new / TIMM_FILE, make_timm_config(file, traits))
            if folder.exists():
                _replace_files(new, folder)
            else:
                retry_while_in_use(lambda: new.rename(folder))
            fsync_folder(folder.parent)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return file


def _replace_files(new: Path, folder: Path) -> None:
    """Move the files of `new` into `folder`, so that a kill at any moment leaves the old model or
    the new one.

    The folder itself is not renamed, because Windows cannot rename a folder with an open file.
    Raises InputError if the weights are open.
    """
    if (folder / PENDING_FILE).exists():  # a save was interrupted
        if read_pending_table(folder) is None:
            (folder / PENDING_FILE).unlink()
        else:
            replace_file(folder / PENDING_FILE, folder / MODEL_FILE)
    replace_file(new / MODEL_FILE, folder / PENDING_FILE)
    # timm checks no hash: it must never find the old description beside the new weights.
    timm_file = folder / TIMM_FILE
    old_timm_config = timm_file.read_bytes() if timm_file.exists() else None
    timm_file.unlink(missing_ok=True)
    fsync_folder(folder)
    try:
        replace_file(new / WEIGHTS_FILE, folder / WEIGHTS_FILE)
    except PermissionError as error:
        (folder / PENDING_FILE).unlink()
        if old_timm_config is not None:
            with atomic_write(timm_file, "wb") as old:
                old.write(old_timm_config)
        if not is_in_use(error):
            raise
        fix = "close the program that uses the model, then repeat the command"
        raise input_error(str(folder / WEIGHTS_FILE), "is open in another program", fix) from None
    if (new / TIMM_FILE).exists():
        replace_file(new / TIMM_FILE, timm_file)
    replace_file(new / CARD_FILE, folder / CARD_FILE)
    fsync_folder(folder)
    replace_file(folder / PENDING_FILE, folder / MODEL_FILE)
    # Weights that an older version wrote; read no more from here on.
    (folder / OLD_WEIGHTS_FILE).unlink(missing_ok=True)
    fsync_folder(folder)


def _is_model_folder(folder: Path) -> bool:
    return (folder / MODEL_FILE).is_file() or (folder / PENDING_FILE).is_file()


def load_model_folder(folder: Path) -> LoadedModel:
    """Load the model in `folder`.

    Raises InputError if the weights or `confidence.safetensors` do not match their SHA-256.
    """
    file = read_model_file(folder)
    path = weights_path(folder)
    if not _matches_sha256(path, file):
        file = read_model_file(folder)  # the model may have been replaced between the two reads
        path = weights_path(folder)
    if not _matches_sha256(path, file):
        raise input_error(
            str(path),
            "differs from its SHA-256",
            "restore the folder from a copy, or create it again",
        )
    tensors, _ = read_weights(path)
    if changed := changed_modules(file.model):
        trust.announce(f"note: the code of {file.name} changed since: {', '.join(changed[:5])}")
    module = _build_with_weights(file, tensors, str(path)).eval().requires_grad_(False)
    confidence = read_confidence(folder, file)
    return LoadedModel(module, file, confidence, "" if confidence else describe_missing(folder))


def _matches_sha256(weights: Path, file: ModelFile) -> bool:
    return (
        not file.weights_sha256 or not weights.is_file() or sha256(weights) == file.weights_sha256
    )


def _weights_metadata(file: ModelFile) -> dict[str, Any]:
    """Return metadata for the weights file, so that it can be used without its folder."""
    transform = file.eval_transform
    return {
        "model": encode(file.model),
        "classes": file.classes,
        "channels": transform.channels,
        "side": transform.size,
        "mean": transform.mean,
        "std": transform.std,
        "license": file.license.name,
    }


def _build_with_weights(file: ModelFile, tensors: dict[str, Tensor], where: str) -> nn.Module:
    channels, classes = file.eval_transform.channels, len(file.classes)
    if isinstance(file.model, ExternalConfig):
        # An external network may compute buffers that are not in the file.
        module = build_model(file.model, channels, classes, lambda _: torch.Generator())
    else:
        with torch.device("meta"):
            module = build_uninitialized(file.model, channels, classes)
        module = allocate_on_cpu(module)
    load_weights(module, tensors, where)
    return module


def _is_empty(folder: Path) -> bool:
    with suppress(NotADirectoryError):
        return not os.listdir(folder)  # noqa: PTH208
    return False
