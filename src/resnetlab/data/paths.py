"""Paths that a user gives: folders that may not be readable, and names that are not UTF-8."""

from __future__ import annotations

from pathlib import Path

from resnetlab.errors import input_error


def is_folder(path: Path | str) -> bool:
    """Return True if `path` is a folder, and False if it is a file or does not exist.

    Raises InputError if the system cannot tell: a folder above it may not be read, or its name is
    too long.
    """
    try:
        return Path(path).is_dir()
    except OSError as error:
        message = f"cannot be read: {(error.strerror or str(error)).lower()}"
        raise input_error(str(path), message, "give a path that you may read") from None


def escape_undecodable(text: str) -> str:
    r"""Escape bytes of file names that are not UTF-8: `\udce9` for the byte E9.

    Python represents such bytes by lone surrogates, which no text in UTF-8 can contain.
    """
    return text.encode(errors="backslashreplace").decode()
