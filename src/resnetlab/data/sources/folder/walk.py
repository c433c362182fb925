"""Walk through a folder: all its files and folders, with links followed only as far as allowed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from resnetlab.data.config import FollowLinks
from resnetlab.data.sources.folder.types import FOLLOW_HINT, LAYOUT_HINT, ScannedFile
from resnetlab.errors import InputError, Problem, input_error
from resnetlab.shell import command_line

MAX_DEPTH = 32
MAX_FILES = 20_000_000

LINK = "a link"
"""Reason for which a link is not used."""


@dataclass(frozen=True)
class _Folder:
    """Folder that is still to be listed: its path below the root, and where it really is."""

    path: str
    real: str
    """Real path, if links are followed."""
    chain: tuple[str, ...]
    """Real paths of the folders on the way to it that a link entered."""


def walk(root: Path, follow_links: FollowLinks = "no") -> tuple[list[ScannedFile], set[str]]:
    """Return all files under `root` and all folders, by their paths below it.

    Args:
        root: Folder to list.
        follow_links: `no` lists a link as a file that is not used; `inside` follows links to what
            is below `root`; `anywhere` follows every link.

    Raises:
        InputError: The folder cannot be read, or is too deep; or a link that is to be followed
            leaves the folder, leads nowhere, or leads back to a folder that contains it.
    """
    entries: list[ScannedFile] = []
    folders: set[str] = set()
    problems: list[Problem] = []
    real_root = os.path.realpath(root)
    pending = [_Folder("", real_root, (real_root,))]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(root / folder.path) as entries_in_folder:
                children = list(entries_in_folder)
        except OSError as error:
            if not folder.path:
                raise _root_error(root, error) from error
            entries.append(ScannedFile(folder.path, _unreadable(error)))
            continue
        for child in children:
            path = f"{folder.path}/{child.name}" if folder.path else child.name
            if is_folder(child):
                folders.add(path)
                pending.append(_Folder(path, f"{folder.real}/{child.name}", folder.chain))
            elif not is_link(child):
                entries.append(ScannedFile(path, _entry_skip_reason(child)))
            elif follow_links == "no" or child.name.startswith("."):
                entries.append(ScannedFile(path, LINK, links_to_folder=_leads_to_folder(child)))
            else:
                target = os.path.realpath(child.path)
                problem = _link_problem(target, folder, real_root, follow_links)
                if problem:
                    message, fix = problem
                    problems.append(Problem(f"{root}/{path}", message, fix, got=target))
                elif os.path.isdir(target):  # noqa: PTH112
                    folders.add(path)
                    pending.append(_Folder(path, target, (*folder.chain, folder.real, target)))
                else:
                    entries.append(ScannedFile(path, _target_skip_reason(target)))
        if folder.path.count("/") >= MAX_DEPTH or len(entries) > MAX_FILES:
            raise input_error(
                str(root),
                f"deeper than {MAX_DEPTH} folders, or over {MAX_FILES:,} files",
                LAYOUT_HINT,
            )
    if problems:
        raise InputError(*sorted(problems, key=lambda problem: problem.where))
    return entries, folders


def _root_error(root: Path, error: OSError) -> InputError:
    """Return the error of a root that cannot be listed."""
    problem, fix = f"cannot be read: {error.strerror}", "give a folder you may read"
    if isinstance(error, FileNotFoundError):
        problem = "no such folder of photographs"
        fix = "a folder that exists; resnetlab data check and data show take the name of a data set"
    elif isinstance(error, NotADirectoryError):
        problem, fix = "is a file, not a folder of photographs", "give the folder of the images"
        if root.suffix == ".npz":
            fix = " or ".join(
                command_line(["resnetlab", "data", command, str(root)])
                for command in ("check", "show")
            )
    return input_error(str(root), problem, fix)


def is_folder(child: os.DirEntry[str]) -> bool:
    """Return True for a real folder: neither a link nor a junction of Windows."""
    return child.is_dir(follow_symlinks=False) and not _is_junction(child)


def is_link(child: os.DirEntry[str]) -> bool:
    """Return True for a link or a junction of Windows."""
    return child.is_symlink() or (child.is_dir(follow_symlinks=False) and _is_junction(child))


def linked_folders(entries: list[ScannedFile]) -> Iterator[str]:
    """Yield the paths of the links to folders that were not followed."""
    return (entry.path for entry in entries if entry.links_to_folder)


def _is_junction(child: os.DirEntry[str]) -> bool:
    if os.name != "nt":
        return False
    tag = getattr(child.stat(follow_symlinks=False), "st_reparse_tag", 0)
    return tag == getattr(stat, "IO_REPARSE_TAG_MOUNT_POINT", -1)


def _leads_to_folder(child: os.DirEntry[str]) -> bool:
    try:
        return child.is_dir()
    except OSError:  # a loop of links
        return False


def _link_problem(
    target: str, folder: _Folder, real_root: str, follow_links: FollowLinks
) -> tuple[str, str] | None:
    """Return the problem of a link in `folder` and its fix, or None if it can be followed."""
    if not os.path.exists(target):  # noqa: PTH110
        return "a link that leads nowhere, or in a circle", "correct or remove it"
    if any(_is_within(real, target) for real in (*folder.chain, folder.real)):
        return "a link to a folder that contains it, so that it has no end", "remove it"
    if follow_links == "inside" and not _is_within(target, real_root):
        return "a link that leaves the folder", f"put the file itself there, or {FOLLOW_HINT}"
    return None


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _entry_skip_reason(child: os.DirEntry[str]) -> str:
    try:
        mode = child.stat(follow_symlinks=False).st_mode
    except OSError as error:
        return _unreadable(error)
    return "" if stat.S_ISREG(mode) else "not a regular file"


def _target_skip_reason(target: str) -> str:
    return "" if os.path.isfile(target) else "not a regular file"  # noqa: PTH113


def _unreadable(error: OSError) -> str:
    return f"cannot be read: {(error.strerror or str(error)).lower()}"
