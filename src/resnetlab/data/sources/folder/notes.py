"""Notes for the user on what the layout of a folder does not use, and on names it understood."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from resnetlab.data.class_names import normalize_name
from resnetlab.data.config import Split
from resnetlab.data.sources.folder.tree import FolderTree, has_image_suffix, is_hidden, leaf, parent
from resnetlab.data.sources.folder.types import LabeledFile, SkippedFile

NOT_DIRECTLY = "not directly in a class's folder"
"""Reason for skipping a file in a sub-folder of a class, or in no class."""

MAX_NESTED_NOTES = 5
"""Number of classes with images in sub-folders that have a note each."""


def layout_notes(
    tree: FolderTree,
    splits: dict[str, Split],
    unlabeled: set[str],
    labels: Mapping[str, str],
) -> list[str]:
    """Return notes on what the layout does not use, and on names that were understood."""
    notes = []
    images = Counter(
        entry.path.split("/")[0]
        for entry in tree.entries
        if not is_hidden(entry.path) and not entry.skip_reason and has_image_suffix(entry.path)
    )
    for name in sorted(unlabeled):
        if images[name]:
            notes.append(
                f"{tree.root}/{name} has {images[name]:,} images in no folder of a class: nothing "
                f"is computed from them; resnetlab predict MODEL {tree.root}/{name} labels them"
            )
    inside = [f"{name}/{label}" for name in splits for label in tree.classes_in(name)]
    empty = [path for path in (inside if splits else tree.top) if tree.is_empty(path)]
    if empty:
        listed = ", ".join(empty[:5]) + (", ..." if empty[5:] else "")
        notes.append(f"empty folders are not used: {listed}")
    beside = [name for name in tree.top if splits and name not in splits and images[name]]
    if beside:
        names = ", ".join(beside[:5]) + (", ..." if beside[5:] else "")
        count = sum(images[name] for name in beside)
        notes.append(f"not used, because no split has such a name: {names} ({count:,} images)")
    other_words = [name for name in splits if name.lower() == "dev"]
    notes += [f"{name} is used as the {splits[name]} split" for name in other_words]
    renamed = [(folder, label) for folder, label in labels.items() if leaf(folder) != label]
    if renamed:
        folder, label = renamed[0]
        more = f", and {len(renamed) - 1:,} more" if renamed[1:] else ""
        notes.append(f'{folder} is class "{label}": {name_note(leaf(folder), label)}{more}')
    return notes


def name_note(folder: str, label: str) -> str:
    """Return in which respect the name of a folder and of its class are the same."""
    if folder.strip() == label:
        return "spaces around names do not count"
    same_case = normalize_name(folder) == label
    return "names are compared in Unicode NFC" if same_case else "case does not count"


def nested_notes(
    files: Iterable[LabeledFile], skipped: Iterable[SkippedFile], labels: Mapping[str, str]
) -> list[str]:
    """Return a note for each class with images in sub-folders, which are not used."""
    used = Counter(file.label for file in files)
    nested = Counter(
        labels[folder]
        for item in skipped
        if item.reason == NOT_DIRECTLY and has_image_suffix(item.path)
        if (folder := class_folder(item.path, labels))
    )
    notes = [
        f'class "{label}": {count:,} of {count + used[label]:,} photographs lie in sub-folders and '
        "are not used; --nested takes them"
        for label, count in nested.most_common(MAX_NESTED_NOTES)
    ]
    if len(nested) > MAX_NESTED_NOTES:
        rest = len(nested) - MAX_NESTED_NOTES
        notes.append(f"{rest:,} more classes have photographs in sub-folders, which are not used")
    return notes


def class_folder(path: str, labels: Mapping[str, str]) -> str:
    """Return the folder of a class that contains `path`, at any depth, or "" if none does."""
    folder = parent(path)
    while folder and folder not in labels:
        folder = parent(folder)
    return folder
