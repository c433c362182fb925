"""Scan of a folder of images: list, hash, decode and split it, and account for every file.

Order of the images: by path. Order of the classes: by name. The SHA-256 covers, line by line of
JSON, the decoder's version, the side and channels of the pixels, the classes, `[path, label, split,
SHA-256 of the file]` of each image, and each file that was skipped (path and reason) or is bad
(path and SHA-256); never the location of the folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnetlab.data.config import (
    DEFAULT_FOLDER_CHOICES,
    FolderChoices,
)
from resnetlab.data.sources import decode_cache, image_decoder
from resnetlab.data.sources.decode_cache import FileInfo
from resnetlab.data.sources.folder.cache import (
    check_outside,
    image_cache_dir,
    read_changed_files,
)
from resnetlab.data.sources.folder.grouping import GroupRule, ImageGroups
from resnetlab.data.sources.folder.layout import FolderListing, list_folder
from resnetlab.data.sources.folder.manifest import ManifestRow, SplitSpec
from resnetlab.data.sources.folder.problems import collect_problems
from resnetlab.data.sources.folder.same_pixels import same_pixels
from resnetlab.data.sources.folder.splits import assign_splits
from resnetlab.data.sources.folder.types import BadFile, SkippedFile
from resnetlab.messages import Notify, silent
from resnetlab.shell import command_line

FIND_DAMAGE = "to find damaged files and copies"
"""Purpose of decoding photographs that a network later reads from their files."""

DEFAULT_IMAGE_SIZE = 64
"""Default side in pixels, used if images differ in size and no size is given."""


@dataclass(frozen=True)
class FolderScan:
    """Scan of a folder: every file is used (`rows`, `pixels` (N, S, S, C)), skipped or bad."""

    root: Path
    classes: tuple[str, ...]
    rows: tuple[ManifestRow, ...]
    pixels: NDArray[np.uint8]
    skipped: tuple[SkippedFile, ...]
    bad: tuple[BadFile, ...]
    notes: tuple[str, ...]
    pixels_key: str
    """Cache key of the pixels."""
    groups: ImageGroups
    """Groups of images that a drawn split keeps together."""
    test_is_given: bool
    """True if the folder names the test images; False if they were drawn."""
    same_pixels: tuple[tuple[int, ...], ...] = ()
    """Groups of images with the same pixels, by the indices of their rows."""
    split_notes: tuple[str, ...] = ()
    """Notes about the splits, which are also in `notes`."""
    tables: tuple[str, ...] = ()
    """Paths of the tables of labels that were read."""

    @property
    def contradictions(self) -> list[tuple[int, ...]]:
        """Groups of images with the same pixels and different classes."""
        return [group for group in self.same_pixels if len({self.rows[k].label for k in group}) > 1]


def scan_folder(
    root: Path,
    *,
    image_size: int | None,
    cache: Path,
    notify: Notify = silent,
    skip_bad: bool = False,
    split: SplitSpec | Path | None = None,
    rehash: bool = False,
    folder_choices: FolderChoices = DEFAULT_FOLDER_CHOICES,
    purpose: str = "",
    for_training: bool = True,
) -> FolderScan:
    """List, hash, decode and split a folder. The pixels go to the user's cache.

    Args:
        root: Folder of images.
        image_size: Side of the decoded images in pixels; None for their own size or the default.
        cache: Folder of files that belong to the output: the manifest and the list of bad files.
        notify: Function that gets a line about slow work.
        skip_bad: Skip bad files instead of refusing them.
        split: Fractions by which new splits are drawn, or the path of a manifest that they
            follow, or None for the splits of the folder's layout.
        rehash: Hash every file again, also those of unchanged size, time and inode.
        folder_choices: Other choices for reading the folder.
        purpose: Purpose of decoding in the message about it, if it is not the pixels.
        for_training: Require two classes or more.

    Raises:
        InputError: The folder, the manifest or a file is invalid.
    """
    check_outside(cache, root)
    if folder_choices.group:
        GroupRule.parse(folder_choices.group)
    workers = decode_cache.default_workers()
    listing = list_folder(root, folder_choices, for_training=for_training)
    paths = [file.path for file in listing.files]
    follow_links = folder_choices.follow_links != "no"
    infos = _read_files(
        root, paths, workers, rehash=rehash, follow_links=follow_links, notify=notify
    )
    readable = [index for index, info in enumerate(infos) if not info.reason]
    side, notes = _choose_side(image_size, {infos[index].size for index in readable})
    hashes = [infos[index].sha256 for index in readable]
    decoded = decode_cache.decode_or_load(
        root,
        [paths[index] for index in readable],
        hashes,
        side,
        cache=image_cache_dir(),
        workers=workers,
        notify=notify,
        follow_links=follow_links,
        purpose=purpose,
    )
    reasons = [info.reason for info in infos]
    for index, reason in zip(readable, decoded.reasons, strict=True):
        reasons[index] = reason
    bad, rows = _separate_bad_files(listing, infos, reasons)
    copies = same_pixels(decoded.pixels)
    groups = _find_groups(listing, rows, decoded.pixels, copies, folder_choices)
    notes += collect_problems(listing, bad, rows, cache, skip_bad=skip_bad)
    complete, split_notes = assign_splits(rows, listing, cache, split, groups)
    scan = FolderScan(
        root,
        listing.classes,
        complete,
        decoded.pixels,
        listing.skipped,
        bad,
        (*notes, *listing.notes, *split_notes),
        decode_cache.cache_key(side, hashes),
        groups,
        any(file.split == "test" for file in listing.files),
        copies,
        split_notes,
        listing.tables,
    )
    return replace(scan, notes=(*scan.notes, *_contradiction_note(scan)))


def find_damage(
    root: Path,
    paths: Sequence[str],
    hashes: Sequence[str],
    *,
    follow_links: bool,
    notify: Notify = silent,
) -> list[str]:
    """Decode files as `scan_folder` does, and return why each cannot be used; "" for a good one.

    Args:
        root: Folder of images.
        paths: Paths of the files below `root`.
        hashes: SHA-256 of each file.
        follow_links: Read the targets of links.
        notify: Function that gets a line about slow work.
    """
    decoded = decode_cache.decode_or_load(
        root,
        list(paths),
        list(hashes),
        DEFAULT_IMAGE_SIZE,
        cache=image_cache_dir(),
        workers=decode_cache.default_workers(),
        notify=notify,
        follow_links=follow_links,
        purpose=FIND_DAMAGE,
    )
    return list(decoded.reasons)


def _read_files(
    root: Path,
    paths: list[str],
    workers: int,
    *,
    rehash: bool,
    follow_links: bool,
    notify: Notify,
) -> list[FileInfo]:
    """Read the sizes and hashes of the files; those of unchanged files come from the cache."""
    result = read_changed_files(
        root,
        paths,
        workers,
        image_cache_dir(),
        rehash=rehash,
        follow_links=follow_links,
        notify=notify,
    )
    if result.cached:
        notify(
            f"{result.cached:,} of {len(paths):,} files are unchanged since they were read (by "
            "path, size, times and inode)"
        )
    return result.infos


def _separate_bad_files(
    listing: FolderListing, infos: Sequence[FileInfo], reasons: Sequence[str]
) -> tuple[tuple[BadFile, ...], list[ManifestRow]]:
    """Return the files with a reason against them, and a row for each other file."""
    bad, rows = [], []
    for file, info, reason in zip(listing.files, infos, reasons, strict=True):
        if reason:
            bad.append(BadFile(file.path, info.sha256, reason))
        else:
            row = ManifestRow(file.path, file.label, file.split, info.sha256, info.size)
            rows.append(row)
    return tuple(bad), rows


def _find_groups(
    listing: FolderListing,
    rows: Sequence[ManifestRow],
    pixels: NDArray[np.uint8],
    copies: tuple[tuple[int, ...], ...],
    folder_choices: FolderChoices,
) -> ImageGroups:
    """Return the groups of the usable images, which are computed when they are needed."""
    by_path = {file.path: file.group for file in listing.files}
    columns = [by_path[row.path] for row in rows]
    follow_links = folder_choices.follow_links != "no"
    return ImageGroups(
        listing.root, rows, pixels, copies, folder_choices.group, columns, follow_links
    )


def _contradiction_note(scan: FolderScan) -> tuple[str, ...]:
    groups = scan.contradictions
    if not groups:
        return ()
    first = " = ".join(scan.rows[k].path for k in groups[0][:5])
    command = command_line(["resnetlab", "data", "check", str(scan.root)])
    note = f"the same pixels under two classes: {len(groups):,} (first: {first}); one of the labels"
    return (f"{note} is wrong; {command} lists them",)


def folder_sha256(scan: FolderScan) -> str:
    """Return the SHA-256, in hexadecimal, of the lines that the module's docstring describes."""
    side, channels = scan.pixels.shape[2:]
    lines: list[list[object]] = [
        ["resnetlab folder 1", image_decoder.DECODER_VERSION, side, channels, *scan.classes]
    ]
    lines += [["used", row.path, row.label, row.split, row.sha256] for row in scan.rows]
    # The word is a part of the hash of every folder, so it stays.
    lines += [["passed", item.path, item.reason] for item in scan.skipped]
    lines += [["bad", item.path, item.sha256] for item in scan.bad]
    digest = hashlib.sha256()
    for line in lines:
        digest.update(json.dumps(line).encode() + b"\n")
    return digest.hexdigest()


def _choose_side(
    image_size: int | None, sizes: set[tuple[int, int]]
) -> tuple[int, tuple[str, ...]]:
    """Return the squares' side in pixels: as asked, or the images' own if all are equal squares."""
    if image_size is not None:
        return image_size, ()
    height, width = next(iter(sizes), (0, 1))
    if len(sizes) == 1 and height == width:
        return height, ()
    note = (
        f"images differ in size or are not square: resized to {DEFAULT_IMAGE_SIZE} pixels "
        "(--img-size changes it)"
    )
    return DEFAULT_IMAGE_SIZE, (note,) if sizes else ()
