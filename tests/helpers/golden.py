"""Readers of the golden tables and of the script that writes them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

GOLDEN = Path(__file__).parent.parent / "golden"


def load_regenerate() -> ModuleType:
    """Import `tests/golden/regenerate.py`."""
    spec = importlib.util.spec_from_file_location("regenerate", GOLDEN / "regenerate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
