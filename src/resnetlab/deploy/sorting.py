"""Sorting of photographs into a folder for each predicted class, with a list to undo it.

Nothing is moved or replaced: the photographs are copied or linked. Free of torch.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from resnetlab.deploy.answer_texts import AnswerKind
from resnetlab.errors import first_line, input_error
from resnetlab.files import (
    MAX_GENERATED_BYTES,
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


def check_sort_folder(folder: Path, inputs: Sequence[Path]) -> None:
    """Raise InputError for a file in place of a folder, or a folder that lies in an input."""
    if folder.exists() and not folder.is_dir():
        raise input_error("--sort-into", "not a folder", "give a new folder", got=folder)
    inside = folder.resolve()
    for path in inputs:
        if path.is_dir() and inside.is_relative_to(path.resolve()):
            message = f"lies in {path}, whose photographs would then be read twice"
            raise input_error("--sort-into", message, "give a folder elsewhere", got=folder)


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
            target = folder / name / f"{source.stem}-{number}{source.suffix}"
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


def write_sorted(planned: Sequence[SortedPhoto], folder: Path, mode: SortMode) -> int:
    """Copy or link the photographs and extend the undo list; return the number of new files.

    Each file stands in the list before it is written, so that an interrupted sorting can be undone.
    A file that is there already, with the same content, is left as it is.

    Raises:
        InputError: A photograph cannot be linked.
        ResourceError: The disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    new = [item for item in planned if not os.path.lexists(item.target)]
    undo_path = folder / UNDO_FILE
    with disk_errors_as_resource_error(folder), undo_path.open("a", encoding="utf-8") as undo:
        for item in new:
            path = item.target.relative_to(folder).as_posix()
            entry = {"path": path, "mode": mode, "sha256": sha256(item.source)}
            undo.write(json.dumps(entry) + "\n")
            undo.flush()
            item.target.parent.mkdir(exist_ok=True)
            _put(item, mode)
    return len(new)


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
    entries = list(_undo_entries(undo))
    for path, mode, digest in entries:
        if not os.path.lexists(path):
            continue
        is_link = path.is_symlink()
        if is_link != (mode == "link") or (not is_link and sha256(path) != digest):
            changed.append(path)
            continue
        path.unlink()
        removed += 1
    if not changed:
        undo.unlink()
    for parent in (*{path.parent for path, _, _ in entries}, folder):
        if parent.is_dir() and not any(parent.iterdir()):
            parent.rmdir()
    return removed, changed


def _undo_entries(undo: Path) -> Iterator[tuple[Path, str, str]]:
    """Yield path, mode and SHA-256 of each file of the list, whose last line may be incomplete."""
    for line in read_text(undo, MAX_GENERATED_BYTES).splitlines():
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


def _put(item: SortedPhoto, mode: SortMode) -> None:
    if mode == "link":
        try:
            source = os.path.relpath(item.source.resolve(), item.target.parent.resolve())
            item.target.symlink_to(source)
        except (OSError, ValueError) as error:  # Windows: no right to, or another drive
            message = f"cannot be linked: {first_line(error)}"
            raise input_error(str(item.source), message, "--sort-mode copy") from None
        return
    with atomic_write(item.target, "wb") as file:
        file.write(item.source.read_bytes())
    shutil.copystat(item.source, item.target)


def _is_other_file(target: Path, source: Path) -> bool:
    """Return True if `target` exists and is neither a copy of `source` nor a link to it."""
    if not os.path.lexists(target):
        return False
    if target.is_symlink():
        return target.resolve() != source.resolve()
    same_size = target.is_file() and target.stat().st_size == source.stat().st_size
    return not same_size or target.read_bytes() != source.read_bytes()
