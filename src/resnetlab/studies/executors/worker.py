"""Worker process: reads jobs and writes messages as JSON lines, runs one or several at a time.

The command is `python -m resnetlab.studies.executors.worker`. It ends when its input ends. So if
the driver dies, its workers write a checkpoint and end too.
"""

from __future__ import annotations

import gc
import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, TextIO

from resnetlab.data.device_images import DeviceImageCache
from resnetlab.errors import ResnetlabError
from resnetlab.lazy_compiler import defer_compiler
from resnetlab.models.code_hash import check_unchanged
from resnetlab.models.configs.external import allow_code
from resnetlab.recipes.numerics import Placement
from resnetlab.runs.attempt import RunAttempt
from resnetlab.runs.lifecycle import RunLockedError, SharedDeviceOutOfMemoryError
from resnetlab.runs.records import Evaluation, RunFile
from resnetlab.schema import decode, encode
from resnetlab.studies.trainers import trainer_of
from resnetlab.training.distributed import SINGLE_PROCESS, World
from resnetlab.training.events import TrainEvent
from resnetlab.training.round_robin import round_robin


def main() -> None:
    """Serve the driver through standard input and output."""
    defer_compiler()  # optimizers would import the compiler
    # Ctrl-C reaches all processes of a terminal; only the driver handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the output of libraries must not mix with the messages to the driver
    stop, jobs = threading.Event(), queue.Queue[dict[str, Any] | None]()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threading.Thread(target=_listen, args=(stop, jobs), daemon=True).start()
    driver = _DriverConnection(out, stop)
    driver.send(kind="ready")
    runner = JobRunner(stop.is_set, driver.send)
    while (job := jobs.get()) is not None and not stop.is_set():
        runner.run(*job["jobs"])
    os._exit(0)  # the listening thread may still block on standard input; nothing is left to close


def _listen(stop: threading.Event, jobs: queue.Queue[dict[str, Any] | None]) -> None:
    for line in sys.stdin:
        message = json.loads(line)
        if message.get("stop"):
            break
        jobs.put(message)
    stop.set()
    jobs.put(None)


class _DriverConnection:
    """Connection to the driver process."""

    def __init__(self, out: TextIO, stop: threading.Event) -> None:
        self.out, self.stop = out, stop

    def send(self, **message: object) -> None:
        try:
            self.out.write(json.dumps(message) + "\n")
            self.out.flush()
        except OSError:  # the driver is gone
            self.stop.set()


class JobRunner:
    """Runner of jobs in a process. Data stay open for the next job if it uses the same."""

    def __init__(
        self,
        should_stop: Callable[[], bool],
        send: Callable[..., None],
        world: World = SINGLE_PROCESS,
        log: Path | None = None,
    ) -> None:
        self.should_stop, self.send, self.world, self.log = should_stop, send, world, log
        self.cached_data: tuple[Any, Any] | None = None
        self.image_cache = DeviceImageCache()

    def run(self, *jobs: dict[str, Any]) -> None:
        """Run jobs of `encode_job`, several of them side by side, and send messages about them.

        The last message about each is locked, failed, interrupted or finished. A job that lacked
        memory on the shared device runs alone after the others.
        """
        shares_device = len(jobs) > 1
        to_run_alone = [
            index
            for index, must_retry in round_robin(self._run_job(job, shares_device) for job in jobs)
            if must_retry
        ]
        if to_run_alone:
            gc.collect()  # frees device memory that their errors still reference
        for index in to_run_alone:
            self.run(jobs[index] | {"from_step": None})

    def _run_job(self, job: dict[str, Any], shares_device: bool) -> Generator[None, None, bool]:
        """Run a job and yield after each step.

        Return True if it needs the memory of a device that others share, so that it must run alone.
        """
        run_id, root = job["id"], Path(job["root"])
        try:
            file = decode(RunFile, job["file"], "job")
            placement = decode(Placement, job["placement"], "job")
            if job["run_code"]:
                allow_code(file.run.model)
            check_unchanged(file.run.model, run_id)
            data = self._load_data(file, root)

            def on_progress(progress: TrainEvent, evaluations: tuple[Evaluation, ...]) -> None:
                self.send(
                    kind="progress",
                    id=run_id,
                    step=progress.step,
                    total_steps=progress.total_steps,
                    epoch=progress.epoch,
                    images=progress.images_processed,
                    seconds=progress.seconds,
                    evaluations=[encode(evaluation) for evaluation in evaluations],
                )

            attempt = RunAttempt(
                run_id,
                file,
                root,
                placement,
                self.should_stop,
                on_progress,
                from_step=job["from_step"],
                world=self.world,
                shared_image_cache=self.image_cache if shares_device else None,
            )
            result = yield from trainer_of(file.run.kind).train(attempt, data)
        except SharedDeviceOutOfMemoryError:
            return True
        except RunLockedError:
            self.send(kind="locked", id=run_id)
        except ResnetlabError as error:
            self.send(
                kind="failed", id=run_id, reason=str(error), exit_code=error.exit_code, retry=False
            )
        except OSError as error:
            self.send(kind="failed", id=run_id, reason=str(error), exit_code=1, retry=True)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0] + self._log_traceback()
            self.send(kind="failed", id=run_id, reason=reason, exit_code=1, retry=False)
        else:
            if result is None:
                self.send(kind="interrupted", id=run_id)
            else:
                self.send(kind="finished", id=run_id, status=result.status)
        return False

    def _log_traceback(self) -> str:
        """Write an unexpected error to the log, standard error, and return its name."""
        if self.log is None:
            traceback.print_exc()
            return ""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.write_text(traceback.format_exc(), encoding="utf-8", errors="backslashreplace")
        return f" (more in {self.log})"

    def _load_data(self, file: RunFile, root: Path) -> Any:
        """Return the data of a run; keep them for the next run, which may use the same."""
        key = file.data, file.run.kind.uses_photos
        if self.cached_data is None or self.cached_data[0] != key:
            self.cached_data = None
            self.image_cache = DeviceImageCache()
            trainer = trainer_of(file.run.kind)
            self.cached_data = key, trainer.load_data(file.data, root / "cache")
        return self.cached_data[1]


if __name__ == "__main__":
    main()
