"""Folders and archives with the runs of other machines."""

from __future__ import annotations

import contextlib
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from resnetlab.data.archives import unpack
from resnetlab.errors import InputError, input_error
from resnetlab.studies.execution import read_plan
from resnetlab.studies.plan import Plan


@dataclass(frozen=True)
class RunSource:
    """Runs and plans of one folder or archive."""

    name: str
    """Path as it was given."""
    runs: tuple[Path, ...]
    plans: tuple[Plan, ...]
    folder: Path
    """The folder, or the one into which the archive was unpacked."""


@contextlib.contextmanager
def open_sources(paths: Sequence[Path], root: Path) -> Iterator[list[RunSource]]:
    """Yield the opened sources; archives are unpacked until the end of the `with` block."""
    cache = root / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="collect-") as name:
        yield [
            _open_source(path, Path(name) / str(number))
            for number, path in enumerate(_archives_and_folders(paths))
        ]


def _archives_and_folders(paths: Sequence[Path]) -> Iterator[Path]:
    """Yield each path, and instead of a folder of archives these archives."""
    for path in dict.fromkeys(paths):
        if not path.exists():
            raise input_error(str(path), "no such file or folder", "give a folder or an archive")
        archives = sorted(path.glob("*.tar.gz")) if path.is_dir() else []
        if archives and not _run_folders(path):
            yield from archives
        else:
            yield path


def _open_source(path: Path, target: Path) -> RunSource:
    folder = path
    if path.is_file():
        if not tarfile.is_tarfile(path):
            fix = "give an archive of resnetlab study export, or a folder"
            raise input_error(str(path), "not an archive of runs", fix)
        unpack(path, target)
        folder = target
    runs = _run_folders(folder)
    if not runs:
        fix = "give the folder of a run, a folder of runs, or one that contains runs/"
        raise input_error(str(path), "no run in it (no file run.json)", fix)
    plans = tuple(_read_plans(folder))
    return RunSource(str(path), runs, plans, folder)


def _run_folders(folder: Path) -> tuple[Path, ...]:
    if (folder / "run.json").is_file():
        return (folder,)
    runs = folder / "runs" if (folder / "runs").is_dir() else folder
    return tuple(sorted(path.parent for path in runs.glob("*/run.json")))


def _read_plans(folder: Path) -> Iterator[Plan]:
    for path in [folder / "plan.json", *sorted((folder / "studies").glob("*/plan.json"))]:
        if path.is_file():
            with contextlib.suppress(InputError):  # of another version of resnetlab
                yield read_plan(path.parent)
