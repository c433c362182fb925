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
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from resnetlab.data.device_images import DeviceImageCache
from resnetlab.errors import ResnetlabError
from resnetlab.lazy_compiler import defer_compiler
from resnetlab.models.code_hash import check_unchanged
from resnetlab.models.configs.external import allow_code
from resnetlab.runs.attempt import RunAttempt
from resnetlab.runs.lifecycle import RunLockedError, SharedDeviceOutOfMemoryError
from resnetlab.runs.records import Evaluation, RunFile
from resnetlab.schema import decode, encode
from resnetlab.studies.executors.messages import JobRequest, RunEvent, WorkerInput
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
    stop, requests = threading.Event(), queue.Queue[tuple[JobRequest, ...] | None]()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threading.Thread(target=_listen, args=(stop, requests), daemon=True).start()
    driver = _DriverConnection(out, stop)
    driver.send(RunEvent("idle"))  # this process is ready
    runner = JobRunner(stop.is_set, driver.send)
    while (group := requests.get()) is not None and not stop.is_set():
        runner.run(*group)
    os._exit(0)  # the listening thread may still block on standard input; nothing is left to close


def _listen(stop: threading.Event, requests: queue.Queue[tuple[JobRequest, ...] | None]) -> None:
    try:
        for line in sys.stdin:
            message: WorkerInput = decode(WorkerInput, json.loads(line), "driver")
            if message.stop:
                break
            requests.put(message.requests)
    finally:
        stop.set()
        requests.put(None)


class _DriverConnection:
    """Connection to the driver process."""

    def __init__(self, out: TextIO, stop: threading.Event) -> None:
        self.out, self.stop = out, stop

    def send(self, event: RunEvent) -> None:
        try:
            self.out.write(json.dumps(encode(event)) + "\n")
            self.out.flush()
        except OSError:  # the driver is gone
            self.stop.set()


class JobRunner:
    """Runner of jobs in a process. Data stay open for the next job if it uses the same."""

    def __init__(
        self,
        should_stop: Callable[[], bool],
        send: Callable[[RunEvent], None],
        world: World = SINGLE_PROCESS,
        log: Path | None = None,
    ) -> None:
        self.should_stop, self.send, self.world, self.log = should_stop, send, world, log
        self.cached_data: tuple[Any, Any] | None = None
        self.image_cache = DeviceImageCache()

    def run(self, *requests: JobRequest) -> None:
        """Run jobs, several of them side by side, and send their events.

        The last event of each is locked, failed, interrupted or finished. A job that lacked memory
        on the shared device runs alone after the others.
        """
        shares_device = len(requests) > 1
        to_run_alone = [
            index
            for index, must_retry in round_robin(
                self._run_job(request, shares_device) for request in requests
            )
            if must_retry
        ]
        if to_run_alone:
            gc.collect()  # frees device memory that their errors still reference
        for index in to_run_alone:
            request = requests[index]
            self.run(replace(request, job=replace(request.job, from_step=None)))

    def _run_job(self, request: JobRequest, shares_device: bool) -> Generator[None, None, bool]:
        """Run a job and yield after each step.

        Return True if it needs the memory of a device that others share, so that it must run alone.
        """
        run_id, file, root = request.job.id, request.job.file, Path(request.root)
        try:
            if request.allows_code:
                allow_code(file.run.model)
            check_unchanged(file.run.model, run_id)
            data = self._load_data(file, root)

            def on_progress(progress: TrainEvent, evaluations: tuple[Evaluation, ...]) -> None:
                images, seconds = progress.images_processed, progress.seconds
                self.send(
                    RunEvent(
                        "progress",
                        run_id,
                        step=progress.step,
                        total_steps=progress.total_steps,
                        epoch=progress.epoch,
                        images_per_second=images / seconds if seconds else 0.0,
                        evaluations=evaluations,
                    )
                )

            attempt = RunAttempt(
                run_id,
                file,
                root,
                request.placement,
                self.should_stop,
                on_progress,
                from_step=request.job.from_step,
                world=self.world,
                shared_image_cache=self.image_cache if shares_device else None,
            )
            result = yield from trainer_of(file.run.kind).train(attempt, data)
        except SharedDeviceOutOfMemoryError:
            return True
        except RunLockedError:
            self.send(RunEvent("locked", run_id))
        except ResnetlabError as error:
            self._send_failure(run_id, str(error), error.exit_code)
        except OSError as error:
            self._send_failure(run_id, str(error), may_retry=True)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0] + self._log_traceback()
            self._send_failure(run_id, reason)
        else:
            if result is None:
                self.send(RunEvent("interrupted", run_id))
            else:
                self.send(RunEvent("finished", run_id, status=result.status))
        return False

    def _send_failure(
        self, run_id: str, reason: str, exit_code: int = 1, may_retry: bool = False
    ) -> None:
        self.send(
            RunEvent("failed", run_id, reason=reason, exit_code=exit_code, may_retry=may_retry)
        )

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
