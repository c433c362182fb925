"""A run's folder in the hands of one process, whatever the run is: done once, and memory that ran out is a result."""

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
    """Another process trains this run."""


class CrowdedError(ResnetlabError):
    """Memory did not suffice for this run beside others; alone it may."""


def carried_out(
    directory: RunDirectory, file: RunFile, identity: DataIdentity,
    do: Callable[[], Generator[None, None, Result | None]], team: Team = ALONE,
    again: Callable[[Result], Result] = lambda held: held, beside: bool = False,
) -> Generator[None, None, Result | None]:  # fmt: skip
    """Hold the run's folder and `do` what the run is, unless it has a result; memory that ran out is one.

    `again` is done to a result that lacks what it was asked for since. Raises BusyError, CrowdedError where memory runs
    out `beside` other runs, and InputError where the data of `identity` are not the run's.
    """
    with directory.claimed() if team.first else contextlib.nullcontext(True) as mine:
        if not mine:
            raise BusyError(mistake(str(directory.path), "another process trains this run", "wait for it").problems[0])
        held = team.from_first(directory.result() if team.first else None)
        if held is not None and not (team.first and directory.lacks(file)):
            return held
        if identity != file.run.data:
            fix = "give the data that the run began with, or start a new run"
            allowed = str(file.run.data)
            raise mistake(str(directory.path), "the data differ from the run's", fix, got=identity, allowed=allowed)
        if held is not None:
            return again(held)
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
    """Raises InputError unless as many processes are here as the run is of."""
    ranks = file.run.numerics.ranks
    if ranks != team.size:
        command = command_line(
            ["torchrun", "--nproc-per-node", str(ranks), "-m", "resnetlab", "resume", str(directory.path)]
        )
        fix = command if ranks > 1 else "start it without torchrun"
        raise mistake(str(directory.path), "processes of the run", fix, got=team.size, allowed=str(ranks))
