"""Input images of a model, each with a name and a function that decodes it later.

Does not import torch.
"""

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
    """Image with a name. `load` decodes it or raises BadImageError."""

    name: str
    """Path with escaped unprintable characters."""
    load: Callable[[], Image.Image]


@dataclass(frozen=True)
class Labelled:
    """Labeled images of one split of a data set."""

    data: str
    split: Part
    classes: tuple[str, ...]
    pictures: tuple[Picture, ...]
    labels: tuple[str, ...]
    bad: tuple[tuple[str, str], ...] = ()
    """Files without a valid image header, and the reason."""
    notes: tuple[str, ...] = ()


def picture(path: Path) -> Picture:
    """Return the photograph in a file."""
    return Picture(printable(str(path)), partial(_load, path))


def find_pictures(paths: Sequence[Path]) -> tuple[list[Picture], list[Passed]]:
    """List the images among files and folders, and the skipped files of folders with the reason.

    A file in a folder is an image if its suffix says so; a file that is named directly is always
    taken.
    """
    pictures: list[Picture] = []
    skipped: list[Passed] = []
    for path in paths:
        if not path.is_dir():
            pictures.append(picture(path))
            continue
        for entry in sorted(walk(path)[0], key=lambda entry: entry.path):
            hidden = any(part.startswith(".") for part in entry.path.split("/"))
            foreign = (
                ""
                if entry.path.lower().endswith(SUFFIXES + FOREIGN)
                else "not an image by its name"
            )
            reason = "hidden" if hidden else entry.hindrance or foreign
            if reason:
                skipped.append(Passed(f"{path}/{entry.path}", reason))
            else:
                pictures.append(picture(path / entry.path))
    return pictures, skipped


def passed_words(passed: Iterable[Passed]) -> str:
    """Count the skipped files by reason: `2 not an image by its name, 1 hidden`."""
    return ", ".join(
        f"{count} {reason}"
        for reason, count in Counter(item.reason for item in passed).most_common()
    )


def open_labelled(
    data: str, split: Part, cache: Path, say: Say = silent, *, by: Path | None = None
) -> Labelled:
    """Open the labeled images of `split` in a folder, an `.npz` file or a named data set.

    The manifest `by` defines the splits of a folder, or without it the folder's own layout. A
    folder without a test split is split by the manifest in `cache`, as in training, so that a model
    is not tested on its train images. Raises InputError.
    """
    if split not in get_args(Part):
        raise mistake(
            "--split", "no such split", "--split test", got=split, allowed=", ".join(get_args(Part))
        )
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
    bad = tuple(
        (printable(path), probe.reason)
        for path, probe in zip(paths, probes, strict=True)
        if probe.reason
    )
    rows: tuple[Row, ...] = tuple(
        Row(file.path, file.label, file.split, probe.sha256, probe.size)
        for file, probe in zip(listing.files, probes, strict=True)
        if not probe.reason
    )
    if not rows:
        raise mistake(
            str(root), "no usable image", "give a folder of photographs in folders of classes"
        )
    notes: tuple[str, ...] = (
        (f"passed over: {passed_words(listing.passed)}",) if listing.passed else ()
    )
    if by is not None:
        rows = manifest.follow(rows, root, by)
    elif split != "all":
        rows, more = manifest.complete(rows, listing.classes, root, cache)
        notes += more
    split_rows = [row for row in rows if split in ("all", row.split)]
    if not split_rows:
        raise mistake(str(root), f"no {split} images", "--split test, or --split all")
    pictures = tuple(
        Picture(printable(row.path), partial(_load, root / row.path)) for row in split_rows
    )
    labels = tuple(row.label for row in split_rows)
    return Labelled(
        root.resolve().name,
        split,
        listing.classes,
        pictures,
        labels,
        _bad_of(bad, split, listing),
        notes,
    )


def _bad_of(
    bad: tuple[tuple[str, str], ...], split: Part, listing: Listing
) -> tuple[tuple[str, str], ...]:
    """Return the bad files of the split. A file without a known split counts for every split."""
    of = {printable(file.path): file.split for file in listing.files}
    return tuple(item for item in bad if split == "all" or of[item[0]] in (None, split))


def _arrays(data: str, split: Part, cache: Path, say: Say) -> Labelled:
    source = open_source(data, cache=cache, say=say)
    pictures: list[Picture] = []
    labels: list[str] = []
    for name, part in (
        ("train", source.train),
        ("validation", source.validation),
        ("test", source.test),
    ):
        if part is None or split not in ("all", name):
            continue
        pixels = part.pixels[..., 0] if part.pixels.shape[3] == 1 else part.pixels
        pictures += [
            Picture(f"{name}/{k}", partial(Image.fromarray, array))
            for k, array in enumerate(pixels)
        ]
        labels += [source.classes[k] for k in part.labels]
    if not pictures:
        raise mistake(data, f"no {split} images", "--split test")
    return Labelled(
        source.name, split, source.classes, tuple(pictures), tuple(labels), (), source.notes
    )
