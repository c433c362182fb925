"""Fault layer: one file operation of a process fails, stops half way, or kills the process.

Only tests use it. It counts the operations on files under one folder: each opening of a file for
writing, write, fsync, rename and link. A trial without a fault tells their number; then each trial
breaks one of them.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KINDS = ("EIO", "ENOSPC", "short write", "kill before", "kill after")


@dataclass
class FaultLayer:
    """Counter of the file operations under `root`, which breaks the operation number `at`."""

    root: str
    kind: str = ""
    """One of KINDS; empty to count only."""
    at: int = -1
    operations: list[str] = field(default_factory=list)

    def install(self) -> None:
        """Replace the functions of this process that change files."""
        for name in ("fsync", "replace", "rename", "link"):
            setattr(os, name, self._wrapped(name, getattr(os, name)))
        original = io.open

        def opened(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            stream = original(file, mode, *arguments, **options)
            if not any(letter in mode for letter in "wxa+") or not self._is_inside(file):
                return stream
            return FaultyFile(stream, self)

        builtins.open = io.open = opened

    def _wrapped(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def called(target: Any, *arguments: Any, **options: Any) -> Any:
            path = target
            if isinstance(target, int):  # an open file
                path = Path(f"/proc/self/fd/{target}").readlink()
            if not self._is_inside(path):
                return original(target, *arguments, **options)
            return self.perform(
                f"{name} {Path(path).name}", lambda: original(target, *arguments, **options)
            )

        return called

    def _is_inside(self, path: Any) -> bool:
        return isinstance(path, (str, os.PathLike)) and str(Path(path).absolute()).startswith(
            self.root
        )

    def perform(
        self,
        name: str,
        operation: Callable[[], Any],
        half: Callable[[], object] = lambda: None,
    ) -> Any:
        """Perform one operation, or break it if it is the one. `half` does a part of it."""
        self.operations.append(name)
        if len(self.operations) - 1 != self.at:
            return operation()
        if self.kind == "kill before":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.kind == "kill after":
            operation()
            os.kill(os.getpid(), signal.SIGKILL)
        if self.kind == "short write":
            half()
        number = errno.ENOSPC if self.kind == "ENOSPC" else errno.EIO
        raise OSError(number, os.strerror(number))


class FaultyFile:
    """File whose writes go through the fault layer."""

    def __init__(self, stream: Any, layer: FaultLayer) -> None:
        self.stream, self.layer = stream, layer

    def write(self, content: Any) -> Any:
        """Write at once, so that the operating system has what a killed process wrote."""

        def part() -> None:
            self.stream.write(content[: len(content) // 2])
            self.stream.flush()

        def whole() -> Any:
            written = self.stream.write(content)
            self.stream.flush()
            return written

        return self.layer.perform(f"write {Path(self.stream.name).name}", whole, part)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def __enter__(self) -> FaultyFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.stream.close()

    def __iter__(self) -> Any:
        return iter(self.stream)
