"""Data sets by name: an `.npz` in `.data/` of the current folder, or torchvision's copy.

torchvision is imported only in the function that needs it. A failed download is reported in one
line that says where to put the file.
"""

from __future__ import annotations

import contextlib
import gzip
import shutil
import socket
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnetlab.data.archives import unpack
from resnetlab.data.config import LabeledImages, Source
from resnetlab.errors import Problem, ResourceError, input_error
from resnetlab.files import DISK_FULL_ERRNOS, atomic_write
from resnetlab.messages import Notify
from resnetlab.settings import check_downloads_allowed, downloads_dir

LOCAL_DATA_FOLDER = Path(".data")
TIMEOUT_SECONDS = 30.0
"""Timeout of a network operation.

Without it a network that drops packets would block the command for minutes.
"""


@dataclass(frozen=True)
class TorchvisionSet:
    """Entry of torchvision: its class name, the size of the download in megabytes, the path for
    files placed by hand, the folder of the unpacked files, and details about the images.
    """

    class_name: str
    megabytes: int
    manual_path: str
    folder: str
    """Path that exists after a download."""
    train_images: int
    test_images: int
    num_classes: int
    channels: int
    image_size: int
    """Height and width of an image in pixels."""


TORCHVISION_SETS = {
    "cifar10": TorchvisionSet(
        "CIFAR10", 170, "cifar-10-python.tar.gz", "cifar-10-batches-py", 50_000, 10_000, 10, 3, 32
    ),
    "cifar100": TorchvisionSet(
        "CIFAR100", 169, "cifar-100-python.tar.gz", "cifar-100-python", 50_000, 10_000, 100, 3, 32
    ),
    "mnist": TorchvisionSet(
        "MNIST",
        12,
        "MNIST/raw/{train,t10k}-{images-idx3,labels-idx1}-ubyte.gz",
        "MNIST/raw",
        60_000,
        10_000,
        10,
        1,
        28,
    ),
    "fashion-mnist": TorchvisionSet(
        "FashionMNIST",
        31,
        "FashionMNIST/raw/{train,t10k}-{images-idx3,labels-idx1}-ubyte.gz",
        "FashionMNIST/raw",
        60_000,
        10_000,
        10,
        1,
        28,
    ),
    "svhn": TorchvisionSet(
        "SVHN", 246, "{train,test}_32x32.mat", "test_32x32.mat", 73_257, 26_032, 10, 3, 32
    ),
}


def is_download(name: str) -> bool:
    """Return True if `name` is a data set of torchvision that is not on this machine."""
    if name not in TORCHVISION_SETS or (LOCAL_DATA_FOLDER / f"{name}.npz").is_file():
        return False
    known, root = TORCHVISION_SETS[name], downloads_dir()
    return not (root / known.folder).exists() and not (root / known.manual_path).is_file()


def open_torchvision_set(name: str, *, notify: Notify) -> Source:
    """Return the Source of a name in `TORCHVISION_SETS`.

    Raises InputError when it is neither on this machine nor downloadable. Files that a user put
    into `settings.downloads_dir()` by hand are read as if they had been downloaded.
    """
    nearby = LOCAL_DATA_FOLDER / f"{name}.npz"
    if nearby.is_file():
        from resnetlab.data.sources.npz import open_npz

        return open_npz(nearby, name, (f"{name} was read from {nearby}",))
    root = downloads_dir()
    import torchvision.datasets

    from resnetlab.data.sources import content_hash

    dataset_class = getattr(torchvision.datasets, TORCHVISION_SETS[name].class_name)
    _unpack_archives(name, root, notify)
    try:
        train, test = (
            _split(dataset_class, name, root, split, download=False) for split in ("train", "test")
        )
    except Exception:  # missing or incomplete: torchvision raises many kinds of errors for both
        check_downloads_allowed(name, _manual_instruction(name, root))
        notify(f"downloading {name}: about {TORCHVISION_SETS[name].megabytes} MB into {root}")
        train, test = _download(dataset_class, name, root)
    return content_hash.build_source(
        name, _classes(name, train), train=_images(name, train), test=_images(name, test)
    )


def _unpack_archives(name: str, root: Path, notify: Notify) -> None:
    """Unpack the archives that a user put into the folder of downloads; torchvision unpacks only
    what it downloads.
    """
    known = TORCHVISION_SETS[name]
    archives = [root / path for path in _expand_braces(known.manual_path)]
    if not all(archive.is_file() for archive in archives):
        return
    for archive in archives:
        target = (
            root / known.folder if archive.name.endswith(".tar.gz") else archive.with_suffix("")
        )
        if archive.suffix != ".gz" or target.exists():
            continue
        notify(f"unpacking {archive}")
        if target.name == known.folder:
            unpack(archive, target, known.folder)
            continue
        try:
            with gzip.open(archive) as content, atomic_write(target, "wb") as file:
                shutil.copyfileobj(content, file)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            fix = "remove it, and put the whole file there"
            raise input_error(str(archive), f"not a complete gzip file: {error}", fix) from None


def _expand_braces(path: str) -> list[str]:
    """Return the paths of a pattern such as `{train,test}.mat`."""
    before, brace, rest = path.partition("{")
    if not brace:
        return [path]
    words, _, after = rest.partition("}")
    return [f"{before}{word}{end}" for word in words.split(",") for end in _expand_braces(after)]


def _download(dataset_class: Callable[..., Any], name: str, root: Path) -> tuple[Any, Any]:
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _timeout():
            train, test = (
                _split(dataset_class, name, root, split, download=True)
                for split in ("train", "test")
            )
            return train, test
    except Exception as error:  # sockets, archives, checksums: the remedy is the same
        if isinstance(error, OSError) and error.errno in DISK_FULL_ERRNOS:
            fix = "free some space, then give the same command again"
            raise ResourceError(
                Problem(str(root), f"the disk is full; {name} was not downloaded", fix)
            ) from error
        lines = str(error).strip().splitlines() or [type(error).__name__]
        problem = f"can be neither read nor downloaded: {lines[-1].strip()[:120]}"
        raise input_error(name, problem, _manual_instruction(name, root)) from error


def _manual_instruction(name: str, root: Path) -> str:
    """Return the instruction which file to put into which folder."""
    return (
        f"put {TORCHVISION_SETS[name].manual_path} into {root}, or give an .npz: --data FILE.npz "
        f"(or {LOCAL_DATA_FOLDER / name}.npz here)"
    )


def _split(
    dataset_class: Callable[..., Any], name: str, root: Path, split: str, *, download: bool
) -> Any:
    if name == "svhn":
        return dataset_class(root, split=split, download=download)
    return dataset_class(root, train=split == "train", download=download)


def _images(name: str, dataset: Any) -> LabeledImages:
    import numpy as np

    from resnetlab.data.sources import content_hash

    pixels = np.asarray(dataset.data)
    if name == "svhn":
        pixels = pixels.transpose(0, 2, 3, 1)
    return content_hash.make_images(
        pixels, np.asarray(dataset.labels if name == "svhn" else dataset.targets)
    )


def _classes(name: str, train: Any) -> list[str]:
    """Return the class names; for digits the numerals (torchvision has `0 - zero` or none)."""
    return [str(digit) for digit in range(10)] if name in ("mnist", "svhn") else list(train.classes)


@contextlib.contextmanager
def _timeout() -> Iterator[None]:
    """Set the default timeout of sockets for the `with` block."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
