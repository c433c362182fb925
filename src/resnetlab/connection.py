"""Check that a server can be reached, in seconds instead of a library's many retries.

Free of torch.
"""

from __future__ import annotations

import socket
import threading
import urllib.request
from urllib.parse import urlsplit

CONNECT_SECONDS = 4.0
"""Time for a connection; the lookup of a name alone may take a system much longer."""

_PORTS = {"http": 80, "https": 443}


def connection_problem(url: str) -> str:
    """Return the reason why the server of `url`, or the proxy in front of it, cannot be reached; ""
    if it can.

    Nothing is sent.
    """
    server = urlsplit(url)
    host = server.hostname or ""
    proxies = urllib.request.getproxies()
    proxy = proxies.get(server.scheme) or proxies.get("all")
    if proxy and not urllib.request.proxy_bypass(host):
        server = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        host = server.hostname or ""
    address = host, server.port or _PORTS.get(server.scheme, 1080)
    problems: list[str] = [f"no answer from {host} in {CONNECT_SECONDS:g} s"]

    def connect() -> None:
        try:
            socket.create_connection(address, timeout=CONNECT_SECONDS).close()
            problems.append("")
        except OSError as error:
            problems.append(f"{host}: {error.strerror or error}")

    thread = threading.Thread(target=connect, daemon=True)  # a lookup cannot be interrupted
    thread.start()
    thread.join(CONNECT_SECONDS)
    return problems[-1]
