"""Size and seconds of an installation without torch, and of `judge` in it.

Run `python benchmarks/install_size.py`. It builds a fresh environment in a temporary folder,
installs this working tree with the pinned versions and without the extra `train`, and times
`resnetlab judge` on a table of ten runs. The wheels are downloaded again, so the seconds of the
installation depend on the network; those with the wheels in uv's cache follow. The size of the
extra `train` is that of its packages in the environment that runs this script. It writes
`benchmarks/install_size.json`; `python docs/measured.py` writes the numbers into README.md.
"""

from __future__ import annotations

import json
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from machine import machine

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 5
TABLE = "\n".join(
    ["model,seed,accuracy", *(f"{name},{seed},{90 + seed}" for name in "AB" for seed in range(5))]
)
CUDA = ("nvidia", "cuda", "triton")
"""Beginnings of the names of packages that only a build of torch for CUDA needs."""
EXCLUDED = ("uv", "pip", "setuptools", "wheel")


def main() -> None:
    """Measure, print and write."""
    details = machine()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python = create_environment(folder / "first")
        cold = install(python, "--no-cache")
        site = site_packages(python)
        size, packages = folder_bytes(site), installed_names(python)
        judge = [time_judge(python, folder / f"judge{number}") for number in range(ROUNDS)]
        install(create_environment(folder / "second"))  # fills the cache of uv
        shutil.rmtree(folder / "second")
        warm = install(create_environment(folder / "third"))
    train = closure(["torch", "torchvision", "scikit-learn"]) - packages
    details |= {
        "install_megabytes": round(size / 1e6),
        "install_packages": len(packages),
        "install_seconds_with_download": round(cold, 1),
        "install_seconds_from_cache": round(warm, 1),
        "judge_seconds": [round(wall, 2) for wall, _ in judge],
        "judge_processor_seconds": [round(processor, 2) for _, processor in judge],
        "train_megabytes": megabytes(train),
        "train_cuda_megabytes": megabytes(name for name in train if name.startswith(CUDA)),
        "train_packages": sorted(train),
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(details, indent=1) + "\n")
    print(json.dumps(details, indent=1))


def create_environment(folder: Path) -> Path:
    """Create an environment with the version of this Python, and return the path of its Python."""
    subprocess.run(["uv", "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
    return folder / "bin" / "python"


def install(python: Path, *options: str) -> float:
    """Install this working tree without extras; the seconds."""
    words = ["uv", "pip", "install", "--quiet", *options, "--python", str(python)]
    words += ["--constraint", "constraints.txt", "."]
    began = time.monotonic()
    subprocess.run(words, cwd=ROOT, check=True)
    return time.monotonic() - began


def time_judge(python: Path, folder: Path) -> tuple[float, float]:
    """Judge a table in a fresh process; the seconds by the clock and of the processor."""
    folder.mkdir()
    (folder / "runs.csv").write_text(TABLE + "\n", encoding="utf-8")
    words = [str(python.parent / "resnetlab"), "judge", "runs.csv", "--claim", "A > B"]
    began, before = time.monotonic(), processor_seconds()
    subprocess.run(words, cwd=folder, check=True, capture_output=True)
    return time.monotonic() - began, processor_seconds() - before


def processor_seconds() -> float:
    """Return the processor time of all processes that this one started and that ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def site_packages(python: Path) -> Path:
    """Return the folder of the packages of an environment."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    done = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True)
    return Path(done.stdout.strip())


def folder_bytes(folder: Path) -> int:
    """Return the bytes of the files of a folder, before Python compiles any of them."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return sum(path.stat().st_size for path in files)


def installed_names(python: Path) -> set[str]:
    """Return the normalized names of the packages of an environment."""
    words = ["uv", "pip", "list", "--quiet", "--format", "json", "--python", str(python)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return {normalized(item["name"]) for item in json.loads(done.stdout)} - set(EXCLUDED)


def closure(names: list[str]) -> set[str]:
    """Return the installed packages that the given ones need, with themselves."""
    found: dict[str, Distribution] = {}
    waiting = list(names)
    while waiting:
        name = normalized(waiting.pop())
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:  # needed on other systems only
            continue
        needed = [text for text in found[name].requires or () if "extra ==" not in text]
        waiting += [re.split(r"[\s;<>=!~\[(]", text, maxsplit=1)[0] for text in needed]
    return set(found)


def megabytes(names: Iterable[str]) -> int:
    """Return the size of installed packages."""
    return round(sum(map(distribution_bytes, names)) / 1e6)


def distribution_bytes(name: str) -> int:
    """Return the bytes of the files of an installed package."""
    paths = (Path(str(file.locate())) for file in distribution(name).files or ())
    return sum(path.stat().st_size for path in paths if path.is_file() and path.suffix != ".pyc")


def normalized(name: str) -> str:
    """Return the name of a package as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main()
