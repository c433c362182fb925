"""Inspection of this machine and of resnetlab's files. Only `inspect_torch` imports torch."""

from __future__ import annotations

import os
import platform
import secrets
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from resnetlab.recipes.numerics import Numerics, available_cpus
from resnetlab.runs.damage import RunCheck, check_run
from resnetlab.runs.run_folder import free_bytes
from resnetlab.shell import command_line
from resnetlab.training.hardware import (
    instruction_set,
    processor_has_bf16,
    read_cpuinfo,
    total_memory_bytes,
)
from resnetlab.training.resolve import resolve_numerics

CPU_FEATURES = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_bf16": "AVX-512 bf16",
    "amx_bf16": "AMX bf16",
    "asimd": "NEON",
    "sve": "SVE",
    "bf16": "ARM bf16",
}
"""Flags of /proc/cpuinfo that determine the speed of training, with their usual names."""

DISK_TEST_BYTES = 32_000_000
"""Number of bytes that are written to measure the speed of a disk."""


@dataclass(frozen=True)
class Processor:
    """Processor of this machine and the number of cores that this process may use."""

    model: str
    architecture: str
    features: tuple[str, ...] | None
    """Instruction sets; None if the system does not list them."""
    cores: int
    memory_bytes: int | None


@dataclass(frozen=True)
class Gpu:
    """GPU that torch can use."""

    device: str
    name: str
    memory_bytes: int | None
    free_bytes: int | None
    capability: str


@dataclass(frozen=True)
class TorchInfo:
    """Build of torch, and the device and precision that resnetlab chooses with it."""

    version: str
    cuda: str | None
    """CUDA version of the build; None for a build without CUDA."""
    cpu_capability: str
    """Vector instructions that torch uses on this processor."""
    threads: int
    gpus: tuple[Gpu, ...]
    device: str
    """Device that `--device auto` selects."""
    precision: str
    """Precision that `precision = "auto"` selects on that device."""
    bf16_on_cpu: bool
    """True if the processor has instructions for bf16; emulated bf16 is slower than fp32."""


@dataclass(frozen=True)
class DiskInfo:
    """Disk that contains a folder."""

    folder: str
    free_bytes: int
    writable: bool
    write_mb_per_second: float | None
    """Write speed in megabytes (10^6 bytes) per second with the flush; None if not writable."""


@dataclass(frozen=True)
class CacheFolder:
    """Folder of files that are computed or downloaded again when they are missing."""

    path: str
    bytes: int
    files: int
    clear: str
    """Command that removes the folder."""


def resnetlab_version() -> str:
    """Return the installed version, or `source tree` if resnetlab is not installed."""
    try:
        return version("resnetlab")
    except PackageNotFoundError:
        return "source tree"


def inspect_processor() -> Processor:
    """Name the processor and its instruction sets."""
    model, flags = read_cpuinfo()
    if sys.platform == "darwin":
        model = _sysctl("machdep.cpu.brand_string")
        if platform.machine() == "arm64":
            flags = frozenset(
                {"asimd", "bf16"} if _sysctl("hw.optional.arm.FEAT_BF16") == "1" else {"asimd"}
            )
    features = (
        None
        if flags is None
        else tuple(name for flag, name in CPU_FEATURES.items() if flag in flags)
    )
    return Processor(
        model or platform.processor() or "unknown",
        platform.machine(),
        features,
        available_cpus(),
        total_memory_bytes() or None,
    )


def _sysctl(name: str) -> str:
    try:
        done = subprocess.run(
            ["sysctl", "-n", name], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def inspect_torch() -> TorchInfo:
    """Import torch (seconds); return the devices, precision and threads that it allows here."""
    import torch

    auto = resolve_numerics(Numerics(), single_run=True)
    on_cpu = resolve_numerics(Numerics(device="cpu"), single_run=True)
    return TorchInfo(
        version=torch.__version__,
        cuda=torch.version.cuda,
        cpu_capability=instruction_set(),
        threads=on_cpu.threads,
        gpus=tuple(_gpus()),
        device=auto.device,
        precision=auto.precision,
        bf16_on_cpu=processor_has_bf16(),
    )


def _gpus() -> Iterator[Gpu]:
    import torch

    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        details = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        yield Gpu(f"cuda:{index}", details.name, total, free, f"{details.major}.{details.minor}")
    if torch.backends.mps.is_available():
        yield Gpu("mps", "Apple GPU", None, None, "")


def inspect_disk(folder: Path) -> DiskInfo:
    """Measure the free space and the write speed of the disk where `folder` is or will be."""
    where = folder
    while not where.exists():
        where = where.parent
    speed = _write_speed(where)
    return DiskInfo(str(folder), free_bytes(where), speed is not None, speed)


def _write_speed(folder: Path) -> float | None:
    """Measure the write speed in megabytes per second; None if the folder is not writable."""
    probe = folder / f".resnetlab-doctor.{secrets.token_hex(8)}.part"
    block = os.urandom(1_000_000)
    start = time.perf_counter()
    try:
        with probe.open("xb") as file:
            for _ in range(DISK_TEST_BYTES // len(block)):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        return DISK_TEST_BYTES / 1e6 / max(1e-9, time.perf_counter() - start)
    except OSError:
        return None
    finally:
        probe.unlink(missing_ok=True)


def inspect_caches(folders: Iterable[Path]) -> tuple[CacheFolder, ...]:
    """Measure the size of the folders that exist, and of each folder directly in them."""
    caches = []
    for folder in folders:
        if folder.is_dir():
            parts = sorted(path for path in folder.iterdir() if path.is_dir())
            caches += [_measure_cache(path) for path in (folder, *parts)]
    return tuple(caches)


def _measure_cache(folder: Path) -> CacheFolder:
    sizes = []
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent) / name
            if path.is_file() and not path.is_symlink():
                sizes.append(path.stat().st_size)
    remove = command_line(
        ["rmdir", "/s", "/q", str(folder)] if os.name == "nt" else ["rm", "-r", str(folder)]
    )
    return CacheFolder(str(folder), sum(sizes), len(sizes), remove)


def check_runs(folders: Sequence[Path]) -> Iterator[RunCheck]:
    """Check the folder of each run. Raises InputError if one does not exist."""
    for folder in folders:
        yield check_run(folder)


def run_folders(root: Path) -> tuple[Path, ...]:
    """Return the folders of all runs under `root`."""
    runs = root / "runs"
    return tuple(sorted(path for path in runs.iterdir() if path.is_dir())) if runs.is_dir() else ()
