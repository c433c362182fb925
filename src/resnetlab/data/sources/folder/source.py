"""Folder of images as a Source, memory-mapped from the cache while nothing changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnetlab.data.class_names import class_indices
from resnetlab.data.config import (
    DEFAULT_FOLDER_CHOICES,
    SPLITS,
    FolderChoices,
    LabeledImages,
    Source,
    Split,
)
from resnetlab.data.sources import image_decoder
from resnetlab.data.sources.folder import manifest
from resnetlab.data.sources.folder.cache import (
    CachedFolder,
    check_outside,
    file_infos_path,
    fingerprint_folder,
    folder_cache_path,
    image_cache_dir,
    load_cached_folder,
    save_cached_folder,
)
from resnetlab.data.sources.folder.scan import FolderScan, folder_sha256, scan_folder
from resnetlab.data.sources.folder.splits import separated_copies_notes
from resnetlab.messages import Notify, silent


def open_folder(
    root: Path,
    *,
    image_size: int | None,
    cache: Path,
    notify: Notify = silent,
    skip_bad: bool = False,
    folder_choices: FolderChoices = DEFAULT_FOLDER_CHOICES,
) -> Source:
    """Return the Source of a folder, memory-mapped from the cache if nothing changed.

    Raises InputError with every mistake found; bad files are a mistake unless `skip_bad` is set.
    """
    check_outside(cache, root)
    # Notes contain two of these paths, so the cache key depends on them.
    options = (
        image_decoder.DECODER_VERSION,
        image_decoder.is_heif_installed(),
        image_size,
        skip_bad,
        str(root),
        str(cache),
        str(cache.resolve()),
        folder_choices,
    )
    cache_path = folder_cache_path(root, image_cache_dir(), "images", *options)
    fingerprint = fingerprint_folder(root, folder_choices.follow_links)
    images = load_cached_folder(cache_path, fingerprint)
    if images is None:
        scan = scan_folder(
            root,
            image_size=image_size,
            cache=cache,
            notify=notify,
            skip_bad=skip_bad,
            folder_choices=folder_choices,
        )
        copies = separated_copies_notes(scan.rows, scan.groups)
        scan = replace(scan, notes=(*scan.notes, *copies))
        images = _to_cached_folder(scan, scan.groups.numbers)
        save_cached_folder(
            cache_path, fingerprint, images, scan.pixels_key, _dependencies(scan, cache)
        )
    return _to_source(root, images)


def to_source(scan: FolderScan) -> Source:
    """Return the Source of a scanned folder, without groups for further splits."""
    alone = np.arange(len(scan.rows))
    return _to_source(scan.root, _to_cached_folder(scan, alone))


def _to_cached_folder(scan: FolderScan, groups: NDArray[np.int64]) -> CachedFolder:
    index_of = class_indices(scan.classes)
    labels = np.array([index_of[row.label] for row in scan.rows], np.int64)
    splits = np.array(
        [SPLITS.index(row.split) if row.split else len(SPLITS) for row in scan.rows], np.uint8
    )
    return CachedFolder(
        scan.classes,
        scan.pixels,
        labels,
        splits,
        folder_sha256(scan),
        scan.notes,
        groups,
    )


def _to_source(root: Path, images: CachedFolder) -> Source:
    def part(split: Split) -> LabeledImages:
        indices = np.flatnonzero(images.splits == SPLITS.index(split))
        selection: slice | NDArray[np.intp] = indices
        if len(indices) and indices[-1] - indices[0] + 1 == len(indices):
            # A contiguous range stays memory-mapped.
            selection = slice(indices[0], indices[-1] + 1)
        return LabeledImages(images.pixels[selection], images.labels[indices])

    validation = part("validation") if (images.splits == SPLITS.index("validation")).any() else None
    name = root.resolve().name
    groups = images.groups[images.splits == SPLITS.index("train")]
    return Source(
        name,
        images.classes,
        part("train"),
        part("test"),
        validation,
        images.sha256,
        images.notes,
        groups=groups,
    )


def _dependencies(scan: FolderScan, cache: Path) -> list[Path]:
    """Return the files outside the folder on which its Source depends."""
    used = [row.path for row in scan.rows]
    listed = sorted([*used, *(item.path for item in scan.bad)])
    return [
        manifest.splits_path(scan.root, used, cache, scan.groups.key),
        cache / f"{manifest.file_stem(scan.root, listed)}-bad.csv",
        file_infos_path(scan.root, image_cache_dir()),
    ]
