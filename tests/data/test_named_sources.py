"""Data sets with a name are loaded by their name.

No test downloads: files in torchvision's own forms are made small by the test.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from helpers.pictures import lines_of, split_tree
from resnetlab.data.config import DataConfig
from resnetlab.data.sources import SOURCE_NAMES, TORCHVISION_NAMES, open_source, torchvision_sets
from resnetlab.data.splits import load_dataset
from resnetlab.errors import InputError

DIGITS = "99330f77d433b49903901d7fff875a3202a7a26eea77b6c164fc72e2b55bc74d"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Away from the `.data` of whoever runs the tests, and with no network to be tempted by."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def refuse(*_: object) -> None:
        raise OSError("no network in a test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def refused(source: str, tmp_path: Path) -> str:
    with pytest.raises(InputError) as caught:
        open_source(source, cache=tmp_path / "cache")
    (line,) = lines_of(caught.value)
    return line


def test_digits_are_scaled_to_bytes_and_a_fifth_of_each_class_is_the_test_split(
    tmp_path: Path,
) -> None:
    from sklearn.datasets import load_digits

    source = open_source("digits", cache=tmp_path)
    assert source.train.pixels.shape == (1438, 8, 8, 1)
    assert source.test.pixels.shape == (359, 8, 8, 1)
    levels = load_digits().images
    assert np.unique(source.train.pixels).tolist() == [round(x * 255 / 16) for x in range(17)]
    everything = np.concatenate([source.train.pixels, source.test.pixels])
    assert sorted(map(bytes, everything)) == sorted(
        map(bytes, np.rint(levels * 255 / 16).astype(np.uint8))
    )
    counts = np.bincount(load_digits().target)
    assert (np.abs(np.bincount(source.test.labels) - 0.2 * counts) < 1).all()
    assert "359 of its 1797 images" in source.notes[0]


def test_the_bytes_of_digits_do_not_change(tmp_path: Path) -> None:
    assert open_source("digits", cache=tmp_path).sha256 == DIGITS


def test_load_dataset_opens_and_splits_a_source(tmp_path: Path) -> None:
    made = load_dataset(DataConfig(source="digits", validation=0.1, train_images=500), tmp_path)
    assert (len(made.train), len(made.validation), len(made.test)) == (500, 144, 359)
    assert (made.channels, made.image_size, made.identity.sha256) == (1, 8, DIGITS)


def test_an_unknown_source_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    allowed = ", ".join(SOURCE_NAMES)
    assert refused("cifar-10", tmp_path) == (
        f'cifar-10: no such name, file or folder (allowed: {allowed}). Fix: did you mean "cifar10"?'
    )
    assert refused("data/photos", tmp_path).startswith(
        "data/photos: no such file or folder (allowed: "
    )
    assert refused("x" * 300, tmp_path).endswith(
        "cannot be read: file name too long. Fix: give a path that you may read"
    )
    assert "no such name, file or folder" in refused("a\0b", tmp_path)


def test_a_file_that_is_not_an_npz_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "photos.tar.gz"
    path.write_bytes(b"\x1f\x8b" + bytes(99))
    assert "not an .npz file, or a truncated one" in refused(str(path), tmp_path)


def test_a_dataset_name_has_priority_over_a_folder_and_a_note_gives_the_path_of_the_folder(
    tmp_path: Path,
) -> None:
    split_tree(Path("digits"))
    named = open_source("digits", cache=tmp_path)
    assert (named.sha256, named.notes[-1]) == (
        DIGITS,
        "digits is the data set of that name; the folder of the same name is ./digits",
    )
    assert open_source("./digits", cache=tmp_path).classes == ("cat", "dog")


@pytest.mark.parametrize("name", TORCHVISION_NAMES)
def test_an_npz_in_dot_data_replaces_the_download_of_its_dataset(tmp_path: Path, name: str) -> None:
    Path(".data").mkdir()
    pixels, labels = np.zeros((4, 8, 8, 3), np.uint8), np.array([0, 1, 0, 1])
    np.savez(
        Path(".data", f"{name}.npz"), x_train=pixels, y_train=labels, x_test=pixels, y_test=labels
    )
    source = open_source(name, cache=tmp_path)
    assert (source.name, source.notes) == (name, (f"{name} was read from .data/{name}.npz",))
    assert source.sha256 == open_source(f".data/{name}.npz", cache=tmp_path).sha256


@pytest.mark.parametrize("name", TORCHVISION_NAMES)
def test_a_failed_download_of_a_named_dataset_names_the_files_and_where_to_put_them(
    tmp_path: Path, name: str
) -> None:
    messages: list[str] = []
    with pytest.raises(InputError) as caught:
        open_source(name, cache=tmp_path / "cache", notify=messages.append)
    root = tmp_path / "person" / "downloads"
    (line,) = lines_of(caught.value)
    assert line.startswith(f"{name}: can be neither read nor downloaded: ")
    assert line.endswith(
        f"Fix: put {torchvision_sets.TORCHVISION_SETS[name].manual_path} into {root}, or give an "
        f".npz: --data FILE.npz (or .data/{name}.npz here)"
    )
    assert messages == [
        (
            f"downloading {name}: about {torchvision_sets.TORCHVISION_SETS[name].megabytes} MB "
            f"into {root}"
        )
    ]
    assert socket.getdefaulttimeout() is None


def idx(array: np.ndarray) -> bytes:
    return (
        bytes([0, 0, 8, array.ndim])
        + b"".join(size.to_bytes(4, "big") for size in array.shape)
        + array.tobytes()
    )


def test_archives_that_a_user_put_there_are_unpacked_without_a_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESNETLAB_OFFLINE", "1")
    raw = tmp_path / "person" / "downloads" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    images, labels = np.zeros((20, 28, 28), np.uint8), np.arange(20, dtype=np.uint8) % 10
    messages: list[str] = []
    for word in ("train", "t10k"):
        with pytest.raises(InputError, match="is not here"):
            open_source("mnist", cache=tmp_path / "cache", notify=messages.append)
        (raw / f"{word}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (raw / f"{word}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    assert messages == []
    source = open_source("mnist", cache=tmp_path / "cache", notify=messages.append)
    assert (len(source.train), len(source.test)) == (20, 20)
    assert [message.split()[0] for message in messages] == ["unpacking"] * 4
    (raw / "train-images-idx3-ubyte").unlink()
    (raw / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images))[:50])
    with pytest.raises(InputError, match="not a complete gzip file"):
        open_source("mnist", cache=tmp_path / "cache")


@pytest.mark.parametrize(
    ("name", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")]
)
def test_existing_idx_files_are_read_without_a_download(
    tmp_path: Path, name: str, folder: str
) -> None:
    generator = np.random.default_rng(0)
    raw = tmp_path / "person" / "downloads" / folder / "raw"
    raw.mkdir(parents=True)
    made = {}
    for word, split in (("train", "train"), ("t10k", "test")):
        made[split] = (
            generator.integers(0, 256, (20, 28, 28), np.uint8),
            np.arange(20, dtype=np.uint8) % 10,
        )
        (raw / f"{word}-images-idx3-ubyte").write_bytes(idx(made[split][0]))
        (raw / f"{word}-labels-idx1-ubyte").write_bytes(idx(made[split][1]))
    source = open_source(name, cache=tmp_path / "cache", notify=pytest.fail)
    np.testing.assert_array_equal(source.train.pixels[..., 0], made["train"][0])
    np.testing.assert_array_equal(source.test.labels, made["test"][1])
    assert source.classes[1] == ("1" if name == "mnist" else "Trouser")
    np.savez(
        tmp_path / "same.npz",
        x_train=made["train"][0],
        y_train=made["train"][1],
        x_test=made["test"][0],
        y_test=made["test"][1],
        classes=np.array(source.classes),
    )
    assert open_source(str(tmp_path / "same.npz"), cache=tmp_path).sha256 == source.sha256
    (raw / "t10k-images-idx3-ubyte").write_bytes(idx(made["test"][0])[:5000])
    with pytest.raises(InputError, match="can be neither read nor downloaded"):
        open_source(name, cache=tmp_path / "cache")


@pytest.mark.parametrize(
    ("name", "form", "classes"), [("cifar10", "CIFAR10", 10), ("cifar100", "CIFAR100", 100)]
)
def test_batches_of_cifar_are_read_if_their_checksums_match(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, form: str, classes: int
) -> None:
    import torchvision.datasets

    kind = getattr(torchvision.datasets, form)
    folder = tmp_path / "person" / "downloads" / kind.base_folder
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)

    def write(batch: str, content: dict[str, object]) -> list[str]:
        raw = pickle.dumps(content)
        (folder / batch).write_bytes(raw)
        return [batch, hashlib.md5(raw).hexdigest()]  # only the checksums are not torchvision's own

    def batch(batch: str) -> list[str]:
        pixels = generator.integers(0, 256, (classes, 3 * 32 * 32), np.uint8)
        return write(
            batch,
            {"data": pixels, "labels" if classes == 10 else "fine_labels": list(range(classes))},
        )

    names = [f"class {k}" for k in range(classes)]
    monkeypatch.setattr(kind, "train_list", [batch(item[0]) for item in kind.train_list])
    monkeypatch.setattr(kind, "test_list", [batch(item[0]) for item in kind.test_list])
    meta = write(kind.meta["filename"], {kind.meta["key"]: names})
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": meta[1]})
    source = open_source(name, cache=tmp_path / "cache", notify=pytest.fail)
    first = pickle.loads((folder / kind.train_list[0][0]).read_bytes())["data"][0]
    np.testing.assert_array_equal(
        source.train.pixels[0], first.reshape(3, 32, 32).transpose(1, 2, 0)
    )
    assert source.classes == tuple(names)
    assert len(source.train) == classes * len(kind.train_list)


def test_svhn_matrices_are_read_if_their_checksums_match(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import scipy.io
    import torchvision.datasets

    root = tmp_path / "person" / "downloads"
    root.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 20), np.uint8)
    labels = (np.arange(20) % 10 + 1).astype(np.uint8)[:, None]  # SVHN writes the digit 0 as 10
    table = dict(torchvision.datasets.SVHN.split_list)
    for split in ("train", "test"):
        path = root / f"{split}_32x32.mat"
        scipy.io.savemat(path, {"X": pixels, "y": labels})
        table[split] = [table[split][0], path.name, hashlib.md5(path.read_bytes()).hexdigest()]
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", table)
    source = open_source("svhn", cache=tmp_path / "cache", notify=pytest.fail)
    np.testing.assert_array_equal(source.train.pixels, pixels.transpose(3, 0, 1, 2))
    assert source.train.labels.tolist() == (labels[:, 0] % 10).tolist()


def test_opening_digits_an_npz_or_a_folder_does_not_import_torch(tmp_path: Path) -> None:
    split_tree(tmp_path / "pets")
    pixels, labels = np.zeros((4, 8, 8, 3), np.uint8), np.array([0, 1, 0, 1])
    np.savez(tmp_path / "set.npz", x_train=pixels, y_train=labels, x_test=pixels, y_test=labels)
    program = f"""
import pathlib, sys
from resnetlab.data import check; from resnetlab.data import splits
from resnetlab.data.sources import torchvision_sets
for source in ("digits", "{tmp_path}/set.npz", "{tmp_path}/pets"):
    audit = check.audit_source(source, cache=pathlib.Path("{tmp_path}/cache"))
    print(sum(audit.counts["train"]), "torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines() == ["1438 False", "4 False", "8 False"]
