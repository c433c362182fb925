"""A folder of images as a Source: list, hash, decode, cut, and account for every file.

Order of the images: by path. Order of the classes: by name. The SHA-256 covers, line by line of JSON, the decoder's
version, the side and channels of the pixels, the classes, `[path, label, split, SHA-256 of the file]` of each image,
and each file that was passed over (path and reason) or is bad (path and SHA-256); never where the folder is.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from resnetlab import files
from resnetlab.data.config import Images, Source, Split
from resnetlab.data.sources import Say, decode_cache, folder_cache, image_decoder, manifest, silent
from resnetlab.data.sources.folder_cache import Seen
from resnetlab.data.sources.folder_layout import Listing, list_folder
from resnetlab.data.sources.folder_types import Passed
from resnetlab.data.sources.manifest import Cut, Row
from resnetlab.errors import InputError, Problem, mistake
from resnetlab.settings import CACHE, cache_dir

SPLITS: tuple[Split, ...] = get_args(Split)

DEFAULT_SIDE = 64
"""Pixels; where photographs differ in size and nobody said which to take."""


@dataclass(frozen=True)
class Bad:
    """An image file that cannot be used, and why."""

    path: str
    sha256: str
    reason: str


@dataclass(frozen=True)
class Survey:
    """A folder, every file of it accounted for: used as `rows` and `pixels` (N, S, S, C), passed over, or bad."""

    root: Path
    classes: tuple[str, ...]
    rows: tuple[Row, ...]
    pixels: NDArray[np.uint8]
    passed: tuple[Passed, ...]
    bad: tuple[Bad, ...]
    notes: tuple[str, ...]
    kept: str
    """The name of the pixels in the cache."""


def open_folder(
    root: Path, *, image_size: int | None, cache: Path, say: Say = silent, skip_bad: bool = False,
    workers: int | None = None,
) -> Source:  # fmt: skip
    """The Source in a folder, mapped from the cache where nothing in the folder changed since it was read.

    Raises InputError with every mistake found; bad files are one unless `skip_bad`.
    """
    _refuse_inside(cache, root)
    # Notes name two of these paths.
    asked = image_decoder.DECODER, image_size, skip_bad, str(root), str(cache), str(cache.resolve())
    place, looked = folder_cache.place_of(root, _shared(), "images", *asked), folder_cache.look(root)
    held = folder_cache.recall(place, looked)
    if held is None:
        found = survey(root, image_size=image_size, cache=cache, say=say, skip_bad=skip_bad, workers=workers)
        held = _seen(found)
        folder_cache.remember(place, looked, held, found.kept, _written(found, cache))
    return _source(root, held)


def to_source(found: Survey) -> Source:
    """The Source that a survey found."""
    return _source(found.root, _seen(found))


def _seen(found: Survey) -> Seen:
    number = {name: k for k, name in enumerate(found.classes)}
    labels = np.array([number[row.label] for row in found.rows], np.int64)
    splits = np.array([SPLITS.index(row.split) if row.split else len(SPLITS) for row in found.rows], np.uint8)
    return Seen(found.classes, found.pixels, labels, splits, manifest_sha256(found), found.notes)


def _source(root: Path, held: Seen) -> Source:
    def part(split: Split) -> Images:
        chosen = np.flatnonzero(held.splits == SPLITS.index(split))
        if len(chosen) and chosen[-1] - chosen[0] + 1 == len(chosen):  # in one piece: it stays mapped
            return Images(held.pixels[chosen[0] : chosen[-1] + 1], held.labels[chosen])
        return Images(held.pixels[chosen], held.labels[chosen])

    validation = part("validation") if (held.splits == SPLITS.index("validation")).any() else None
    name = root.resolve().name
    return Source(name, held.classes, part("train"), part("test"), validation, held.sha256, held.notes)


def _written(found: Survey, cache: Path) -> list[Path]:
    """The files beside the folder's own from which it follows what a folder gives."""
    used = [row.path for row in found.rows]
    every = sorted([*used, *(item.path for item in found.bad)])
    splits, bad = (manifest.stem(found.root, paths) for paths in (used, every))
    return [cache / f"{splits}-splits.csv", cache / f"{bad}-bad.csv", folder_cache.files_of(found.root, _shared())]


def _shared() -> Path:
    """The folder of a person's cache for decoded images, and for what folders were when they were last read."""
    return cache_dir() / "images"


def _refuse_inside(cache: Path, root: Path) -> None:
    fixes = {
        cache: "give an output folder outside it, or name the folder of images itself",
        _shared(): f"give {CACHE} a folder outside it, or name the folder of images itself",
    }
    for place, fix in fixes.items():
        if place.resolve().is_relative_to(root.resolve()):  # what is written would be listed, and hashed, the next time
            raise mistake(str(root), f"{place} lies in the folder of images", fix)


def survey(
    root: Path, *, image_size: int | None, cache: Path, say: Say = silent, skip_bad: bool = False,
    workers: int | None = None, cut: Cut | Path | None = None, anew: bool = False,
) -> Survey:  # fmt: skip
    """List, hash, decode and cut a folder: anew, by a manifest, or, with None, as it lies. Raises InputError.

    A file that has the size and time that it had when it was hashed is not read again, unless with `anew`. Pixels are
    kept in the person's cache; `cache` holds what belongs to the output: the manifest and the list of bad files.
    """
    _refuse_inside(cache, root)
    workers = workers or decode_cache.default_workers()
    listing = list_folder(root)
    paths = [file.path for file in listing.files]
    say(f"reading {len(paths):,} files of {root}")
    probes = folder_cache.probe(root, paths, workers, _shared(), anew=anew)
    todo = [place for place, probe in enumerate(probes) if not probe.reason]
    sizes = {probes[place].size for place in todo}
    side, notes = _side(image_size, sizes)
    hashes = [probes[place].sha256 for place in todo]
    good = [paths[place] for place in todo]
    result = decode_cache.decode(root, good, hashes, side, cache=_shared(), workers=workers, say=say)
    reasons = [probe.reason for probe in probes]
    for place, reason in zip(todo, result.reasons, strict=True):
        reasons[place] = reason
    bad = tuple(
        Bad(path, probe.sha256, reason) for path, probe, reason in zip(paths, probes, reasons, strict=True) if reason
    )
    rows = [
        Row(file.path, file.label, file.split, probe.sha256, probe.size)
        for file, probe, reason in zip(listing.files, probes, reasons, strict=True)
        if not reason
    ]
    notes += _account(listing, bad, rows, cache, skip_bad=skip_bad)
    more: tuple[str, ...] = ()
    match cut:
        case None:
            complete, more = manifest.complete(rows, listing.classes, root, cache)
        case Cut():
            complete = manifest.cut_anew(rows, listing.classes, root, cut)
        case Path():
            complete = manifest.follow(rows, root, cut)
            _need_train(complete, cut)
    kept = decode_cache.key_of(side, hashes)
    return Survey(root, listing.classes, complete, result.pixels, listing.passed, bad, (*notes, *more), kept)


def _need_train(rows: Sequence[Row], path: Path) -> None:
    """Raise InputError for each class that the manifest at `path` leaves without a train image."""
    trained = {row.label for row in rows if row.split == "train"}
    strangers = sorted({row.label for row in rows} - trained)
    fix = "give it train images, or remove it"
    if strangers:
        raise InputError(*(Problem(str(path), f'class "{name}" is not in train', fix) for name in strangers))


def manifest_sha256(found: Survey) -> str:
    """The SHA-256, in hexadecimal, of the lines that the module's docstring names."""
    side, channels = found.pixels.shape[2:]
    lines: list[list[object]] = [["resnetlab folder 1", image_decoder.DECODER, side, channels, *found.classes]]
    lines += [["used", row.path, row.label, row.split, row.sha256] for row in found.rows]
    lines += [["passed", item.path, item.reason] for item in found.passed]
    lines += [["bad", item.path, item.sha256] for item in found.bad]
    digest = hashlib.sha256()
    for line in lines:
        digest.update(json.dumps(line).encode() + b"\n")
    return digest.hexdigest()


def _side(image_size: int | None, sizes: set[tuple[int, int]]) -> tuple[int, tuple[str, ...]]:
    """The side of the squares in pixels: as asked, or the images' own when all are one square, or the default."""
    if image_size is not None:
        return image_size, ()
    height, width = next(iter(sizes), (0, 1))
    if len(sizes) == 1 and height == width:
        return height, ()
    note = f"images differ in size or are not square: resized to {DEFAULT_SIDE} pixels (image_size says otherwise)"
    return DEFAULT_SIDE, (note,) if sizes else ()


def _account(
    listing: Listing, bad: tuple[Bad, ...], rows: list[Row], cache: Path, *, skip_bad: bool
) -> tuple[str, ...]:
    """Notes on what is left out. Raises InputError for bad files, and for a class or a split without images."""
    problems, notes = [], []
    if bad:
        path = cache / f"{manifest.stem(listing.root, [file.path for file in listing.files])}-bad.csv"
        _write_bad(path, bad)
        first, files_ = bad[0], f"1 of {len(bad)} bad files" if len(bad) > 1 else "the one bad file"
        if skip_bad:
            notes.append(
                f"{_files(len(bad), 'bad file')} left out (first: {first.path}: {first.reason}); listed in {path}"
            )
        else:
            what = f"{first.reason} ({files_}, listed in {path})"
            problems.append(Problem(f"{listing.root}/{first.path}", what, "replace them, or --skip-bad"))
    problems += _empty(listing, bad, rows)
    if problems:
        raise InputError(*problems)
    if listing.passed:
        kinds = Counter(item.reason for item in listing.passed)
        shown = ", ".join(f"{count} {reason}" for reason, count in kinds.most_common())
        notes.append(f"{_files(len(listing.passed), 'file')} passed over: {shown}")
    notes += _twins(listing)
    return tuple(notes)


def _empty(listing: Listing, bad: tuple[Bad, ...], rows: list[Row]) -> list[Problem]:
    trained = {row.label for row in rows if row.split in (None, "train")}
    broken = [item.path for item in bad]
    problems = [listing.problem_of_empty(label, broken) for label in listing.classes if label not in trained]
    for split in sorted(
        {file.split for file in listing.files if file.split} - {row.split for row in rows if row.split}
    ):
        problems.append(Problem(str(listing.root), f"no usable image in {split}", "add images, or remove the split"))
    return problems


def _twins(listing: Listing) -> list[str]:
    """A note on names that a file system which folds case could not hold side by side."""
    folded = defaultdict(list)
    for file in listing.files:
        folded[file.path.casefold()].append(file.path)
    twins = [paths for paths in folded.values() if len(paths) > 1]
    more = f" and {len(twins) - 1:,} more such" if twins[1:] else ""
    return [f"files whose names differ in case only are all used: {', '.join(twins[0])}{more}"] if twins else []


def _files(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' if count > 1 else ''}"


def _write_bad(path: Path, bad: tuple[Bad, ...]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "reason"))
    writer.writerows((item.path, item.reason) for item in bad)
    with files.atomic(path, "wb") as file:
        file.write(text.getvalue().encode(errors="surrogateescape"))
