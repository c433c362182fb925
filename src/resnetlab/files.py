"""Files that are whole or absent: atomic writes, commits that happen once, JSON lines, locks, SHA-256.

Refuses to leave a half-written file behind: a reader sees the old bytes or the new ones, after any crash.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar

from resnetlab.errors import Problem, ResourceError, mistake

MAX_BYTES = 1_000_000
"""Of a file that a person wrote."""
MAX_OWN_BYTES = 500_000_000
"""Of one that grows with the runs of a study: its plan, its report's values."""

FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
"""What the system says when the disk, or a person's share of it, is full."""

NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.EINVAL, errno.ENOSYS)
"""What systems say where a file cannot have a second name: FAT sticks answer EINVAL, network drives any of them."""

IN_USE = (5, 32, 33)
"""Windows' error codes for a file that another program has open: access denied, sharing violation, locked."""

PATIENCE_SECONDS = 2.0
"""For another program to close a file: readers, search indexes and virus scanners take less."""

T = TypeVar("T")


@contextlib.contextmanager
def atomic(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Write `path` whole or not at all: a temporary file beside it, flushed to the disk, then renamed.

    Raises ResourceError when the disk is full; the old file, if any, stays as it was.
    """
    with _temporary(path, mode) as (file, name):
        yield file
        _flush(file)
        file.close()  # Windows does not rename an open file
        replace_file(Path(name), path)
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
        file.close()
        try:
            os.link(name, path)
        except FileExistsError:
            return False
        except (OSError, AttributeError) as error:  # AttributeError: a system that has no such call
            if isinstance(error, OSError) and error.errno not in NO_LINKS:
                raise
            # A file system without hard links: the caller's lock on the folder keeps others away.
            if path.exists():
                return False
            replace_file(Path(name), path)
        sync_folder(path.parent)
    return True


def replace_file(source: Path, target: Path) -> None:
    """Rename `source` to `target`, in place of a file that is there.

    Windows refuses it while a program has `target` open: it is tried again for two seconds, then PermissionError.
    """
    patiently(lambda: source.replace(target))


def remove_tree(folder: Path) -> None:
    """Remove `folder` with all that is in it; on Windows, wait for a file that another program has open."""
    patiently(lambda: shutil.rmtree(folder))


def patiently(act: Callable[[], T]) -> T:
    """The result of `act`, which is tried again for two seconds where Windows says that a file is in use."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return act()
        except PermissionError as error:
            if not is_in_use(error) or time.monotonic() > end:
                raise
        time.sleep(0.02)


def is_in_use(error: OSError) -> bool:
    """Whether Windows says that another program has the file open. Other systems never say it."""
    return getattr(error, "winerror", None) in IN_USE


def append_lines(path: Path, *values: object) -> None:
    """Append a JSON line of each value and flush them to the disk, which takes as long for several as for one.

    A torn last line, left by a kill, is closed first.
    """
    with full_disk(path), path.open("ab+") as file:
        size = file.seek(0, os.SEEK_END)
        torn = False
        if size:
            file.seek(size - 1)
            torn = file.read(1) != b"\n"
        file.write((b"\n" if torn else b"") + b"".join(_json(value).encode() + b"\n" for value in values))
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


def read_json(path: Path, most: int = MAX_BYTES) -> Any:
    """The value of a JSON file. Raises InputError when it is absent, too large or not JSON."""
    try:
        return json.loads(read_text(path, most))
    except (ValueError, RecursionError) as error:
        raise mistake(str(path), f"not JSON: {error}", "restore the file, or remove the folder that it is in") from None


def read_text(path: Path, most: int = MAX_BYTES) -> str:
    """A text in UTF-8. Raises InputError when it is absent, too large or something else."""
    try:
        with patiently(lambda: path.open("rb")) as file:
            content = file.read(most + 1)  # bounded by what is read: a device tells no size
        if len(content) > most:
            raise mistake(str(path), f"larger than {most:,} bytes", "a specification is a small text file")
        return content.decode()
    except UnicodeDecodeError:
        raise mistake(str(path), "not text in UTF-8", "save it as UTF-8") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise mistake(str(path), f"cannot be read: {reason}", "give the path of a file that exists") from None


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold the lock `path` for this process; false when another holds it. The system lets go when a process dies.

    It is flock on Linux and macOS and LockFileEx on Windows. There is no file whose presence would mean a lock: that
    would outlive a process that was killed.
    """
    from filelock import lock_descriptor, unlock_descriptor  # its import takes 20 ms

    with path.open("ab") as file:
        mine = lock_descriptor(file.fileno(), blocking=False)
        try:
            yield mine
        finally:
            if mine:
                unlock_descriptor(file.fileno())


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock `path` now."""
    if not path.exists():
        return False
    with locked(path) as mine:
        return not mine


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable: a rename is not on the disk until its folder is.

    Windows opens no folder and says PermissionError; NTFS keeps a journal of names.
    """
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:
        return
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
            form = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}  # the same bytes on every system
            with open(name, mode.replace("w", "x"), **form) as file:  # type: ignore[call-overload]  # noqa: PTH123
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
