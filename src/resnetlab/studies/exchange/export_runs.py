"""Archive with the finished runs of a study, for another machine: `resnetlab study export`.

The archive is a tar file with the plan of the study, `plan.json`, and a folder `runs/<id>` for each
finished run. `collect_runs` reads it. It names no folder of this machine, and equal runs give an
equal archive, byte by byte.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from resnetlab.checksums import CHECKSUMS
from resnetlab.errors import input_error
from resnetlab.files import atomic_write
from resnetlab.models.tensorfile import backbone_file, read_metadata
from resnetlab.runs.paths import LOGITS, WEIGHTS, locate_runs
from resnetlab.runs.recorded_logits import read_logits
from resnetlab.runs.records import RunRecord
from resnetlab.runs.run_folder import CHECKED_FILES, RunFolder
from resnetlab.schema import encode
from resnetlab.studies.exchange.remove_paths import file_without_paths, plan_without_paths
from resnetlab.studies.plan import Plan


@dataclass(frozen=True)
class ExportedRuns:
    """Archive of a study's finished runs."""

    path: Path
    runs: int
    """Number of finished runs in the archive."""
    planned: int
    """Number of runs of the plan."""
    size: int
    """Size of the archive in bytes."""


def export_runs(plan: Plan, root: Path, out: Path, *, light: bool = False) -> ExportedRuns:
    """Write the finished runs of a plan under `root` as the archive `out`, a `.tar.gz` file.

    Args:
        plan: Plan of the study.
        root: Folder that contains `runs`.
        out: File to write.
        light: Leave the weights out and round the logits of the test images to half precision. A
            report needs no more.

    Raises:
        InputError: `out` exists, no run is finished, or a file of a run changed since its end.
    """
    if out.exists():
        fix = "give another file by --out, or remove this one"
        raise input_error(str(out), "exists, and an archive never replaces another file", fix)
    folders = locate_runs(root, [run.id for run in plan.unique_runs])
    records = [RunFolder(folders[run.id]).record() for run in plan.unique_runs]
    finished = [record for record in records if record is not None and record.result is not None]
    if not finished:
        fix = "start it by resnetlab study run, or give the folder of its runs by --output"
        raise input_error(plan.study.name, "no run of the study is finished", fix)
    with (
        atomic_write(out, "wb") as file,
        # Neither a name nor a time in the header, so that equal runs give equal bytes.
        gzip.GzipFile("", "wb", fileobj=file, mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        _add(tar, "plan.json", _to_json(encode(plan_without_paths(plan))))
        backbones: set[str] = set()
        for record in finished:
            _add_run(tar, record, light)
            if not light:
                _add_backbone(tar, Path(record.folder) / WEIGHTS, backbones)
    return ExportedRuns(out, len(finished), len(records), out.stat().st_size)


def _add_run(tar: tarfile.TarFile, record: RunRecord, light: bool) -> None:
    """Add the files of a run and their checksums."""
    folder = Path(record.folder)
    checksums = {}
    for name, content in _small_files(record, light):
        checksums[name] = hashlib.sha256(content).hexdigest()
        _add(tar, f"runs/{record.id}/{name}", content)
    if not light:
        for name in (WEIGHTS, LOGITS):
            if (folder / name).exists():
                with (folder / name).open("rb") as file:
                    checksums[name] = hashlib.file_digest(file, "sha256").hexdigest()
                _add_file(tar, f"runs/{record.id}/{name}", folder / name)
    listed: Mapping[str, object] = {"sha256": dict(sorted(checksums.items()))}
    _add(tar, f"runs/{record.id}/{CHECKSUMS}", _to_json(listed))


def _small_files(record: RunRecord, light: bool) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each file but the large ones; run.json names no folder."""
    folder = Path(record.folder)
    yield "run.json", _to_json(encode(file_without_paths(record.file)))
    names = [name for name in CHECKED_FILES if name != "run.json"]
    names += sorted(f"diagnostics/{path.name}" for path in folder.glob("diagnostics/*.json"))
    for name in names:
        if (folder / name).exists():
            yield name, (folder / name).read_bytes()
    if light and (folder / LOGITS).exists():
        from safetensors.numpy import save

        half = read_logits(folder).in_half_precision()
        yield LOGITS, save({"logits": half.logits, "labels": half.labels})


def _add_backbone(tar: tarfile.TarFile, weights: Path, added: set[str]) -> None:
    """Add the frozen part of a fine-tuned network, which several runs share, once."""
    digest = str(read_metadata(weights).get("backbone") or "") if weights.exists() else ""
    if digest and digest not in added:
        added.add(digest)
        path = backbone_file(weights, digest)
        _add_file(tar, f"backbones/{path.name}", path)


def _add_file(tar: tarfile.TarFile, name: str, path: Path) -> None:
    with path.open("rb") as file:
        _add_stream(tar, name, file, path.stat().st_size)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    _add_stream(tar, name, io.BytesIO(content), len(content))


def _add_stream(tar: tarfile.TarFile, name: str, stream: IO[bytes], size: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    tar.addfile(member, stream)


def _to_json(value: object) -> bytes:
    return (json.dumps(value, indent=1, allow_nan=False) + "\n").encode()
