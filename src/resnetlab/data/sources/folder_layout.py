"""Folder layout: every file gets a class, or a reason why it is not used. Opens no image.

Three layouts: `train/CLASS/*` beside `test/CLASS/*` (and a validation folder), `CLASS/*`, or
`labels.csv`. Links are never followed. Names stay as the system gives them, so a name that is not
UTF-8 still finds its file.
"""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from resnetlab.data.config import Split
from resnetlab.data.sources.folder_types import (
    LABELS_FILE,
    SPLIT_ALIASES,
    LabeledFile,
    ScannedFile,
    SkippedFile,
)
from resnetlab.data.sources.labels_csv import read_labels
from resnetlab.errors import InputError, Problem, input_error
from resnetlab.shell import command_line

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".gif")
UNSUPPORTED_SUFFIXES = (
    ".tif",
    ".tiff",
    ".heic",
    ".heif",
    ".avif",
    ".jp2",
    ".jxl",
    ".ppm",
    ".pgm",
    ".tga",
    ".ico",
    ".psd",
    ".eps",
)
"""File name suffixes of image formats that cannot be read. Such files are reported as bad files."""

Layout = Literal["splits", "classes", "labels"]
"""Layout of a folder of images: `train/CLASS/*`, `CLASS/*`, or `labels.csv`."""

SYSTEM_FILES = ("thumbs.db", "desktop.ini", "icon\r")
MAX_DEPTH = 32
MAX_FILES = 20_000_000

LAYOUT_HINT = (
    "lay it out as FOLDER/train/CLASS/*.jpg and FOLDER/test/CLASS/*.jpg, or as FOLDER/CLASS/*.jpg"
)


@dataclass(frozen=True)
class FolderListing:
    """Listing of every file under `root`, by relative path with `/` between the parts, sorted."""

    root: Path
    layout: Layout
    classes: tuple[str, ...]
    files: tuple[LabeledFile, ...]
    skipped: tuple[SkippedFile, ...]

    def empty_class_problem(self, label: str, bad: Iterable[str]) -> Problem:
        """Return the error for a class without a usable train image; it names the skipped files."""
        if self.layout == "labels":
            problem = f'no usable train image of class "{label}"'
            return Problem(
                f"{self.root}/{LABELS_FILE}", problem, "add train images of it, or remove its rows"
            )
        folder = f"train/{label}" if self.layout == "splits" else label
        skipped = sorted(
            {
                f'{item.reason} "{_child_name(item.path, folder)}"'
                for item in self._skipped_in(folder)
            }
        )
        broken = [path for path in bad if path.startswith(folder + "/")]
        if broken:
            skipped.append(f"{len(broken)} bad")
        problem = "0 images" + (f" ({', '.join(skipped[:5])} skipped)" if skipped else "")
        return Problem(f"{self.root}/{folder}", problem, "add images or remove the folder")

    def _skipped_in(self, folder: str) -> list[SkippedFile]:
        return [item for item in self.skipped if item.path.startswith(folder + "/")]


def list_folder(root: Path) -> FolderListing:
    """Give every file of `root` a class or a reason.

    Raises InputError when the folder has no known layout.
    """
    entries, folders = walk(root)
    if any(entry.path == LABELS_FILE and not entry.skip_reason for entry in entries):
        layout: Layout = "labels"
        files, passed = read_labels(root, entries)
        classes = sorted({file.label for file in files})
    else:
        visible = sorted(
            folder for folder in folders if "/" not in folder and not folder.startswith(".")
        )
        splits = _split_folders(root, visible, folders)
        classes, problems = _find_classes(root, folders, splits)
        if problems:
            raise InputError(*problems)
        layout = "splits" if splits else "classes"
        files, passed = _assign_classes(entries, splits)
    _check_classes(root, classes)
    ordered = tuple(sorted(files, key=lambda file: file.path))
    return FolderListing(
        root, layout, tuple(classes), ordered, tuple(sorted(passed, key=lambda item: item.path))
    )


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


def walk(root: Path) -> tuple[list[ScannedFile], set[str]]:
    """Return all files under `root` and all folders, by their paths below it. Raises InputError."""
    entries: list[ScannedFile] = []
    folders: set[str] = set()
    pending = [""]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(root / folder) as entries_in_folder:
                children = list(entries_in_folder)
        except OSError as error:
            if not folder:
                raise _root_error(root, error) from error
            entries.append(
                ScannedFile(folder, f"cannot be read: {(error.strerror or str(error)).lower()}")
            )
            continue
        for child in children:
            path = f"{folder}/{child.name}" if folder else child.name
            if is_folder(child):
                folders.add(path)
                pending.append(path)
            else:
                entries.append(ScannedFile(path, _entry_skip_reason(child)))
        if folder.count("/") >= MAX_DEPTH or len(entries) > MAX_FILES:
            raise input_error(
                str(root),
                f"deeper than {MAX_DEPTH} folders, or over {MAX_FILES:,} files",
                LAYOUT_HINT,
            )
    return entries, folders


def is_folder(child: os.DirEntry[str]) -> bool:
    """Return True for a real folder: neither a link nor a junction of Windows."""
    return child.is_dir(follow_symlinks=False) and not _is_junction(child)


def _is_junction(child: os.DirEntry[str]) -> bool:
    if os.name != "nt":
        return False
    tag = getattr(child.stat(follow_symlinks=False), "st_reparse_tag", 0)
    return tag == getattr(stat, "IO_REPARSE_TAG_MOUNT_POINT", -1)


def _entry_skip_reason(child: os.DirEntry[str]) -> str:
    if child.is_symlink() or (child.is_dir(follow_symlinks=False) and _is_junction(child)):
        return "a link"
    try:
        return (
            "" if stat.S_ISREG(child.stat(follow_symlinks=False).st_mode) else "not a regular file"
        )
    except OSError as error:
        return f"cannot be read: {(error.strerror or str(error)).lower()}"


def _split_folders(root: Path, visible: list[str], folders: set[str]) -> dict[str, Split]:
    """Return the folders that are splits, or none when the folders of `root` are classes."""
    if not visible:
        raise input_error(str(root), "no folders of images in it", LAYOUT_HINT)
    named_splits = {name: SPLIT_ALIASES[name] for name in visible if name in SPLIT_ALIASES}
    has_classes = {
        name
        for name in named_splits
        if any(_parent(folder) == name and not _is_hidden(folder) for folder in folders)
    }
    if not has_classes and len(named_splits) < len(visible):
        return {}  # folders of classes, one of which may be named train
    if "train" not in has_classes:
        raise input_error(
            f"{root}/train", "no folders of classes in it (links are not followed)", LAYOUT_HINT
        )
    spellings = [name for name, split in named_splits.items() if split == "validation"]
    if len(spellings) > 1:
        raise input_error(
            str(root), f"two validation splits: {', '.join(spellings)}", "keep one of them"
        )
    return named_splits


def _find_classes(
    root: Path, folders: set[str], splits: dict[str, Split]
) -> tuple[list[str], list[Problem]]:
    """Return the class names, sorted, and a problem for each class that is not in train."""
    if not splits:
        return sorted(
            folder for folder in folders if "/" not in folder and not _is_hidden(folder)
        ), []
    by_split = defaultdict(set)
    for folder in folders:
        if folder.count("/") == 1 and not _is_hidden(folder):
            by_split[_parent(folder)].add(folder.split("/")[1])
    fix = "add train images of it, or remove it"
    untrained = [
        (name, label) for name in splits for label in sorted(by_split[name] - by_split["train"])
    ]
    problems = [
        Problem(f"{root}/{name}/{label}", "a class that is not in train", fix)
        for name, label in untrained
    ]
    return sorted(by_split["train"]), problems


def _assign_classes(
    entries: list[ScannedFile], splits: dict[str, Split]
) -> tuple[list[LabeledFile], list[SkippedFile]]:
    files, passed = [], []
    depth = 2 if splits else 1
    for entry in entries:
        parts = entry.path.split("/")
        reason = _skip_reason(entry, parts, depth, splits)
        if reason:
            passed.append(SkippedFile(entry.path, reason))
        else:
            files.append(
                LabeledFile(entry.path, parts[depth - 1], splits[parts[0]] if splits else None)
            )
    return files, passed


def _skip_reason(entry: ScannedFile, parts: list[str], depth: int, splits: dict[str, Split]) -> str:
    """Return the reason why a file cannot be an image, or "" if it can."""
    if _is_hidden(entry.path):
        return "hidden"
    if entry.skip_reason:
        return entry.skip_reason
    if parts[-1].lower() in SYSTEM_FILES:
        return "system file"
    if splits and parts[0] not in splits:
        return "outside train, validation and test"
    if len(parts) != depth + 1:
        return "not directly in a class's folder"
    if parts[-1].lower().endswith(IMAGE_SUFFIXES + UNSUPPORTED_SUFFIXES):
        return ""
    return "not an image by its name"


def _check_classes(root: Path, classes: list[str]) -> None:
    by_folded_name = defaultdict(list)
    for name in classes:
        by_folded_name[name.casefold()].append(name)
    problems = [
        Problem(
            str(root),
            f"classes whose names differ in case only: {', '.join(names)}",
            "rename or merge them",
        )
        for names in by_folded_name.values()
        if len(names) > 1
    ]
    problems += [
        Problem(f"{root}/{name}", "a class name that is not UTF-8", "rename the folder")
        for name in classes
        if not _is_text(name)
    ]
    if len(classes) < 2:
        class_names = ", ".join(classes) or "none"
        problems.append(Problem(str(root), "fewer than two classes", LAYOUT_HINT, got=class_names))
    if problems:
        raise InputError(*problems)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # undecodable bytes, kept as lone surrogates
        return False
    return True


def _is_hidden(path: str) -> bool:
    return any(part.startswith(".") for part in path.split("/"))


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _child_name(path: str, folder: str) -> str:
    """Return the first part of `path` below `folder`."""
    return path.removeprefix(folder + "/").split("/")[0]
