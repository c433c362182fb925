"""File operations: atomic writes, write-once files, JSON lines, file locks and SHA-256.

No crash leaves a half-written file behind: a reader sees either the old content or the new content.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar

from resnetlab.errors import Problem, ResourceError, input_error

MAX_BYTES = 1_000_000
"""Maximum size of a file that a person wrote."""
MAX_GENERATED_BYTES = 500_000_000
"""Maximum size of a file that grows with a study's runs: the plan, or the report's values."""

DISK_FULL_ERRNOS = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
"""Error numbers of a full disk or an exceeded quota."""

NO_HARD_LINK_ERRNOS = (
    errno.EPERM,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.EMLINK,
    errno.EINVAL,
    errno.ENOSYS,
)
"""Error numbers of file systems without hard links: FAT answers EINVAL, network drives any of them.
"""

IN_USE_WINERRORS = (5, 32, 33)
"""Windows' errors for a file that is open elsewhere: access denied, sharing violation, locked."""

IN_USE_TIMEOUT_SECONDS = 2.0
"""Time to wait for another program to close a file. Search indexes and virus scanners need less."""

T = TypeVar("T")


@contextlib.contextmanager
def atomic_write(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Write `path` atomically: write a temporary file beside it, flush it, then rename it.

    Raises ResourceError when the disk is full; an old file then stays unchanged.
    """
    with _temporary_file(path, mode) as (file, name):
        yield file
        _fsync(file)
        file.close()  # Windows does not rename an open file
        replace_file(Path(name), path)
        fsync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically."""
    with atomic_write(path) as file:
        file.write(text)


def write_json(path: Path, value: object) -> None:
    """Write `value` as JSON to `path` atomically."""
    write_text(path, _to_json(value, indent=1) + "\n")


def write_once(path: Path, text: str) -> bool:
    """Write `text` to `path` unless it exists; True for the one caller whose text was written.

    Several processes may call it at the same time.
    """
    with _temporary_file(path, "w") as (file, name):
        file.write(text)
        _fsync(file)
        file.close()
        try:
            os.link(name, path)
        except FileExistsError:
            return False
        except (OSError, AttributeError) as error:  # AttributeError: this system has no os.link
            if isinstance(error, OSError) and error.errno not in NO_HARD_LINK_ERRNOS:
                raise
            # The file system has no hard links. The caller's lock on the folder excludes other
            # processes.
            if path.exists():
                return False
            replace_file(Path(name), path)
        fsync_folder(path.parent)
    return True


def replace_file(source: Path, target: Path) -> None:
    """Rename `source` to `target` and replace an existing file.

    Windows refuses this while a program has `target` open: retry for two seconds, then raise
    PermissionError.
    """
    retry_while_in_use(lambda: source.replace(target))


def remove_tree(folder: Path) -> None:
    """Remove `folder` and its content. On Windows, wait for a file that another program uses."""
    retry_while_in_use(lambda: shutil.rmtree(folder))


def retry_while_in_use(operation: Callable[[], T]) -> T:
    """Return the result of `operation`, retried for two seconds while Windows has a file in use."""
    end = time.monotonic() + IN_USE_TIMEOUT_SECONDS
    while True:
        try:
            return operation()
        except PermissionError as error:
            if not is_in_use(error) or time.monotonic() > end:
                raise
        time.sleep(0.02)


def is_in_use(error: OSError) -> bool:
    """Return True if Windows reports that another program has the file open.

    Other systems never do.
    """
    return getattr(error, "winerror", None) in IN_USE_WINERRORS


def append_jsonl(path: Path, *values: object) -> None:
    """Append each value as a JSON line and flush the file to the disk once.

    End an incomplete last line first, which a killed process may have left.
    """
    with disk_errors_as_resource_error(path), path.open("ab+") as file:
        size = file.seek(0, os.SEEK_END)
        incomplete = False
        if size:
            file.seek(size - 1)
            incomplete = file.read(1) != b"\n"
        file.write(
            (b"\n" if incomplete else b"")
            + b"".join(_to_json(value).encode() + b"\n" for value in values)
        )
        _fsync(file)
        if not size:
            fsync_folder(path.parent)


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read the records of a JSON-lines file; none if it is absent, without incomplete lines."""
    if not path.exists():
        return []
    records = []
    for line in path.read_bytes().splitlines():
        with contextlib.suppress(ValueError):
            record = json.loads(line)
            if isinstance(record, dict):
                records.append(record)
    return records


def read_json(path: Path, max_bytes: int = MAX_BYTES) -> Any:
    """Read the value of a JSON file. Raises InputError when it is absent, too large or not JSON."""
    try:
        return json.loads(read_text(path, max_bytes))
    except (ValueError, RecursionError) as error:
        raise input_error(str(path), f"not JSON: {error}", "restore the file from a copy") from None


def read_text(path: Path, max_bytes: int = MAX_BYTES) -> str:
    """Read a text file in UTF-8. Raises InputError when it is absent, too large or not UTF-8."""
    try:
        with retry_while_in_use(lambda: path.open("rb")) as file:
            content = file.read(
                max_bytes + 1
            )  # limits the bytes that are read, since a device file has no size
        if len(content) > max_bytes:
            raise input_error(
                str(path),
                f"larger than {max_bytes:,} bytes",
                f"give a text file of at most {max_bytes:,} bytes",
            )
        return content.decode()
    except UnicodeDecodeError:
        raise input_error(str(path), "not text in UTF-8", "save it as UTF-8") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise input_error(
            str(path), f"cannot be read: {reason}", "give the path of a file that exists"
        ) from None


def short_hash(*parts: str) -> str:
    """Return eight digits of the SHA-256 of some texts, for the name of a file."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_sha256(value: object) -> str:
    """Return the SHA-256 of a value as JSON, with the keys of its tables in order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@contextlib.contextmanager
def try_lock(path: Path) -> Iterator[bool]:
    """Acquire the file lock `path` for the `with` block. Yields False if another process has it.

    The lock is flock on Linux and macOS and LockFileEx on Windows, so the system releases it when a
    process dies. The existence of a lock file means nothing, because the file of a killed process
    would remain.
    """
    # filelock.FileLock would fall back to the existence of the file where flock is missing.
    from filelock import lock_descriptor, unlock_descriptor  # its import takes 20 ms

    with path.open("ab") as file:
        acquired = lock_descriptor(file.fileno(), blocking=False)
        try:
            yield acquired
        finally:
            if acquired:
                unlock_descriptor(file.fileno())


def is_locked(path: Path) -> bool:
    """Return True if a process has the lock `path` now."""
    if not path.exists():
        return False
    with try_lock(path) as acquired:
        return not acquired


def fsync_folder(folder: Path) -> None:
    """Flush the directory `folder` to the disk: a rename is durable only after that.

    Windows cannot open a directory and raises PermissionError; there NTFS records renames in its
    journal.
    """
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def shorten_name(name: str, max_bytes: int = 100) -> str:
    """Return the beginning of a file's name: systems limit its bytes, and not its letters."""
    return os.fsencode(name)[:max_bytes].decode(errors="ignore")


@contextlib.contextmanager
def _temporary_file(path: Path, mode: str) -> Iterator[tuple[IO[Any], str]]:
    with disk_errors_as_resource_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # tempfile ignores the umask: its files cannot be read by other users of a group.
        name = str(path.parent / f".{shorten_name(path.name)}.{secrets.token_hex(8)}.part")
        try:
            # Text has the same bytes on every system. A binary file is opened for reading too:
            # numpy writes to others in C, and then reports a full disk without its error number.
            options = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
            with open(name, "x+b" if "b" in mode else "x", **options) as file:  # type: ignore[call-overload]  # noqa: PTH123
                yield file, name
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)  # noqa: PTH108


@contextlib.contextmanager
def disk_errors_as_resource_error(path: Path) -> Iterator[None]:
    """Convert the error of a full or failing disk into a ResourceError that names `path`.

    Other errors pass unchanged.
    """
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL_ERRNOS:
            problem, fix = "the disk is full", "free some space, then give the same command again"
        elif error.errno == errno.EIO:
            problem = "the disk reports an input/output error"
            fix = "check the disk, then give the same command again"
        else:
            raise
        complete = "files that were there before are complete"
        raise ResourceError(Problem(str(path), f"{problem}; {complete}", fix)) from error


def _to_json(value: object, indent: int | None = None) -> str:
    """Encode `value` as standard JSON in UTF-8: a number that is not finite becomes null.

    Bytes of a file name that are not UTF-8 survive the round trip.
    """
    try:
        text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    except ValueError:  # NaN or infinity, which standard JSON lacks
        text = json.dumps(_without_nan(value), indent=indent, ensure_ascii=False, allow_nan=False)
    return text.encode(errors="backslashreplace").decode()  # \udcff is an escape of JSON too


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _fsync(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())
