"""Promise: the prediction service answers every client of a crowd, whatever the others send, does
not grow, and ends at a signal without waiting for uploads.
"""

from __future__ import annotations

import contextlib
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from helpers.model_folders import write_model
from helpers.pictures import encoded, picture

PHOTO = encoded(picture(3, 60, 50))
HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"


class Server:
    """Real process of `resnetlab serve`."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process, self.port = process, port
        self.connections: list[socket.socket] = []

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        self.connections.append(connection)
        return connection

    def post(self, content: bytes = PHOTO) -> httpx.Response:
        return httpx.post(f"http://127.0.0.1:{self.port}/predict", content=content, timeout=60)

    def status_of(self, content: bytes = PHOTO) -> int:
        return self.post(content).status_code

    def memory_mib(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        match = re.search(r"VmRSS:\s+(\d+)", status)
        assert match is not None
        return int(match[1]) / 1024

    def num_descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("served") / "pets")


@pytest.fixture
def server(model: Path) -> Iterator[Server]:
    command = [sys.executable, "-m", "resnetlab", "serve", str(model), "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            match = re.search(r"http://127\.0\.0\.1:(\d+)", process.stdout.readline())
            assert match is not None
            started = Server(process, int(match[1]))
            assert started.status_of() == 200  # the first prediction allocates memory
            yield started
            for connection in started.connections:
                connection.close()
        finally:
            process.kill()


def test_sixty_four_simultaneous_clients_are_served(
    server: Server, amount: Callable[[int], int], record_property: Callable[[str, str], None]
) -> None:
    requests, before = amount(2000), server.memory_mib()
    with ThreadPoolExecutor(64) as clients:
        answers = Counter(clients.map(lambda _: server.status_of(), range(requests)))
    assert answers == {200: requests}
    growth = server.memory_mib() - before
    assert growth < 60, growth
    record_property(
        "figures",
        f"{requests:,} requests of 64 clients, all answered, memory grew by {growth:.0f} MiB",
    )


def test_silent_and_slow_clients_do_not_block_other_clients(
    server: Server, record_property: Callable[[str, str], None]
) -> None:
    silent = [server.connect() for _ in range(70)]
    slow_headers = [server.connect() for _ in range(40)]
    for connection in slow_headers:
        connection.sendall(b"POST /predict HT")
    slow_bodies = [server.connect() for _ in range(20)]
    for connection in slow_bodies:
        connection.sendall(HEAD % 1_000_000 + b"x")
    start = time.monotonic()
    assert server.status_of() == 200
    seconds = time.monotonic() - start
    for connection in (*silent, *slow_headers):  # the service closes them after ten seconds
        connection.settimeout(20)
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1000) == b""
    assert server.status_of() == 200
    record_property(
        "figures",
        f"beside 130 idle and slow connections, an answer after {seconds:.1f} s",
    )


def test_requests_that_hang_up_or_state_a_wrong_length_leave_no_descriptor_open(
    server: Server, amount: Callable[[int], int], record_property: Callable[[str, str], None]
) -> None:
    before = server.num_descriptors()
    hung_up = amount(2000)
    for index in range(hung_up):
        with server.connect() as connection:
            if index % 3 == 0:  # close with a reset
                linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            body = b"x" * (200_000 if index % 2 else 1000)
            connection.sendall(HEAD % 900_000 + body)
    wait_for_descriptors(server, before)  # else new ones are refused: too many connections
    for length in (b"-1", b"1e3", b"99999999999999999999", b"5, 6"):
        with server.connect() as connection:
            connection.sendall((HEAD % 0).replace(b": 0\r", b": %s\r" % length) + PHOTO)
            assert connection.recv(100).startswith(b"HTTP/1.1 4")
    assert server.status_of() == 200
    wait_for_descriptors(server, before)
    record_property("figures", f"{hung_up:,} requests hung up, 0 descriptors left open")


def wait_for_descriptors(server: Server, count: int) -> None:
    """Wait until the service has no more open files than `count`: kept-alive connections close
    after five seconds, slow ones after thirty.
    """
    deadline = time.monotonic() + 60
    while server.num_descriptors() > count and time.monotonic() < deadline:
        time.sleep(0.1)
    assert server.num_descriptors() <= count


def test_requests_above_the_limit_get_the_time_to_retry(model: Path) -> None:
    from fastapi.testclient import TestClient

    from resnetlab.deploy.predict import load_model
    from resnetlab.deploy.serve.limits import Limits
    from resnetlab.deploy.serve.server import create_app

    app = create_app(load_model(model), Limits(waiting_megabytes=0))
    with TestClient(app, base_url="http://localhost") as client:
        response = client.post("/predict", content=PHOTO)
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) >= 1
    assert "try again in 1 s" in response.json()["error"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_service_within_its_grace_period(
    model: Path, number: signal.Signals, code: int
) -> None:
    command = [sys.executable, "-m", "resnetlab", "serve", str(model), "--port", "0"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        assert process.stdout is not None
        match = re.search(r"http://127\.0\.0\.1:(\d+)", process.stdout.readline())
        assert match is not None
        server = Server(process, int(match[1]))
        slow = server.connect()
        slow.sendall(HEAD % 1_000_000 + b"x")  # an upload that would go on for 30 seconds
        process.send_signal(number)
        _, errors = process.communicate(timeout=20)  # the service does not wait for the upload
        assert process.returncode == code
        assert "Traceback" not in errors
        slow.close()


def test_the_connections_of_one_address_are_limited(server: Server) -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft > 300
    crowd = [server.connect() for _ in range(192)]
    with server.connect() as one_more:
        one_more.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = one_more.recv(1000)
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"Retry-After" in answer
    assert len(crowd) == 192
