"""Functions that run commands of resnetlab in the process of a test."""

from __future__ import annotations

import contextlib
import functools
import io
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from resnetlab.cli.main import build_command, main

_build_once = functools.cache(build_command)


@dataclass(frozen=True)
class Ended:
    """End of a command."""

    code: int
    output: str
    errors: str
    cpu_seconds: float
    """CPU time of this process, which does not depend on the load of the machine."""

    @property
    def text(self) -> str:
        """Text on standard output and standard error."""
        return self.output + self.errors


def run_command(*arguments: object, folder: Path) -> Ended:
    """Run a command in `folder` and return how it ended."""
    before, output, errors = sys.argv, io.StringIO(), io.StringIO()
    sys.argv, code = ["resnetlab", *map(str, arguments)], 0
    start = time.process_time()
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
        mock.patch("resnetlab.cli.main.build_command", _build_once),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        finally:
            sys.argv = before
    return Ended(code, output.getvalue(), errors.getvalue(), time.process_time() - start)


def check_error_lines(ended: Ended) -> None:
    """Check that a refused command wrote a bounded number of lines, each an error, and nothing
    else.
    """
    lines = ended.errors.splitlines()
    assert ended.code == 2, ended.text[-3000:]
    assert "Traceback" not in ended.text, ended.text[-3000:]
    mistakes = [line for line in lines if line.startswith("resnetlab: error: ")]
    assert 1 <= len(mistakes) <= 21, ended.errors[:3000]
    assert all("Fix: " in line for line in mistakes), ended.errors[:3000]
    assert len(ended.text) < 21 * 8000, len(ended.text)
