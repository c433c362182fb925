"""Tensors of a checkpoint of another program, whatever it is nested in. No code in it is run."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnetlab.errors import input_error
from resnetlab.messages import format_count
from resnetlab.models.tensorfile import read_metadata
from resnetlab.models.weights import WeightsMetadata, check_finite, read_weights

STATE_KEYS = (
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
    "weights",
    "params",
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "ema",
)
"""Keys under which training programs save the weights, in the order in which they are taken."""

PREFIXES = ("model.", "net.", "network.", "ema_model.", "backbone.", "encoder.")
"""Names of the attribute in which a training program, such as Lightning, keeps the network."""

_WRAPPERS = re.compile(r"(?:(?<=^)|(?<=\.))(?:_orig_mod|module)\.")
"""Wrappers of torch.compile and of DataParallel, at the beginning of a name or within it."""

_NOT_WEIGHTS = ("n_averaged",)
"""Counter of torch.optim.swa_utils.AveragedModel."""


@dataclass(frozen=True)
class ImportedFile:
    """Tensors of a checkpoint by name, with the metadata and the remarks about the file."""

    tensors: dict[str, Tensor]
    metadata: WeightsMetadata
    notes: tuple[str, ...] = ()
    is_multi_label: bool = False
    """True if the file has the `pos_weight` of a loss for several labels of one image."""


def read_imported_file(file: Path, key: str = "") -> ImportedFile:
    """Read a file of safetensors or of torch.save (.pth, .pt, .th, .bin, .ckpt).

    Names lose the wrappers of torch.compile and DataParallel.

    Args:
        file: Checkpoint.
        key: Dotted key of the weights in the file; empty for the first known one.

    Raises:
        InputError: The file holds no named tensors, or some that are not finite.
    """
    content, metadata = _load(file)
    if not isinstance(content, dict):
        content = {}
    metadata = _stated_metadata(content, metadata)
    state, selected, others = _find_state(file, content, key)
    notes = []
    if others:
        notes.append(
            f"{file.name} also has weights under {', '.join(others)}; {selected} is imported "
            "(--key takes another)"
        )
    tensors = {_WRAPPERS.sub("", str(name)): tensor for name, tensor in state.items()}
    tensors = {name: tensor for name, tensor in tensors.items() if name not in _NOT_WEIGHTS}
    check_finite(tensors, str(file))
    return ImportedFile(tensors, metadata, tuple(notes))


def select_network(
    checkpoint: ImportedFile, expected: Collection[str], convert: Callable[[str], str]
) -> ImportedFile:
    """Return the tensors of the network under its own names, without the prefix of a training
    program.

    Of the known prefixes, and none, the one is taken with which most names, after `convert`, are in
    `expected`. Tensors outside the prefix, such as those of a loss, are left out with a note.
    """
    by_prefix = {
        prefix: {
            convert(name.removeprefix(prefix)): tensor
            for name, tensor in checkpoint.tensors.items()
            if name.startswith(prefix)
        }
        for prefix in ("", *PREFIXES)
    }
    best = max(by_prefix, key=lambda prefix: len(by_prefix[prefix].keys() & set(expected)))
    inside = by_prefix[best]
    outside = [name for name in checkpoint.tensors if not name.startswith(best)]
    notes = checkpoint.notes
    if outside:
        examples = ", ".join(outside[:3]) + (", ..." if outside[3:] else "")
        count = format_count(len(outside), "tensor")
        notes = (*notes, f"left out, outside {best[:-1]}: {count} ({examples})")
    is_multi_label = any(name.rpartition(".")[2] == "pos_weight" for name in outside)
    return replace(checkpoint, tensors=inside, notes=notes, is_multi_label=is_multi_label)


def _load(file: Path) -> tuple[Any, WeightsMetadata]:
    fix = "give a .safetensors, .pth, .pt, .th, .bin or .ckpt file of weights"
    if _is_safetensors(file):
        read_metadata(file)
        return read_weights(file)
    try:
        return torch.load(file, map_location="cpu", weights_only=True), WeightsMetadata()
    except FileNotFoundError:
        raise input_error(str(file), "no such file", fix) from None
    except pickle.UnpicklingError:
        problem = (
            "contains more than weights, or is not a file of torch; nothing in it was executed"
        )
        raise input_error(
            str(file), problem, "save it again as a state_dict, with torch.save"
        ) from None
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, IndexError) as error:
        raise input_error(
            str(file), f"cannot be read: {(str(error).splitlines() or ['empty'])[0]}", fix
        ) from None


def _is_safetensors(file: Path) -> bool:
    """Return True if the file begins as safetensors does: eight bytes of a length, then JSON."""
    try:
        with file.open("rb") as opened:
            start = opened.read(9)
    except OSError:
        return False
    return file.suffix == ".safetensors" or (len(start) == 9 and start[8:] == b"{")


def _find_state(
    file: Path, content: Mapping[Any, Any], key: str
) -> tuple[Mapping[Any, Any], str, list[str]]:
    """Return the mapping of tensors in a checkpoint, its key, and the other keys that have one."""
    if key:
        for part in key.split("."):
            content = content.get(part, {}) if isinstance(content, Mapping) else {}
        if not _is_state(content):
            raise input_error(str(file), "no weights under that key", "another --key", got=key)
        return content, key, []
    if _is_state(content):
        return content, "", []
    nested = [k for k in STATE_KEYS if _is_state(content.get(k))]
    if not nested:
        # One level deeper, as {"model": {"state_dict": ...}}
        for outer in content.values():
            if isinstance(outer, dict) and any(_is_state(outer.get(k)) for k in STATE_KEYS):
                return _find_state(file, outer, "")
        named = [str(k) for k, value in content.items() if _is_state(value)]
        keys = ", ".join(map(str, list(content)[:20])) or "none"
        fix = f"--key {named[0]}" if named else "give a file of weights, saved as a state_dict"
        raise input_error(str(file), f"contains no named weights (its keys: {keys})", fix)
    return content[nested[0]], nested[0], nested[1:]


def _is_state(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(tensor, Tensor) for tensor in value.values())
    )


def _stated_metadata(content: Mapping[Any, Any], metadata: WeightsMetadata) -> WeightsMetadata:
    """Return class names, mean and std that the checkpoint states beside its weights."""
    for name in ("classes", "class_names"):
        value = content.get(name)
        if isinstance(value, list | tuple) and value and all(isinstance(v, str) for v in value):
            metadata = replace(metadata, class_names=tuple(value))
    index = content.get("class_to_idx")
    if isinstance(index, dict) and sorted(index.values()) == list(range(len(index))):
        metadata = replace(metadata, class_names=tuple(sorted(index, key=index.__getitem__)))
    mean: Any = content.get("mean")
    std: Any = content.get("std")
    if _are_numbers(mean) and _are_numbers(std):
        metadata = replace(metadata, mean=tuple(map(float, mean)), std=tuple(map(float, std)))
    return metadata


def _are_numbers(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(v, float | int) for v in value)
