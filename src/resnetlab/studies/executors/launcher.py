"""Launcher: imports torch once and forks workers, which need no import of their own.

The driver talks to it through a Unix socket. A request carries the three files that a worker reads
and writes; the answer is the worker's process id, and later the code with which it ended. Where a
process cannot be forked (Windows), or may not be (a GPU), each worker is a new Python process.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TextIO

COMMAND = (sys.executable, "-m", "resnetlab.studies.executors.launcher")
POLL_SECONDS = 0.1
"""Seconds between two checks for workers that have ended."""


def can_fork_workers() -> bool:
    """Return True if this system can copy a process and pass it open files."""
    return hasattr(os, "fork") and hasattr(socket, "send_fds") and hasattr(socket, "AF_UNIX")


class Launcher:
    """Launcher in the driver: starts workers that have imported torch already."""

    def __init__(self, log: Path, environment: dict[str, str]) -> None:
        """Start the process, which imports torch meanwhile and writes to the file `log`."""
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        self.socket, child_socket = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with child_socket, log.open("w", encoding="utf-8") as errors:
            self.process = subprocess.Popen(
                [*COMMAND, str(child_socket.fileno())],
                pass_fds=[child_socket.fileno()],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                start_new_session=True,
            )
        self.pending_workers: list[ForkedWorker] = []
        self.workers: dict[int, ForkedWorker] = {}
        self.state_changed = threading.Condition()
        self.has_exited = False
        """True if the process has ended; then workers are started without it."""
        threading.Thread(target=self._listen, daemon=True).start()

    def start(self, log: Path) -> ForkedWorker:
        """Ask for a worker with standard error `log`; it comes once torch is imported."""
        (stdin, to_worker), (from_worker, stdout) = os.pipe(), os.pipe()
        worker = ForkedWorker(
            self.state_changed,
            open(to_worker, "w", encoding="utf-8"),  # noqa: PTH123, SIM115
            open(from_worker, encoding="utf-8"),  # noqa: PTH123, SIM115
        )
        with (
            log.open("w", encoding="utf-8") as errors,
            contextlib.suppress(OSError),
            self.state_changed,
        ):
            if self.has_exited:
                worker.returncode = -9
            else:
                self.pending_workers.append(worker)
            socket.send_fds(self.socket, [b"w"], [stdin, stdout, errors.fileno()])
        for end in (stdin, stdout):  # if the launcher is gone, the worker's output ends here
            os.close(end)
        return worker

    def close(self) -> None:
        """End the process. Workers that still run go on."""
        with contextlib.suppress(OSError):  # the process has ended
            self.socket.shutdown(socket.SHUT_RDWR)  # closing would wait for the thread that reads
        self.socket.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        with contextlib.suppress(OSError):
            if not self.log.stat().st_size:
                self.log.unlink()

    def _listen(self) -> None:
        with (
            contextlib.suppress(OSError, ValueError),
            self.socket.makefile("r", encoding="utf-8") as lines,
        ):
            for line in lines:
                message = json.loads(line)
                with self.state_changed:
                    if "code" in message:
                        self.workers[message["pid"]].returncode = message["code"]
                    else:
                        worker = self.workers[message["pid"]] = self.pending_workers.pop(0)
                        worker.pid = message["pid"]
                    self.state_changed.notify_all()
        with self.state_changed:  # nobody else could report an end
            self.has_exited = True
            for worker in (*self.pending_workers, *self.workers.values()):
                worker.returncode = -9 if worker.returncode is None else worker.returncode
            self.state_changed.notify_all()


class ForkedWorker:
    """Worker process with the part of the `subprocess.Popen` interface that a driver needs."""

    def __init__(self, state_changed: threading.Condition, stdin: TextIO, stdout: TextIO) -> None:
        self.state_changed, self.stdin, self.stdout = state_changed, stdin, stdout
        self.pid: int | None = None
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code, negative for a signal. Raises subprocess.TimeoutExpired."""
        with self.state_changed:
            self.state_changed.wait_for(lambda: self.returncode is not None, timeout)
            if self.returncode is None:
                raise subprocess.TimeoutExpired("worker", timeout or 0.0)
            return self.returncode

    def kill(self) -> None:
        """End the process at once; one that has not started ends as its input is closed."""
        with self.state_changed, contextlib.suppress(ProcessLookupError):
            if self.pid is not None and self.returncode is None:
                os.kill(self.pid, 9)


def main(socket_fd: int) -> None:
    """Start a worker for each request from the socket `socket_fd`, and report its end."""
    driver = socket.socket(fileno=socket_fd)
    from resnetlab.studies.executors import worker  # imports torch, once for all workers

    while True:
        ready, _, _ = select.select([driver], [], [], POLL_SECONDS)
        if ready:
            request, files, _, _ = socket.recv_fds(driver, 1, 3)
            if not request:  # the driver has ended
                os._exit(0)
            pid = os.fork()
            if pid == 0:
                driver.close()
                _become_worker(files)
                worker.main()
            for file in files:
                os.close(file)
            _send(driver, {"pid": pid})
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                _send(driver, {"pid": ended[0], "code": os.waitstatus_to_exitcode(ended[1])})


def _send(driver: socket.socket, message: dict[str, int]) -> None:
    # The driver has ended; the next read from the socket notices it.
    with contextlib.suppress(OSError):
        driver.sendall(json.dumps(message).encode() + b"\n")


def _become_worker(files: list[int]) -> None:
    """Take the files as standard input, output and error, in a session of its own."""
    os.setsid()
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115


if __name__ == "__main__":
    main(int(sys.argv[1]))
