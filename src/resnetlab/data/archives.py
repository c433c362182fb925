"""Safe unpacking of downloaded archives: no links, no paths outside the folder, and limits on every
size.
"""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from pathlib import Path, PurePosixPath, PureWindowsPath

from resnetlab.errors import InputError, input_error
from resnetlab.files import disk_full_as_error, retry_while_in_use

MAX_MEMBERS = 1_000_000
MAX_BYTES = 20_000_000_000
MAX_MEMBER_BYTES = 500_000_000
MAX_COMPRESSION_RATIO = 200
"""Maximum number of unpacked bytes per byte of the archive; photographs hardly compress."""


def unpack(archive: Path, target: Path, subfolder: str = "") -> None:
    """Unpack a tar file, compressed or not, as the new folder `into`, atomically.

    With `top`, the archive's folder of that name becomes `into`. Raises InputError.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        disk_full_as_error(target),
        tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as name,
    ):
        unpacked = Path(name) / "unpacked"
        unpacked.mkdir()
        try:
            with tarfile.open(archive) as tar:
                _extract_members(tar, archive, unpacked)
        except (tarfile.TarError, EOFError, OSError) as error:
            if (
                isinstance(error, OSError)
                and not isinstance(error, EOFError)
                and error.errno is not None
            ):
                raise
            fix = "remove it, and give the same command again"
            raise input_error(str(archive), f"not a whole tar file: {error}", fix) from None
        if not (unpacked / subfolder).is_dir():
            raise input_error(
                str(archive), f'has no folder "{subfolder}"', "get the archive from its source"
            )
        retry_while_in_use(
            lambda: (unpacked / subfolder).rename(target)
        )  # a virus scanner may still have new files open


def _extract_members(tar: tarfile.TarFile, archive: Path, target_root: Path) -> None:
    total, limit = 0, min(MAX_BYTES, max(1_000_000, MAX_COMPRESSION_RATIO * archive.stat().st_size))
    for count, member in enumerate(tar, 1):
        path = PurePosixPath(member.name)
        total += member.size
        is_absolute = path.is_absolute() or PureWindowsPath(member.name).drive
        if is_absolute or ".." in path.parts or "\\" in member.name or "\0" in member.name:
            raise _unsafe_member_error(archive, member, "leads out of its folder")
        if not (member.isreg() or member.isdir()):
            raise _unsafe_member_error(archive, member, "is a link or a device")
        if count > MAX_MEMBERS or member.size > MAX_MEMBER_BYTES or total > limit:
            raise _unsafe_member_error(
                archive, member, f"goes over a bound ({count:,} members, {total:,} bytes)"
            )
        target = target_root / path
        if member.isdir():
            target.mkdir(parents=True, exist_ok=True)
            continue
        content = tar.extractfile(member)
        if content is None or target.exists():
            raise _unsafe_member_error(archive, member, "is there twice")
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            shutil.copyfileobj(content, file)


def _unsafe_member_error(archive: Path, member: tarfile.TarInfo, problem: str) -> InputError:
    return input_error(
        f"{archive}: {member.name[:100]}",
        f"{problem}; nothing was unpacked",
        "get the archive from its source",
    )
