"""Provenance of a result: commit, packages and machine."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from resnetlab.recipes.numerics import Numerics
from resnetlab.runs.run_folder import utc_now
from resnetlab.training.hardware import instruction_set, read_cpuinfo
from resnetlab.translation import Message

PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "scikit-learn",
    "safetensors",
    "Pillow",
    "timm",
)


def provenance_event(
    event: str, step: int, numerics: Numerics, data_sha256: str, **extra: object
) -> dict[str, Any]:
    """Return a line of provenance.jsonl: time, commit, packages, processor and device."""
    return {
        "event": event,
        "time": utc_now(),
        "step": step,
        **_software(),
        **_machine(),
        "device": torch.cuda.get_device_name() if numerics.device == "cuda" else numerics.device,
        "threads": numerics.threads,
        "data_sha256": data_sha256,
        **extra,
    }


def made_by() -> Message:
    """Return a sentence with the version of resnetlab and the present time."""
    software = _software()
    commit = f", commit {software['commit'][:10]}" if software["commit"] else ""
    author = f"resnetlab {software['version']}{commit}"
    return Message("Written by {author} at {time}.", {"author": author, "time": utc_now()})


@functools.cache
def _software() -> dict[str, Any]:
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            packages[name] = "absent"
    try:
        version = importlib.metadata.version("resnetlab")
    except importlib.metadata.PackageNotFoundError:  # run from a source tree
        version = "source tree"
    package_dir = Path(__file__).resolve().parents[1]
    commit = _git(package_dir, "rev-parse", "HEAD")
    dirty = False
    if commit:
        changes = _git(package_dir, "status", "--porcelain", "--untracked-files=no", "--", ".")
        dirty = bool(changes)
    return {"commit": commit, "dirty": dirty, "version": version, "packages": packages}


def _git(folder: Path, *arguments: str) -> str:
    """Run git in the checkout of this package; return "" if it is not in a checkout."""
    if not any(
        (parent / ".git").exists() and (parent / "src" / "resnetlab").is_dir()
        for parent in folder.parents
    ):
        return ""
    try:
        process = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return process.stdout.strip() if process.returncode == 0 else ""


@functools.cache
def _machine() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": read_cpuinfo()[0] or platform.processor() or platform.machine(),
        "instruction_set": instruction_set(),
    }
