"""Opening safetensors files, and reading what stands beside the tensors. Free of torch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import safetensors
from safetensors import SafetensorError

from resnetlab.errors import mistake


def describe_weights(path: Path) -> dict[str, Any]:
    """What stands beside the tensors of a safetensors file; nothing where others wrote it. Raises InputError."""
    with opened(path, "np") as file:
        held = json.loads((file.metadata() or {}).get("resnetlab", "{}"))
    return held if isinstance(held, dict) else {}


@contextmanager
def opened(path: Path, framework: Literal["pt", "np"]) -> Iterator[Any]:
    """A safetensors file whose tensors are torch's or numpy's. Raises InputError when it is not a whole one."""
    try:
        with safetensors.safe_open(path, framework=framework) as file:
            yield file
    except FileNotFoundError:
        raise mistake(str(path), "no such file", "give the path of a safetensors file") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise mistake(str(path), f"not a whole safetensors file: {error}", "restore it from a copy") from None
