"""Requests per second and latency of `resnetlab serve`, beside LitServe and plain FastAPI.

Run `python benchmarks/serve.py PHOTOGRAPHS --others PYTHON`, where PYTHON is the interpreter of an
environment with the other libraries, which other_servers.py lists. Each server is a process of its
own with the same ResNet-18 and its own defaults; the others are stopped meanwhile. 1, 4 and 16
clients send photographs of the folder as forms over HTTP, each its next one as soon as it has an
answer. The servers take turns, in another order in each round. It prints a table, writes
`benchmarks/serve.json` and `benchmarks/serve.md`, and exits with 1 where an answer is an error,
where the servers do not agree about a photograph, or where resnetlab has fewer requests per second
or a higher median latency than another server.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import machine
from safetensors.torch import save_file
from torchvision.models import resnet18

SERVERS = ("resnetlab", "litserve", "litserve-batches", "fastapi")
CLIENTS = (1, 4, 16)
PHOTOGRAPHS, ROUNDS, SECONDS, WARM_UP_SECONDS = 64, 3, 6.0, 1.5
START_SECONDS = 120
BOUNDARY = "photograph-boundary"
TOLERANCE = 0.05
"""Largest difference of a probability: the servers resize a photograph by different code."""


@dataclass
class Measured:
    """Latencies in seconds and errors of one server and number of clients, over all rounds."""

    latencies: list[float] = field(default_factory=list)
    seconds: float = 0.0
    errors: int = 0

    def summary(self) -> dict[str, float]:
        """Return requests per second, the median and the 99th percentile in milliseconds."""
        p50, p99 = np.percentile(self.latencies, (50, 99)) if self.latencies else (np.inf, np.inf)
        return {
            "requests": len(self.latencies),
            "requests_per_second": round(len(self.latencies) / self.seconds, 1),
            "p50_ms": round(1000 * float(p50), 1),
            "p99_ms": round(1000 * float(p99), 1),
            "errors": self.errors,
        }


def main() -> int:
    """Measure, print, write; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photographs", type=Path, help="folder of photographs, searched in depth")
    parser.add_argument("--others", required=True, help="Python with LitServe and FastAPI")
    parser.add_argument("--servers", nargs="+", choices=SERVERS, default=SERVERS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each measurement")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers end too
    description = machine()
    bodies = read_photographs(options.photographs)
    measured = {(name, count): Measured() for name in options.servers for count in CLIENTS}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        weights, model = write_model(Path(folder))
        servers, answers = {}, {}
        for name in options.servers:
            server = stack.enter_context(started(name, options.others, weights, model))
            servers[name] = server
            answers[name] = [ask(server.port, body) for body in bodies[:8]]
            server.pause()
        for number in range(options.rounds):
            first = number % len(servers)
            for name in (*options.servers[first:], *options.servers[:first]):
                servers[name].resume()
                for count in CLIENTS:
                    send(servers[name].port, bodies, count, WARM_UP_SECONDS, Measured())
                    send(servers[name].port, bodies, count, options.seconds, measured[name, count])
                servers[name].pause()
    rows = {name: {n: measured[name, n].summary() for n in CLIENTS} for name in options.servers}
    disagreement = largest_difference(answers)
    table = markdown(rows)
    print(table, f"largest difference of a probability: {disagreement:.4f}", sep="\n")
    contents = {
        **description,
        "load_after": round(os.getloadavg()[0], 2),
        "versions": versions(options.others),
        "photographs": len(bodies),
        "mean_kilobytes": round(statistics.fmean(map(len, bodies)) / 1000, 1),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "largest_difference_of_a_probability": round(disagreement, 4),
        "servers": rows,
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(contents, indent=1) + "\n")
    Path(__file__).with_suffix(".md").write_text(f"{measured_on(contents)}\n\n{table}")
    return int(disagreement > TOLERANCE or not is_fastest(rows))


def is_fastest(rows: dict[str, dict[int, dict[str, float]]]) -> bool:
    """Return True if resnetlab has no error, and no other server is faster anywhere."""
    ours = rows["resnetlab"]
    return all(
        ours[n]["errors"] == 0
        and ours[n]["requests_per_second"] >= other[n]["requests_per_second"]
        and ours[n]["p50_ms"] <= other[n]["p50_ms"]
        for other in rows.values()
        for n in CLIENTS
    )


def measured_on(contents: dict[str, Any]) -> str:
    """Return a sentence with the time, the machine and its load."""
    return (
        f"Measured on {contents['time'][:10]} at commit {contents['commit'][:8]} on "
        f"{contents['cores']} cores ({contents['processor']}, {contents['instruction_set']}); load "
        f"before: {contents['load']:.1f}."
    )


def markdown(rows: dict[str, dict[int, dict[str, float]]]) -> str:
    """Return a table of all servers and numbers of clients."""
    lines = [
        "| clients | server | requests/s | p50 | p99 | errors |",
        "|---:|---|---:|---:|---:|---:|",
    ]
    for n in CLIENTS:
        for name, row in rows.items():
            values = row[n]
            lines.append(
                f"| {n} | {name} | {values['requests_per_second']:.1f} | {values['p50_ms']:.0f} ms "
                f"| {values['p99_ms']:.0f} ms | {values['errors']} |"
            )
    return "\n".join(lines) + "\n"


def largest_difference(answers: dict[str, list[dict[str, float]]]) -> float:
    """Return the largest difference of a probability between resnetlab and another server, for the
    most probable class of each photograph.
    """
    differences = [0.0]
    for theirs in answers.values():
        for ours, other in zip(answers["resnetlab"], theirs, strict=True):
            best = max(ours, key=ours.__getitem__)
            differences.append(abs(ours[best] - other.get(best, 0.0)))
    return max(differences)


def read_photographs(folder: Path) -> list[bytes]:
    """Return the bodies of requests: forms with one photograph each."""
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))
    if not paths:
        sys.exit(f"{folder} has no JPEG photographs")
    count = min(PHOTOGRAPHS, len(paths))
    head = (
        f"--{BOUNDARY}\r\nContent-Disposition: form-data; name=photograph; filename=photo.jpg\r\n"
        "Content-Type: image/jpeg\r\n\r\n"
    ).encode()
    return [
        head + paths[number * len(paths) // count].read_bytes() + f"\r\n--{BOUNDARY}--\r\n".encode()
        for number in range(count)
    ]


def write_model(folder: Path) -> tuple[Path, Path]:
    """Write a ResNet-18 with random weights, as a file of weights and as a model of resnetlab."""
    torch.manual_seed(0)
    network = resnet18()
    with torch.no_grad():
        network.fc.weight.mul_(5)  # so that photographs differ in their most probable class
    weights, names, model = folder / "resnet18.safetensors", folder / "names", folder / "model"
    save_file(network.state_dict(), weights)
    names.write_text("\n".join(str(number) for number in range(1000)))
    command = [sys.executable, "-m", "resnetlab", "import-weights", str(weights), "--quiet"]
    command += ["--as", "torchvision/resnet18", "--classes", str(names), "--out", str(model)]
    command += ["--repository", "pytorch", "--license", "MIT"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return weights, model


@dataclass(frozen=True)
class Server:
    """Server with its processes, which are a process group."""

    port: int
    process: subprocess.Popen[bytes]

    def pause(self) -> None:
        """Stop all processes, so that they take no time of the processor."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.killpg(self.process.pid, signal.SIGCONT)

    def end(self) -> None:
        """End all processes."""
        self.resume()
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


@contextlib.contextmanager
def started(name: str, python: str, weights: Path, model: Path) -> Iterator[Server]:
    """Start a server, and end it afterwards."""
    port = free_port()
    if name == "resnetlab":
        command = [sys.executable, "-m", "resnetlab", "serve", str(model), "--port", str(port)]
    else:
        script = Path(__file__).with_name("other_servers.py")
        command = [python, str(script), name, str(weights), str(port)]
    environment = dict(os.environ) if name == "resnetlab" else without_pythonpath()
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, env=environment, start_new_session=True
    ) as process:
        server = Server(port, process)
        try:
            yield server
        finally:
            server.end()


def without_pythonpath() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def post(connection: http.client.HTTPConnection, body: bytes) -> tuple[int, bytes]:
    """Send a photograph over a connection that stays open."""
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    connection.request("POST", "/predict", body, headers)
    response = connection.getresponse()
    return response.status, response.read()


def ask(port: int, body: bytes) -> dict[str, float]:
    """Return the probabilities of a photograph by class; wait for a server that still loads."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        with contextlib.suppress(OSError, http.client.HTTPException):
            status, raw = post(connection, body)
            if status == 200:
                classes = json.loads(raw)["classes"]
                return {item["name"]: float(item["probability"]) for item in classes}
        connection.close()
        if time.monotonic() > deadline:
            sys.exit("a server gives no answer")
        time.sleep(0.2)


def send(port: int, bodies: list[bytes], count: int, seconds: float, measured: Measured) -> None:
    """Let `count` clients send photographs for some seconds, and add what they measure."""
    start = time.monotonic()
    deadline = start + seconds
    results: list[tuple[list[float], int]] = []

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        latencies: list[float] = []
        errors = 0
        position = number * 5
        while (sent := time.monotonic()) < deadline:
            try:
                status, _ = post(connection, bodies[position % len(bodies)])
            except (OSError, http.client.HTTPException):
                status = 0
                connection.close()
            if status == 200:
                latencies.append(time.monotonic() - sent)
            else:
                errors += 1
            position += 1
        connection.close()
        results.append((latencies, errors))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    measured.seconds += time.monotonic() - start
    for latencies, errors in results:
        measured.latencies += latencies
        measured.errors += errors


def versions(python: str) -> dict[str, Any]:
    """Return the versions of the packages of the other environment."""
    code = (
        "import importlib.metadata as m, json; print(json.dumps({n: m.version(n) for n in "
        "('torch', 'torchvision', 'fastapi', 'uvicorn', 'litserve', 'pillow')}))"
    )
    text = subprocess.run(
        [python, "-c", code],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=without_pythonpath(),
    ).stdout
    return dict(json.loads(text))


if __name__ == "__main__":
    sys.exit(main())
