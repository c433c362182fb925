"""Downloads of known image sets: archives go into the cache, images into a folder with
`labels.csv`.

An archive that the user placed there is used as it is. torchvision only reads its own lists; it
downloads and unpacks nothing here.
"""

from __future__ import annotations

import csv
import hashlib
import io
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from resnetlab.data.archives import unpack
from resnetlab.data.sources import Notify, silent
from resnetlab.data.sources.folder_types import LABELS_FILE
from resnetlab.errors import input_error, suggest
from resnetlab.files import atomic_write
from resnetlab.settings import check_downloads_allowed, downloads_dir

TIMEOUT_SECONDS = 30.0
"""Timeout of a network operation in seconds."""

LabelRow = tuple[str, str, str]
"""Path below the folder, class, split."""


@dataclass(frozen=True)
class RemoteFile:
    """File of an image set: its URL, its path below the folder, and its MD5 if the source publishes
    one.
    """

    url: str
    path: str
    subfolder: str | None = None
    """Folder of an archive that becomes `place`, or '' for the whole archive; None for a file that
    is copied.
    """
    md5: str = ""

    @property
    def name(self) -> str:
        """File name, the last part of the URL."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class RemoteDataset:
    """Known image set: its files, the reader of its lists, and its terms of use."""

    remote_files: Callable[[], tuple[RemoteFile, ...]]
    label_rows: Callable[[Path], Iterable[LabelRow]]
    megabytes: int
    terms_of_use: str


def download_dataset(name: str, out: Path, notify: Notify = silent) -> Path:
    """Download an image set into the folder `out`/`name` with `labels.csv`, unless it exists, and
    return the folder.

    Raises InputError and ResourceError.
    """
    image_set = REGISTRY.get(name)
    if image_set is None:
        fix = suggest(name, REGISTRY) or "resnetlab data fetch stanford-dogs"
        raise input_error(name, "unknown set of photographs", fix, allowed=", ".join(REGISTRY))
    root = out / name
    if (root / LABELS_FILE).is_file():
        notify(f"{root} is there already")
        return root
    remotes, downloads = image_set.remote_files(), downloads_dir() / name
    missing = [remote for remote in remotes if not (downloads / remote.name).is_file()]
    if missing:
        check_downloads_allowed(name, _manual_instruction(remotes, downloads))
        notify(f"downloading {name}: about {image_set.megabytes} MB into {downloads}")
    for remote in missing:
        _download(remote, downloads, remotes)
    for remote in remotes:
        _check_md5(remote, downloads)
        _install(downloads / remote.name, root / remote.path, remote.subfolder, notify)
    _write_labels(root, image_set.label_rows(root))
    notify(f"{name}: {image_set.terms_of_use}")
    return root


def _install(file: Path, target: Path, subfolder: str | None, notify: Notify) -> None:
    if subfolder is None:
        with atomic_write(target, "wb") as copy:
            copy.write(file.read_bytes())
    elif not target.is_dir():
        notify(f"unpacking {file.name}")
        unpack(file, target, subfolder)


def _download(remote: RemoteFile, folder: Path, remotes: tuple[RemoteFile, ...]) -> None:
    try:
        with (
            urllib.request.urlopen(remote.url, timeout=TIMEOUT_SECONDS) as response,
            atomic_write(folder / remote.name, "wb") as file,
        ):
            while block := response.read(1 << 20):
                file.write(block)
    except (urllib.error.URLError, OSError) as error:
        reason = str(getattr(error, "reason", "") or error)[:120]
        raise input_error(
            remote.url, f"cannot be downloaded: {reason}", _manual_instruction(remotes, folder)
        ) from None


def _manual_instruction(remotes: tuple[RemoteFile, ...], folder: Path) -> str:
    """Return the instruction which files to put into which folder."""
    names = ", ".join(remote.name for remote in remotes)
    return f"put {names} into {folder}, then give the same command again"


def _check_md5(remote: RemoteFile, downloads: Path) -> None:
    if not remote.md5:
        return
    with (downloads / remote.name).open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if digest != remote.md5:
        problem = "differs from the MD5 that its source tells"
        raise input_error(
            str(downloads / remote.name),
            problem,
            "remove it, and give the same command again",
            got=digest,
        )


def _write_labels(root: Path, rows: Iterable[LabelRow]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "label", "split"))
    writer.writerows(sorted(rows))
    with atomic_write(root / LABELS_FILE) as file:
        file.write(text.getvalue())


# Files and lists of each image set

_DOGS = "http://vision.stanford.edu/aditya86/ImageNetDogs/"


def _dogs_remotes() -> tuple[RemoteFile, ...]:
    return RemoteFile(_DOGS + "images.tar", "Images", "Images"), RemoteFile(
        _DOGS + "lists.tar", "lists", ""
    )


def _dogs_rows(root: Path) -> Iterator[LabelRow]:
    from scipy.io import loadmat

    for split in ("train", "test"):
        path = root / "lists" / f"{split}_list.mat"
        try:
            names = [str(entry.item()) for entry in loadmat(path)["file_list"].ravel()]
            yield from ((f"Images/{name}", name.split("/")[0], split) for name in names)
        except Exception as error:  # scipy's reader raises many kinds of errors for a damaged file
            problem = f"not the list of files that its source gives: {str(error)[:100]}"
            raise input_error(
                str(path), problem, f"remove {root}, and fetch the set again"
            ) from None


def _pets_remotes() -> tuple[RemoteFile, ...]:
    from torchvision.datasets import OxfordIIITPet

    tops = ("images", "annotations")
    pairs = zip(OxfordIIITPet._RESOURCES, tops, strict=True)
    return tuple(RemoteFile(url, f"oxford-iiit-pet/{top}", top, md5) for (url, md5), top in pairs)


def _pets_rows(root: Path) -> Iterator[LabelRow]:
    from torchvision.datasets import OxfordIIITPet

    for torchvision_split, split in (("trainval", "train"), ("test", "test")):
        dataset = OxfordIIITPet(root, torchvision_split)
        yield from _label_rows(
            root, dataset._images, (dataset.classes[label] for label in dataset._labels), split
        )


def _flowers_remotes() -> tuple[RemoteFile, ...]:
    from torchvision.datasets import Flowers102

    (archive, md5), *lists = Flowers102._file_dict.values()
    base = Flowers102._download_url_prefix
    return (
        RemoteFile(base + archive, "flowers-102/jpg", "jpg", md5),
        *(RemoteFile(base + name, f"flowers-102/{name}", None, digest) for name, digest in lists),
    )


def _flowers_rows(root: Path) -> Iterator[LabelRow]:
    from torchvision.datasets import Flowers102

    for torchvision_split, split in (("train", "train"), ("val", "validation"), ("test", "test")):
        dataset = Flowers102(root, torchvision_split)
        yield from _label_rows(
            root, dataset._image_files, (dataset.classes[label] for label in dataset._labels), split
        )


def _label_rows(
    root: Path, paths: Iterable[Path], labels: Iterable[str], split: str
) -> Iterator[LabelRow]:
    for path, label in zip(paths, labels, strict=True):
        yield path.relative_to(root).as_posix(), label, split


REGISTRY = {
    "stanford-dogs": RemoteDataset(
        _dogs_remotes, _dogs_rows, 757, "images of ImageNet, for research; cite Khosla et al. 2011"
    ),
    "oxford-pets": RemoteDataset(
        _pets_remotes, _pets_rows, 811, "CC BY-SA 4.0; cite Parkhi et al. 2012"
    ),
    "flowers": RemoteDataset(
        _flowers_remotes,
        _flowers_rows,
        345,
        "no license is stated; cite Nilsback and Zisserman 2008",
    ),
}
