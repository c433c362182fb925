"""Which pictures a model is to look at, each with a name and a way to read it. Decodes nothing yet; free of torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from PIL import Image

from resnetlab.data.sources import Say, decode_cache, image_decoder, manifest, open_source, silent
from resnetlab.data.sources.folder_layout import FOREIGN, SUFFIXES, Listing, list_folder, walk
from resnetlab.data.sources.folder_types import Passed
from resnetlab.data.sources.manifest import Row
from resnetlab.errors import mistake, printable

Part = Literal["train", "validation", "test", "all"]


@dataclass(frozen=True)
class Picture:
    """`load` gives the decoded photograph, or raises BadImageError."""

    name: str
    """A path whose unprintable characters are escaped."""
    load: Callable[[], Image.Image]


@dataclass(frozen=True)
class Labelled:
    """Pictures of one split of a data set, and the class of each."""

    data: str
    split: Part
    classes: tuple[str, ...]
    pictures: tuple[Picture, ...]
    labels: tuple[str, ...]
    bad: tuple[tuple[str, str], ...] = ()
    """Files that are no images by their header, and why."""
    notes: tuple[str, ...] = ()


def picture(path: Path) -> Picture:
    """The photograph in a file."""
    return Picture(printable(str(path)), partial(_load, path))


def find_pictures(paths: Sequence[Path]) -> tuple[list[Picture], list[Passed]]:
    """The files as they are named, and those in folders that are images by their name; the others with the reason."""
    found: list[Picture] = []
    passed: list[Passed] = []
    for path in paths:
        if not path.is_dir():
            found.append(picture(path))
            continue
        for entry in sorted(walk(path)[0], key=lambda entry: entry.path):
            hidden = any(part.startswith(".") for part in entry.path.split("/"))
            foreign = "" if entry.path.lower().endswith(SUFFIXES + FOREIGN) else "not an image by its name"
            reason = "hidden" if hidden else entry.hindrance or foreign
            if reason:
                passed.append(Passed(f"{path}/{entry.path}", reason))
            else:
                found.append(picture(path / entry.path))
    return found, passed


def passed_words(passed: Iterable[Passed]) -> str:
    """`2 not an image by its name, 1 hidden`."""
    return ", ".join(f"{count} {reason}" for reason, count in Counter(item.reason for item in passed).most_common())


def open_labelled(
    data: str, split: Part, cache: Path, say: Say = silent, *, by: Path | None = None
) -> Labelled:  # fmt: skip
    """The pictures of `split` in a folder, an `.npz` or a data set that has a name.

    A folder is cut by the manifest `by`, else as it lies; one without a test split as training cuts it, by the
    manifest in `cache`, so that a model is not scored on what it learned from unless `split` says so. Raises
    InputError.
    """
    if split not in get_args(Part):
        raise mistake("--split", "no such split", "--split test", got=split, allowed=", ".join(get_args(Part)))
    if Path(data).is_dir():
        return _folder(Path(data), split, cache, say, by)
    if by is not None:
        raise mistake("--manifest", f"{data} is no folder of photographs", "leave it out", got=by)
    return _arrays(data, split, cache, say)


def _load(path: Path) -> Image.Image:
    return image_decoder.decode(image_decoder.read(path))


def _folder(root: Path, split: Part, cache: Path, say: Say, by: Path | None) -> Labelled:
    listing = list_folder(root)
    paths = [file.path for file in listing.files]
    say(f"reading {len(paths):,} files of {root}")
    probes = decode_cache.probe(root, paths, decode_cache.default_workers())
    bad = tuple((printable(path), found.reason) for path, found in zip(paths, probes, strict=True) if found.reason)
    rows: tuple[Row, ...] = tuple(
        Row(file.path, file.label, file.split, found.sha256, found.size)
        for file, found in zip(listing.files, probes, strict=True)
        if not found.reason
    )
    if not rows:
        raise mistake(str(root), "no usable image", "give a folder of photographs in folders of classes")
    notes: tuple[str, ...] = (f"passed over: {passed_words(listing.passed)}",) if listing.passed else ()
    if by is not None:
        rows = manifest.follow(rows, root, by)
    elif split != "all":
        rows, more = manifest.complete(rows, listing.classes, root, cache)
        notes += more
    chosen = [row for row in rows if split in ("all", row.split)]
    if not chosen:
        raise mistake(str(root), f"no {split} images", "--split test, or --split all")
    pictures = tuple(Picture(printable(row.path), partial(_load, root / row.path)) for row in chosen)
    labels = tuple(row.label for row in chosen)
    return Labelled(root.resolve().name, split, listing.classes, pictures, labels, _bad_of(bad, split, listing), notes)


def _bad_of(bad: tuple[tuple[str, str], ...], split: Part, listing: Listing) -> tuple[tuple[str, str], ...]:
    """Those of the split, where the folder says of which split a file is."""
    of = {printable(file.path): file.split for file in listing.files}
    return tuple(item for item in bad if split == "all" or of[item[0]] in (None, split))


def _arrays(data: str, split: Part, cache: Path, say: Say) -> Labelled:
    source = open_source(data, cache=cache, say=say)
    pictures: list[Picture] = []
    labels: list[str] = []
    for name, part in (("train", source.train), ("validation", source.validation), ("test", source.test)):
        if part is None or split not in ("all", name):
            continue
        pixels = part.pixels[..., 0] if part.pixels.shape[3] == 1 else part.pixels
        pictures += [Picture(f"{name}/{k}", partial(Image.fromarray, array)) for k, array in enumerate(pixels)]
        labels += [source.classes[k] for k in part.labels]
    if not pictures:
        raise mistake(data, f"no {split} images", "--split test")
    return Labelled(source.name, split, source.classes, tuple(pictures), tuple(labels), (), source.notes)
