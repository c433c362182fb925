"""HTTP server of a watched study: the page, its files from memory, and server-sent events.

No route reads a file of the disk.
"""

from __future__ import annotations

import json
import mimetypes
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from resnetlab.local_server import SECURITY_HEADERS, listen, refusal
from resnetlab.translation import Language
from resnetlab.watch.latest_page import LatestPage
from resnetlab.watch.page import ADDED_FILES, live_page

HOST = "127.0.0.1"

MAX_READERS = 64
"""Largest number of browser windows that follow the events at the same time."""

RECONNECT_MILLISECONDS = 2000
"""Time after which a browser connects again when the connection ended."""

ALIVE_SECONDS = 15.0
"""Time after which a comment is sent if nothing changed, which shows that a browser has left."""

_FILE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
_PAGE_POLICY = "sandbox allow-scripts"
"""Policy of the pages of runs. Each page allows only its own script, by the hash of the script."""


class WatchServer(ThreadingHTTPServer):
    """Server of one study on 127.0.0.1, with a thread for each connection.

    Args:
        latest_page: Latest page of the study.
        title: Question of the study.
        language: Language of the page.
        port: Port to listen on; 0 takes a free one.

    Raises:
        InputError: The port is in use.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, latest_page: LatestPage, title: str, language: Language, port: int) -> None:
        self.latest_page, self.title, self.language = latest_page, title, language
        self.readers = threading.BoundedSemaphore(MAX_READERS)
        listening = listen(HOST, port)
        super().__init__(listening.getsockname(), WatchHandler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening

    @property
    def address(self) -> str:
        """URL of the page."""
        return f"http://{HOST}:{self.socket.getsockname()[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing about a browser that closed the connection."""


class WatchHandler(BaseHTTPRequestHandler):
    """Answers of the server: `/`, `/events`, and the files of the report."""

    server: WatchServer
    timeout = 20.0
    """Time in seconds that a browser may take to send its request or to receive a part."""

    def do_GET(self) -> None:
        """Answer a request, unless its headers come from a page of another site."""
        host = self.headers.get("Host", "")
        if reason := refusal(host, self.headers.get("Origin"), HOST):
            self._send(reason.encode(), "text/plain", status=403)
            return
        path = unquote(urlsplit(self.path).path)
        page = self.server.latest_page.page
        if path == "/events":
            self._send_events()
        elif path == "/":
            text = live_page(page, self.server.title, self.server.language)
            self._send(text.encode(), "text/html")
        elif path in ADDED_FILES:
            self._send(ADDED_FILES[path], _content_type(path))
        elif path[1:] in page.files:
            policy = _PAGE_POLICY if path.startswith("/runs/") else _FILE_POLICY
            self._send(page.files[path[1:]], _content_type(path), policy=policy)
        else:
            self._send(b"no such file in the report", "text/plain", status=404)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""

    def version_string(self) -> str:
        """Return the header Server, without the version of Python."""
        return "resnetlab"

    def _send(self, content: bytes, content_type: str, status: int = 200, policy: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{content_type}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        for name, value in SECURITY_HEADERS.items():
            self.send_header(name, value)
        if policy:
            self.send_header("Content-Security-Policy", policy)
        self.end_headers()
        self.wfile.write(content)

    def _send_events(self) -> None:
        """Send the progress now, and again after every change, until the browser leaves."""
        if not self.server.readers.acquire(blocking=False):
            self._send(b"too many windows follow this study", "text/plain", status=503)
            return
        try:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream; charset=utf-8")
            for name, value in SECURITY_HEADERS.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(f"retry: {RECONNECT_MILLISECONDS}\n\n".encode())
            number = -1
            while True:
                latest, page = self.server.latest_page.wait(number, ALIVE_SECONDS)
                if latest == number:
                    self.wfile.write(b": alive\n\n")
                    continue
                number = latest
                update = json.dumps({"version": page.version, "status": page.status})
                self.wfile.write(f"id: {number}\nevent: update\ndata: {update}\n\n".encode())
        except OSError:  # the browser left, or it receives nothing
            return
        finally:
            self.server.readers.release()


def _content_type(path: str) -> str:
    """Return the type of a file of the report by its suffix."""
    if path.endswith(".md"):
        return "text/plain"
    return mimetypes.guess_type(path)[0] or "application/octet-stream"
