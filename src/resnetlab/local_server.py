"""Servers of pages on this machine: the port that they listen on, and the requests that they
refuse. Free of torch.
"""

from __future__ import annotations

import socket
from ipaddress import ip_address

from resnetlab.errors import input_error


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address.

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.

    Raises:
        InputError: The port is in use, or the address is none of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        message = f"{host}:{port} cannot be bound: {(error.strerror or str(error)).lower()}"
        raise input_error("--port", message, "--port 0 takes a free one") from None
    # Accepted connections inherit it. Without it, the second packet of a response waits up to 40 ms
    # for the client's acknowledgment; asyncio sets it only for sockets that it creates.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def refusal(host_header: str, origin: str | None, bound: str) -> str:
    """Return the reason to refuse a request, or an empty text for one that is allowed.

    Args:
        host_header: Header Host of the request.
        origin: Header Origin, or None without one.
        bound: Address or name that the server listens on.
    """
    if not allowed_host(host_header, bound):
        return f"the service has no name {host_header[:100]}; use the address of this machine"
    if origin is not None and origin.partition("://")[2] != host_header:
        return "a page of another site may not use this service"
    return ""


def allowed_host(header: str, bound: str) -> bool:
    """Return True if a Host header names this machine: an IP address, `localhost`, its name or the
    bound name.

    Any other name comes from a web page whose name was pointed to this machine (DNS rebinding).
    """
    name = (
        header.rpartition("]")[0].lstrip("[")
        if header.startswith("[")
        else header.partition(":")[0]
    )
    host_name = socket.gethostname().lower()
    if name.lower() in {"localhost", host_name, f"{host_name}.local", bound.lower()}:
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
"""Headers of every response."""
