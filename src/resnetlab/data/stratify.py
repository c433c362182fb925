"""Stratified random draws of images, identified by a purpose and a seed.

Knows no file and no source.

A draw never changes numpy's global state. Class `name` has its own stream, PCG64 seeded with
SHA-256(JSON ["resnetlab split 1", purpose, seed, name]), and its images are drawn in the order of
the stream's raw 64-bit words. So neither the order of the classes nor another class's images change
its draw. Raw words are used because NumPy guarantees the words of a bit generator forever, but
those of `Generator.permutation` only for one version (NEP 19).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from resnetlab.data.config import Split
from resnetlab.errors import input_error


def stable_permutation(size: int, purpose: str, seed: int, name: str) -> NDArray[np.int64]:
    """Return the permutation of `range(size)` for this purpose, seed and class name, (size,).

    A longer permutation keeps the relative order of the same images.
    """
    key = json.dumps(["resnetlab split 1", purpose, seed, name]).encode()
    words = np.random.PCG64(int.from_bytes(hashlib.sha256(key).digest(), "big")).random_raw(size)
    return np.argsort(words, kind="stable")


def allocate_by_largest_remainder(
    counts: NDArray[np.int64], total: int, classes: Sequence[str]
) -> NDArray[np.int64]:
    """Return the images to draw of each class (K,): `total` by largest remainder, ties by name.

    One image of each class always stays. `total` is at most the sum of `counts - 1` over the
    classes that have any.
    """
    available = np.maximum(counts - 1, 0)
    share, remainder = divmod(counts * total, max(1, int(counts.sum())))
    take = np.array(share, dtype=np.int64)
    ranked = sorted(range(len(counts)), key=lambda index: (-remainder[index], classes[index]))
    missing = total - int(take.sum())
    while missing:  # a second round happens only if a class of one image has none to give
        for index in ranked:
            if missing and take[index] < available[index]:
                take[index] += 1
                missing -= 1
    return take


def stratified_mask(
    labels: NDArray[np.int64],
    classes: Sequence[str],
    total: int,
    purpose: str,
    seed: int,
    *,
    where: str,
    fix: str,
    groups: NDArray[np.int64] | None = None,
) -> NDArray[np.bool_]:
    """Mark `total` images by class, leaving at least one of each class: (N,) bool, true if drawn.

    Images with the same number in `groups` (N,) are drawn together or not at all, and then the
    number of drawn images is only near `total`. Raises InputError, at `where` and with `fix`, when
    so many cannot be drawn.
    """
    counts = np.bincount(labels, minlength=len(classes))
    available = int(np.maximum(counts - 1, 0).sum())
    if not 0 <= total <= available:
        problem = (
            f"{total} of {len(labels)} images cannot be set apart with one left of each class (at "
            f"most {available} can)"
        )
        raise input_error(where, problem, fix, field=purpose)
    if groups is not None and len(np.unique(groups)) < len(groups):
        return _grouped_mask(labels, classes, total, purpose, seed, groups, where=where)
    drawn = np.zeros(len(labels), dtype=np.bool_)
    by_class = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])
    for name, members, count in zip(
        classes, by_class, allocate_by_largest_remainder(counts, total, classes), strict=True
    ):
        drawn[members[stable_permutation(len(members), purpose, seed, name)[:count]]] = True
    return drawn


def _grouped_mask(
    labels: NDArray[np.int64],
    classes: Sequence[str],
    total: int,
    purpose: str,
    seed: int,
    groups: NDArray[np.int64],
    *,
    where: str,
) -> NDArray[np.bool_]:
    """Mark whole groups so that the counts by class come near those of a draw of single images.

    The groups are visited in a random order. One is drawn if that brings the counts of the drawn
    images (K,) nearer to the target in Euclidean distance, and leaves an image of each class.
    """
    counts = np.bincount(labels, minlength=len(classes))
    target = allocate_by_largest_remainder(counts, total, classes)
    members = _members_of_groups(groups)
    current, drawn = np.zeros(len(classes), np.int64), np.zeros(len(labels), np.bool_)
    for number in stable_permutation(len(members), purpose, seed, "groups"):
        present, images = np.unique(labels[members[number]], return_counts=True)
        # The counts of other classes stay, and so does their part of the distance.
        goal, before = target[present], current[present]
        after = before + images
        is_nearer = ((goal - after) ** 2).sum() < ((goal - before) ** 2).sum()
        if is_nearer and (counts[present] - after >= 1).all():
            current[present] = after
            drawn[members[number]] = True
    if total and not drawn.any():
        largest = max(map(len, members))
        message = f"no group of images is small enough (the largest has {largest:,} images)"
        raise input_error(where, message, "give smaller groups, or the split itself", field=purpose)
    return drawn


def _members_of_groups(groups: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the indices of the images of each group, in the order of the groups' numbers."""
    order = np.argsort(groups, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)


def fold_mask(
    labels: NDArray[np.int64],
    classes: Sequence[str],
    folds: int,
    fold: int,
    seed: int,
    groups: NDArray[np.int64] | None,
    *,
    where: str,
) -> NDArray[np.bool_]:
    """Mark the images of a fold, (N,) bool.

    Raises InputError, at `where`, if the fold is empty or a class has no image in the other folds.
    """
    in_fold: NDArray[np.bool_] = assign_folds(labels, classes, folds, seed, groups) == fold
    remaining = np.bincount(labels[~in_fold], minlength=len(classes))
    if not in_fold.any() or not remaining.all():
        smallest = classes[int(remaining.argmin())]
        message = f'too few images or groups for {folds} folds (class "{smallest}")'
        raise input_error(where, message, "fewer folds, or more images", field="folds")
    return in_fold


def assign_folds(
    labels: NDArray[np.int64],
    classes: Sequence[str],
    folds: int,
    seed: int,
    groups: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Return the fold of each image, (N,), from 0 to `folds` - 1, stratified by class.

    The folds differ by at most one image of a class where every group has one image. Otherwise the
    largest group comes first, and each goes to the fold in which its classes are rarest.
    """
    members = _members_of_groups(np.arange(len(labels)) if groups is None else groups)
    order = stable_permutation(len(members), "folds", seed, "groups")
    order = order[np.argsort([-len(members[number]) for number in order], kind="stable")]
    counts = np.zeros((folds, len(classes)), np.int64)
    result = np.zeros(len(labels), np.int64)
    for number in order:
        added = np.bincount(labels[members[number]], minlength=len(classes))
        crowding = counts @ added  # images of the group's classes in each fold
        fold = min(range(folds), key=lambda fold: (crowding[fold], counts[fold].sum(), fold))
        counts[fold] += added
        result[members[number]] = fold
    return result


def draw_test_split(
    labels: NDArray[np.int64],
    classes: Sequence[str],
    fraction: float,
    where: str,
    groups: NDArray[np.int64] | None = None,
) -> NDArray[np.bool_]:
    """Mark round(fraction N) images, at least one, as test, by split seed 0."""
    fix = "add images, or give the test images"
    total = max(1, round(fraction * len(labels)))
    return stratified_mask(labels, classes, total, "test", 0, where=where, fix=fix, groups=groups)


def split_three_ways(
    labels: NDArray[np.int64],
    classes: Sequence[str],
    fraction: float,
    where: str,
    groups: NDArray[np.int64] | None = None,
) -> tuple[Split, ...]:
    """Return a split for each image: `fraction` each for test and validation; split seed 0."""
    validation, test = round(fraction * len(labels)), max(1, round(fraction * len(labels)))
    return split_by_counts(labels, classes, validation, test, 0, where, groups)


def split_by_counts(
    labels: NDArray[np.int64],
    classes: Sequence[str],
    validation: int,
    test: int,
    seed: int,
    where: str,
    groups: NDArray[np.int64] | None = None,
) -> tuple[Split, ...]:
    """Return a split for each image: `test` by class, then `validation` of the rest, then train.

    Images of one of the `groups` (N,) get the same split. Raises InputError, at `where`, when a
    class would lose its last image of train.
    """
    splits = np.full(len(labels), "train", dtype=object)
    fix = "add images, or give the {} images"
    is_test = stratified_mask(
        labels, classes, test, "test", seed, where=where, fix=fix.format("test"), groups=groups
    )
    splits[is_test] = "test"
    rest = np.flatnonzero(~is_test)
    is_validation = stratified_mask(
        labels[rest],
        classes,
        validation,
        "validation",
        seed,
        where=where,
        fix=fix.format("validation"),
        groups=None if groups is None else groups[rest],
    )
    splits[rest[is_validation]] = "validation"
    return tuple(splits)
