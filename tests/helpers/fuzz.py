"""Fuzzing of one reader of files or requests in a separate process: `fuzz`."""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import signal
import tarfile
import time
import traceback
from pathlib import Path

import numpy as np
import safetensors.numpy
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from helpers.model_folders import write_model
from helpers.pictures import encoded, picture, tree
from resnetlab.data.archives import unpack
from resnetlab.data.sources import image_decoder, open_source
from resnetlab.deploy.predict import load_model
from resnetlab.deploy.serve.server import create_app
from resnetlab.errors import ResnetlabError
from resnetlab.model_folder.read import read_model_file
from resnetlab.models.tensorfile import read_metadata
from resnetlab.models.weights import read_weights
from resnetlab.studies.parsing.study_file import load_study

REGRESSIONS = Path(__file__).parents[1] / "golden" / "regressions"
"""Inputs that once ended a reader with another error: `<reader>-<hash>`."""

NAMES = ("study", "labels", "safetensors", "model", "image", "archive", "npz", "body")
"""Readers."""

MEMORY_BYTES = 2 << 30
"""Memory that a reader may take."""

SECONDS_PER_INPUT = 10
"""Time that an input of a few kilobytes may take."""

CRASH, COUNT, ERROR = "crash", "count", "error"
"""Files of the fuzzer: the input that is read now, the number of inputs, and a traceback."""


def fuzz(name: str, count: str, seconds: str, folder: str) -> None:
    """Read the regression files and damaged files with the reader `name`.

    Each input is in the file `crash` of `folder` while it is read, so that it remains if the
    process dies.

    Args:
        name: One of NAMES.
        count: Largest number of damaged inputs.
        seconds: Time after which no other input is read.
        folder: Folder for the files of the fuzzer.
    """
    root, end, num_inputs = Path(folder), time.monotonic() + float(seconds), 0
    readers = Readers(root)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    signal.signal(signal.SIGALRM, _raise_timeout)

    def read(content: bytes) -> None:
        nonlocal num_inputs
        if time.monotonic() > end:
            return
        (root / CRASH).write_bytes(content)
        signal.alarm(SECONDS_PER_INPUT)
        try:
            readers.read(name, content)
        except Exception:
            (root / ERROR).write_text(traceback.format_exc())
            os._exit(1)
        finally:
            signal.alarm(0)
        num_inputs += 1

    @settings(
        max_examples=int(count),
        deadline=None,
        database=None,
        derandomize=True,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(content=damaged(readers.seeds[name]))
    def check(content: bytes) -> None:
        read(content)

    with readers.client:
        for path in sorted(REGRESSIONS.glob(f"{name}-*")):
            read(path.read_bytes())
        check()
    (root / COUNT).write_text(str(num_inputs))
    (root / CRASH).unlink()


def _raise_timeout(*_: object) -> None:
    raise TimeoutError(f"more than {SECONDS_PER_INPUT} s for one input")


@st.composite
def damaged(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """Return a valid file with a few changes, or any bytes."""
    if draw(st.integers(0, 5)) == 0:
        return draw(st.binary(max_size=300))
    content = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 4))):
        at, kind = draw(st.integers(0, max(len(content) - 1, 0))), draw(st.integers(0, 3))
        if kind == 0 and content:
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == 1:
            content[at:at] = draw(st.binary(min_size=1, max_size=8))
        elif kind == 2:
            del content[at : at + draw(st.integers(1, 40))]
        else:
            content[at : at + 4] = draw(
                st.sampled_from([b"\xff\xff\xff\xff", b"\0\0\0\0", b"NaN ", b"9999"])
            )
    return bytes(content)


def _tar(mode: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
        for name in ("photos/a.png", "photos/b/c.png"):
            member = tarfile.TarInfo(name)
            content = encoded(picture(1))
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def _npz(compressed: bool) -> bytes:
    generator, file = np.random.default_rng(0), io.BytesIO()
    arrays = {
        "x_train": generator.integers(0, 255, (6, 8, 8), dtype=np.uint8),
        "y_train": np.array([0, 1, 2, 0, 1, 2]),
        "x_test": generator.integers(0, 255, (3, 8, 8), dtype=np.uint8),
        "y_test": np.array([0, 1, 2]),
        "classes": np.array(["a", "b", "c"]),
    }
    (np.savez_compressed if compressed else np.savez)(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


class Readers:
    """Readers by name, each with valid files to begin with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = write_model(folder / "pets")
        self.classifier = load_model(self.model, device="cpu", threads=1)
        self.client = TestClient(
            create_app(self.classifier), base_url="http://localhost", raise_server_exceptions=False
        )
        tree(folder / "table", {"": 2})
        manifest = "path,class,split,sha256,bytes\n000.png,cat,train,,\n001.png,dog,test,,\n"
        tensors = {"a": np.zeros((2, 3), np.float32), "b": np.zeros(4, np.int64)}
        details = {"resnetlab": json.dumps({"classes": ["a", "b"], "side": 8})}
        images = [
            encoded(picture(seed, mode=mode), kind)
            for seed, (kind, mode) in enumerate(
                (
                    *(("PNG", "RGB"), ("PNG", "LA"), ("JPEG", "RGB"), ("JPEG", "CMYK")),
                    *(("GIF", "P"), ("BMP", "RGB"), ("WEBP", "RGBA"), ("TIFF", "RGB")),
                )
            )
        ]
        self.seeds: dict[str, list[bytes]] = {
            "study": [b'name = "a"\ndata = "digits"\nmodel = "cifar-resnet8"\nrecipe = "digits"\n'],
            "labels": [b"path,label\n000.png,cat\n001.png,dog\n", manifest.encode()],
            "safetensors": [
                safetensors.numpy.save(tensors, details),
                (self.model / "model.safetensors").read_bytes(),
            ],
            "model": [(self.model / "model.json").read_bytes()],
            "image": images,
            "archive": [_tar("w"), _tar("w:gz"), _tar("w:bz2"), _tar("w:xz")],
            "npz": [_npz(False), _npz(True)],
            "body": [*images, b"--x\r\nContent-Disposition: form-data; name=file\r\n\r\n--x--\r\n"],
        }

    def read(self, name: str, content: bytes) -> None:
        """Read the content as that kind of file."""
        path = self.folder / f"input.{name}"
        path.write_bytes(content)
        with contextlib.suppress(ResnetlabError, image_decoder.BadImageError):
            getattr(self, f"_{name}")(path)

    def _study(self, path: Path) -> None:
        load_study(path)

    def _labels(self, path: Path) -> None:
        (self.folder / "table" / "labels.csv").write_bytes(path.read_bytes())
        open_source(str(self.folder / "table"), cache=self.folder / "cache", image_size=8)

    def _safetensors(self, path: Path) -> None:
        with contextlib.suppress(ResnetlabError):
            read_metadata(path)
        read_weights(path)

    def _model(self, path: Path) -> None:
        (self.folder / "described").mkdir(exist_ok=True)
        (self.folder / "described" / "model.json").write_bytes(path.read_bytes())
        read_model_file(self.folder / "described")

    def _image(self, path: Path) -> None:
        with image_decoder.suppress_pillow_warnings():
            image_decoder.decode(path.read_bytes())

    def _archive(self, path: Path) -> None:
        target = self.folder / "unpacked"
        with contextlib.suppress(FileExistsError):
            unpack(path, target)
        for file in sorted(target.rglob("*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()
        if target.exists():
            target.rmdir()

    def _npz(self, path: Path) -> None:
        open_source(str(path.rename(path.with_suffix(".npz"))), cache=self.folder / "cache")

    def _body(self, path: Path) -> None:
        for headers in ({}, {"Content-Type": "multipart/form-data; boundary=x"}):
            response = self.client.post("/predict", content=path.read_bytes(), headers=headers)
            assert response.status_code in (200, 400, 413, 422), response.text
            assert response.status_code == 200 or "\n" not in response.json()["error"]
