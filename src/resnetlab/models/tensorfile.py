"""Reading of safetensors files and of their metadata. Free of torch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import safetensors
from safetensors import SafetensorError

from resnetlab.errors import input_error

NORMALIZER_PREFIX = "scale/"
"""Prefix for tensors that belong to the normalization: mean and matrix of a whitening."""


def read_metadata(path: Path) -> dict[str, Any]:
    """Return the metadata of a safetensors file; {} of another program's.

    Raises InputError if it is damaged.
    """
    with open_safetensors(path, "np") as file:
        metadata = json.loads((file.metadata() or {}).get("resnetlab", "{}"))
    return metadata if isinstance(metadata, dict) else {}


def backbone_file(weights: Path, digest: str) -> Path:
    """Return the file with the frozen part of a fine-tuned run's network.

    Args:
        weights: Weights of the run, in the folder `runs/<id>`.
        digest: SHA-256 of the tensors of the frozen part, the name of its file in `backbones`.
    """
    return weights.resolve().parents[2] / "backbones" / f"{digest}.safetensors"


def _is_torch_file(path: Path) -> bool:
    """Return True if a file begins as torch.save writes it: a ZIP archive, or a pickle."""
    try:
        with path.open("rb") as file:
            return file.read(2) in (b"PK", b"\x80\x02")
    except OSError:
        return False


@contextmanager
def open_safetensors(path: Path, framework: Literal["pt", "np"]) -> Iterator[Any]:
    """Open a safetensors file whose tensors are torch's or numpy's.

    Raises InputError when it is incomplete or no such file.
    """
    try:
        with safetensors.safe_open(path, framework=framework) as file:
            yield file
    except FileNotFoundError:
        raise input_error(
            str(path), "no such file", "give the path of a safetensors file"
        ) from None
    except (SafetensorError, OSError, ValueError) as error:
        if _is_torch_file(path):
            fix = f"resnetlab import-weights {path.name} --as NAME --out DIR converts it"
            raise input_error(str(path), "a file of torch.save, not of safetensors", fix) from None
        raise input_error(
            str(path), f"not a complete safetensors file: {error}", "restore it from a copy"
        ) from None
