"""Sorting of photographs into a folder for each predicted class, with a list to undo it.

Nothing is moved or replaced: the photographs are copied or linked. Free of torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from resnetlab.data.paths import is_folder
from resnetlab.deploy.answer_texts import AnswerKind
from resnetlab.errors import InputError, Problem, first_line, input_error
from resnetlab.files import (
    MAX_GENERATED_BYTES,
    append_jsonl,
    atomic_write,
    disk_errors_as_resource_error,
    read_text,
    sha256,
    shorten_name,
)

SortMode = Literal["copy", "link"]
"""Way to put a photograph into the folder of its class."""

UNSURE = "_unsure"
"""Folder of photographs whose highest probability is below the limit, and of those whose prediction
set does not have one class.
"""

UNKNOWN = "_none_of_these"
"""Folder of photographs unlike the training photographs."""

UNDO_FILE = ".sorted.jsonl"
"""Name of the list of what was written, one JSON object per line, in the folder itself."""

MAX_NAME_BYTES = 255
"""Largest length of a file name in bytes on the usual file systems."""

MAX_SUFFIX_BYTES = 32
"""Length in bytes from which the end of a name after its last dot is no suffix."""

_GONE = (FileNotFoundError, NotADirectoryError)
"""Errors of a photograph that was removed or moved after its prediction."""

_WINDOWS_DEVICE = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f/\\:*?\"<>|]|^[. ]+|[. ]+$")


@dataclass(frozen=True)
class PhotoAnswer:
    """Answer of a model for the photograph `source`: the most probable class, and its kind."""

    source: Path
    label: str
    probability: float
    kind: AnswerKind = "class"


@dataclass(frozen=True)
class SortedPhoto:
    """Photograph with the folder of its class and its path there."""

    source: Path
    folder: str
    target: Path


@dataclass(frozen=True)
class SortingResult:
    """Result of `write_sorted`: numbers of files, and the photographs that no longer exist."""

    written: int
    present: int
    """Photographs that were in the folder of their class already."""
    missing: tuple[Path, ...]


def check_sort_folder(folder: Path, inputs: Sequence[Path]) -> None:
    """Raise InputError for a file in place of a folder, or a folder that lies in an input."""
    if not is_folder(folder) and folder.exists():
        raise input_error("--sort-into", "not a folder", "give a new folder", got=folder)
    inside = folder.resolve()
    for path in inputs:
        if is_folder(path) and inside.is_relative_to(path.resolve()):
            message = f"lies in {path}, whose photographs would then be read twice"
            raise input_error("--sort-into", message, "give a folder elsewhere", got=folder)


def check_class_folders(folder: Path, classes: Sequence[str]) -> None:
    """Raise InputError for a file in `folder` with the name of a folder that sorting needs.

    Args:
        folder: Folder to sort into.
        classes: Classes of the model.
    """
    problems = [
        Problem(str(path), "a file, but sorting needs a folder of this name", "move or rename it")
        for path in (folder / name for name in (*class_folders(classes).values(), UNSURE, UNKNOWN))
        if os.path.lexists(path) and not path.is_dir()
    ]
    if problems:
        raise InputError(*problems)


def plan_sorting(
    answers: Iterable[PhotoAnswer],
    classes: Sequence[str],
    folder: Path,
    min_probability: float,
) -> list[SortedPhoto]:
    """Return where each photograph goes. Files of one name get a number; no file is replaced.

    Args:
        answers: Answer of the model for each photograph.
        classes: Classes of the model.
        folder: Folder to sort into.
        min_probability: Photographs below it go into the folder `_unsure`, as do those with a
            prediction set of several classes or of none. Photographs unlike the training
            photographs go into `_none_of_these`.
    """
    folders = class_folders(classes)
    taken: set[str] = set()
    planned: list[SortedPhoto] = []
    for answer in answers:
        source, name = answer.source, UNSURE
        if answer.kind == "none of these":
            name = UNKNOWN
        elif answer.kind == "class" and answer.probability >= min_probability:
            name = folders[answer.label]
        target, number = folder / name / source.name, 1
        while str(target).casefold() in taken or _is_other_file(target, source):
            number += 1
            target = folder / name / _numbered_name(source.name, number)
        taken.add(str(target).casefold())
        planned.append(SortedPhoto(source, name, target))
    return planned


def class_folders(classes: Sequence[str]) -> dict[str, str]:
    """Map each class to the name of its folder: itself where every system allows that name."""
    names: dict[str, str] = {}
    taken = {UNSURE, UNKNOWN}
    for label in classes:
        plain = name = shorten_name(_UNSAFE.sub("_", label)) or "_"
        if _WINDOWS_DEVICE.fullmatch(name):
            plain = name = f"_{name}"
        number = 1
        while name.casefold() in taken:
            number += 1
            name = f"{plain}-{number}"
        taken.add(name.casefold())
        names[label] = name
    return names


def summarize(planned: Sequence[SortedPhoto]) -> list[tuple[str, int]]:
    """Return the number of photographs of each folder, the largest first."""
    return Counter(item.folder for item in planned).most_common()


def write_sorted(planned: Sequence[SortedPhoto], folder: Path, mode: SortMode) -> SortingResult:
    """Copy or link the photographs, extend the undo list, and return the numbers of files.

    Each file stands in the list before it is written, so that an interrupted sorting can be undone.
    A file that is there already, with the same content, is left as it is; but a link that an
    earlier sorting wrote is replaced by a copy in the mode `copy`. A photograph that does not exist
    any more is skipped.

    Raises:
        InputError: A photograph cannot be linked.
        ResourceError: The disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    undo = folder / UNDO_FILE
    written_links: set[Path] = set()
    if mode == "copy" and any(item.target.is_symlink() for item in planned) and undo.is_file():
        written_links = {path for path, kind, _ in _undo_entries(undo) if kind == "link"}
    written, missing = 0, list[Path]()
    new = [
        item
        for item in planned
        if not os.path.lexists(item.target)
        or (item.target.is_symlink() and item.target in written_links)
    ]
    with disk_errors_as_resource_error(folder):
        for item in new:
            try:
                content = item.source.read_bytes()
            except _GONE:
                missing.append(item.source)
                continue
            path = item.target.relative_to(folder).as_posix()
            digest = hashlib.sha256(content).hexdigest()
            append_jsonl(undo, {"path": path, "mode": mode, "sha256": digest})
            item.target.parent.mkdir(exist_ok=True)
            _put(item, mode, content)
            written += 1
    return SortingResult(written, len(planned) - len(new), tuple(missing))


def undo_sorting(folder: Path) -> tuple[int, list[Path]]:
    """Remove what `write_sorted` wrote; return the number of files and those that changed since.

    Files that changed or were added stay, and so do their folders. Raises InputError if the folder
    has no list, or one that names a file elsewhere.
    """
    undo = folder / UNDO_FILE
    if not undo.is_file():
        raise input_error(str(folder), f"has no {UNDO_FILE}", "give a folder of --sort-into")
    changed: list[Path] = []
    removed = 0
    # A photograph of the same name may have been sorted again later: each entry is one state that
    # a sorting wrote.
    states: dict[Path, set[tuple[str, str]]] = {}
    for path, mode, digest in _undo_entries(undo):
        states.setdefault(path, set()).add((mode, digest))
    for path, written in states.items():
        if not os.path.lexists(path):
            continue
        if path.is_symlink():
            is_unchanged = any(mode == "link" for mode, _ in written)
        else:
            is_unchanged = path.is_file() and ("copy", sha256(path)) in written
        if not is_unchanged:
            changed.append(path)
            continue
        path.unlink()
        removed += 1
    if not changed:
        undo.unlink()
    for parent in (*{path.parent for path in states}, folder):
        if parent.is_dir() and not any(parent.iterdir()):
            parent.rmdir()
    return removed, changed


def _undo_entries(undo: Path) -> Iterator[tuple[Path, str, str]]:
    """Yield path, mode and SHA-256 of each file of the list, whose last line may be incomplete."""
    # Not splitlines(): the name of a file may contain U+2028, which is no end of a line here.
    for line in read_text(undo, MAX_GENERATED_BYTES).split("\n"):
        try:
            entry = json.loads(line)
            parts, mode = str(entry["path"]).split("/"), str(entry["mode"])
            digest = str(entry["sha256"])
        except (ValueError, KeyError, TypeError):
            continue
        path = undo.parent.joinpath(*parts)
        if len(parts) != 2 or {"", ".", ".."} & set(parts) or path.parent.is_symlink():
            fix = "remove the files by hand"
            raise input_error(str(undo), "names a file that no sorting wrote", fix, got=line[:80])
        yield path, mode, digest


def _put(item: SortedPhoto, mode: SortMode, content: bytes) -> None:
    """Write the photograph, whose bytes are `content`, as a copy or as a link to its file."""
    if mode == "link":
        try:
            source = os.path.relpath(item.source.resolve(), item.target.parent.resolve())
            item.target.symlink_to(source)
        except (OSError, ValueError) as error:  # Windows: no right to, or another drive
            message = f"cannot be linked: {first_line(error)}"
            raise input_error(str(item.source), message, "--sort-mode copy") from None
        return
    with atomic_write(item.target, "wb") as file:
        file.write(content)
    with contextlib.suppress(*_GONE):
        shutil.copystat(item.source, item.target)


def _numbered_name(name: str, number: int) -> str:
    """Return the name of a photograph with a number before its suffix, short enough for a file."""
    stem, suffix = os.path.splitext(name)  # noqa: PTH122
    if len(os.fsencode(suffix)) > MAX_SUFFIX_BYTES:
        stem, suffix = name, ""
    end = f"-{number}{suffix}"
    room = MAX_NAME_BYTES - len(os.fsencode(end))
    if len(os.fsencode(stem)) > room:
        stem = shorten_name(stem, room)
    return stem + end


def _is_other_file(target: Path, source: Path) -> bool:
    """Return True if `target` exists and is neither a copy of `source` nor a link to it.

    A photograph that does not exist any more has no copy.
    """
    if not os.path.lexists(target):
        return False
    if target.is_symlink():
        return target.resolve() != source.resolve()
    try:
        same_size = target.is_file() and target.stat().st_size == source.stat().st_size
        return not same_size or target.read_bytes() != source.read_bytes()
    except _GONE:
        return True
