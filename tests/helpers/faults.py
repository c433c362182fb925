"""Fault layer that makes one file operation of a process fail, stop half way, or kill the process.

Only tests use it. It counts the operations on files under one folder: each opening of a file for
writing, write, fsync, rename and link. A trial without a fault counts them; then each trial
makes one of them fail.
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
    part: str = ""
    """Text in the paths of the files that count; empty for all."""
    once: str = ""
    """File that is created when the fault happens, so that no other process has it too."""
    operations: list[str] = field(default_factory=list)
    """Kinds of the operations, with the paths of their files below `root`."""

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
                self._name(name, path), lambda: original(target, *arguments, **options)
            )

        return called

    def _is_inside(self, path: Any) -> bool:
        if not isinstance(path, (str, os.PathLike)):
            return False
        absolute = str(Path(path).absolute())
        return absolute.startswith(self.root) and self.part in absolute

    def _name(self, kind: str, path: Any) -> str:
        return f"{kind} {Path(path).absolute().relative_to(self.root)}"

    def perform(
        self,
        name: str,
        operation: Callable[[], Any],
        half: Callable[[], object] = lambda: None,
    ) -> Any:
        """Perform one operation, or break it if it is the one. `half` does a part of it."""
        self.operations.append(name)
        if len(self.operations) - 1 != self.at or not self._is_first():
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

    def write(self, stream: Any, content: Any) -> Any:
        """Write to a file at once, so that the system has what a killed process wrote."""

        def half() -> None:
            stream.write(content[: len(content) // 2])
            stream.flush()

        def complete() -> Any:
            written = stream.write(content)
            stream.flush()
            return written

        return self.perform(self._name("write", stream.name), complete, half)

    def _is_first(self) -> bool:
        if not self.once:
            return True
        try:
            os.close(os.open(self.once, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True


class FaultyFile:
    """File whose writes go through the fault layer."""

    def __init__(self, stream: Any, layer: FaultLayer) -> None:
        self.stream, self.layer = stream, layer

    def write(self, content: Any) -> Any:
        """Write the content, or break."""
        return self.layer.write(self.stream, content)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def __enter__(self) -> FaultyFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.stream.close()

    def __iter__(self) -> Any:
        return iter(self.stream)
