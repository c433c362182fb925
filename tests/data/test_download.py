"""Known sets of photographs are read from archives that the tests make, and wrong archives are
refused.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Literal

import numpy as np
import pytest
import scipy.io
from torchvision.datasets import OxfordIIITPet

from helpers.pictures import encoded, picture
from resnetlab.data import download as module
from resnetlab.data.archives import unpack
from resnetlab.data.download import download_dataset
from resnetlab.data.sources.folder.scan import scan_folder
from resnetlab.errors import InputError


def tar(path: Path, members: dict[str, bytes], mode: Literal["w", "w:gz"] = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, raw in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(raw)
            archive.addfile(member, io.BytesIO(raw))
    return path


def mat(**columns: object) -> bytes:
    file = io.BytesIO()
    scipy.io.savemat(file, columns)
    return file.getvalue()


def trust_files(monkeypatch: pytest.MonkeyPatch, name: str, downloads: Path) -> None:
    """Take the hashes of the files that the test made for those of their source."""
    image_set = module.REGISTRY[name]
    remotes = []
    for remote in image_set.remote_files:
        digest = hashlib.sha256((downloads / remote.name).read_bytes()).hexdigest()
        remotes.append(replace(remote, known_hash=f"sha256:{digest}"))
    monkeypatch.setitem(module.REGISTRY, name, replace(image_set, remote_files=tuple(remotes)))


def splits(root: Path, cache: Path) -> Counter[tuple[str, str | None]]:
    scan = scan_folder(root, image_size=8, cache=cache)
    return Counter((row.label, row.split) for row in scan.rows)


def cells(names: list[str]) -> np.ndarray:
    contents = np.empty((len(names), 1), object)
    contents[:, 0] = names
    return contents


def test_stanford_dogs_are_read_from_their_archives_with_the_splits_of_their_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    breeds = ("n02085620-Chihuahua", "n02086240-Shih-Tzu")
    names = [f"{breed}/{breed[:9]}_{number}.jpg" for breed in breeds for number in range(4)]
    photographs = {f"Images/{name}": encoded(picture(k), "JPEG") for k, name in enumerate(names)}
    downloads = tmp_path / "person" / "downloads" / "stanford-dogs"
    tar(downloads / "images.tar", photographs)
    train = [name for name in names if not name.endswith("_3.jpg")]
    test = [name for name in names if name.endswith("_3.jpg")]
    lists = {
        "train_list.mat": mat(file_list=cells(train)),
        "test_list.mat": mat(file_list=cells(test)),
    }
    tar(downloads / "lists.tar", lists)
    trust_files(monkeypatch, "stanford-dogs", downloads)
    root = download_dataset("stanford-dogs", tmp_path)
    assert root == tmp_path / "stanford-dogs"
    assert splits(root, tmp_path / "cache") == {
        **{(breed, "train"): 3 for breed in breeds},
        **{(breed, "test"): 1 for breed in breeds},
    }
    messages: list[str] = []
    download_dataset("stanford-dogs", tmp_path, messages.append)
    assert messages == [f"{root} exists already"]


def test_oxford_pets_are_read_from_their_archives_as_torchvision_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{breed}_{number}" for breed in ("Abyssinian", "beagle") for number in range(4)]
    downloads = tmp_path / "person" / "downloads" / "oxford-pets"
    images = {f"images/{name}.jpg": encoded(picture(k), "JPEG") for k, name in enumerate(names)}
    lines = [f"{name} {1 + (name < 'b') * 0 + (name >= 'b')} 1 1" for name in names]
    notes = {
        "annotations/trainval.txt": "\n".join(lines[:3] + lines[4:7]).encode(),
        "annotations/test.txt": "\n".join([lines[3], lines[7]]).encode(),
    }
    tar(downloads / "images.tar.gz", images, "w:gz")
    tar(downloads / "annotations.tar.gz", notes, "w:gz")
    trust_files(monkeypatch, "oxford-pets", downloads)
    root = download_dataset("oxford-pets", tmp_path)
    assert splits(root, tmp_path / "cache") == {
        ("Abyssinian", "train"): 3,
        ("Abyssinian", "test"): 1,
        ("Beagle", "train"): 3,
        ("Beagle", "test"): 1,
    }
    with (root / "labels.csv").open(newline="") as file:
        rows = {Path(row["path"]).stem: row["label"] for row in csv.DictReader(file)}
    for split in ("trainval", "test"):
        reference = OxfordIIITPet(root, split)
        labels = [reference.classes[label] for label in reference._labels]
        assert [rows[path.stem] for path in reference._images] == labels


def test_flowers_are_read_with_their_own_validation_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloads = tmp_path / "person" / "downloads" / "flowers"
    images = {
        f"jpg/image_{number:05d}.jpg": encoded(picture(number), "JPEG") for number in range(1, 9)
    }
    tar(downloads / "102flowers.tgz", images, "w:gz")
    labels, sets = downloads / "imagelabels.mat", downloads / "setid.mat"
    labels.write_bytes(mat(labels=np.array([1, 1, 1, 1, 2, 2, 2, 2])))
    sets.write_bytes(
        mat(trnid=np.array([1, 2, 5, 6]), valid=np.array([3, 7]), tstid=np.array([4, 8]))
    )
    trust_files(monkeypatch, "flowers", downloads)
    counts = splits(download_dataset("flowers", tmp_path), tmp_path / "cache")
    assert counts == {
        (name, split): count
        for name in ("pink primrose", "hard-leaved pocket orchid")
        for split, count in (("train", 2), ("validation", 1), ("test", 1))
    }


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Folder of a web server that has the files of the dogs; their hashes are trusted."""
    folder = tmp_path / "server"
    name = "n02085620-Chihuahua/n02085620_1.jpg"
    tar(folder / "images.tar", {f"Images/{name}": encoded(picture(0), "JPEG")})
    lists = {f"{split}_list.mat": mat(file_list=cells([name])) for split in ("train", "test")}
    tar(folder / "lists.tar", lists)
    trust_files(monkeypatch, "stanford-dogs", folder)
    web = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder)))
    Thread(target=web.serve_forever, daemon=True).start()
    point_to(monkeypatch, f"http://127.0.0.1:{web.server_port}/")
    monkeypatch.setattr(module, "RETRIES", 0)
    yield folder
    web.shutdown()
    web.server_close()


class QuietHandler(SimpleHTTPRequestHandler):
    """Web server that prints nothing."""

    def log_message(self, *_: object) -> None:
        pass


def point_to(monkeypatch: pytest.MonkeyPatch, base: str) -> None:
    """Download the files of the dogs from another address."""
    dogs = module.REGISTRY["stanford-dogs"]
    remotes = tuple(replace(remote, url=base + remote.name) for remote in dogs.remote_files)
    monkeypatch.setitem(module.REGISTRY, "stanford-dogs", replace(dogs, remote_files=remotes))


def test_files_are_downloaded_once_with_progress_and_are_readable_by_others(
    tmp_path: Path, server: Path
) -> None:
    downloads = tmp_path / "person" / "downloads" / "stanford-dogs"
    messages: list[str] = []
    download_dataset("stanford-dogs", tmp_path, messages.append)
    assert (downloads / "images.tar").read_bytes() == (server / "images.tar").read_bytes()
    assert (downloads / "images.tar").stat().st_mode & 0o044 == 0o044
    assert messages[0] == f"downloading stanford-dogs: about 757 MB into {downloads}"
    assert "images.tar: 100 %" in messages
    (server / "images.tar").unlink()  # nothing asks for it again
    assert download_dataset("stanford-dogs", tmp_path / "again") == tmp_path / "again/stanford-dogs"


def test_a_download_with_another_hash_is_refused_and_leaves_no_file(
    tmp_path: Path, server: Path
) -> None:
    (server / "lists.tar").write_bytes(b"not what the source published")
    with pytest.raises(InputError, match=r"lists.tar: cannot be downloaded: .* hash ") as caught:
        download_dataset("stanford-dogs", tmp_path)
    assert len(str(caught.value).splitlines()) == 1
    downloads = tmp_path / "person" / "downloads" / "stanford-dogs"
    assert [path.name for path in downloads.iterdir()] == ["images.tar"], "which is not lost"


def test_a_failed_download_names_the_files_and_the_folder_to_put_them_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_to(monkeypatch, "http://127.0.0.1:9/")
    monkeypatch.setattr(module, "RETRIES", 0)
    with pytest.raises(InputError) as caught:
        download_dataset("stanford-dogs", tmp_path)
    folder = tmp_path / "person" / "downloads" / "stanford-dogs"
    assert str(caught.value).startswith("http://127.0.0.1:9/images.tar: cannot be downloaded: ")
    assert str(caught.value).endswith(
        f"Fix: put images.tar, lists.tar into {folder}, then give the same command again"
    )
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_every_file_has_an_https_address_and_a_hash() -> None:
    for image_set in module.REGISTRY.values():
        for remote in image_set.remote_files:
            assert remote.url.startswith("https://")
            assert re.fullmatch("md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}", remote.known_hash)


def test_an_archive_with_another_hash_is_refused(tmp_path: Path) -> None:
    downloads = tmp_path / "person" / "downloads" / "oxford-pets"
    for remote in module.REGISTRY["oxford-pets"].remote_files:
        tar(downloads / remote.name, {"images/a.jpg": b""}, "w:gz")
    with pytest.raises(InputError, match="its md5 differs from the one that its source gives"):
        download_dataset("oxford-pets", tmp_path)


def test_an_unknown_dataset_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match='Fix: did you mean "flowers"'):
        download_dataset("flower", tmp_path)


# Archives
# --------------------------------------------------------------------------------------------------


def linked(kind: bytes, target: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo("Images/link")
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize(
    "name", ["../out.jpg", "/tmp/out.jpg", "Images/../../out.jpg", "Images\\..\\out.jpg"]
)
def test_a_member_outside_of_the_folder_is_refused_and_nothing_is_unpacked(
    tmp_path: Path, name: str
) -> None:
    archive = tar(tmp_path / "a.tar", {"Images/good.jpg": b"x", name: b"x"})
    with pytest.raises(InputError, match="leads out of its folder; nothing was unpacked"):
        unpack(archive, tmp_path / "new" / "into")
    assert list((tmp_path / "new").iterdir()) == []
    assert not (tmp_path / "out.jpg").exists()


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
)
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.addfile(linked(kind, "/etc/hostname"))
    with pytest.raises(InputError, match="is a link or a device; nothing was unpacked"):
        unpack(tmp_path / "a.tar", tmp_path / "into")
    assert not (tmp_path / "into").exists()


def test_a_decompression_bomb_and_a_duplicate_member_are_refused(tmp_path: Path) -> None:
    bomb = tar(tmp_path / "bomb.tgz", {"Images/zeros": bytes(30_000_000)}, "w:gz")
    with pytest.raises(InputError, match="exceeds a limit"):
        unpack(bomb, tmp_path / "into")
    with tarfile.open(tmp_path / "twice.tar", "w") as archive:
        for _ in range(2):
            archive.addfile(tarfile.TarInfo("a.jpg"), io.BytesIO())
    with pytest.raises(InputError, match="occurs twice"):
        unpack(tmp_path / "twice.tar", tmp_path / "into")
    assert not (tmp_path / "into").exists()


def test_a_truncated_archive_and_an_archive_without_its_folder_are_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).bytes(50_000)
    complete = tar(tmp_path / "whole.tgz", {"Images/a.jpg": noise}, "w:gz")
    (tmp_path / "part.tgz").write_bytes(complete.read_bytes()[:20_000])
    with pytest.raises(InputError, match="not a complete tar file"):
        unpack(tmp_path / "part.tgz", tmp_path / "into")
    with pytest.raises(InputError, match='has no folder "jpg"'):
        unpack(complete, tmp_path / "into", "jpg")
    assert not (tmp_path / "into").exists()
    unpack(complete, tmp_path / "into", "Images")
    assert (tmp_path / "into" / "a.jpg").read_bytes() == noise
