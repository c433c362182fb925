"""The split of a folder that has none: cut once, written as `path,label,split,sha256` beside the cache, and read back.

Never writes into the folder of images. A manifest that no longer fits its folder is cut again.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np

from resnetlab import files
from resnetlab.data.sources import strata
from resnetlab.data.spec import Split

SHARE = 0.15
HEADER = ("path", "label", "split", "sha256")


@dataclass(frozen=True)
class Row:
    """A usable image: its path below the root, its class and split, the SHA-256 of its file, its size as stored."""

    path: str
    label: str
    split: Split | None
    sha256: str
    size: tuple[int, int]


def stem(root: Path, paths: Sequence[str]) -> str:
    """`<folder-name>-<short hash of the paths>`: the beginning of the names of what is written about a folder."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", root.resolve().name) or "root"
    return f"{name}-{hashlib.sha256(json.dumps(list(paths)).encode()).hexdigest()[:8]}"


def complete(
    rows: Sequence[Row], classes: Sequence[str], root: Path, cache: Path
) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """The rows, each with a split, and a note for a person when one had to be cut.

    Without any split, 15 % of the images are test and 15 % validation; with train but no test, 15 % of train become
    test. By class, by seed 0. Raises InputError when a class has too few images.
    """
    if any(row.split == "test" for row in rows):
        return tuple(rows), ()
    path = cache / f"{stem(root, [row.path for row in rows])}-splits.csv"
    held = _read(path, rows)
    cut = held or _cut(rows, classes, str(root))
    if held is None:
        _write(path, cut)
    what = "15 % test and 15 % validation" if rows[0].split is None else "15 % of train as the test split"
    return cut, (f"{root} has no test split: {what} were set apart, by class, by seed 0; listed in {path}",)


def _cut(rows: Sequence[Row], classes: Sequence[str], where: str) -> tuple[Row, ...]:
    number = {name: k for k, name in enumerate(classes)}
    if all(row.split is None for row in rows):
        labels = np.array([number[row.label] for row in rows], np.int64)
        splits = strata.split_three_ways(labels, classes, SHARE, where)
        return tuple(replace(row, split=split) for row, split in zip(rows, splits, strict=True))
    train = [place for place, row in enumerate(rows) if row.split == "train"]
    labels = np.array([number[rows[place].label] for place in train], np.int64)
    test = strata.split_test(labels, classes, SHARE, where)
    chosen = {place for place, drawn in zip(train, test, strict=True) if drawn}
    return tuple(replace(row, split="test") if place in chosen else row for place, row in enumerate(rows))


def _write(path: Path, rows: Sequence[Row]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows((row.path, row.label, row.split, row.sha256) for row in rows)
    with files.atomic(path, "wb") as file:  # a name that is not UTF-8 keeps its bytes
        file.write(text.getvalue().encode(errors="surrogateescape"))


def _read(path: Path, rows: Sequence[Row]) -> tuple[Row, ...] | None:
    """The rows with the splits of a manifest that lists exactly these files, else None."""
    try:
        text = path.read_bytes().decode(errors="surrogateescape")
        header, *lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except (OSError, csv.Error, ValueError):
        return None
    fits = tuple(header) == HEADER and len(lines) == len(rows) and all(len(line) == len(HEADER) for line in lines)
    if not fits:
        return None
    held = tuple(replace(row, split=line[2]) for row, line in zip(rows, lines, strict=True))  # type: ignore[arg-type]
    same = all(
        (row.path, row.label, row.split, row.sha256) == tuple(line) for row, line in zip(held, lines, strict=True)
    )
    kept = all(row.split == now.split or now.split in (None, "train") for row, now in zip(held, rows, strict=True))
    splits = {row.split for row in held}
    return held if same and kept and splits <= set(get_args(Split)) and {"train", "test"} <= splits else None
