"""Groups of images that a drawn split keeps together: near copies, and what `--group` names.

Photographs of one burst, patient or place resemble each other. If some are in train and some in
test, the test accuracy is too high. Free of torch.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path

import numpy as np
import regex
from numpy.typing import NDArray

from resnetlab.data import near_copies
from resnetlab.data.class_names import name_key
from resnetlab.data.config import Split
from resnetlab.data.near_copies import NearCopy, find_near_copies
from resnetlab.data.sources import image_decoder
from resnetlab.data.sources.folder.manifest import ManifestRow
from resnetlab.errors import input_error
from resnetlab.messages import format_count

GROUP_FORMS = "folder, regex:PATTERN, column:NAME or exif-time:MINUTES"
"""Allowed values of `--group`."""


MAX_SEARCH_SECONDS = 1.0
"""Limit for the search of a regular expression in one path; a study file may come from anybody."""

MIN_GROUPS_PER_CLASS = 5
"""Number of groups that near copies must leave of a class that has as many images."""


@dataclass(frozen=True)
class GroupRule:
    """Rule that gives images to groups: `folder`, `regex`, `column` or `exif-time`."""

    kind: str
    value: str = ""

    @classmethod
    def parse(cls, text: str, where: str = "--group") -> GroupRule:
        """Parse `folder`, `regex:PATTERN`, `column:NAME` or `exif-time:MINUTES`.

        Raises InputError if the text is no such rule.
        """
        kind, _, value = text.partition(":")
        fix = f"{where} folder, or {where} 'regex:(site[0-9]+)'"
        if kind not in ("folder", "regex", "column", "exif-time") or (kind == "folder" and value):
            raise input_error(where, "not a rule for groups", fix, got=text, allowed=GROUP_FORMS)
        if kind == "exif-time" and not _is_positive(value):
            fix = f"{where} exif-time:10 for pauses of ten minutes"
            raise input_error(where, "no number of minutes", fix, got=text, allowed=GROUP_FORMS)
        if kind == "column" and not value:
            raise input_error(where, "no name of a column", f"{where} column:patient", got=text)
        if kind == "regex":
            try:
                regex.compile(value or "(")
            except regex.error as error:
                message = f"not a regular expression: {error}" if value else "no pattern"
                raise input_error(where, message, fix, got=text) from None
        return cls(kind, value)


@dataclass(frozen=True)
class ImageGroups:
    """Groups of the images `rows` of a folder; `pixels` (N, S, S, C) are those of the decoder."""

    root: Path
    rows: Sequence[ManifestRow]
    pixels: NDArray[np.uint8]
    copies: Sequence[Sequence[int]]
    """Groups of images with the same pixels, by the indices of their rows."""
    text: str = ""
    """Rule, as `GroupRule.parse` takes it; empty for none."""
    columns: Sequence[str] = ()
    """Value of the column of `labels.csv` for each image, if the rule names a column."""
    follow_links: bool = False

    @cached_property
    def rule(self) -> GroupRule | None:
        """Parsed rule. Raises InputError if it is invalid."""
        return GroupRule.parse(self.text) if self.text else None

    @property
    def key(self) -> str:
        """Text that stands for the rule and, where a column gives the groups, for its values."""
        return groups_key(self.text, self.columns)

    @cached_property
    def near_copies(self) -> list[NearCopy]:
        """Pairs of near copies, by the indices of their rows."""
        return find_near_copies(self.pixels)

    @cached_property
    def names(self) -> list[str]:
        """Name of each image's group by the rule; empty for an image by itself.

        Raises InputError if no image has a group.
        """
        if self.rule is None:
            return [""] * len(self.rows)
        match self.rule.kind:
            case "folder":
                names = [_subfolder(row) for row in self.rows]
            case "regex":
                names = [_first_match(self.rule.value, row.path) for row in self.rows]
            case "column":
                names = list(self.columns)
            case _:
                names = self._names_by_time(timedelta(minutes=float(self.rule.value)))
        if not any(names):
            raise input_error(
                str(self.root),
                f"no image has a group by {self.rule.kind}",
                _NO_GROUP_FIXES[self.rule.kind],
                field="group",
            )
        return names

    @cached_property
    def numbers(self) -> NDArray[np.int64]:
        """Number for each image (N,): equal for images that a split keeps together."""
        return self._connected(self._grouped_near_copies)

    @cached_property
    def alike_classes(self) -> tuple[str, ...]:
        """Classes of which near copies would leave too few groups for a split, sorted.

        The images of such a class, as textures or scans, resemble each other without being copies.
        """
        if not self.near_copies:
            return ()
        before, after = self._group_sizes(()), self._group_sizes(self.near_copies)
        alike = [
            label
            for label in sorted(after)
            if _has_few_others(after[label]) and not _has_few_others(before[label])
        ]
        return tuple(alike)

    def _group_sizes(self, near_copies: Sequence[NearCopy]) -> dict[str, Counter[int]]:
        """Return the number of images of each group by class, with these near copies."""
        sizes: dict[str, Counter[int]] = {}
        for row, number in zip(self.rows, self._connected(near_copies).tolist(), strict=True):
            sizes.setdefault(row.label, Counter())[number] += 1
        return sizes

    @cached_property
    def _grouped_near_copies(self) -> list[NearCopy]:
        """Pairs of near copies that stay together: those outside the classes that look alike."""
        alike = {index for index, row in enumerate(self.rows) if row.label in self.alike_classes}
        return [copy for copy in self.near_copies if not {copy.left, copy.right} & alike]

    def _connected(self, near_copies: Iterable[NearCopy]) -> NDArray[np.int64]:
        """Return the groups (N,) by the rule, the copies and these near copies."""
        parent = list(range(len(self.rows)))

        def find(index: int) -> int:
            while parent[index] != index:
                parent[index] = parent[parent[index]]
                index = parent[index]
            return index

        first: dict[str, int] = {}
        for index, name in enumerate(self.names):
            if name:
                parent[find(index)] = find(first.setdefault(name, index))
        for copy in near_copies:
            parent[find(copy.right)] = find(copy.left)
        for first_index, *others in self.copies:
            for index in others:
                parent[find(index)] = find(first_index)
        return np.unique([find(index) for index in range(len(self.rows))], return_inverse=True)[1]

    def separated_copies(self, rows: Sequence[ManifestRow]) -> dict[Split, int]:
        """Return the number of images of each evaluation split with a copy in train, if any.

        Args:
            rows: Images of this folder with their final splits; others of the folder are not used.
        """
        leaked: dict[Split, set[int]] = {"validation": set(), "test": set()}
        split_of = {row.path: row.split for row in rows}
        splits = [split_of.get(row.path) for row in self.rows]
        if "train" not in splits or not leaked.keys() & set(splits):
            return {}
        pairs = [(copy.left, copy.right) for copy in self._grouped_near_copies]
        for group in (*self.copies, *pairs):
            if any(splits[index] == "train" for index in group):
                for index in group:
                    if (split := splits[index]) in leaked:
                        leaked[split].add(index)
        return {split: len(indices) for split, indices in leaked.items() if indices}

    def notes(self, rows: Sequence[ManifestRow]) -> list[str]:
        """Return sentences for the user about the groups that a draw has kept together.

        Args:
            rows: Images of this folder with their final splits; others of the folder are not used.
        """
        notes = []
        if self.rule is not None:
            named = [name for name in self.names if name]
            alone, groups = len(self.names) - len(named), len(set(named))
            notes.append(
                f"groups by {self.rule.kind}: {format_count(len(named), 'image')} in "
                f"{format_count(groups, 'group')} stay together in the split"
                + (f", {format_count(alone, 'image')} without a group" if alone else "")
            )
            if separated := self._separated_groups(rows):
                total = format_count(groups, "group")
                notes[0] = (
                    f"groups by {self.rule.kind}: {separated:,} of {total} are in more than one "
                    "split, because the folder gives a split; resnetlab data split draws others"
                )
        copies = {index for copy in self._grouped_near_copies for index in (copy.left, copy.right)}
        copies.update(index for group in self.copies for index in group)
        if copies:
            notes.append(
                f"{format_count(len(copies), 'image')} with a copy or near copy in the folder: "
                "copies stay together in the split (resnetlab data describe lists them)"
            )
        if self.alike_classes:
            names = ", ".join(self.alike_classes[:5]) + (", ..." if self.alike_classes[5:] else "")
            notes.append(
                f"so many images of {names} look alike that near copies cannot be told from "
                "others: only exact copies of them stay together in the split (--group names "
                "groups)"
            )
        if len(self.rows) > near_copies.MAX_COMPARED_IMAGES:
            notes.append(
                f"more than {near_copies.MAX_COMPARED_IMAGES:,} images: near copies were not "
                "searched, and may be in two splits"
            )
        return notes

    def _separated_groups(self, rows: Sequence[ManifestRow]) -> int:
        """Return the number of named groups whose images are in more than one split."""
        split_of = {row.path: row.split for row in rows}
        splits: dict[str, set[Split | None]] = {}
        for name, row in zip(self.names, self.rows, strict=True):
            if name and row.path in split_of:
                splits.setdefault(name, set()).add(split_of[row.path])
        return sum(len(each) > 1 for each in splits.values())

    def _names_by_time(self, pause: timedelta) -> list[str]:
        """Return the group of each image: a new one begins after a pause between photographs."""
        times = [self._taken_at(row) for row in self.rows]
        dated = sorted((time, index) for index, time in enumerate(times) if time is not None)
        names, group, before = [""] * len(self.rows), 0, None
        for time, index in dated:
            if before is not None and time - before > pause:
                group += 1
            names[index], before = f"group {group}", time
        return names

    def _taken_at(self, row: ManifestRow) -> datetime | None:
        path = self.root / row.path
        return image_decoder.read_time_taken(
            image_decoder.read_bytes(path, follow_links=self.follow_links)
        )


def groups_key(text: str, columns: Sequence[str]) -> str:
    """Return a text for a rule and the values of its column, by which drawn splits are stored."""
    if not text.startswith("column:"):
        return text
    return f"{text} {hashlib.sha256(json.dumps(list(columns)).encode()).hexdigest()}"


def _has_few_others(sizes: Counter[int]) -> bool:
    """Return True if groups of these sizes leave too few images for a validation and a test split.

    That is so for few groups of which one has nearly all images.
    """
    images = sizes.total()
    others = images - max(sizes.values())
    return len(sizes) < min(MIN_GROUPS_PER_CLASS, images) and others < max(2, images / 5)


_NO_GROUP_FIXES = {
    "folder": "put the images of a group into one folder below the folder of their class",
    "regex": "give a pattern that is found in the paths below the folder",
    "column": "fill the column of labels.csv",
    "exif-time": "leave --group out: no photograph has the time at which it was taken",
}


def _subfolder(row: ManifestRow) -> str:
    """Return the folder of an image, or nothing if it is the folder of its class itself."""
    folder = row.path.rpartition("/")[0]
    is_class_folder = name_key(folder.rpartition("/")[2]) == name_key(row.label)
    return "" if is_class_folder else folder


def _first_match(pattern: str, path: str) -> str:
    """Return the text that a regular expression finds in a path: its first group if it has one.

    Raises InputError if the search takes too long, as it does for `(a+)+b` and many `a`.
    """
    try:
        match = regex.search(pattern, path, timeout=MAX_SEARCH_SECONDS)
    except TimeoutError:
        message = f"takes more than {MAX_SEARCH_SECONDS:g} s to search one path"
        fix = "give a pattern without a repetition inside a repetition"
        raise input_error("group", message, fix, got=f"regex:{pattern}") from None
    if match is None:
        return ""
    return (match[1] if match.re.groups else match[0]) or ""


def _is_positive(text: str) -> bool:
    try:
        return 0 < float(text) < float("inf")
    except ValueError:
        return False
