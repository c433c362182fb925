"""Limits of the service that names photographs. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What one request, and all of them together, may take."""

    megabytes: float = 10
    megapixels: float = 20
    seconds: float = 30
    """To send a photograph, and again to look at it."""
    waiting: int = 8
    """Requests at a time; the network looks at one after another."""
