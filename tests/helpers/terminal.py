"""Commands of resnetlab in a real pseudo-terminal, in which a test answers their questions."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from helpers.processes import environment


def converse(
    words: Sequence[str], answers: Sequence[tuple[str, str]], folder: Path, seconds: float = 60
) -> tuple[int, str]:
    """Run a command in a pseudo-terminal and return its exit code and all that it showed.

    Args:
        words: Words of the command line, without `resnetlab`.
        answers: Text to wait for, and the line to type then, in order.
        folder: Folder in which the command runs.
        seconds: Time after which the test fails.
    """
    control, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "resnetlab", *words],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        cwd=folder,
        env=environment(COLUMNS="200"),
        start_new_session=True,
    )
    os.close(terminal)
    output, seen, waiting = "", 0, list(answers)
    deadline = time.monotonic() + seconds
    try:
        while True:
            assert time.monotonic() < deadline, output
            if select.select([control], [], [], 0.2)[0]:
                try:
                    part = os.read(control, 4096)
                except OSError:  # the process closed the terminal
                    break
                if not part:
                    break
                output += part.decode(errors="replace")
            while waiting and (position := output.find(waiting[0][0], seen)) >= 0:
                seen = position + len(waiting[0][0])
                os.write(control, f"{waiting.pop(0)[1]}\n".encode())
        assert not waiting, output
        return process.wait(timeout=30), output.replace("\r\n", "\n")
    finally:
        process.kill()
        process.wait()
        os.close(control)
