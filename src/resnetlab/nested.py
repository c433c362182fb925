"""Nested tables with dotted names. Imports no other module of resnetlab."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def flatten_table(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested tables: `{model: {depth: 56}}` becomes `{"model.depth": 56}`."""
    flat: dict[str, Any] = {}
    for name, value in table.items():
        if isinstance(value, dict):
            flat |= flatten_table(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
