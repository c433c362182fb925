"""Data sets in one `.npz` file.

Required arrays: x_train (N, H, W[, C]) uint8, y_train (N,), x_test, y_test. Optional arrays:
classes (K,) str, about (a text for reports), x_validation and y_validation (also spelled `val` or
`valid`). Headers are read first, so that every mistake of a file is reported before a pixel is
loaded. Pickles are refused.
"""

from __future__ import annotations

import contextlib
import math
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from resnetlab.data.class_names import lookalike_problems
from resnetlab.data.config import Source
from resnetlab.data.sources import content_hash
from resnetlab.errors import InputError, Problem, input_error, suggest

MIN_SIDE = 4
MAX_CLASSES = 100_000
MAX_BYTES = 64 * 2**30
"""Maximum size of all arrays, unpacked.

A data set is loaded into memory, and a small archive must not unpack without limit.
"""

VALIDATION_ALIASES = ("validation", "val", "valid")
REWRITE_HINT = (
    "write it again with np.savez(file, x_train=..., y_train=..., x_test=..., y_test=...)"
)

ARCHIVE_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    ValueError,
    EOFError,
    KeyError,
    NotImplementedError,
    RuntimeError,
)
"""Exceptions that reading a damaged archive raises."""


@dataclass(frozen=True)
class ArrayHeader:
    """Shape and dtype of an array in the archive, known without reading the array."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


@dataclass
class _FileCheck:
    """Collector of the mistakes in one file."""

    where: str
    headers: dict[str, ArrayHeader]
    problems: list[Problem] = field(default_factory=list)

    def add(self, key: str, problem: str, fix: str, *, got: object = "", allowed: str = "") -> None:
        self.problems.append(
            Problem(self.where, problem, fix, field=key, got=str(got), allowed=allowed)
        )


def open_npz(path: Path, name: str = "", notes: tuple[str, ...] = ()) -> Source:
    """Return the Source in an `.npz` file; `name` overrides the file's stem.

    Raises InputError with every mistake.
    """
    if not path.is_file():  # a FIFO would hang the open
        raise input_error(
            str(path), "neither a folder nor a regular file", "give an .npz or a folder of images"
        )
    with _damage_as_error(str(path)):
        archive = zipfile.ZipFile(path)
    with archive:
        return _read(archive, str(path), name or path.stem, notes)


@contextlib.contextmanager
def _damage_as_error(where: str) -> Iterator[None]:
    """Report the exceptions of a damaged archive as one InputError."""
    try:
        yield
    except ARCHIVE_ERRORS as error:
        fix = f"{REWRITE_HINT}, or give a folder of images"
        raise input_error(where, "not an .npz file, or a truncated one", fix) from error


def _read(archive: zipfile.ZipFile, where: str, name: str, notes: tuple[str, ...]) -> Source:
    with _damage_as_error(where):
        check = _FileCheck(where, _headers(archive, where))

    def load(key: str) -> NDArray[Any]:
        with _damage_as_error(where), archive.open(f"{key}.npy") as file:
            return npy.read_array(file, allow_pickle=False)

    splits = _splits(check)
    for split, word in splits.items():
        _check_pixels(check, f"x_{word}", "" if split == "train" else "x_train")
        _check_labels(check, f"y_{word}", f"x_{word}")
    has_names = _check_classes(check)
    if "about" in check.headers and (
        check.headers["about"].shape or check.headers["about"].dtype.kind != "U"
    ):
        check.add("about", "not one text", "about=np.array('where the images come from')")
    labels = {} if check.problems else {split: load(f"y_{word}") for split, word in splits.items()}
    classes = _checked_classes(check, load("classes") if has_names else None, labels, splits)
    if check.problems:
        raise InputError(*check.problems)
    parts = {
        split: content_hash.make_images(load(f"x_{word}"), labels[split])
        for split, word in splits.items()
    }
    used = {"about", "classes", *(f"{kind}_{word}" for kind in "xy" for word in splits.values())}
    extra = sorted(set(check.headers) - used)
    if extra:
        notes = (*notes, f"{where}: arrays not used: {', '.join(extra)}")
    about = str(load("about")) if "about" in check.headers else ""
    source = content_hash.build_source(
        name,
        classes,
        train=parts["train"],
        test=parts["test"],
        validation=parts.get("validation"),
        notes=notes,
    )
    return replace(source, about=about)


def _headers(archive: zipfile.ZipFile, where: str) -> dict[str, ArrayHeader]:
    headers = {}
    if sum(member.file_size for member in archive.infolist()) > MAX_BYTES:
        raise input_error(
            where, f"unpacks to more than {MAX_BYTES >> 30} GiB", "keep fewer or smaller images"
        )
    for member in archive.infolist():
        with archive.open(member) as file:
            version = npy.read_magic(file)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, _, dtype = read(file)
        if not dtype.hasobject and math.prod(shape) * dtype.itemsize > member.file_size:
            # Otherwise numpy would allocate the memory that the header promises.
            raise ValueError("a header promises more than its array holds")
        headers[member.filename.removesuffix(".npy")] = ArrayHeader(shape, dtype)
    return headers


def _splits(check: _FileCheck) -> dict[str, str]:
    """Return the splits whose two arrays exist, with the word by which the file spells each."""
    validation_words = [
        word for word in VALIDATION_ALIASES if {f"x_{word}", f"y_{word}"} & set(check.headers)
    ]
    if len(validation_words) > 1:
        check.add(
            f"x_{validation_words[1]}",
            f"a second validation split, besides x_{validation_words[0]}",
            "keep one of them",
        )
    splits = {"train": "train", "test": "test"} | (
        {"validation": validation_words[0]} if validation_words else {}
    )
    used = {"classes", *(f"{kind}_{word}" for kind in "xy" for word in splits.values())}
    complete = {}
    for split, word in splits.items():
        missing = [key for key in (f"x_{word}", f"y_{word}") if key not in check.headers]
        for key in missing:
            suggestion = suggest(key, set(check.headers) - used)
            check.add(
                key,
                "missing",
                suggestion or f"add {key}",
                got=f"arrays {', '.join(sorted(check.headers))}",
            )
        if not missing:
            complete[split] = word
    return complete


def _check_pixels(check: _FileCheck, key: str, reference: str) -> None:
    header = check.headers[key]
    shape, allowed = header.shape, "(N, H, W) or (N, H, W, 1 or 3)"
    if header.dtype != np.uint8:
        scale = "x.astype(np.uint8) if x is in 0 to 255"
        if header.dtype.kind == "u" and header.dtype.itemsize == 2:
            scale = "(x // 257).astype(np.uint8) if x is in 0 to 65535"
        if header.dtype.kind == "f":
            scale = "(x * 255).round().astype(np.uint8) if x is in [0, 1]"
        check.add(
            key,
            "pixels are not uint8",
            f"convert to uint8: {scale}",
            got=header.dtype,
            allowed="uint8, 0 to 255",
        )
    if len(shape) not in (3, 4):
        check.add(
            key, "not a stack of images", f"{key}.reshape(N, H, W, C)", got=shape, allowed=allowed
        )
        return
    if len(shape) == 4 and shape[3] not in (1, 3):
        fix = "keep 1 or 3 channels, the last axis"
        if shape[1] in (1, 3):
            fix = f"{key}.transpose(0, 2, 3, 1)"
        check.add(key, f"{shape[3]} channels", fix, got=shape, allowed=allowed)
    elif shape[1] != shape[2]:
        check.add(
            key,
            "images are not square",
            "crop or pad them to a square",
            got=f"{shape[1]} x {shape[2]} pixels",
        )
    elif shape[1] < MIN_SIDE:
        fix = f"give images of {MIN_SIDE} x {MIN_SIDE} or more"
        check.add(key, "images are too small", fix, got=f"{shape[1]} x {shape[2]} pixels")
    if not shape[0]:
        check.add(
            key,
            "no images",
            "add images, or leave the split out" if "train" not in key else "add images",
        )
    first = check.headers[reference].shape if reference in check.headers else shape
    already_reported = any(problem.field in (key, reference) for problem in check.problems)
    if not already_reported and _image_shape(first) != _image_shape(shape):
        check.add(
            key,
            f"images differ in shape from those of {reference}",
            f"give both {first[1:]}",
            got=shape[1:],
        )


def _image_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[1:], 1) if len(shape) == 3 else shape[1:]


def _check_labels(check: _FileCheck, key: str, pixels: str) -> None:
    header, images = check.headers[key], check.headers[pixels]
    if header.dtype.kind not in "iu":
        fix = f"{key}.astype(np.int64), if each label is a whole number"
        if header.dtype.kind in "OSU":
            fix = f"classes, {key} = np.unique({key}, return_inverse=True), for both splits"
        check.add(key, "labels are not whole numbers", fix, got=header.dtype)
    if len(header.shape) != 1:
        message = "labels are not a row of numbers"
        one_hot = len(header.shape) == 2 and header.shape[1] > 1
        fix = f"{key}.argmax(1) if a row has a 1 for its class" if one_hot else f"{key}.reshape(-1)"
        check.add(key, message, fix, got=header.shape, allowed="(N,)")
    elif images.shape and header.shape[0] != images.shape[0]:
        lengths = f"{images.shape[0]} images and {header.shape[0]} labels"
        check.add(key, f"differs in length from {pixels}", "give each image one label", got=lengths)


def _check_classes(check: _FileCheck) -> bool:
    """Return True if there is a readable array of class names."""
    header = check.headers.get("classes")
    if header is None:
        return False
    if header.dtype.kind != "U" or len(header.shape) != 1:
        got = f"{header.dtype} {header.shape}"
        check.add(
            "classes",
            "not a row of names",
            "classes=np.array([...]) of str",
            got=got,
            allowed="(K,) str",
        )
        return False
    return True


def _checked_classes(
    check: _FileCheck,
    names: NDArray[np.str_] | None,
    labels: dict[str, NDArray[Any]],
    aliases: dict[str, str],
) -> list[str]:
    """Return the class names, checked against the labels of each split."""
    top = 1 + max((int(part.max()) for part in labels.values()), default=0)
    classes = [str(name) for name in names] if names is not None else []
    if names is None and top <= MAX_CLASSES:
        classes = [str(label) for label in range(top)]
    bound = len(classes) or MAX_CLASSES
    if names is not None and (len(set(classes)) < len(classes) or not all(classes)):
        check.add(
            "classes", "an empty name, or the same name twice", "give each class a name of its own"
        )
    elif names is not None:
        check.problems += [
            replace(problem, field="classes")
            for problem in lookalike_problems(classes, check.where)
        ]
    for split, part in labels.items():
        wrong = np.flatnonzero((part < 0) | (part >= bound))
        if len(wrong):
            example = f"{part[wrong[0]]} at index {wrong[0]}" + (
                f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            )
            check.add(
                f"y_{aliases[split]}",
                "no such class",
                "correct the labels",
                got=example,
                allowed=f"0 to {bound - 1}",
            )
    if labels and not check.problems:
        if len(classes) < 2:
            check.add(
                "classes",
                "fewer than two classes",
                "give images of two classes or more",
                got=len(classes),
            )
        empty = np.flatnonzero(
            np.bincount(labels["train"].astype(np.int64), minlength=len(classes)) == 0
        )
        if len(empty):
            names_of_empty = ", ".join(classes[index] for index in empty[:10]) + (
                ", ..." if len(empty) > 10 else ""
            )
            check.add(
                "y_train",
                f"no train image of {len(empty)} of {len(classes)} classes",
                "add some",
                got=names_of_empty,
            )
    return classes
