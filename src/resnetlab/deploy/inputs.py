"""Input images of a model: files, folders, and the labeled images of a data set.

Free of torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnetlab.data.config import DEFAULT_FOLDER_CHOICES, FolderChoices, FollowLinks, Split
from resnetlab.data.paths import is_folder
from resnetlab.data.photo_loader import LazyImage, image_from_file
from resnetlab.data.sources import SOURCE_NAMES, decode_cache, open_source
from resnetlab.data.sources.folder import manifest
from resnetlab.data.sources.folder.grouping import groups_key
from resnetlab.data.sources.folder.layout import FolderListing, list_folder
from resnetlab.data.sources.folder.manifest import ManifestRow
from resnetlab.data.sources.folder.scan import DEFAULT_IMAGE_SIZE, find_damage, scan_folder
from resnetlab.data.sources.folder.tree import has_image_suffix, is_hidden
from resnetlab.data.sources.folder.types import SkippedFile
from resnetlab.data.sources.folder.walk import walk
from resnetlab.errors import InputError, escape_controls, input_error
from resnetlab.messages import Notify, format_count, silent
from resnetlab.model_folder.photo_record import splits_by_content

SplitName = Literal["train", "validation", "test", "all"]

BadFiles = tuple[tuple[str, str], ...]
"""Files that are not valid images, and the reason."""


@dataclass(frozen=True)
class EvaluationImages:
    """Labeled images of one split of a data set."""

    name: str
    split: SplitName
    classes: tuple[str, ...]
    images: tuple[LazyImage, ...]
    labels: tuple[str, ...]
    bad_files: BadFiles = ()
    """Files without a valid image header, and the reason."""
    notes: tuple[str, ...] = ()


def find_images(
    paths: Sequence[Path], follow_links: FollowLinks = "no"
) -> tuple[list[LazyImage], list[SkippedFile]]:
    """List the images among files and folders, and the skipped files of folders with the reason.

    A file in a folder is an image if its suffix says so; a file that is named directly is always
    taken. Raises InputError for a link that is to be followed and cannot be.
    """
    files, skipped = find_image_paths(paths, follow_links)
    return [image_from_file(path, follow_links=follow_links != "no") for path in files], skipped


def find_image_paths(
    paths: Sequence[Path], follow_links: FollowLinks = "no"
) -> tuple[list[Path], list[SkippedFile]]:
    """List the paths of the images of `find_images`, and the skipped files."""
    files: list[Path] = []
    skipped: list[SkippedFile] = []
    for path in paths:
        if not is_folder(path):
            files.append(path)
            continue
        for entry in sorted(walk(path, follow_links)[0], key=lambda entry: entry.path):
            other_type = "" if has_image_suffix(entry.path) else "not an image by its name"
            reason = "hidden" if is_hidden(entry.path) else entry.skip_reason or other_type
            if reason:
                skipped.append(SkippedFile(f"{path}/{entry.path}", reason))
            else:
                files.append(path / entry.path)
    return list(dict.fromkeys(files)), skipped


def find_ood_photos(folder: Path) -> list[LazyImage]:
    """List the images in a folder of other things than the classes of a model.

    Raises InputError if it is no folder, or has no images.
    """
    if not is_folder(folder):
        fix = "give a folder of photographs of other things"
        raise input_error("--ood", "not a folder", fix, got=folder)
    images, _ = find_images([folder])
    if not images:
        raise input_error("--ood", "contains no photographs", "add some", got=folder)
    return images


def summarize_skipped(skipped: Iterable[SkippedFile]) -> str:
    """Count the skipped files by reason: `2 not an image by its name, 1 hidden`."""
    return ", ".join(
        f"{count} {reason}"
        for reason, count in Counter(item.reason for item in skipped).most_common()
    )


def open_labeled_images(
    data: str,
    split: SplitName,
    cache: Path,
    notify: Notify = silent,
    *,
    manifest_path: Path | None = None,
    folder_choices: FolderChoices = DEFAULT_FOLDER_CHOICES,
    weights: Sequence[str] = (),
) -> EvaluationImages:
    """Open the labeled images of `split` in a folder, an `.npz` file or a named data set.

    The name of a data set has priority over a folder of that name, which is `./digits`.

    The manifest at `manifest_path` defines the splits of a folder, or else the folder's layout. A
    folder that could have been trained on, but has no test split, has the splits with which the
    models were trained, so that a model is not tested on its train images: those of its record in
    `cache`, or of the manifest that training drew there. A folder needs no train split and no
    second class; without a split, the images of a single class are all used.

    Args:
        data: Folder, `.npz` file or name of a data set.
        split: Split to open.
        cache: Cache of the output folder.
        notify: Function that gets a line about slow work.
        manifest_path: Manifest of the splits of a folder.
        folder_choices: Choices for reading a folder.
        weights: SHA-256 of the weights of each model.

    Raises:
        InputError: There is no image, or the path cannot be read.
    """
    if split not in get_args(SplitName):
        raise input_error(
            "--split",
            "unknown split",
            "--split test",
            got=split,
            allowed=", ".join(get_args(SplitName)),
        )
    if data not in SOURCE_NAMES and is_folder(data):
        return _open_folder(
            Path(data), split, cache, notify, manifest_path, folder_choices, weights
        )
    if manifest_path is not None:
        raise input_error(
            "--manifest", f"{data} is not a folder of photographs", "omit it", got=manifest_path
        )
    return _open_arrays(data, split, cache, notify)


def _open_folder(
    root: Path,
    split: SplitName,
    cache: Path,
    notify: Notify,
    manifest_path: Path | None,
    folder_choices: FolderChoices,
    weights: Sequence[str],
) -> EvaluationImages:
    """Open the labeled images of a folder. The arguments are those of `open_labeled_images`."""
    listing = list_folder(root, folder_choices, for_training=False)
    follow_links = folder_choices.follow_links != "no"
    recorded = splits_by_content(cache, weights)
    rows, bad_files = _read_rows(listing, follow_links, notify)
    is_recorded = any(row.sha256 in recorded for row in rows)
    if manifest_path is not None or (split != "all" and not is_recorded and _may_be_drawn(rows)):
        # A split was drawn from the files that decode, and lists no other.
        rows, damaged = _without_damaged(rows, root, follow_links, notify)
        bad_files += damaged
    notes = (*skipped_notes(listing.skipped), *listing.notes)
    if manifest_path is not None:
        rows = manifest.apply_manifest(rows, root, manifest_path)
    elif split != "all":
        rows, split_notes = _with_splits(rows, recorded, listing, cache, folder_choices, notify)
        notes += split_notes
    split_rows, train_notes = _select_split(rows, split, recorded, root)
    images = tuple(
        LazyImage(
            escape_controls(row.path),
            image_from_file(root / row.path, follow_links=follow_links).load,
        )
        for row in split_rows
    )
    return EvaluationImages(
        escape_controls(root.resolve().name),
        split,
        listing.classes,
        images,
        tuple(row.label for row in split_rows),
        _bad_files_of_split(bad_files, split, listing),
        (*notes, *train_notes),
    )


def _read_rows(
    listing: FolderListing, follow_links: bool, notify: Notify
) -> tuple[tuple[ManifestRow, ...], BadFiles]:
    """Return the files of a folder that have a valid image header, and the others with the reason.

    Raises InputError if no file has one.
    """
    root = listing.root
    paths = [file.path for file in listing.files]
    notify(f"reading {format_count(len(paths), 'file')} of {root}")
    infos = decode_cache.hash_files(
        root, paths, decode_cache.default_workers(), follow_links=follow_links
    )
    bad_files = tuple(
        (escape_controls(path), info.reason)
        for path, info in zip(paths, infos, strict=True)
        if info.reason
    )
    rows = tuple(
        ManifestRow(file.path, file.label, file.split, info.sha256, info.size)
        for file, info in zip(listing.files, infos, strict=True)
        if not info.reason
    )
    if not rows:
        raise input_error(
            str(root), "no usable image", "give a folder of photographs in folders of classes"
        )
    return rows, bad_files


def _without_damaged(
    rows: tuple[ManifestRow, ...], root: Path, follow_links: bool, notify: Notify
) -> tuple[tuple[ManifestRow, ...], BadFiles]:
    """Return the rows whose files decode, and the other files with the reason."""
    reasons = find_damage(
        root,
        [row.path for row in rows],
        [row.sha256 for row in rows],
        follow_links=follow_links,
        notify=notify,
    )
    pairs = list(zip(rows, reasons, strict=True))
    damaged = tuple((escape_controls(row.path), reason) for row, reason in pairs if reason)
    return tuple(row for row, reason in pairs if not reason), damaged


def _with_splits(
    rows: tuple[ManifestRow, ...],
    recorded: Mapping[str, Split],
    listing: FolderListing,
    cache: Path,
    folder_choices: FolderChoices,
    notify: Notify,
) -> tuple[tuple[ManifestRow, ...], tuple[str, ...]]:
    """Return the rows with the splits that the models were trained with, and notes.

    The splits are those of `recorded`, by the content of the files, or else those of the folder,
    completed as training would.
    """
    if any(row.sha256 in recorded for row in rows):
        return _recorded_splits(rows, recorded)
    return _complete_splits(rows, listing, cache, folder_choices, notify)


def _select_split(
    rows: Sequence[ManifestRow], split: SplitName, recorded: Mapping[str, Split], root: Path
) -> tuple[list[ManifestRow], tuple[str, ...]]:
    """Return the rows of a split, and a note if train images of the model are among them.

    The train split needs no such note. Raises InputError if the split has no images.
    """
    split_rows = [row for row in rows if split in ("all", row.split)]
    if not split_rows:
        present = sorted({row.split for row in rows if row.split})
        fix = " or ".join(f"--split {name}" for name in (*present, "all"))
        raise input_error(str(root), f"no {split} images", fix)
    train_images = sum(recorded.get(row.sha256) == "train" for row in split_rows)
    if split == "train" or not train_images:
        return split_rows, ()
    return split_rows, (f"{train_images:,} of these images are train images of the model",)


def skipped_notes(skipped: Sequence[SkippedFile]) -> tuple[str, ...]:
    """Return a note on skipped files, or none."""
    return (f"skipped: {summarize_skipped(skipped)}",) if skipped else ()


def _recorded_splits(
    rows: tuple[ManifestRow, ...], recorded: Mapping[str, Split]
) -> tuple[tuple[ManifestRow, ...], tuple[str, ...]]:
    """Return the rows with the splits of the training, by the content of the files, and notes.

    A test or validation split of the folder stays. A photograph that the model has not seen is a
    test image.
    """
    given = {row.split for row in rows} - {None, "train"}
    split_rows, new = [], 0
    for row in rows:
        split = recorded.get(row.sha256)
        if row.split in given or (split is None and row.split == "train"):
            split_rows.append(row)
            continue
        new += split is None
        split_rows.append(replace(row, split=split or "test"))
    notes = ["the splits are those of the training, by the record of the model's photographs"]
    if new:
        images = format_count(new, "image")
        notes.append(f"in the test split, because the training did not have them: {images}")
    return tuple(split_rows), tuple(notes)


def _may_be_drawn(rows: Sequence[ManifestRow]) -> bool:
    """Return True if training would draw a test split: none is given, but train images are."""
    splits = {row.split for row in rows}
    return "test" not in splits and bool(splits & {None, "train"})


def _complete_splits(
    rows: tuple[ManifestRow, ...],
    listing: FolderListing,
    cache: Path,
    folder_choices: FolderChoices,
    notify: Notify,
) -> tuple[tuple[ManifestRow, ...], tuple[str, ...]]:
    """Return the rows with the splits that training would draw, and notes.

    Images that nothing was trained on keep their split: those of a folder that has splits but no
    train split, and those of one class without a split.
    """
    unsplit = all(row.split is None for row in rows)
    if unsplit and len(listing.classes) == 1:
        note = "all images are used: nothing is trained on a folder of one class"
        return tuple(replace(row, split="test") for row in rows), (note,)
    if not _may_be_drawn(rows):
        return rows, ()

    def groups() -> NDArray[np.int64]:
        scan = scan_folder(
            listing.root,
            image_size=DEFAULT_IMAGE_SIZE,
            cache=cache,
            notify=notify,
            skip_bad=True,
            folder_choices=folder_choices,
        )
        numbers = dict(zip((row.path for row in scan.rows), scan.groups.numbers, strict=True))
        return np.array([numbers.get(row.path, -1 - k) for k, row in enumerate(rows)], np.int64)

    try:
        paths = [row.path for row in rows]
        group_of = {file.path: file.group for file in listing.files}
        key = groups_key(folder_choices.group, [group_of[path] for path in paths])
        path = manifest.find_splits_path(listing.root, paths, cache, key)
        rows, notes = manifest.fill_missing_splits(
            rows, listing.classes, listing.root, path, groups
        )
    except InputError as error:
        message = f"cannot be split as for training ({error.problems[0].message})"
        raise input_error(
            str(listing.root), message, "--split all, if it was not trained on"
        ) from error
    hint = " (--split all uses all images, if none was trained on)" if unsplit else ""
    return rows, tuple(f"{note}{hint}" for note in notes)


def _bad_files_of_split(bad_files: BadFiles, split: SplitName, listing: FolderListing) -> BadFiles:
    """Return the bad files of the split. A file without a known split counts for every split."""
    split_of = {escape_controls(file.path): file.split for file in listing.files}
    return tuple(item for item in bad_files if split == "all" or split_of[item[0]] in (None, split))


def _open_arrays(data: str, split: SplitName, cache: Path, notify: Notify) -> EvaluationImages:
    """Open the labeled images of an `.npz` file or a named data set."""
    source = open_source(data, cache=cache, notify=notify)
    images: list[LazyImage] = []
    labels: list[str] = []
    for name, part in (
        ("train", source.train),
        ("validation", source.validation),
        ("test", source.test),
    ):
        if part is None or split not in ("all", name):
            continue
        pixels = part.pixels[..., 0] if part.pixels.shape[3] == 1 else part.pixels
        images += [
            LazyImage(f"{name}/{k}", partial(Image.fromarray, array))
            for k, array in enumerate(pixels)
        ]
        labels += [source.classes[k] for k in part.labels]
    if not images:
        raise input_error(data, f"no {split} images", "--split test")
    return EvaluationImages(
        source.name, split, source.classes, tuple(images), tuple(labels), (), source.notes
    )
