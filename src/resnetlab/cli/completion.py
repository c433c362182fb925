"""Shell completion of the names in the catalog. It takes milliseconds and does not import torch."""

from __future__ import annotations


def studies(incomplete: str) -> list[str]:
    """Complete the name of a study of the catalog."""
    return _catalog_names("studies", incomplete)


def recipes(incomplete: str) -> list[str]:
    """Complete the name of a recipe of the catalog."""
    return _catalog_names("recipes", incomplete)


def models(incomplete: str) -> list[str]:
    """Complete the name of a network."""
    from resnetlab.models.registry import registered_models

    return [entry.name for entry in registered_models() if entry.name.startswith(incomplete)]


def devices(incomplete: str) -> list[str]:
    """Complete the name of a device."""
    return [name for name in ("auto", "cpu", "cuda", "mps") if name.startswith(incomplete)]


def _catalog_names(kind: str, incomplete: str) -> list[str]:
    from importlib import resources

    folder = resources.files("resnetlab.catalog") / kind
    names = sorted(
        item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml")
    )
    return [name for name in names if name.startswith(incomplete)]
