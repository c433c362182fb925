"""Checkpoints: a folder a step, written whole, read only when every byte is what was written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from resnetlab.errors import Problem, ResourceError, mistake
from resnetlab.files import atomic, full_disk, read_json, remove_tree, sha256, sync_folder, write_json
from resnetlab.runs.directory import free_bytes
from resnetlab.shell import resume_command

KEEP = 2
"""Checkpoints that are kept: the last, and the one before it."""

SPARE_BYTES = 10_000_000
"""Left free on the disk for what else a run writes."""


@dataclass(frozen=True)
class Checkpoint:
    """What was saved: tensors by file and name, and facts (step, torch version, seconds, ...)."""

    tensors: dict[str, dict[str, Tensor]]
    facts: dict[str, Any]


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write `folder`/<step>, its MANIFEST.json last, and remove all but the last two.

    Raises ResourceError before anything is written when the disk has no room for it.
    """
    needed = sum(t.numel() * t.element_size() for held in checkpoint.tensors.values() for t in held.values())
    if free_bytes(folder) < needed + SPARE_BYTES:
        fix = "free some space, then give the same command again"
        raise ResourceError(Problem(str(folder), f"no room for a checkpoint of {needed:,} bytes", fix))
    with full_disk(folder):
        _save(folder, checkpoint)


def _save(folder: Path, checkpoint: Checkpoint) -> None:
    place = folder / str(checkpoint.facts["step"])
    whole = saved_steps(folder)
    for other in folder.iterdir() if folder.is_dir() else ():
        if other == place or not (other.name.isdigit() and int(other.name) in whole):
            remove_tree(other)  # cut short by a kill, or of this very step before a resume
    place.mkdir(parents=True)
    files = {}
    for name, tensors in checkpoint.tensors.items():
        path = place / f"{name}.safetensors"
        write_tensors(path, tensors)
        files[path.name] = {"bytes": path.stat().st_size, "sha256": sha256(path)}
    write_json(place / "MANIFEST.json", {"facts": checkpoint.facts, "files": files})
    sync_folder(folder)
    for old in saved_steps(folder)[:-KEEP]:
        remove_tree(folder / str(old))


def saved_steps(folder: Path) -> list[int]:
    """The steps of the complete checkpoints, in order. One without a MANIFEST.json was never finished."""
    if not folder.is_dir():
        return []
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit() and (p / "MANIFEST.json").exists())


def load_checkpoint(folder: Path, step: int) -> Checkpoint:
    """The checkpoint of `step`, on the processor. Raises InputError that names a file which is not as written."""
    place = folder / str(step)
    manifest = read_json(place / "MANIFEST.json")
    others = [other for other in reversed(saved_steps(folder)) if other < step]
    fix = resume_command(folder.parent, "--from", str(others[0] if others else 0))
    try:
        files, facts = dict(manifest["files"]), dict(manifest["facts"])
        expected = {name: (int(held["bytes"]), str(held["sha256"])) for name, held in files.items()}
    except (TypeError, KeyError, ValueError):
        raise mistake(str(place / "MANIFEST.json"), "not a manifest", fix) from None
    tensors = {}
    for name, (size, digest) in expected.items():
        path = place / Path(name).name
        if not path.is_file() or path.stat().st_size != size or sha256(path) != digest:
            raise mistake(str(place), f"{name} differs from its SHA-256 in MANIFEST.json", fix)
        tensors[path.stem] = read_tensors(path)
    return Checkpoint(tensors, facts)


def forget_after(folder: Path, step: int) -> None:
    """Remove the checkpoints after `step`: the run goes on from there, another way."""
    for later in saved_steps(folder):
        if later > step:
            remove_tree(folder / str(later))


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors as safetensors, whole or not at all."""
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with atomic(path, "wb") as file:
        file.write(safetensors.torch.save(plain, metadata))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, read and not mapped: Windows removes no file that a map holds.

    Raises InputError when it is not one.
    """
    try:
        held: dict[str, Tensor] = safetensors.torch.load(path.read_bytes())
    except (SafetensorError, OSError) as error:
        raise mistake(str(path), f"not a whole safetensors file: {error}", "restore it from a copy") from None
    return held


def torch_version() -> str:
    """Without the local part: 2.15.0, not 2.15.0+cu132."""
    return torch.__version__.split("+")[0]
