"""Bundles Python and the judging code for the page docs/judge.md: `python docs/judge_bundle.py`.

The page judges with the code of the command, which Pyodide (CPython in WebAssembly) runs. A page
that is opened from disk may not fetch files, but it may load scripts. So everything goes into one
script, docs/assets/judge/python.js, which git ignores. Pyodide comes from npm and the core of
pydantic, which is not pure Python, from the package index; both are kept in the folder of
downloads. The other packages are those of this environment.

The script ends with one line and 0 if node's npm or the network is missing: the site is then built
without Python, and its page says so.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import distribution, version
from pathlib import Path

from resnetlab.errors import InputError, input_error
from resnetlab.settings import check_downloads_allowed, downloads_dir

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "assets" / "judge"
PYODIDE = "314.0.7"
"""Version of the npm package pyodide; its Python and platform are those of WHEEL_TAGS."""
WHEEL_TAGS = ("--platform", "pyemscripten_2026_0_wasm32", "--python-version", "3.14")
PURE_PACKAGES = ("pydantic", "annotated-types", "typing-extensions", "typing-inspection")
DATE = (2020, 1, 1, 0, 0, 0)
"""Date of all files of the archive, so that the same code gives the same bytes."""


def main() -> None:
    """Write the script, or say in one line why it is not there."""
    try:
        pyodide, core = read_pyodide(), core_wheel()
    except InputError as error:
        shutil.rmtree(FOLDER, ignore_errors=True)
        print(f"docs/judge.md is built without Python: {error}")
        return
    lock = json.loads(pyodide["pyodide-lock.json"])["info"]
    files = {
        "module": gzip.compress(pyodide["pyodide.asm.mjs"], 9, mtime=0),
        "wasm": gzip.compress(pyodide["pyodide.asm.wasm"], 9, mtime=0),
        "library": pyodide["python_stdlib.zip"],
        "packages": packages_zip(core),
    }
    encoded = {name: base64.b64encode(content).decode() for name, content in files.items()}
    script = f"globalThis.pythonBundle = {json.dumps({'lock': lock, **encoded})};\n"
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "python.js").write_text(script, encoding="utf-8")
    (FOLDER / "pyodide.js").write_bytes(pyodide["pyodide.js"].split(b"\n//# sourceMapping")[0])
    print(f"docs/assets/judge: {len(script) / 1e6:.1f} MB")


def read_pyodide() -> dict[str, bytes]:
    """Return the files of the npm package: from node_modules, or from its archive in the cache."""
    names = ("pyodide.js", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip")
    names = (*names, "pyodide-lock.json")
    folders = [Path("node_modules"), *map(Path, filter(None, _node_path()))]
    for folder in folders:
        package = folder / "pyodide"
        if (package / "package.json").is_file() and _version_of(package) == PYODIDE:
            return {name: (package / name).read_bytes() for name in names}
    cache = downloads_dir() / "pyodide"
    archive = cache / f"pyodide-{PYODIDE}.tgz"
    if not archive.is_file():
        check_downloads_allowed("pyodide", f"npm install pyodide@{PYODIDE}")
        npm = shutil.which("npm")
        if npm is None:
            raise input_error("npm", "not installed, and it fetches pyodide", "install node")
        cache.mkdir(parents=True, exist_ok=True)
        _run([npm, "pack", f"pyodide@{PYODIDE}", "--pack-destination", str(cache)])
    with tarfile.open(archive) as opened:
        return {name: _member(opened, f"package/{name}") for name in names}


def core_wheel() -> Path:
    """Return the wheel of pydantic-core for WebAssembly, which pip fetches once."""
    cache, number = downloads_dir() / "pyodide", version("pydantic-core")
    pattern = f"pydantic_core-{number}-*wasm32.whl"
    if not any(cache.glob(pattern)):
        fix = "allow downloads for `make docs`"
        check_downloads_allowed("pydantic-core for WebAssembly", fix)
        words = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *WHEEL_TAGS]
        words += ["--implementation", "cp", "--abi", "cp314", "--only-binary", ":all:"]
        _run([*words, "--dest", str(cache), f"pydantic-core=={number}"])
    return next(cache.glob(pattern))


def packages_zip(core: Path) -> bytes:
    """Return a zip archive of resnetlab and of the packages that its judging imports."""
    contents = {
        path.relative_to(ROOT / "src").as_posix(): path.read_bytes()
        for path in (ROOT / "src" / "resnetlab").rglob("*")
        if path.suffix in (".py", ".toml") and "catalog/studies" not in path.as_posix()
    }
    for name in PURE_PACKAGES:
        for path in distribution(name).files or ():
            if path.suffix == ".py" and ".." not in path.parts:
                contents[path.as_posix()] = Path(str(path.locate())).read_bytes()
    with zipfile.ZipFile(core) as wheel:
        contents |= {
            name: wheel.read(name) for name in wheel.namelist() if name.endswith((".py", ".so"))
        }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in sorted(contents):
            info = zipfile.ZipInfo(name, DATE)
            archive.writestr(info, contents[name], zipfile.ZIP_DEFLATED, 9)
    return file.getvalue()


def _node_path() -> list[str]:
    return os.environ.get("NODE_PATH", "").split(os.pathsep)


def _version_of(package: Path) -> str:
    return str(json.loads((package / "package.json").read_text(encoding="utf-8"))["version"])


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None, name
    return file.read()


def _run(words: list[str]) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it printed nothing"]
        fix = "try again with a network"
        raise input_error(Path(words[0]).name, f"failed: {lines[-1][:120]}", fix)


if __name__ == "__main__":
    main()
