"""Limits of the prediction service. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits of one request, of all requests together, and of the connections."""

    megabytes: float = 10
    megapixels: float = 20
    seconds: float = 30
    """Time limit for the upload, and again for the prediction."""
    max_requests: int = 64
    """Maximum number of concurrent requests."""
    waiting_megabytes: float = 200
    """Maximum size of the photographs that wait, all together."""
    header_seconds: float = 10
    """Time limit for the headers of a request."""
    max_connections: int = 256
    max_connections_per_address: int = 192
