"""Checks of the paths that a command is to write, before its work. Imports nothing heavy."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from resnetlab.errors import InputError, input_error


def check_output_file(option: str, path: Path | None) -> None:
    """Raise InputError if there is a folder where a command is to write a file."""
    if path is not None and path.is_dir():
        fix = f"{option} with the name of a file"
        raise input_error(str(path), "is a folder, but a file is to be written", fix, field=option)


def check_output_folder(option: str, path: Path | None) -> None:
    """Raise InputError if there is a file where a command is to write a folder."""
    if path is not None and path.exists() and not path.is_dir():
        fix = f"{option} with the name of a folder, or remove the file"
        raise input_error(str(path), "is a file, but a folder is to be written", fix, field=option)


def explain_path_error(error: OSError) -> InputError | None:
    """Return the error of a path of the wrong kind, that may not be used or is too long.

    Returns None for every other error: its cause is not a path that the user gave.
    """
    name = error.filename2 or error.filename  # the second one is the target of a renaming
    if not isinstance(name, str | bytes):
        return None
    path = Path(os.fsdecode(name))
    if isinstance(error, IsADirectoryError):
        message, fix = "is a folder, but a file is needed there", "give the name of a file"
    elif isinstance(error, PermissionError):
        message, fix = "permission denied", "give a path that you may read and write"
    elif error.errno == errno.ENAMETOOLONG:
        message, fix = "its name is too long for this system", "give a shorter name"
    elif isinstance(error, NotADirectoryError | FileExistsError):
        file = next((part for part in (path, *path.parents) if part.is_file()), None)
        if file is None:
            return None
        path, message = file, "is a file, but a folder is needed there"
        fix = "give the name of a folder, or remove the file"
    else:
        return None
    return input_error(str(path), message, fix)
