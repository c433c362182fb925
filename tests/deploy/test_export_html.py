"""The exported page is one file with the network and its runtime, and loads nothing.
`tests/browser_parity.py` compares its results in a browser.
"""

from __future__ import annotations

import base64
import gzip
import json
import tarfile
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from helpers.model_folders import write_model
from helpers.pictures import picture
from resnetlab.cli.deploy import export as commands
from resnetlab.deploy.export import web_runtime
from resnetlab.deploy.predict import load_model
from resnetlab.errors import InputError
from resnetlab.model_folder.model_file import License

SCRIPT, WASM = b"export const env = {};</script><b>", bytes(range(256)) * 20
CLASSES = ("cat", "<b>dog</b>", "owl</script>", "a&b", "pig", "rat")


class Blocks(HTMLParser):
    """The tags of a page, and the text of its scripts by id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, str] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        tag, attributes = self.tags[-1] if self.tags else ("", {})
        if tag == "script":
            name = attributes.get("id") or "code"
            self.scripts[name] = self.scripts.get(name, "") + data


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Return a folder with the two files of the npm package that a page needs."""
    folder = tmp_path / "onnxruntime-web"
    (folder / "dist").mkdir(parents=True)
    (folder / "dist" / web_runtime.SCRIPT).write_bytes(SCRIPT)
    (folder / "dist" / web_runtime.WASM).write_bytes(WASM)
    (folder / "package.json").write_text(json.dumps({"version": "9.8.7"}))
    return folder


def archive_of(package: Path, path: Path) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        archive.add(package, "package")
    return path


def unpacked(text: str) -> bytes:
    return gzip.decompress(base64.b64decode(text))


def test_the_page_is_a_single_file_that_contains_everything(tmp_path: Path, package: Path) -> None:
    folder = write_model(tmp_path / "pets", classes=CLASSES, license=License(name="CC-BY-NC-4.0"))
    commands.export(
        folder, "html", tmp_path / "pets.html", onnxruntime_web=package, accept_license=True
    )
    text = (tmp_path / "pets.html").read_text("utf-8")
    page = Blocks(text)
    assert unpacked(page.scripts["runtime"]) == SCRIPT
    assert unpacked(page.scripts["wasm"]) == WASM
    session = onnxruntime.InferenceSession(unpacked(page.scripts["network"]))
    image = picture(3, 70, 50)
    row = session.run(["probabilities"], {"image": np.asarray(image)})[0]
    model = load_model(folder, device="cpu", accept_license=True)
    best = model.predict([image], top=1)[0].top_classes[0]
    assert CLASSES[int(row.argmax())] == best.label
    assert abs(float(row.max()) - best.probability) < 0.01
    for tag, attributes in page.tags:
        for name in ("src", "href", "action", "srcset"):
            assert attributes.get(name) in (None, "data:,"), (tag, attributes)
    policies = [a["content"] for _, a in page.tags if a.get("http-equiv")]
    (policy,) = policies
    assert policy is not None
    assert policy.startswith("default-src 'none'; base-uri 'none'; form-action 'none';")
    assert "connect-src" not in policy
    assert "http" not in policy
    assert "<b>dog" not in text
    assert "No commercial use." in text
    assert "ONNX Runtime Web 9.8.7" in text
    assert len([path for path in tmp_path.iterdir() if path.suffix == ".html"]) == 1


def test_the_npm_archive_and_its_folder_give_the_same_page(tmp_path: Path, package: Path) -> None:
    archive = archive_of(package, tmp_path / "web.tgz")
    sources = (package, package / "dist", archive)
    loaded = [web_runtime.load_web_runtime(source) for source in sources]
    assert {(each.script, each.wasm, each.version) for each in loaded} == {(SCRIPT, WASM, "9.8.7")}


def test_a_missing_package_is_reported_with_the_folder_to_put_it_in(
    pets: Path, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESNETLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("RESNETLAB_OFFLINE", "1")

    def refused(pattern: str, **options: Path) -> None:
        with pytest.raises(InputError, match=pattern) as caught:
            commands.export(pets, "html", tmp_path / "pets.html", **options)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "pets.html").exists()

    refused(r"nothing is downloaded because .*Fix: --onnxruntime-web DIR .*or put onnxruntime-web-")
    refused("--onnxruntime-web: has no ort", onnxruntime_web=tmp_path)
    (tmp_path / "text.tgz").write_text("words")
    refused("is not the archive of onnxruntime-web", onnxruntime_web=tmp_path / "text.tgz")
    cached = tmp_path / "cache" / "downloads" / "onnxruntime-web" / web_runtime.ARCHIVE
    cached.parent.mkdir(parents=True)
    archive_of(package, cached)
    refused("its sha256 differs")
