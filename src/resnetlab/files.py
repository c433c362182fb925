"""Files that are whole or absent: atomic writes, commits that happen once, JSON lines, SHA-256.

Refuses to leave a half-written file behind: a reader sees the old bytes or the new ones, after any crash.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from resnetlab.errors import Problem, ResourceError

FULL = (errno.ENOSPC, errno.EDQUOT)
"""What the system says when the disk, or a person's share of it, is full."""


@contextlib.contextmanager
def atomic(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Write `path` whole or not at all: a temporary file beside it, flushed to the disk, then renamed.

    Raises ResourceError when the disk is full; the old file, if any, stays as it was.
    """
    with _temporary(path, mode) as (file, name):
        yield file
        _flush(file)
        Path(name).replace(path)
        sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all."""
    with atomic(path) as file:
        file.write(text)


def write_json(path: Path, value: object) -> None:
    """Write `value` as JSON to `path`, whole or not at all."""
    write_text(path, _json(value, indent=1) + "\n")


def create_once(path: Path, text: str) -> bool:
    """Commit `text` as `path` unless it exists; true for the one caller who did, whatever the race."""
    with _temporary(path, "w") as (file, name):
        file.write(text)
        _flush(file)
        try:
            os.link(name, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK):
                raise
            # A file system without hard links: the caller's lock on the folder keeps others away.
            if path.exists():
                return False
            Path(name).replace(path)
        sync_folder(path.parent)
    return True


def append_line(path: Path, value: object) -> None:
    """Append one JSON line and flush it to the disk. A torn last line, left by a kill, is closed first."""
    with full_disk(path), path.open("ab+") as file:
        size = file.seek(0, os.SEEK_END)
        torn = False
        if size:
            file.seek(size - 1)
            torn = file.read(1) != b"\n"
        file.write((b"\n" if torn else b"") + _json(value).encode() + b"\n")
        _flush(file)
        if not size:
            sync_folder(path.parent)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a JSON-lines file; an absent file has none, and a line torn by a kill is passed over."""
    if not path.exists():
        return []
    records = []
    for line in path.read_bytes().splitlines():
        with contextlib.suppress(ValueError):
            record = json.loads(line)
            if isinstance(record, dict):
                records.append(record)
    return records


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable: a rename is not on the disk until its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _temporary(path: Path, mode: str) -> Iterator[tuple[IO[Any], str]]:
    with full_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not tempfile: it keeps others of a group from reading a report, whatever the umask says.
        name = str(path.parent / f".{path.name[:100]}.{secrets.token_hex(8)}.part")
        try:
            with open(name, mode.replace("w", "x"), encoding=None if "b" in mode else "utf-8") as file:  # noqa: PTH123
                yield file, name
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)  # noqa: PTH108 - pathlib would parse a name that is already a string


@contextlib.contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """Tell a full disk as a ResourceError that names `path`; other errors of the system pass."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        fix = "free some space, then give the same command again"
        raise ResourceError(Problem(str(path), "the disk is full; what was there before is whole", fix)) from error


def _json(value: object, indent: int | None = None) -> str:
    """JSON in plain UTF-8; the bytes of a file's name that are not UTF-8 come back as they were."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return text.encode(errors="backslashreplace").decode()  # \udcff is an escape of JSON too


def _flush(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())
