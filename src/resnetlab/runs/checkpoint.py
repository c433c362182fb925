"""Checkpoints of a run: one folder per step, with SHA-256 hashes that loading checks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnetlab.errors import Problem, ResourceError, input_error
from resnetlab.files import (
    disk_errors_as_resource_error,
    fsync_folder,
    remove_tree,
)
from resnetlab.models.weights import read_tensors, write_tensors
from resnetlab.runs.checkpoint_manifest import (
    FileDigest,
    Manifest,
    read_manifest,
    write_manifest,
)
from resnetlab.runs.paths import saved_steps
from resnetlab.runs.run_folder import free_bytes
from resnetlab.shell import resume_command

CHECKPOINTS_TO_KEEP = 2
"""Number of checkpoints to keep: the last one and the one before it."""

RESERVED_DISK_BYTES = 10_000_000
"""Free disk space to leave for the other files of a run."""


@dataclass(frozen=True)
class Checkpoint:
    """Content of a checkpoint: tensors by file and name, and metadata (step, torch version,
    seconds, ...).
    """

    tensors: dict[str, dict[str, Tensor]]
    metadata: dict[str, Any]


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write the checkpoint to `folder`/<step>, its MANIFEST.json last, and remove all but the last
    two.

    Raises ResourceError, before it writes anything, if the disk has too little space.
    """
    needed = sum(
        t.numel() * t.element_size()
        for group in checkpoint.tensors.values()
        for t in group.values()
    )
    if free_bytes(folder) < needed + RESERVED_DISK_BYTES:
        fix = "free some space, then give the same command again"
        raise ResourceError(
            Problem(str(folder), f"no room for a checkpoint of {needed:,} bytes", fix)
        )
    with disk_errors_as_resource_error(folder):
        _write_checkpoint(folder, checkpoint)


def _write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    target = folder / str(checkpoint.metadata["step"])
    complete = saved_steps(folder)
    if checkpoint.metadata["step"] in complete:
        return  # this session wrote or read it, and a kill must not lose it
    for other in folder.iterdir() if folder.is_dir() else ():
        if not (other.name.isdecimal() and int(other.name) in complete):
            remove_tree(other)  # incomplete after a kill
    target.mkdir(parents=True)
    files = {}
    for name, tensors in checkpoint.tensors.items():
        path = target / f"{name}.safetensors"
        write_tensors(path, tensors)
        files[path.name] = FileDigest.of(path)
    write_manifest(target, Manifest(checkpoint.metadata, files))
    fsync_folder(folder)
    for step in saved_steps(folder)[:-CHECKPOINTS_TO_KEEP]:
        remove_tree(folder / str(step))


def load_checkpoint(folder: Path, step: int) -> Checkpoint:
    """Load the checkpoint of `step` to the CPU.

    Raises InputError that names a missing or changed file.
    """
    source = folder / str(step)
    others = [other for other in reversed(saved_steps(folder)) if other < step]
    fix = resume_command(folder.parent, "--from-step", str(others[0] if others else 0))
    manifest = read_manifest(source, fix)
    tensors = {}
    for name, digest in manifest.files.items():
        if not digest.fits(source / name):
            raise input_error(str(source), f"{name} differs from its SHA-256 in MANIFEST.json", fix)
        tensors[Path(name).stem] = read_tensors(source / name)
    return Checkpoint(tensors, manifest.metadata)


def delete_after(folder: Path, step: int) -> None:
    """Remove the checkpoints after `step`, from which the run is resumed."""
    for later in saved_steps(folder):
        if later > step:
            remove_tree(folder / str(later))


def torch_version() -> str:
    """Return the version of torch without its local part: 2.15.0, not 2.15.0+cu132."""
    return torch.__version__.split("+")[0]
