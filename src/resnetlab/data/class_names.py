"""Names of classes: comparison after Unicode normalization, and names that only look alike.

A name is compared in NFC, without spaces around it and without case, wherever names from two places
meet: folders of splits, tables of labels, arrays, models. Imports nothing of resnetlab but errors.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from resnetlab.errors import Problem

# Cyrillic and Greek letters with the shape of a Latin letter (Unicode TS 39, confusables), after
# case folding.
_LOOKALIKES = str.maketrans("асеіјорѕухһԁԛԝαοριυκντχ", "aceijopsyxhdqwaopiukvtx")

_SYNSET_FOLDER = re.compile(r"n\d{8}[-_ ]+(\w.*)")
"""Name of a class in folders of ImageNet: the number of its synset and a word."""

MAX_SHOWN_POINTS = 6
"""Number of code points of each name that a message shows."""


def normalize_name(name: str) -> str:
    """Return `name` in NFC, without spaces around it. A name of spaces alone stays."""
    return unicodedata.normalize("NFC", name.strip() or name)


def name_key(name: str) -> str:
    """Return the form in which names from two places are compared: NFC, trimmed, without case."""
    return unicodedata.normalize("NFC", normalize_name(name).casefold())


def lookalike_key(name: str) -> str:
    """Return a form that is equal for names that a reader takes for one.

    It is NFKC without case, without invisible characters, with single spaces and with Latin letters
    for Cyrillic and Greek ones of the same shape. A name of one character is its own form, since
    a data set of letters has such classes.
    """
    if len(normalize_name(name)) == 1:
        return normalize_name(name)
    text = unicodedata.normalize("NFKC", name).casefold().translate(_LOOKALIKES)
    visible = "".join(char for char in text if unicodedata.category(char) != "Cf")
    return unicodedata.normalize("NFKC", " ".join(visible.split()))


def name_difference(first: str, second: str) -> str:
    """Describe where two names differ: `"Cat" has U+0043 where "cat" has U+0063`."""
    start, shorter = 0, min(len(first), len(second))
    while start < shorter and first[start] == second[start]:
        start += 1
    end = 0
    while end < shorter - start and first[-1 - end] == second[-1 - end]:
        end += 1
    left, right = (
        f'"{name}" has {_code_points(name[start : len(name) - end])}' for name in (first, second)
    )
    return f"{left} where {right}"


def lookalike_problems(names: Iterable[str], where: str) -> list[Problem]:
    """Return a problem for each group of names in one set that look alike but differ."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[lookalike_key(name)].append(name)
    problems = []
    for group in groups.values():
        if len(group) > 1:
            difference = name_difference(group[0], group[1])
            more = f", and {len(group) - 2:,} more" if group[2:] else ""
            message = f"classes whose names look alike: {difference}{more}"
            problems.append(Problem(where, message, "rename or merge them"))
    return problems


def match_names(names: Iterable[str], known: Sequence[str]) -> dict[str, str]:
    """Map each of `names` to the known name that it equals, or else to the only one that it equals
    after normalization. Names without a match are absent.
    """
    exact = set(known)
    by_key: dict[str, list[str]] = defaultdict(list)
    for name in known:
        by_key[name_key(name)].append(name)
    result = {}
    for name in dict.fromkeys(names):
        candidates = [name] if name in exact else by_key.get(name_key(name), [])
        if len(candidates) == 1:
            result[name] = candidates[0]
    return result


def class_order(classes: Sequence[str], expected: Sequence[str]) -> list[int] | None:
    """Return the index in `classes` of each of `expected`; None if they are not the same."""
    matches = match_names(expected, classes)
    if len(classes) != len(expected) or len(set(matches.values())) != len(expected):
        return None
    return [classes.index(matches[name]) for name in expected]


def suggest_lookalike(name: str, known: Iterable[str]) -> str:
    """Return the difference between `name` and a known name that looks like it, or ""."""
    key = lookalike_key(name)
    match = next((other for other in known if lookalike_key(other) == key), None)
    return name_difference(name, match) if match is not None else ""


def _code_points(text: str) -> str:
    if not text:
        return "nothing"
    points = " ".join(f"U+{ord(char):04X}" for char in text[:MAX_SHOWN_POINTS])
    return points + (" ..." if len(text) > MAX_SHOWN_POINTS else "")


def unnamed_classes(outputs: int) -> tuple[str, ...]:
    """Return the names of outputs whose classes are unknown: `class 0`, `class 1`."""
    return tuple(f"class {index}" for index in range(outputs))


def class_titles(names: Iterable[str]) -> dict[str, str]:
    """Map names of classes to titles for a reader, for text and pages but not for data.

    A folder of ImageNet, `n02105641-Old_English_sheepdog`, has the title `Old English sheepdog`.
    Every other name is its own title, and so are names that would get the same title.
    """
    titles = {}
    for name in names:
        match = _SYNSET_FOLDER.fullmatch(name)
        titles[name] = match[1].replace("_", " ").strip() if match else name
    counts = Counter(titles.values())
    return {name: title if counts[title] == 1 else name for name, title in titles.items()}


def class_indices(classes: Sequence[str]) -> dict[str, int]:
    """Map each class to its index, which is its label in tensors."""
    return {name: index for index, name in enumerate(classes)}


def sort_classes(names: Iterable[str]) -> list[str]:
    """Return names of classes in their order: whole numbers by size, as `2` before `10`, others by
    name.
    """
    listed = list(names)
    if all(name.isascii() and name.isdecimal() for name in listed):
        return sorted(listed, key=lambda name: (int(name), name))
    return sorted(listed)


def is_text(name: str) -> bool:
    """Return False for a name of bytes that are not UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:  # bytes that cannot be decoded, stored as lone surrogates
        return False
    return True
