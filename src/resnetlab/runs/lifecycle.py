"""Life cycle of any run: one process locks its folder, and an exhausted memory is recorded as its
result.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator

from resnetlab.data.config import DataIdentity
from resnetlab.errors import Problem, ResnetlabError, mistake
from resnetlab.runs.checkpoint import saved_steps
from resnetlab.runs.config import SCHEMA
from resnetlab.runs.directory import RunDirectory
from resnetlab.runs.records import Result, RunFile
from resnetlab.shell import command_line
from resnetlab.training.distributed import ALONE, Team
from resnetlab.training.memory import is_out_of_memory


class BusyError(ResnetlabError):
    """Error of a run that another process trains."""


class CrowdedError(ResnetlabError):
    """Error of a run that has too little memory beside other runs. Alone it may have enough."""


def carried_out(
    directory: RunDirectory,
    file: RunFile,
    identity: DataIdentity,
    do: Callable[[], Generator[None, None, Result | None]],
    team: Team = ALONE,
    again: Callable[[Result], Result] = lambda result: result,
    beside: bool = False,
) -> Generator[None, None, Result | None]:
    """Lock the folder of a run and execute it, unless it has a result. Exhausted memory is a result
    too.

    Args:
        directory: Folder of the run.
        file: Configuration of the run.
        identity: Identity of the loaded data.
        do: Generator that executes the run and returns its result, or None if it was stopped.
        team: Processes that train the run together.
        again: Function for a finished run that lacks a requested measurement.
        beside: True if other runs use the same device.

    Raises:
        BusyError: Another process trains this run.
        CrowdedError: The memory is exhausted while other runs use the device.
        InputError: The data differ from the data of the run.
    """
    with directory.claimed() if team.first else contextlib.nullcontext(True) as acquired:
        if not acquired:
            raise BusyError(
                mistake(
                    str(directory.path), "another process trains this run", "wait for it"
                ).problems[0]
            )
        existing = team.from_first(directory.result() if team.first else None)
        if existing is not None and not (team.first and directory.lacks(file)):
            return existing
        if identity != file.run.data:
            fix = "give the data that the run began with, or start a new run"
            allowed = str(file.run.data)
            raise mistake(
                str(directory.path),
                "the data differ from the run's",
                fix,
                got=identity,
                allowed=allowed,
            )
        if existing is not None:
            return again(existing)
        if team.first:
            directory.open(file)
        try:
            return team.from_first((yield from do()))
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error) or not team.first:
                raise
            if beside:
                raise CrowdedError(
                    Problem(directory.path.name, "out of memory beside other runs", "--abreast 1")
                ) from None
            step = max(saved_steps(directory.checkpoints), default=0)
            result = Result(
                schema=SCHEMA,
                status="out of memory",
                reason=str(error).splitlines()[0][:200],
                step=step,
                chosen_step=step,
            )
            directory.commit(result)
            return result


def same_processes(file: RunFile, team: Team, directory: RunDirectory) -> None:
    """Raise InputError if the number of processes differs from that of the run."""
    ranks = file.run.numerics.ranks
    if ranks != team.size:
        command = command_line(
            [
                "torchrun",
                "--nproc-per-node",
                str(ranks),
                "-m",
                "resnetlab",
                "resume",
                str(directory.path),
            ]
        )
        fix = command if ranks > 1 else "start it without torchrun"
        raise mistake(
            str(directory.path), "processes of the run", fix, got=team.size, allowed=str(ranks)
        )
