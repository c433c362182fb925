"""Limits on the connections of the prediction service: their number, in all and by address, and the
time until a request's headers are complete.

uvicorn has no time limit for headers, so clients that connect and send nothing, or one byte a
minute, would keep its connections for as long as they like ("Slowloris" attack).
"""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from resnetlab.deploy.serve.limits import Limits

_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
    b"Retry-After: 5\r\nConnection: close\r\n\r\n"
    b'{"error":"busy: too many connections; try again later"}'
)


class LimitedProtocol(H11Protocol):
    """HTTP protocol of uvicorn that closes a connection which breaks the limits."""

    limits = Limits()
    header_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection, or answer 503 where there are too many."""
        super().connection_made(transport)
        address = self.client[0] if self.client else ""
        from_address = sum(
            isinstance(other, H11Protocol) and (other.client or ("",))[0] == address
            for other in self.connections
        )
        if (
            len(self.connections) > self.limits.max_connections
            or from_address > self.limits.max_connections_per_address
        ):
            transport.write(_BUSY)
            transport.close()
            return
        self._start_header_timer()

    def data_received(self, data: bytes) -> None:
        """Read data, and measure the time from the first byte of a request to its last header."""
        if self.header_timer is None and self.conn.their_state is h11.IDLE:
            self._start_header_timer()
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._stop_header_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_header_timer()
        super().connection_lost(exc)

    def _start_header_timer(self) -> None:
        self.header_timer = self.loop.call_later(self.limits.header_seconds, self.transport.abort)

    def _stop_header_timer(self) -> None:
        if self.header_timer is not None:
            self.header_timer.cancel()
            self.header_timer = None


def limited_protocol(limits: Limits) -> type[asyncio.Protocol]:
    """Return the protocol class with these limits, for `uvicorn.Config(http=...)`."""
    return type("LimitedProtocol", (LimitedProtocol,), {"limits": limits})
