"""Known sets of photographs from archives that the test makes; archives that are not what they
seem.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from torchvision.datasets import Flowers102, OxfordIIITPet

from helpers.pictures import encoded, picture
from resnetlab.data import download as module
from resnetlab.data.archives import unpack
from resnetlab.data.download import download_dataset
from resnetlab.data.sources.folder import scan_folder
from resnetlab.errors import InputError


def tar(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
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


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def splits(root: Path, cache: Path) -> Counter[tuple[str, str | None]]:
    found = scan_folder(root, image_size=8, cache=cache)
    return Counter((row.label, row.split) for row in found.rows)


def cells(names: list[str]) -> np.ndarray:
    held = np.empty((len(names), 1), object)
    held[:, 0] = names
    return held


def test_stanford_dogs_come_from_their_archives_with_the_splits_of_their_lists(
    tmp_path: Path,
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
    root = download_dataset("stanford-dogs", tmp_path)
    assert root == tmp_path / "stanford-dogs"
    assert splits(root, tmp_path / "cache") == {
        **{(breed, "train"): 3 for breed in breeds},
        **{(breed, "test"): 1 for breed in breeds},
    }
    said: list[str] = []
    download_dataset("stanford-dogs", tmp_path, said.append)
    assert said == [f"{root} is there already"]


def test_oxford_pets_are_read_by_torchvision_from_archives_that_are_checked(
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
    first = tar(downloads / "images.tar.gz", images, "w:gz")
    second = tar(downloads / "annotations.tar.gz", notes, "w:gz")
    resources = [(f"https://example.org/{path.name}", md5(path)) for path in (first, second)]
    monkeypatch.setattr(OxfordIIITPet, "_RESOURCES", tuple(resources))
    assert splits(download_dataset("oxford-pets", tmp_path), tmp_path / "cache") == {
        ("Abyssinian", "train"): 3,
        ("Abyssinian", "test"): 1,
        ("Beagle", "train"): 3,
        ("Beagle", "test"): 1,
    }


def test_flowers_keep_their_validation_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloads = tmp_path / "person" / "downloads" / "flowers"
    images = {
        f"jpg/image_{number:05d}.jpg": encoded(picture(number), "JPEG") for number in range(1, 9)
    }
    archive = tar(downloads / "102flowers.tgz", images, "w:gz")
    labels, sets = downloads / "imagelabels.mat", downloads / "setid.mat"
    labels.write_bytes(mat(labels=np.array([1, 1, 1, 1, 2, 2, 2, 2])))
    sets.write_bytes(
        mat(trnid=np.array([1, 2, 5, 6]), valid=np.array([3, 7]), tstid=np.array([4, 8]))
    )
    held = {
        "image": (archive.name, md5(archive)),
        "label": (labels.name, md5(labels)),
        "setid": (sets.name, md5(sets)),
    }
    monkeypatch.setattr(Flowers102, "_file_dict", held)
    found = splits(download_dataset("flowers", tmp_path), tmp_path / "cache")
    assert found == {
        (name, split): count
        for name in ("pink primrose", "hard-leaved pocket orchid")
        for split, count in (("train", 2), ("validation", 1), ("test", 1))
    }


def test_without_a_network_one_line_says_where_to_put_which_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_DOGS", "http://127.0.0.1:9/")
    with pytest.raises(InputError) as caught:
        download_dataset("stanford-dogs", tmp_path)
    place = tmp_path / "person" / "downloads" / "stanford-dogs"
    assert str(caught.value).startswith("http://127.0.0.1:9/images.tar: cannot be downloaded: ")
    assert str(caught.value).endswith(
        f"Fix: put images.tar, lists.tar into {place}, then give the same command again"
    )
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_archive_with_another_md5_is_refused(tmp_path: Path) -> None:
    downloads = tmp_path / "person" / "downloads" / "oxford-pets"
    for url, _ in OxfordIIITPet._RESOURCES:
        tar(downloads / Path(url).name, {"images/a.jpg": b""}, "w:gz")
    with pytest.raises(InputError, match="differs from the MD5 that its source tells"):
        download_dataset("oxford-pets", tmp_path)


def test_an_unknown_set_is_told_the_nearest_name(tmp_path: Path) -> None:
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
def test_a_member_that_leads_out_of_the_folder_is_refused_and_nothing_is_left(
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


def test_a_bomb_and_a_member_that_is_there_twice_are_refused(tmp_path: Path) -> None:
    bomb = tar(tmp_path / "bomb.tgz", {"Images/zeros": bytes(30_000_000)}, "w:gz")
    with pytest.raises(InputError, match="goes over a bound"):
        unpack(bomb, tmp_path / "into")
    with tarfile.open(tmp_path / "twice.tar", "w") as archive:
        for _ in range(2):
            archive.addfile(tarfile.TarInfo("a.jpg"), io.BytesIO())
    with pytest.raises(InputError, match="is there twice"):
        unpack(tmp_path / "twice.tar", tmp_path / "into")
    assert not (tmp_path / "into").exists()


def test_a_truncated_archive_and_one_without_its_folder_are_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).bytes(50_000)
    whole = tar(tmp_path / "whole.tgz", {"Images/a.jpg": noise}, "w:gz")
    (tmp_path / "part.tgz").write_bytes(whole.read_bytes()[:20_000])
    with pytest.raises(InputError, match="not a whole tar file"):
        unpack(tmp_path / "part.tgz", tmp_path / "into")
    with pytest.raises(InputError, match='has no folder "jpg"'):
        unpack(whole, tmp_path / "into", "jpg")
    assert not (tmp_path / "into").exists()
    unpack(whole, tmp_path / "into", "Images")
    assert (tmp_path / "into" / "a.jpg").read_bytes() == noise
