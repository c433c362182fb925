"""Safe unpacking of downloaded archives: no links, no paths outside the folder, and limits on every
size.
"""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from pathlib import Path, PurePosixPath, PureWindowsPath

from resnetlab.errors import InputError, mistake
from resnetlab.files import full_disk, patiently

MAX_MEMBERS = 1_000_000
MAX_BYTES = 20_000_000_000
MAX_MEMBER_BYTES = 500_000_000
MAX_RATIO = 200
"""Maximum number of unpacked bytes per byte of the archive; photographs hardly compress."""


def unpack(archive: Path, into: Path, top: str = "") -> None:
    """Unpack a tar file, compressed or not, as the new folder `into`, atomically.

    With `top`, the archive's folder of that name becomes `into`. Raises InputError.
    """
    into.parent.mkdir(parents=True, exist_ok=True)
    with (
        full_disk(into),
        tempfile.TemporaryDirectory(dir=into.parent, prefix=f".{into.name}-") as name,
    ):
        unpacked = Path(name) / "unpacked"
        unpacked.mkdir()
        try:
            with tarfile.open(archive) as tar:
                _unpack(tar, archive, unpacked)
        except (tarfile.TarError, EOFError, OSError) as error:
            if (
                isinstance(error, OSError)
                and not isinstance(error, EOFError)
                and error.errno is not None
            ):
                raise
            fix = "remove it, and give the same command again"
            raise mistake(str(archive), f"not a whole tar file: {error}", fix) from None
        if not (unpacked / top).is_dir():
            raise mistake(str(archive), f'has no folder "{top}"', "get the archive from its source")
        patiently(
            lambda: (unpacked / top).rename(into)
        )  # a virus scanner may still have new files open


def _unpack(tar: tarfile.TarFile, archive: Path, target_root: Path) -> None:
    total, limit = 0, min(MAX_BYTES, max(1_000_000, MAX_RATIO * archive.stat().st_size))
    for count, member in enumerate(tar, 1):
        path = PurePosixPath(member.name)
        total += member.size
        is_absolute = path.is_absolute() or PureWindowsPath(member.name).drive
        if is_absolute or ".." in path.parts or "\\" in member.name or "\0" in member.name:
            raise _refused(archive, member, "leads out of its folder")
        if not (member.isreg() or member.isdir()):
            raise _refused(archive, member, "is a link or a device")
        if count > MAX_MEMBERS or member.size > MAX_MEMBER_BYTES or total > limit:
            raise _refused(
                archive, member, f"goes over a bound ({count:,} members, {total:,} bytes)"
            )
        target = target_root / path
        if member.isdir():
            target.mkdir(parents=True, exist_ok=True)
            continue
        content = tar.extractfile(member)
        if content is None or target.exists():
            raise _refused(archive, member, "is there twice")
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            shutil.copyfileobj(content, file)


def _refused(archive: Path, member: tarfile.TarInfo, problem: str) -> InputError:
    return mistake(
        f"{archive}: {member.name[:100]}",
        f"{problem}; nothing was unpacked",
        "get the archive from its source",
    )
