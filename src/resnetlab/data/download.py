"""Downloads of known image sets: archives to the cache, images to a folder with `labels.csv`.

An archive that the user put into the cache is used as it is, if it has the hash of its source.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnetlab.data.archives import unpack
from resnetlab.data.sources.folder.types import LABELS_FILE
from resnetlab.errors import input_error, suggest
from resnetlab.files import atomic_write, disk_errors_as_resource_error
from resnetlab.messages import Notify, silent
from resnetlab.settings import check_downloads_allowed, downloads_dir

TIMEOUT_SECONDS = 30.0
"""Timeout of a network operation in seconds."""
RETRIES = 2
"""Number of further attempts after a failed download of a file."""

LabelRow = tuple[str, str, str]
"""Path below the folder, class, split."""


@dataclass(frozen=True)
class RemoteFile:
    """File of an image set: URL, hash (`md5:...` or `sha256:...`) and path below the folder."""

    url: str
    known_hash: str
    path: str
    subfolder: str | None = None
    """Folder of the archive that becomes `path` ('': all of it); None for a file that is copied."""

    @property
    def name(self) -> str:
        """File name, the last part of the URL."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class RemoteDataset:
    """Known image set: its files, the reader of its lists, and its terms of use."""

    remote_files: tuple[RemoteFile, ...]
    label_rows: Callable[[Path], Iterable[LabelRow]]
    megabytes: int
    terms_of_use: str


def download_dataset(name: str, out: Path, notify: Notify = silent) -> Path:
    """Download an image set into the folder `out`/`name` with `labels.csv`, unless it exists.

    A download that was interrupted continues with the first file that is not complete.

    Args:
        name: Name of the set, a key of `REGISTRY`.
        out: Folder in which the folder of the set is made.
        notify: Function that gets a line about slow work.

    Returns:
        The folder of the set.

    Raises:
        InputError: The set is unknown, or a file cannot be downloaded, has another hash, or is
            damaged.
        ResourceError: The disk is full.
    """
    image_set = REGISTRY.get(name)
    if image_set is None:
        fix = suggest(name, REGISTRY) or "resnetlab data fetch stanford-dogs"
        raise input_error(name, "unknown image set", fix, allowed=", ".join(REGISTRY))
    root = out / name
    if (root / LABELS_FILE).is_file():
        notify(f"{root} exists already")
        return root
    remotes, downloads = image_set.remote_files, downloads_dir() / name
    missing = [remote for remote in remotes if not (downloads / remote.name).is_file()]
    if missing:
        instruction = _manual_instruction(remotes, downloads)
        check_downloads_allowed(name, instruction)
        notify(f"downloading {name}: about {image_set.megabytes} MB into {downloads}")
        for remote in missing:
            download_file(remote, downloads, instruction, notify)
    for remote in remotes:
        if remote not in missing:
            check_file_hash(downloads / remote.name, remote.known_hash)
        _install(downloads / remote.name, root / remote.path, remote.subfolder, notify)
    try:
        rows = sorted(image_set.label_rows(root))
    except Exception as error:  # scipy's reader raises many kinds of errors for a damaged file
        problem = f"the lists of {name} cannot be read: {str(error)[:100]}"
        raise input_error(str(root), problem, f"remove {root}, and fetch the set again") from None
    _write_labels(root, rows)
    notify(f"{name}: {image_set.terms_of_use}")
    return root


def _install(file: Path, target: Path, subfolder: str | None, notify: Notify) -> None:
    if subfolder is None:
        with atomic_write(target, "wb") as copy:
            copy.write(file.read_bytes())
    elif not target.is_dir():
        notify(f"unpacking {file.name}")
        unpack(file, target, subfolder)


class _Progress:
    """Progress of a download for pooch: one message per tenth of the file."""

    def __init__(self, name: str, notify: Notify) -> None:
        self.name, self.notify, self.total, self.num_bytes = name, notify, 0, 0

    def update(self, num_bytes: int) -> None:
        before = self.num_bytes
        self.num_bytes += num_bytes
        if self.total and (tenths := 10 * self.num_bytes // self.total) > 10 * before // self.total:
            self.notify(f"{self.name}: {min(10 * tenths, 100)} %")

    def reset(self) -> None:
        """Forget the size: pooch calls `reset`, `update(total)` and `close` after the last byte."""
        self.total = 0

    def close(self) -> None:
        pass


def download_file(
    remote: RemoteFile, folder: Path, instruction: str, notify: Notify = silent
) -> None:
    """Download a file into `folder` and check its hash. `instruction` is the fix of an error.

    Raises:
        InputError: The file cannot be downloaded or has another hash.
        ResourceError: The disk is full.
    """
    import pooch  # its import takes 100 ms

    pooch.get_logger().setLevel("WARNING")
    registry, urls = {remote.name: remote.known_hash}, {remote.name: remote.url}
    cache = pooch.create(folder, "", registry=registry, urls=urls, retry_if_failed=RETRIES)
    downloader = pooch.HTTPDownloader(
        progressbar=_Progress(remote.name, notify), chunk_size=1 << 20, timeout=TIMEOUT_SECONDS
    )
    try:
        with disk_errors_as_resource_error(folder / remote.name):
            path = Path(cache.fetch(remote.name, downloader=downloader))
            path.chmod(0o644)  # pooch's files cannot be read by other users of a shared cache
    except (OSError, ValueError) as error:  # ValueError: another hash
        problem = f"cannot be downloaded: {str(error)[:200]}"
        raise input_error(remote.url, problem, instruction) from None


def _manual_instruction(remotes: tuple[RemoteFile, ...], folder: Path) -> str:
    """Return the instruction which files to put into which folder."""
    names = ", ".join(remote.name for remote in remotes)
    return f"put {names} into {folder}, then give the same command again"


def check_file_hash(path: Path, known_hash: str) -> None:
    """Raise InputError if a file that was there before has another hash than its source gives."""
    import pooch

    algorithm, _, expected = known_hash.partition(":")
    digest = pooch.file_hash(str(path), alg=algorithm)
    if digest != expected:
        raise input_error(
            str(path),
            f"its {algorithm} differs from the one that its source gives",
            "remove it, and give the same command again",
            got=digest,
            allowed=expected,
        )


def _write_labels(root: Path, rows: Iterable[LabelRow]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "label", "split"))
    writer.writerows(rows)
    with atomic_write(root / LABELS_FILE) as file:
        file.write(text.getvalue())


# Files and lists of each image set


def _read_mat(path: Path, name: str) -> list[Any]:
    """Return the values of the variable `name` of a MATLAB file."""
    from scipy.io import loadmat

    values: list[Any] = loadmat(path)[name].ravel().tolist()
    return values


def _dogs_rows(root: Path) -> Iterator[LabelRow]:
    for split in ("train", "test"):
        for entry in _read_mat(root / "lists" / f"{split}_list.mat", "file_list"):
            name = str(entry.item())
            yield f"Images/{name}", name.split("/")[0], split


def _pets_rows(root: Path) -> Iterator[LabelRow]:
    folder = "oxford-iiit-pet"
    for source_split, split in (("trainval", "train"), ("test", "test")):
        text = (root / folder / "annotations" / f"{source_split}.txt").read_text("utf-8")
        for line in text.splitlines():
            name = line.split()[0]  # such as `great_pyrenees_12`
            breed = name.rpartition("_")[0].replace("_", " ").title()
            yield f"{folder}/images/{name}.jpg", breed, split


def _flowers_rows(root: Path) -> Iterator[LabelRow]:
    from torchvision.datasets import Flowers102  # the files have no names of the classes

    folder = root / "flowers-102"
    labels = _read_mat(folder / "imagelabels.mat", "labels")
    for source_split, split in (("trnid", "train"), ("valid", "validation"), ("tstid", "test")):
        for number in _read_mat(folder / "setid.mat", source_split):  # images and labels from 1
            label = Flowers102.classes[labels[number - 1] - 1]
            yield f"flowers-102/jpg/image_{number:05d}.jpg", label, split


_DOGS = "https://vision.stanford.edu/aditya86/ImageNetDogs/"
_PETS = "https://www.robots.ox.ac.uk/~vgg/data/pets/data/"
_FLOWERS = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/"

# The hashes are those of TensorFlow Datasets (dogs) and torchvision (pets and flowers).
REGISTRY = {
    "stanford-dogs": RemoteDataset(
        (
            RemoteFile(
                _DOGS + "images.tar",
                "sha256:a443fc2f9a851aa1a7b8e4fa4af94b8459fce2c9f5a2f4dd4669cf9673a4ec58",
                "Images",
                "Images",
            ),
            RemoteFile(
                _DOGS + "lists.tar",
                "sha256:34b47cacd9a98b5d150e084f24d29391c084c55272295ec65c85651bc35f4d6c",
                "lists",
                "",
            ),
        ),
        _dogs_rows,
        757,
        "images of ImageNet, for research; cite Khosla et al. 2011",
    ),
    "oxford-pets": RemoteDataset(
        (
            RemoteFile(
                _PETS + "images.tar.gz",
                "md5:5c4f3ee8e5d25df40f4fd59a7f44e54c",
                "oxford-iiit-pet/images",
                "images",
            ),
            RemoteFile(
                _PETS + "annotations.tar.gz",
                "md5:95a8c909bbe2e81eed6a22bccdf3f68f",
                "oxford-iiit-pet/annotations",
                "annotations",
            ),
        ),
        _pets_rows,
        811,
        "CC BY-SA 4.0; cite Parkhi et al. 2012",
    ),
    "flowers": RemoteDataset(
        (
            RemoteFile(
                _FLOWERS + "102flowers.tgz",
                "md5:52808999861908f626f3c1f4e79d11fa",
                "flowers-102/jpg",
                "jpg",
            ),
            RemoteFile(
                _FLOWERS + "imagelabels.mat",
                "md5:e0620be6f572b9609742df49c70aed4d",
                "flowers-102/imagelabels.mat",
            ),
            RemoteFile(
                _FLOWERS + "setid.mat",
                "md5:a5357ecc9cb78c4bef273ce3793fc85c",
                "flowers-102/setid.mat",
            ),
        ),
        _flowers_rows,
        345,
        "no license is stated; cite Nilsback and Zisserman 2008",
    ),
}
