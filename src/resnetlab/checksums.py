"""SHA-256 of the files of a finished run or of a report, in `checksums.json` beside them.

A changed byte of a text file is still a valid file, so only a checksum shows it. A folder without
`checksums.json`, from an older version, is read as it is. Free of torch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from resnetlab.errors import InputError, Problem, input_error
from resnetlab.files import read_json, sha256, write_json

CHECKSUMS = "checksums.json"

RESTORE = (
    f"restore it from a copy; if you changed it on purpose, remove {CHECKSUMS} beside it, after "
    "which nothing notices a change"
)


def write_checksums(folder: Path, names: Iterable[str]) -> None:
    """Write the SHA-256 of those of the files `names` that exist."""
    hashes = {name: sha256(folder / name) for name in sorted(names) if (folder / name).is_file()}
    write_json(folder / CHECKSUMS, {"sha256": hashes})


def read_checksums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file by its name; none without `checksums.json`.

    Raises InputError if that file is not valid.
    """
    path = folder / CHECKSUMS
    if not path.exists():
        return {}
    table = read_json(path)
    hashes = table.get("sha256") if isinstance(table, dict) else None
    if not isinstance(hashes, dict) or not all(isinstance(item, str) for item in hashes.values()):
        raise input_error(str(path), "not a list of checksums", "restore it from a copy")
    return hashes


def changed_files(folder: Path, skipped: Iterable[str] = ()) -> Iterator[tuple[Path, str]]:
    """Yield each file that differs from its checksum, with a description; those in `skipped` are
    not read.
    """
    for name, expected in read_checksums(folder).items():
        path = folder / name
        if name in skipped:
            continue
        if not path.is_file():
            yield path, f"missing, although {CHECKSUMS} lists it"
        elif sha256(path) != expected:
            yield path, f"differs from its SHA-256 in {CHECKSUMS}"


def check_files(folder: Path, skipped: Iterable[str] = ()) -> None:
    """Raise InputError that names every file of `folder` that differs from its checksum."""
    problems = [
        Problem(str(path), message, RESTORE) for path, message in changed_files(folder, skipped)
    ]
    if problems:
        raise InputError(*problems)


def check_file(path: Path) -> None:
    """Raise InputError if `path` differs from its checksum."""
    check_named_files(path.parent, (path.name,))


def check_named_files(folder: Path, names: Iterable[str]) -> None:
    """Raise InputError for the first of the files `names` that differs from its checksum."""
    hashes = read_checksums(folder)
    for name in names:
        path = folder / name
        if name in hashes and path.is_file() and sha256(path) != hashes[name]:
            raise input_error(str(path), f"differs from its SHA-256 in {CHECKSUMS}", RESTORE)


def is_unchanged(folder: Path, name: str) -> bool:
    """Return True if a file equals its checksum, or is absent and has none."""
    expected, path = read_checksums(folder).get(name), folder / name
    return (sha256(path) if path.is_file() else None) == expected


def remove_checksum(folder: Path, name: str) -> None:
    """Remove the SHA-256 of a file that this program is about to change."""
    hashes = read_checksums(folder)
    hashes.pop(name, None)
    write_json(folder / CHECKSUMS, {"sha256": hashes})


def renew_checksum(folder: Path, name: str) -> None:
    """Write the present SHA-256 of a file, after this program changed it."""
    hashes = read_checksums(folder) | {name: sha256(folder / name)}
    write_json(folder / CHECKSUMS, {"sha256": hashes})


@contextlib.contextmanager
def renewed_checksum(folder: Path, name: str, replaced: bool = False) -> Iterator[None]:
    """Renew the checksum of a file of `folder` that the `with` block writes, if it had not changed
    before or is `replaced`.

    An unfinished run has no checksums.
    """
    exists = (folder / CHECKSUMS).exists()
    renew = exists and (replaced or is_unchanged(folder, name))
    if renew:  # a reader, or a kill, between the two writes finds no wrong checksum
        remove_checksum(folder, name)
    yield
    if renew:
        renew_checksum(folder, name)
