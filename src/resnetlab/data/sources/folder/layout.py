"""Folder layout: every file gets a class, or a reason why it is not used. Opens no image.

Three layouts: `train/CLASS/*` beside `test/CLASS/*` (and a validation folder), `CLASS/*`, or
`labels.csv`. Links are followed only if the user allows it. Paths stay as the system gives them, so
a name that is not UTF-8 still finds its file; names of classes are normalized (`class_names.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from resnetlab.data.class_names import (
    is_text,
    lookalike_problems,
    name_key,
    normalize_name,
    sort_classes,
    suggest_lookalike,
)
from resnetlab.data.config import DEFAULT_FOLDER_CHOICES, SPLITS, FolderChoices, Split
from resnetlab.data.sources.folder.find_tables import find_label_tables
from resnetlab.data.sources.folder.label_tables import (
    check_tables_agree,
    read_tables,
    takes_tables,
)
from resnetlab.data.sources.folder.notes import (
    NOT_DIRECTLY,
    class_folder,
    layout_notes,
    nested_notes,
)
from resnetlab.data.sources.folder.tree import (
    SYSTEM_FILES,
    FolderTree,
    child_name,
    has_image_suffix,
    is_hidden,
    leaf,
    parent,
)
from resnetlab.data.sources.folder.types import (
    FOLLOW_HINT,
    LABELS_FILE,
    LAYOUT_HINT,
    LabeledFile,
    ScannedFile,
    SkippedFile,
    split_of_image_folder,
    split_of_word,
)
from resnetlab.data.sources.folder.walk import LINK, linked_folders, walk
from resnetlab.errors import InputError, Problem, input_error

Layout = Literal["splits", "classes", "labels"]
"""Layout of a folder of images: `train/CLASS/*`, `CLASS/*`, or `labels.csv`."""

UNLABELED_NAMES = ("unknown", "unlabeled", "unlabelled", "images", "test", "all_classes")
"""Names of the one folder in a test split that stands for no class."""


@dataclass(frozen=True)
class FolderListing:
    """Listing of every file under `root`, by relative path with `/` between the parts, sorted."""

    root: Path
    layout: Layout
    classes: tuple[str, ...]
    files: tuple[LabeledFile, ...]
    skipped: tuple[SkippedFile, ...]
    notes: tuple[str, ...] = ()
    class_folders: Mapping[str, str] = field(default_factory=dict)
    """Folder of the train images of each class, by its path below the root."""
    tables: tuple[str, ...] = ()
    """Paths of the tables of labels that were read."""

    def empty_class_problem(self, label: str, bad: Iterable[str]) -> Problem:
        """Return the error for a class without a usable train image; it names the skipped files."""
        if self.layout == "labels":
            problem = f'no usable train image of class "{label}"'
            return Problem(
                f"{self.root}/{', '.join(self.tables)}",
                problem,
                "add train images of it, or remove its rows",
            )
        folder = self.class_folders.get(label, label)
        inside = [item for item in self.skipped if item.path.startswith(folder + "/")]
        skipped = sorted({f'{item.reason} "{child_name(item.path, folder)}"' for item in inside})
        broken = [path for path in bad if path.startswith(folder + "/")]
        if broken:
            skipped.append(f"{len(broken)} bad")
        problem = "0 images" + (f" ({', '.join(skipped[:5])} skipped)" if skipped else "")
        fix = "add images or remove the folder"
        if any(item.reason == NOT_DIRECTLY and has_image_suffix(item.path) for item in inside):
            fix = f"--nested takes the images in its sub-folders; or {fix}"
        if any(item.reason == LINK for item in inside):
            fix += f", or {FOLLOW_HINT}"
        return Problem(f"{self.root}/{folder}", problem, fix)


def list_folder(
    root: Path, folder_choices: FolderChoices = DEFAULT_FOLDER_CHOICES, *, for_training: bool = True
) -> FolderListing:
    """Give every file of `root` a class or a reason.

    Args:
        root: Folder of images.
        folder_choices: Choices of the user.
        for_training: Require a train split, and two classes or more. An evaluation needs neither.

    Raises:
        InputError: The folder has no known layout.
    """
    entries, folders = walk(root, folder_choices.follow_links)
    _check_readable(root, entries, folders)
    tables = find_label_tables(root, entries)
    if tables and takes_tables(tables, entries, folder_choices):
        files, skipped, notes = read_tables(root, entries, folder_choices, tables)
        classes = sort_classes({file.label for file in files})
        layout: Layout = "labels"
        class_folders: dict[str, str] = {}
    else:
        tree = FolderTree(root, entries, folders)
        splits = _split_folders(tree, for_training)
        _check_links(tree, splits)
        unlabeled = _unlabeled_splits(tree, splits)
        labels, class_folders = _find_classes(tree, splits, unlabeled, for_training)
        layout = "splits" if splits else "classes"
        if folder_choices.nested:
            _check_nested_splits(tree, labels)
        files, skipped = _assign_classes(entries, splits, labels, folder_choices.nested)
        classes = sort_classes(class_folders)
        notes = layout_notes(tree, splits, unlabeled, labels)
        notes += nested_notes(files, skipped, labels)
        check_tables_agree(root, entries, tables, folder_choices, files)
    _check_classes(root, classes, folders, for_training)
    ordered = tuple(sorted(files, key=lambda file: file.path))
    return FolderListing(
        root,
        layout,
        tuple(classes),
        ordered,
        tuple(sorted(skipped, key=lambda item: item.path)),
        tuple(notes),
        class_folders,
        tuple(table.path for table in tables) if layout == "labels" else (),
    )


def _split_folders(tree: FolderTree, for_training: bool) -> dict[str, Split]:
    """Return the folders that are splits, or none when the folders of the root are classes."""
    root, visible = tree.root, tree.top
    linked = {path for path in linked_folders(tree.entries) if "/" not in path}
    if not visible and not linked:
        raise input_error(str(root), "no folders of images in it", LAYOUT_HINT)
    named = {name: split for name in visible if (split := split_of_word(name)) is not None}
    has_classes = {name for name in named if tree.classes_in(name)}
    other_names = [
        name for name in visible if split_of_image_folder(name) and not tree.is_empty(name)
    ]
    if other_names and not has_classes:
        message = f"named as splits and not as classes: {', '.join(other_names[:5])}"
        fix = (
            "name them train and test, with a folder for each class in each, or give the labels in "
            f"a table {LABELS_FILE} of path,label"
        )
        if len(other_names) < sum(not tree.is_empty(name) for name in visible):
            fix = "move them away from the folders of classes, or rename them"
        raise input_error(str(root), message, fix)
    if not has_classes and len(named) < len(visible):
        return {}  # folders of classes, one of which may be named train
    problems = []
    for split in SPLITS:
        spellings = [name for name, other in named.items() if other == split]
        if len(spellings) > 1:
            message = f"two {split} splits: {', '.join(spellings)}"
            problems.append(Problem(str(root), message, "keep one of them"))
    if problems:
        raise InputError(*problems)
    train = next((name for name, split in named.items() if split == "train"), "train")
    if for_training and train not in has_classes and train not in linked:
        raise input_error(f"{root}/{train}", "no folders of classes in it", LAYOUT_HINT)
    if not for_training and not has_classes:
        fix = "put each image into a folder of its class, or use resnetlab predict"
        raise input_error(str(root), "no folders of classes in its splits", fix)
    return named


def _check_readable(root: Path, entries: Sequence[ScannedFile], folders: set[str]) -> None:
    """Raise InputError for each visible folder that cannot be read: its images would be missing."""
    fix = "allow this user to read it, or move it away"
    problems = [
        Problem(f"{root}/{entry.path}", f"a folder that is {entry.skip_reason}", fix)
        for entry in entries
        if entry.path in folders and entry.skip_reason and not is_hidden(entry.path)
    ]
    if problems:
        raise InputError(*sorted(problems, key=lambda problem: problem.where))


def _check_links(tree: FolderTree, splits: dict[str, Split]) -> None:
    """Raise InputError for each link in the place of a split or of a class."""
    problems = []
    for path in linked_folders(tree.entries):
        parts = path.split("/")
        is_split = len(parts) == 1 and (not splits or split_of_word(path) is not None)
        is_class = len(parts) == 2 and parts[0] in splits
        if (is_split or is_class) and not is_hidden(path):
            fix = f"put the folder itself there, remove the link, or {FOLLOW_HINT}"
            message = "a link to a folder, which is not followed"
            problems.append(Problem(f"{tree.root}/{path}", message, fix))
    if problems:
        raise InputError(*sorted(problems, key=lambda problem: problem.where))


def _unlabeled_splits(tree: FolderTree, splits: dict[str, Split]) -> set[str]:
    """Return the validation and test folders whose images are in no folder of a class."""
    train_classes = {
        name_key(label)
        for name, split in splits.items()
        if split == "train"
        for label in tree.classes_in(name)
    }

    def is_unlabeled(name: str) -> bool:
        labels = tree.classes_in(name)
        stands_for_none = len(labels) == 1 and name_key(labels[0]) in UNLABELED_NAMES
        return not labels or (stands_for_none and name_key(labels[0]) not in train_classes)

    return {name for name, split in splits.items() if split != "train" and is_unlabeled(name)}


def _find_classes(
    tree: FolderTree, splits: dict[str, Split], unlabeled: set[str], for_training: bool
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the class of each folder of images, and the folder of each class.

    Folders of two splits whose names are equal after normalization are one class, which is named
    as in train. Raises InputError for names that look alike in one split, and for a class that is
    not in train.
    """
    if not splits:
        names = {name: normalize_name(name) for name in tree.top if not tree.is_empty(name)}
        problems = lookalike_problems(names, str(tree.root))
        if problems:
            raise InputError(*problems)
        return names, {label: name for name, label in names.items()}
    order = list(SPLITS)
    labels, class_folders = dict[str, str](), dict[str, str]()
    problems = []
    for name in sorted(splits, key=lambda name: order.index(splits[name])):
        if name in unlabeled:
            continue
        inside = [path for path in tree.classes_in(name) if not tree.is_empty(f"{name}/{path}")]
        problems += lookalike_problems(inside, f"{tree.root}/{name}" if name else str(tree.root))
        matches = _match_classes(inside, list(class_folders))
        for folder in inside:
            known = matches.get(folder)
            if known is None and for_training and splits[name] != "train":
                problems.append(_untrained_problem(tree.root, name, folder, class_folders))
                continue
            label = known or normalize_name(folder)
            labels[f"{name}/{folder}"] = label
            class_folders.setdefault(label, f"{name}/{folder}")
    if problems:
        raise InputError(*problems)
    return labels, class_folders


def _match_classes(folders: Sequence[str], classes: Sequence[str]) -> dict[str, str]:
    """Return the class of earlier splits for each folder of a split that has one.

    The same name comes first; then a name that differs in case or spaces, if one class has it and
    no other folder takes this class. Two folders of one split are never one class.
    """
    matches = {folder: normalize_name(folder) for folder in folders}
    matches = {folder: label for folder, label in matches.items() if label in classes}
    by_key: dict[str, list[str]] = {}
    for label in classes:
        if label not in matches.values():
            by_key.setdefault(name_key(label), []).append(label)
    for folder in folders:
        similar = by_key.get(name_key(folder), [])
        if folder not in matches and len(similar) == 1:
            matches[folder] = similar.pop()
    return matches


def _untrained_problem(
    root: Path, split: str, folder: str, train_classes: Iterable[str]
) -> Problem:
    difference = suggest_lookalike(folder, train_classes)
    message = "a class that is not in train" + (f": {difference}" if difference else "")
    fix = "give both the same name" if difference else "add train images of it, or remove it"
    return Problem(f"{root}/{split}/{folder}", message, fix)


def _assign_classes(
    entries: list[ScannedFile], splits: dict[str, Split], labels: Mapping[str, str], nested: bool
) -> tuple[list[LabeledFile], list[SkippedFile]]:
    files, skipped = [], []
    for entry in entries:
        parts = entry.path.split("/")
        folder = class_folder(entry.path, labels) if nested else parent(entry.path)
        reason = _skip_reason(entry, parts, splits, folder in labels)
        if reason:
            skipped.append(SkippedFile(entry.path, reason))
        else:
            split = splits[parts[0]] if splits else None
            files.append(LabeledFile(entry.path, labels[folder], split))
    return files, skipped


def _check_nested_splits(tree: FolderTree, labels: Mapping[str, str]) -> None:
    """Raise InputError for a sub-folder of a class that is named as a split.

    Its images would be mixed with those of the other splits.
    """
    named = sorted(
        path
        for path in tree.folders
        if split_of_word(leaf(path)) and parent(path) and class_folder(path, labels)
    )
    if named:
        more = f" and {len(named) - 1:,} more" if named[1:] else ""
        message = f"a split inside a class{more}, which --nested would mix with the others"
        fix = "put the splits outermost: FOLDER/train/CLASS and FOLDER/test/CLASS"
        raise input_error(f"{tree.root}/{named[0]}", message, fix)


def _skip_reason(
    entry: ScannedFile, parts: list[str], splits: dict[str, Split], in_class: bool
) -> str:
    """Return the reason why a file cannot be an image, or "" if it can."""
    if is_hidden(entry.path):
        return "hidden"
    if entry.skip_reason:
        return entry.skip_reason
    if parts[-1].lower() in SYSTEM_FILES:
        return "system file"
    if splits and parts[0] not in splits:
        return "outside train, validation and test"
    if not in_class:
        return NOT_DIRECTLY
    return "" if has_image_suffix(parts[-1]) else "not an image by its name"


def _check_classes(root: Path, classes: list[str], folders: set[str], for_training: bool) -> None:
    problems = [
        Problem(f"{root}/{name}", "a class name that is not UTF-8", "rename the folder")
        for name in classes
        if not is_text(name)
    ]
    if len(classes) < (2 if for_training else 1):
        class_names = ", ".join(classes) or "none"
        fix = LAYOUT_HINT
        if classes and any(split_of_word(leaf(path)) for path in folders if path.count("/") == 1):
            fix = f"give the folder in it: {root}/{classes[0]}"
        problems.append(Problem(str(root), "fewer than two classes", fix, got=class_names))
    if problems:
        raise InputError(*problems)
