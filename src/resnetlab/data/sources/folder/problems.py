"""Problems and notes of a folder of images: bad files, empty classes, names that differ in case."""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from resnetlab.data.sources.folder import manifest
from resnetlab.data.sources.folder.layout import FolderListing
from resnetlab.data.sources.folder.manifest import ManifestRow
from resnetlab.data.sources.folder.types import BadFile, SkippedFile
from resnetlab.errors import InputError, Problem
from resnetlab.files import atomic_write
from resnetlab.messages import format_count


def collect_problems(
    listing: FolderListing,
    bad: tuple[BadFile, ...],
    rows: list[ManifestRow],
    cache: Path,
    *,
    skip_bad: bool,
) -> tuple[str, ...]:
    """Return notes on skipped files, and write the list of bad files to `cache`.

    Raises InputError for bad files, and for a class or a split without images.
    """
    problems, notes = [], []
    if bad:
        path = (
            cache
            / f"{manifest.file_stem(listing.root, [file.path for file in listing.files])}-bad.csv"
        )
        _write_bad_files(path, bad)
        first, files_ = bad[0], f"1 of {len(bad)} bad files" if len(bad) > 1 else "the one bad file"
        if skip_bad:
            notes.append(
                f"{format_count(len(bad), 'bad file')} skipped (first: {first.path}: "
                f"{first.reason}); listed in {path}"
            )
        else:
            problem = f"{first.reason} ({files_}, listed in {path})"
            problems.append(
                Problem(f"{listing.root}/{first.path}", problem, "replace them, or --skip-bad")
            )
    problems += _empty_class_problems(listing, bad, rows)
    if problems:
        raise InputError(*problems)
    if listing.skipped or bad:
        notes.append(count_files(len(rows), listing.skipped, len(bad), listing.tables))
    notes += _case_collisions(listing)
    return tuple(notes)


def count_files(
    used: int, skipped: Sequence[SkippedFile], unreadable: int, tables: Sequence[str]
) -> str:
    """Return a line that accounts for every file of a folder."""
    kinds = Counter(item.reason for item in skipped)
    summary = ", ".join(f"{number} {reason}" for reason, number in kinds.most_common())
    total = used + len(skipped) + unreadable + len(tables)
    parts = [
        f"{used:,} used",
        f"{len(skipped):,} skipped" + (f" ({summary})" if summary else ""),
        f"{unreadable:,} unreadable",
        *([f"{format_count(len(tables), 'table')} of labels"] if tables else []),
    ]
    return f"{format_count(total, 'file')}: {', '.join(parts)}"


def _empty_class_problems(
    listing: FolderListing, bad: tuple[BadFile, ...], rows: list[ManifestRow]
) -> list[Problem]:
    train_classes = {row.label for row in rows if row.split in (None, "train")}
    broken = [item.path for item in bad]
    problems = [
        listing.empty_class_problem(label, broken)
        for label in listing.classes
        if label not in train_classes
    ]
    for split in sorted(
        {file.split for file in listing.files if file.split}
        - {row.split for row in rows if row.split}
    ):
        problems.append(
            Problem(
                str(listing.root), f"no usable image in {split}", "add images, or remove the split"
            )
        )
    return problems


def _case_collisions(listing: FolderListing) -> list[str]:
    """Return a note on names that a case-insensitive file system could not distinguish."""
    by_folded_path = defaultdict(list)
    for file in listing.files:
        by_folded_path[file.path.casefold()].append(file.path)
    twins = [paths for paths in by_folded_path.values() if len(paths) > 1]
    suffix = f" and {len(twins) - 1:,} more such" if twins[1:] else ""
    if twins:
        return [
            f"files whose names differ in case only are all used: {', '.join(twins[0])}{suffix}"
        ]
    return []


def _write_bad_files(path: Path, bad: tuple[BadFile, ...]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "reason"))
    writer.writerows((item.path, item.reason) for item in bad)
    with atomic_write(path, "wb") as file:
        file.write(text.getvalue().encode(errors="surrogateescape"))
