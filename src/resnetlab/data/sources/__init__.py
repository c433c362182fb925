"""Sources of images: a name, an `.npz` of arrays, or a folder.

One module for each kind; none imports torch. `open_source` checks everything, so that its result
needs no further check: every image is uint8 and square, every label has a class, every class has a
train image, and every file of a folder was used or has a stated reason.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from resnetlab.data.config import DEFAULT_FOLDER_CHOICES, FolderChoices, Source
from resnetlab.data.paths import is_folder
from resnetlab.errors import InputError, Problem, input_error, suggest
from resnetlab.messages import Notify, silent
from resnetlab.shell import is_path

TORCHVISION_NAMES = ("cifar10", "cifar100", "mnist", "fashion-mnist", "svhn")
SOURCE_NAMES = ("digits", *TORCHVISION_NAMES)
"""Names that `source` may have instead of a path; a folder of such a name is `./digits`."""


def open_source(
    source: str,
    *,
    image_size: int | None = None,
    cache: Path,
    notify: Notify = silent,
    skip_bad: bool = False,
    folder_choices: FolderChoices = DEFAULT_FOLDER_CHOICES,
) -> Source:
    """Open a data set by its name, an `.npz` file or a folder of images.

    Args:
        source: One of `SOURCE_NAMES`, or a path.
        image_size: Side of a folder's images in pixels.
        cache: Folder for split files and lists of bad files. Downloads and decoded images are in
            the user's cache, `settings.cache_dir`.
        notify: Function that gets a line about slow work.
        skip_bad: Skip, count and hash the broken files of a folder instead of refusing them.
        folder_choices: Other choices for reading a folder.

    Raises:
        InputError: The source does not exist or is invalid. The error lists every mistake.
    """
    path = Path(source)
    is_directory = is_folder(path)
    if source in SOURCE_NAMES:
        data = _open_named(source, image_size, notify)
        note = f"{source} is the data set of that name; the folder of the same name is ./{source}"
        return replace(data, notes=(*data.notes, note)) if is_directory else data
    if is_directory:
        from resnetlab.data.sources.folder.source import open_folder

        return open_folder(
            path,
            image_size=image_size,
            cache=cache,
            notify=notify,
            skip_bad=skip_bad,
            folder_choices=folder_choices,
        )
    if not path.exists():
        raise _unknown_source_error(source)
    from resnetlab.data.sources.npz import open_npz

    _check_no_image_size(source, image_size)
    return open_npz(path)


def _open_named(name: str, image_size: int | None, notify: Notify) -> Source:
    _check_no_image_size(name, image_size)
    if name == "digits":
        from resnetlab.data.sources.digits import open_digits

        return open_digits()
    from resnetlab.data.sources.torchvision_sets import open_torchvision_set

    return open_torchvision_set(name, notify=notify)


def _check_no_image_size(source: str, image_size: int | None) -> None:
    if image_size is not None:
        raise input_error(
            "data",
            f"{source} is not a folder of images",
            "remove it",
            field="image_size",
            got=image_size,
        )


def unknown_source(source: str) -> Problem | None:
    """Return the problem of a source that is neither a known name nor a path, or None."""
    if source in SOURCE_NAMES or is_path(source) or source.endswith((".npz", ".csv")):
        return None
    return None if Path(source).exists() else _unknown_source_error(source).problems[0]


def _unknown_source_error(source: str) -> InputError:
    is_path_like = is_path(source) or source.endswith(".npz")
    suggestion = "" if is_path_like else suggest(source, SOURCE_NAMES)
    problem = "no such file or folder" if is_path_like else "no such name, file or folder"
    return input_error(
        source,
        problem,
        suggestion
        or "give a name, an .npz or a folder that exists; resnetlab data fetch gets photographs",
        allowed=", ".join(SOURCE_NAMES),
    )
