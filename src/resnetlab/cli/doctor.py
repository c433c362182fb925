"""Command `resnetlab doctor`: print details about the machine, and damaged files with the command
that repairs them.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resnetlab.cli.common import CHECK_FAILED, DONE, Json, OutputDir, print_json
from resnetlab.errors import escape_controls, input_error
from resnetlab.messages import format_count
from resnetlab.torch_check import has_torch

if TYPE_CHECKING:
    from resnetlab.doctor import CacheFolder, DiskInfo, Processor, TorchInfo
    from resnetlab.runs.damage import RunCheck


def cache_folders(output: Path) -> tuple[Path, ...]:
    """Return the cache folders, whose files can be computed again: the user's and the one in
    `--output`.
    """
    from resnetlab.settings import cache_dir

    return tuple(dict.fromkeys((cache_dir(), (output / "cache").absolute())))


def doctor(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folders of runs or reports; the default is all of DIR/runs.", metavar="RUN..."
        ),
    ] = None,
    output: OutputDir = Path(),
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Remove temporary files and incomplete lines of the RUNs."),
    ] = False,
    json: Json = False,
) -> None:
    """Print details about this machine, and the damaged files of runs.

    The details are about the processor, torch, GPUs, the disk and the caches. Each damaged file
    comes with the command that repairs it.

    Example:  resnetlab doctor
    """
    from resnetlab import doctor as checks

    folders = tuple(runs or ())
    if repair and not folders:
        raise input_error("--repair", "no run was named", "resnetlab doctor RUN --repair")
    if repair:
        from resnetlab.runs import damage

        for folder in folders:
            for path in damage.repair(folder):
                typer.echo(f"repaired: {escape_controls(path)}", err=json)
    program = {
        "version": checks.resnetlab_version(),
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
    is_general = not folders
    if is_general and not json:
        typer.echo("resnetlab {version}, Python {python}, {platform}".format(**program))
    processor = checks.inspect_processor() if is_general else None
    disk = checks.inspect_disk(output) if is_general else None
    caches = checks.inspect_caches(cache_folders(output)) if is_general else ()
    if processor and disk and not json:
        _print_machine(processor, disk, caches)
    torch = checks.inspect_torch() if is_general and has_torch() else None
    if torch and not json:
        _print_torch(torch)
    elif is_general and not json:
        typer.echo('torch      not installed; to train: pip install "resnetlab[train]"')
    checked = list(checks.check_runs(folders or checks.run_folders(output)))
    damaged = any(run.damage for run in checked) or (disk is not None and not disk.writable)
    if json:
        parts = {"processor": processor, "torch": torch, "disk": disk, "caches": caches}
        print_json(program | parts | _runs_as_dict(checked))
    else:
        _print_runs(checked)
        for run in checked if folders else ():
            if run.note:
                typer.echo(f"note       {escape_controls(run.folder)}: {run.note}")
    raise typer.Exit(CHECK_FAILED if damaged else DONE)


def _count_states(checked: list[RunCheck]) -> dict[str, int]:
    states = ("finished", "unfinished", "running")
    return {state: sum(run.state == state for run in checked) for state in states}


def _runs_as_dict(checked: list[RunCheck]) -> dict[str, Any]:
    return {
        "runs": _count_states(checked),
        "unfinished": [
            {"folder": run.folder, "command": run.resume_command}
            for run in checked
            if run.resume_command
        ],
        "damage": [item for run in checked for item in run.damage],
    }


def _print_machine(processor: Processor, disk: DiskInfo, caches: tuple[CacheFolder, ...]) -> None:
    features = "instruction sets unknown"
    if processor.features is not None:
        features = ", ".join(processor.features) or "none known"
    memory = f", {_format_size(processor.memory_bytes)} of memory" if processor.memory_bytes else ""
    typer.echo(
        f"processor  {processor.model} ({processor.architecture}), "
        f"{format_count(processor.cores, 'core')}{memory}"
    )
    typer.echo(f"           {features}")
    speed = (
        f"{disk.write_mb_per_second:,.0f} MB/s written"
        if disk.write_mb_per_second
        else "cannot be written to"
    )
    typer.echo(
        f"disk       {escape_controls(str(Path(disk.folder).resolve()))}: "
        f"{_format_size(disk.free_bytes)} free, {speed}"
    )
    for cache in caches:
        size = f"{_format_size(cache.bytes)} in {format_count(cache.files, 'file')}"
        typer.echo(
            f"cache      {escape_controls(cache.path)}: {size}; to clear it: "
            f"{escape_controls(cache.clear)}"
        )
    if caches:
        typer.echo("           cleared files are computed or downloaded again when they are needed")


def _print_torch(torch: TorchInfo) -> None:
    build = f"CUDA {torch.cuda}" if torch.cuda else "no CUDA"
    typer.echo(
        f"torch      {torch.version}, {build}; on the processor: {torch.cpu_capability}, "
        f"{format_count(torch.threads, 'thread')}"
    )
    native = (
        "has bf16 instructions" if torch.bf16_on_cpu else "has no bf16 instructions: fp32 is faster"
    )
    typer.echo(f"           this processor {native}")
    for gpu in torch.gpus:
        memory = (
            f", {_format_size(gpu.free_bytes)} of {_format_size(gpu.memory_bytes)} free"
            if gpu.memory_bytes
            else ""
        )
        kind = f", compute capability {gpu.capability}" if gpu.capability else ""
        typer.echo(f"GPU        {gpu.device}: {gpu.name}{memory}{kind}")
    if not torch.gpus:
        typer.echo("GPU        torch finds none")
    typer.echo(f"auto       --device auto is {torch.device}, its precision {torch.precision}")


def _print_runs(checked: list[RunCheck]) -> None:
    counts = _count_states(checked).items()
    text = ", ".join(f"{count:,} {state}" for state, count in counts if count) or "none"
    typer.echo(f"runs       {text}")
    for run in checked:
        if run.resume_command and not run.damage:
            typer.echo(
                f"           unfinished: {escape_controls(run.folder)}; to continue: "
                f"{escape_controls(run.resume_command)}"
            )
        if run.state == "report" and not run.damage:
            typer.echo(f"report     {escape_controls(run.folder)}: no file changed")
        for item in run.damage:
            typer.echo(
                f"damage     {escape_controls(item.path)}: {escape_controls(item.message)}. Fix: "
                f"{escape_controls(item.fix)}"
            )


def _format_size(count: int | None) -> str:
    """Format a size in decimal units: `1.2 GB` is 1.2 x 10^9 bytes."""
    amount, unit = float(count or 0), "bytes"
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if amount >= size:
            return f"{amount / size:,.1f} {unit}"
    return f"{amount:,.0f} bytes"
