"""Pictures that a command writes."""

from __future__ import annotations

from pathlib import Path

from resnetlab.cli.common import notify
from resnetlab.errors import input_error


def write_picture(path: Path, picture: str | bytes) -> None:
    """Write the text of an SVG or the bytes of a PNG, and print the path.

    Raises InputError if the path is a folder.
    """
    from resnetlab.files import atomic_write

    if path.is_dir():
        raise input_error(str(path), "is a folder", "name a file in it")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, "wb") as file:
        file.write(picture.encode() if isinstance(picture, str) else picture)
    notify(f"wrote {path}")
