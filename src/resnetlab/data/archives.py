"""Safe unpacking of downloaded archives: no links, no paths outside the folder, limits on sizes."""

from __future__ import annotations

import tarfile
import tempfile
from pathlib import Path, PureWindowsPath

from resnetlab.errors import InputError, input_error
from resnetlab.files import disk_errors_as_resource_error, retry_while_in_use

MAX_MEMBERS = 1_000_000
MAX_BYTES = 20_000_000_000
MAX_MEMBER_BYTES = 500_000_000
MAX_COMPRESSION_RATIO = 200
"""Maximum number of unpacked bytes per byte of the archive; photographs hardly compress."""


def unpack(archive: Path, target: Path, subfolder: str = "") -> None:
    """Unpack a tar file, compressed or not, as the new folder `target`, atomically.

    With `subfolder`, the archive's folder of that name becomes `target`.
    Raises InputError if the archive is damaged.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        disk_errors_as_resource_error(target),
        tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as name,
    ):
        unpacked = Path(name) / "unpacked"
        unpacked.mkdir()
        try:
            with tarfile.open(archive) as tar:
                _extract_members(tar, archive, unpacked)
        except (tarfile.TarError, EOFError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            fix = "remove it, and give the same command again"
            raise input_error(str(archive), f"not a complete tar file: {error}", fix) from None
        if not (unpacked / subfolder).is_dir():
            raise input_error(
                str(archive), f'has no folder "{subfolder}"', "get the archive from its source"
            )
        # A virus scanner may still have the new files open.
        retry_while_in_use(lambda: (unpacked / subfolder).rename(target))


def _extract_members(tar: tarfile.TarFile, archive: Path, target_root: Path) -> None:
    total, limit = 0, min(MAX_BYTES, max(1_000_000, MAX_COMPRESSION_RATIO * archive.stat().st_size))
    for count, member in enumerate(tar, 1):
        total += member.size
        if not (member.isreg() or member.isdir()):
            raise _unsafe_member_error(archive, member, "is a link or a device")
        # The filter `data` strips a leading slash, and looks for backslashes on Windows only.
        if PureWindowsPath(member.name).anchor or set(member.name) & set("\\\0"):
            raise _unsafe_member_error(archive, member, "leads out of its folder")
        if count > MAX_MEMBERS or member.size > MAX_MEMBER_BYTES or total > limit:
            raise _unsafe_member_error(
                archive, member, f"exceeds a limit ({count:,} members, {total:,} bytes)"
            )
        if member.isreg() and (target_root / member.name).exists():
            raise _unsafe_member_error(archive, member, "occurs twice")
        try:
            tar.extract(member, target_root, set_attrs=False, filter="data")
        except tarfile.FilterError:
            raise _unsafe_member_error(archive, member, "leads out of its folder") from None


def _unsafe_member_error(archive: Path, member: tarfile.TarInfo, problem: str) -> InputError:
    return input_error(
        f"{archive}: {member.name[:100]}",
        f"{problem}; nothing was unpacked",
        "get the archive from its source",
    )
