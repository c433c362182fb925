"""Limits of the prediction service. Does not import torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits of one request and of all requests together."""

    megabytes: float = 10
    megapixels: float = 20
    seconds: float = 30
    """Time limit for the upload, and again for the prediction."""
    max_requests: int = 8
    """Maximum number of concurrent requests; the network processes one after another."""
