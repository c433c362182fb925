"""Command `resnetlab doctor`: print facts about the machine and damaged files with the command that
repairs them.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resnetlab.cli.manners import DONE, NOT_IN_ORDER, Json, Root, print_json
from resnetlab.errors import mistake, printable

if TYPE_CHECKING:
    from resnetlab.doctor import Cache, Disk, Processor, Torch
    from resnetlab.runs.damage import Checked


def caches_of(output: Path) -> tuple[Path, ...]:
    """Return the cache folders, whose files can be computed again: the user's and the one in
    `--output`.
    """
    from resnetlab.settings import cache_dir

    return tuple(dict.fromkeys((cache_dir(), (output / "cache").absolute())))


def doctor(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders of runs; without any, all of DIR/runs.", metavar="RUN..."),
    ] = None,
    output: Root = Path(),
    mend: Annotated[
        bool, typer.Option("--mend", help="Remove temporary files and torn lines from the RUNs.")
    ] = False,
    json: Json = False,
) -> None:
    """Print the capabilities of this machine and the damaged files.

    Processor, torch, GPUs, disk, caches, and every damaged file of a run with the command that
    mends it.

    Example:  resnetlab doctor
    """
    from resnetlab import doctor as looks

    folders = tuple(runs or ())
    if mend and not folders:
        raise mistake("--mend", "no run was named", "resnetlab doctor RUN --mend")
    if mend:
        from resnetlab.runs.damage import mend as mended

        for folder in folders:
            for path in mended(folder):
                typer.echo(f"mended: {printable(path)}", err=json)
    program = {"version": looks.resnetlab_version(), "python": platform.python_version()}
    program["platform"] = platform.platform()
    is_general = not folders
    if is_general and not json:
        typer.echo("resnetlab {version}, Python {python}, {platform}".format(**program))
    processor = looks.look_at_processor() if is_general else None
    disk = looks.look_at_disk(output) if is_general else None
    caches = looks.look_at_caches(caches_of(output)) if is_general else ()
    if processor and disk and not json:
        _print_machine(processor, disk, caches)
    torch = looks.look_at_torch() if is_general else None
    if torch and not json:
        _print_torch(torch)
    checked = list(looks.look_at_runs(folders or looks.run_folders(output)))
    damaged = any(run.damage for run in checked) or (disk is not None and not disk.writable)
    if json:
        counts = {
            state: sum(run.state == state for run in checked)
            for state in ("finished", "unfinished", "running")
        }
        unfinished = [
            {"folder": run.folder, "command": run.resume} for run in checked if run.resume
        ]
        damage = [item for run in checked for item in run.damage]
        parts = {"processor": processor, "torch": torch, "disk": disk, "caches": caches}
        print_json(program | parts | {"runs": counts, "unfinished": unfinished, "damage": damage})
    else:
        _print_runs(checked)
    raise typer.Exit(NOT_IN_ORDER if damaged else DONE)


def _print_machine(processor: Processor, disk: Disk, caches: tuple[Cache, ...]) -> None:
    features = "instruction sets unknown"
    if processor.features is not None:
        features = ", ".join(processor.features) or "none known"
    memory = f", {_size(processor.memory_bytes)} of memory" if processor.memory_bytes else ""
    typer.echo(
        f"processor  {processor.model} ({processor.architecture}), {processor.cores} cores{memory}"
    )
    typer.echo(f"           {features}")
    speed = (
        f"{disk.write_mb_per_second:,.0f} MB/s written"
        if disk.write_mb_per_second
        else "cannot be written to"
    )
    typer.echo(
        f"disk       {printable(str(Path(disk.folder).resolve()))}: {_size(disk.free_bytes)} "
        f"free, {speed}"
    )
    for cache in caches:
        size = f"{_size(cache.bytes)} in {cache.files:,} files"
        typer.echo(
            f"cache      {printable(cache.path)}: {size}; to clear it: {printable(cache.clear)}"
        )
    if caches:
        typer.echo("           what is cleared is made or downloaded again when it is needed")


def _print_torch(torch: Torch) -> None:
    build = f"CUDA {torch.cuda}" if torch.cuda else "for the processor alone"
    typer.echo(
        f"torch      {torch.version}, {build}; on the processor: {torch.cpu_capability}, "
        f"{torch.threads} threads"
    )
    native = (
        "multiplies bf16 itself"
        if torch.bf16_on_cpu
        else "does not multiply bf16 itself: fp32 is faster"
    )
    typer.echo(f"           this processor {native}")
    for gpu in torch.gpus:
        memory = (
            f", {_size(gpu.free_bytes)} of {_size(gpu.memory_bytes)} free"
            if gpu.memory_bytes
            else ""
        )
        kind = f", compute capability {gpu.capability}" if gpu.capability else ""
        typer.echo(f"GPU        {gpu.device}: {gpu.name}{memory}{kind}")
    if not torch.gpus:
        typer.echo("GPU        none that torch can use")
    typer.echo(f"auto       --device auto is {torch.device}, its precision {torch.precision}")


def _print_runs(checked: list[Checked]) -> None:
    counts = [
        (state, sum(run.state == state for run in checked))
        for state in ("finished", "unfinished", "running")
    ]
    text = ", ".join(f"{count:,} {state}" for state, count in counts if count) or "none"
    typer.echo(f"runs       {text}")
    for run in checked:
        if run.resume and not run.damage:
            typer.echo(
                f"           unfinished: {printable(run.folder)}; to continue: "
                f"{printable(run.resume)}"
            )
        for item in run.damage:
            typer.echo(
                f"damage     {printable(item.path)}: {printable(item.what)}. Fix: "
                f"{printable(item.fix)}"
            )


def _size(count: int | None) -> str:
    """Format a size in decimal units: `1.2 GB` is 1.2 x 10^9 bytes."""
    amount, unit = float(count or 0), "bytes"
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if amount >= size:
            return f"{amount / size:,.1f} {unit}"
    return f"{amount:,.0f} bytes"
