"""Life cycle of any run: one process locks its folder, and "out of memory" (OOM) is a result."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from resnetlab.checksums import CHECKSUMS
from resnetlab.data.config import DataIdentity
from resnetlab.errors import Problem, ResnetlabError, ResourceError, first_line, input_error
from resnetlab.runs.killed import STOPPED
from resnetlab.runs.paths import saved_steps
from resnetlab.runs.records import Result, RunFile
from resnetlab.runs.run_folder import RunFolder, utc_now
from resnetlab.runs.writer import commit_result
from resnetlab.schema import encode
from resnetlab.shell import command_line
from resnetlab.training.distributed import SINGLE_PROCESS, World
from resnetlab.training.memory import is_out_of_memory


class RunLockedError(ResnetlabError):
    """Error of a run that another process trains."""


class SharedDeviceOutOfMemoryError(ResnetlabError):
    """Error of a run that is out of memory beside other runs; alone it may have enough."""


class LockedRun:
    """Run whose folder this process has locked.

    Args:
        run_folder: Folder of the run.
        file: Configuration of the run.
        world: Processes that train the run together.
        result: Result of the run, if it has one; otherwise the caller sets it when the run ends.
    """

    def __init__(
        self, run_folder: RunFolder, file: RunFile, world: World, result: Result | None
    ) -> None:
        self.run_folder, self.file, self.world, self.result = run_folder, file, world, result

    def lacks_measurements(self) -> bool:
        """Return True if the run has ended and this process has to add measurements.

        Only the main process measures, and no other process waits for it.
        """
        return (
            self.result is not None
            and self.world.is_main_process
            and self.run_folder.needs_work(self.file)
        )


@contextlib.contextmanager
def locked_run(
    run_folder: RunFolder,
    file: RunFile,
    identity: DataIdentity,
    world: World = SINGLE_PROCESS,
    shares_device: bool = False,
) -> Iterator[LockedRun]:
    """Lock the folder of a run for the `with` block, which trains the run unless it has a result.

    The block sets `result` when the run ends, and leaves it None if the run was stopped. A run that
    is out of memory in the block gets that as its result.

    Args:
        run_folder: Folder of the run.
        file: Configuration of the run.
        identity: Identity of the loaded data.
        world: Processes that train the run together.
        shares_device: True if other runs use the same device.

    Raises:
        RunLockedError: Another process trains this run.
        SharedDeviceOutOfMemoryError: The memory is exhausted while other runs use the device.
        InputError: The data differ from the data of the run.
    """
    with run_folder.lock() if world.is_main_process else contextlib.nullcontext(True) as acquired:
        if not acquired:
            message = "another process trains this run"
            raise RunLockedError(Problem(str(run_folder.path), message, "wait for it"))
        existing = world.broadcast(run_folder.result() if world.is_main_process else None)
        run = LockedRun(run_folder, file, world, existing)
        if existing is None or run.lacks_measurements():
            check_data_identity(file, identity, str(run_folder.path))
        if existing is None and world.is_main_process:
            run_folder.write_config(file)
            run_folder.check_metadata()
            (run_folder.path / CHECKSUMS).unlink(missing_ok=True)  # of a result that was removed
        try:
            yield run
            if run.result is None:
                _log_stop(run_folder, world)
        except (KeyboardInterrupt, GeneratorExit):
            if run.result is None:
                _log_stop(run_folder, world)
            raise
        except (MemoryError, RuntimeError) as error:
            is_result = run.result is None and is_out_of_memory(error)
            if not is_result or not world.is_main_process:
                raise
            if shares_device:
                problem = "out of memory beside other runs"
                raise SharedDeviceOutOfMemoryError(
                    Problem(run_folder.path.name, problem, "--parallel-seeds 1")
                ) from None
            step = max(saved_steps(run_folder.checkpoints), default=0)
            run.result = commit_result(run_folder, "out of memory", first_line(error), step=step)


def check_data_identity(file: RunFile, identity: DataIdentity, folder: str) -> None:
    """Raise InputError, with the fields that differ, unless the data are those of the run."""
    began, now = encode(file.run.data), encode(identity)
    names = [name for name in began if began[name] != now[name]]
    if names:
        raise input_error(
            folder,
            "the data differ from the run's",
            "give the data that the run began with (--data), or start a new run",
            got=", ".join(f"{name} {now[name]}" for name in names),
            allowed=", ".join(f"{name} {began[name]}" for name in names),
        )


def _log_stop(run_folder: RunFolder, world: World) -> None:
    """Record that the session ended by itself: a session without such a line was killed."""
    if world.is_main_process:
        with contextlib.suppress(ResourceError):  # a full disk is reported elsewhere
            run_folder.log_event({"event": STOPPED, "time": utc_now()})


def check_world_size(file: RunFile, world: World, run_folder: RunFolder) -> None:
    """Raise InputError if the number of processes differs from that of the run."""
    ranks, folder = file.run.numerics.world_size, str(run_folder.path)
    if ranks != world.size:
        torchrun = ["torchrun", "--nproc-per-node", str(ranks), "-m", "resnetlab"]
        fix = "start it without torchrun"
        if ranks > 1:
            fix = command_line([*torchrun, "resume", folder])
        message = "started with another number of processes than the run has"
        raise input_error(folder, message, fix, got=world.size, allowed=str(ranks))
