"""Manifests of splits: `path,label,split,sha256`, one line per image. No image is copied.

A folder without splits is split once, and its manifest is written next to the cache. It is replaced
when it no longer fits the folder; a manifest that the user gives must fit. Nothing is written into
the folder of images.
"""

from __future__ import annotations

import csv
import glob
import hashlib
import io
import json
import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from resnetlab import files
from resnetlab.data import stratify
from resnetlab.data.class_names import class_indices, name_key
from resnetlab.data.config import Split
from resnetlab.errors import InputError, Problem, input_error
from resnetlab.messages import format_count

DEFAULT_FRACTION = 0.15
COLUMNS = ("path", "label", "split", "sha256")


@dataclass(frozen=True)
class ManifestRow:
    """Row of a usable image: path below the root, class, split, SHA-256, size as stored."""

    path: str
    label: str
    split: Split | None
    sha256: str
    size: tuple[int, int]


@dataclass(frozen=True)
class SplitSpec:
    """Split of a folder: train, validation and test, as fractions that add up to 1 or as counts."""

    lengths: tuple[float, float, float]
    seed: int = 0
    keep_test: bool = False
    """True if a test split that the folder has stays as it is."""

    @classmethod
    def parse(cls, text: str, seed: int = 0, option: str = "--split") -> SplitSpec:
        """Parse `.6,.2,.2` or `12240,4200,4140`. Raises InputError if it is neither."""
        fix = f"{option} .6,.2,.2, or counts that add up to the images: {option} 12240,4200,4140"
        try:
            parts = tuple(float(part) for part in text.split(","))
        except ValueError:
            parts = ()
        are_counts = all(part == int(part) for part in parts if math.isfinite(part))
        valid = (
            len(parts) == 3
            and all(math.isfinite(part) and part >= 0 for part in parts)
            and parts[0]
            and parts[2]
        )
        if not valid or not (are_counts or abs(sum(parts) - 1) < 1e-6):
            raise input_error(
                option, "not fractions or counts of train, validation and test", fix, got=text
            )
        return cls((parts[0], parts[1], parts[2]), seed)

    def counts(self, images: int, where: str) -> tuple[int, int, int]:
        """Return the numbers of train, validation and test images.

        Raises InputError when counts do not add up to `images`.
        """
        if sum(self.lengths) < 1.5:  # fractions
            validation, test = (round(share * images) for share in self.lengths[1:])
            return images - validation - max(1, test), validation, max(1, test)
        train, validation, test = (int(part) for part in self.lengths)
        if train + validation + test != images:
            problem = (
                f"{train:,} + {validation:,} + {test:,} = {train + validation + test:,}, of "
                f"{format_count(images, 'image')}"
            )
            raise input_error(
                where, problem, "counts that add up, or fractions such as .6,.2,.2", field="split"
            )
        return train, validation, test


def parse_split(text: str, option: str = "--split") -> SplitSpec | Path | None:
    """Parse the value of `--split`: fractions or counts, the path of a manifest, or None if empty.

    Raises InputError if the text is neither fractions, counts nor the name of a CSV file.
    """
    if not text:
        return None
    return Path(text) if text.endswith(".csv") else SplitSpec.parse(text, option=option)


def file_stem(root: Path, paths: Sequence[str]) -> str:
    """Return `<folder-name>-<short hash of the paths>`, the beginning of names of files."""
    name = re.sub(r"[^\w.-]", "_", root.resolve().name) or "root"
    return f"{name}-{hashlib.sha256(json.dumps(list(paths)).encode()).hexdigest()[:8]}"


def splits_path(root: Path, paths: Sequence[str], cache: Path, group: str = "") -> Path:
    """Return the file with the splits that were drawn for these images by the rule `group`."""
    rule = f"-group-{hashlib.sha256(group.encode()).hexdigest()[:6]}" if group else ""
    return cache / f"{file_stem(root, paths)}{rule}-splits.csv"


def find_splits_path(root: Path, paths: Sequence[str], cache: Path, group: str = "") -> Path:
    """Return the file of `splits_path`; without a rule, the only one that there is with a rule.

    So a model is not tested on its train images because the command that evaluates it does not
    repeat `--group`. Raises InputError if several rules have been used.
    """
    path = splits_path(root, paths, cache, group)
    if group or path.exists():
        return path
    others = sorted(cache.glob(f"{glob.escape(file_stem(root, paths))}-group-*-splits.csv"))
    if len(others) > 1:
        message = f"was split by {len(others)} rules for groups or values of a column"
        raise input_error(str(root), message, "give the one of the training: --group RULE")
    return others[0] if others else path


def fill_missing_splits(
    rows: Sequence[ManifestRow],
    classes: Sequence[str],
    root: Path,
    path: Path,
    groups: Callable[[], NDArray[np.int64]],
) -> tuple[tuple[ManifestRow, ...], tuple[str, ...]]:
    """Return the rows, each with a split, and a note for the user when splits had to be drawn.

    Without any split, 15 % of the images become test and 15 % validation; with train but no test,
    15 % of train become test. Draws are by class, by seed 0, and keep `groups` together; they are
    stored at `path`. Raises InputError when a class has too few images.
    """
    if any(row.split == "test" for row in rows):
        return tuple(rows), ()
    stored = _read_manifest(path, rows)
    result = stored or _draw_missing_splits(rows, classes, str(root), groups())
    if stored is None:
        write_manifest(path, result)
    description = "15 % of train as the test split"
    if rows[0].split is None:
        description = "15 % test and 15 % validation"
    return result, (
        (
            f"{root} has no test split: {description} were set apart, by class, by seed 0; listed "
            f"in {path}"
        ),
    )


def resplit(
    rows: Sequence[ManifestRow],
    classes: Sequence[str],
    root: Path,
    split_spec: SplitSpec,
    groups: NDArray[np.int64],
) -> tuple[ManifestRow, ...]:
    """Return the rows with new splits, drawn by class as `split_spec` requires. Images with the
    same number in `groups` (N,) get the same split.

    With `keep_test`, a test split of the rows stays, and the other images are divided in the
    proportion of train and validation. Raises InputError if a class has too few images.
    """
    index_of = class_indices(classes)
    labels = np.array([index_of[row.label] for row in rows], np.int64)
    is_test = np.array([row.split == "test" for row in rows])
    if split_spec.keep_test and is_test.any():
        splits = _divide_others(labels, classes, is_test, root, split_spec, groups)
    else:
        _, validation, test = split_spec.counts(len(rows), str(root))
        splits = stratify.split_by_counts(
            labels, classes, validation, test, split_spec.seed, str(root), groups
        )
    return tuple(replace(row, split=split) for row, split in zip(rows, splits, strict=True))


def _divide_others(
    labels: NDArray[np.int64],
    classes: Sequence[str],
    is_test: NDArray[np.bool_],
    root: Path,
    split_spec: SplitSpec,
    groups: NDArray[np.int64],
) -> tuple[Split, ...]:
    """Return a split for each image: test where `is_test` (N,) is true, else train or validation.

    Raises InputError for counts that do not fit the given test split.
    """
    others, given = int((~is_test).sum()), int(is_test.sum())
    train_share, validation_share, test_share = split_spec.lengths
    if sum(split_spec.lengths) < 1.5:  # fractions
        validation = round(others * validation_share / (train_share + validation_share))
    else:
        _, validation, _ = split_spec.counts(len(labels), str(root))
        if test_share != given:
            fix = f"give {given:,} as the number of test images, or --redraw-test"
            message = f"has a test split of {format_count(given, 'image')}, which is kept"
            raise input_error(str(root), message, fix, got=f"{test_share:g}")
    splits = np.where(is_test, "test", "train").astype(object)
    drawn = stratify.stratified_mask(
        labels[~is_test],
        classes,
        validation,
        "validation",
        split_spec.seed,
        where=str(root),
        fix="add images, or give the validation images",
        groups=groups[~is_test],
    )
    splits[np.flatnonzero(~is_test)[drawn]] = "validation"
    return tuple(splits)


def apply_manifest(rows: Sequence[ManifestRow], root: Path, path: Path) -> tuple[ManifestRow, ...]:
    """Return the rows, each with its split in the manifest at `path`.

    Raises InputError unless the two fit.
    """
    fix = "make it again: resnetlab data split"
    try:
        text = path.read_bytes().decode(errors="surrogateescape")
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except (OSError, csv.Error, ValueError) as error:
        raise input_error(
            str(path), f"cannot be read: {error}", "give a manifest of resnetlab data split"
        ) from None
    if not lines or tuple(lines[0]) != COLUMNS or any(len(line) != len(COLUMNS) for line in lines):
        raise input_error(str(path), "not a manifest", fix, allowed=",".join(COLUMNS))
    listed = {_path_key(line[0]): (name_key(line[1]), line[3]) for line in lines[1:]}
    splits = {_path_key(line[0]): line[2] for line in lines[1:]}
    present = {_path_key(row.path): (name_key(row.label), row.sha256) for row in rows}
    mismatches = {
        f"lists what {root} does not have:": listed.keys() - present.keys(),
        "does not list": present.keys() - listed.keys(),
        "has another class or content for": {
            name for name in present.keys() & listed.keys() if present[name] != listed[name]
        },
        "has another word than train, validation or test for": {
            name for name, split in splits.items() if split not in get_args(Split)
        },
    }
    problems = []
    for message, unsorted in mismatches.items():
        if unsorted:
            first, *others = sorted(unsorted)
            more = f" and {len(others):,} more" if others else ""
            problems.append(Problem(str(path), f'{message} "{first}"{more}', fix))
    missing = {"train", "test"} - set(splits.values())
    problems += [Problem(str(path), f"no {split} images", fix) for split in sorted(missing)]
    if problems:
        raise InputError(*problems)
    return tuple(replace(row, split=splits[_path_key(row.path)]) for row in rows)  # type: ignore[arg-type]


def _path_key(path: str) -> str:
    return unicodedata.normalize("NFC", path)


def _draw_missing_splits(
    rows: Sequence[ManifestRow], classes: Sequence[str], where: str, groups: NDArray[np.int64]
) -> tuple[ManifestRow, ...]:
    index_of = class_indices(classes)
    if all(row.split is None for row in rows):
        labels = np.array([index_of[row.label] for row in rows], np.int64)
        splits = stratify.split_three_ways(labels, classes, DEFAULT_FRACTION, where, groups)
        return tuple(replace(row, split=split) for row, split in zip(rows, splits, strict=True))
    train = [index for index, row in enumerate(rows) if row.split == "train"]
    labels = np.array([index_of[rows[index].label] for index in train], np.int64)
    test = stratify.draw_test_split(labels, classes, DEFAULT_FRACTION, where, groups[train])
    test_indices = {index for index, drawn in zip(train, test, strict=True) if drawn}
    return tuple(
        replace(row, split="test") if index in test_indices else row
        for index, row in enumerate(rows)
    )


def manifest_bytes(rows: Sequence[ManifestRow]) -> bytes:
    """Return the content of a manifest. Names that are not UTF-8 are preserved."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((row.path, row.label, row.split, row.sha256) for row in rows)
    return text.getvalue().encode(errors="surrogateescape")


def write_manifest(path: Path, rows: Sequence[ManifestRow]) -> None:
    """Write a manifest atomically."""
    with files.atomic_write(path, "wb") as file:
        file.write(manifest_bytes(rows))


def _read_manifest(path: Path, rows: Sequence[ManifestRow]) -> tuple[ManifestRow, ...] | None:
    """Return the rows with the splits of a manifest that lists exactly these files, or None."""
    try:
        text = path.read_bytes().decode(errors="surrogateescape")
        header, *lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except (OSError, csv.Error, ValueError):
        return None
    well_formed = (
        tuple(header) == COLUMNS
        and len(lines) == len(rows)
        and all(len(line) == len(COLUMNS) for line in lines)
    )
    if not well_formed:
        return None
    result = tuple(replace(row, split=line[2]) for row, line in zip(rows, lines, strict=True))  # type: ignore[arg-type]
    same = all(
        (row.path, row.label, row.split, row.sha256) == tuple(line)
        for row, line in zip(result, lines, strict=True)
    )
    same_splits = all(
        row.split == current.split or current.split in (None, "train")
        for row, current in zip(result, rows, strict=True)
    )
    splits = {row.split for row in result}
    if same and same_splits and splits <= set(get_args(Split)) and {"train", "test"} <= splits:
        return result
    return None
