"""A worker process: takes jobs as JSON lines, each of one run or of several side by side, tells of them likewise.

`python -m resnetlab.studies.backends.worker`. It ends when its input ends: a driver that dies takes its workers with
it, each leaving a checkpoint.
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

from resnetlab.codec import decode, encode
from resnetlab.data.resident import Residents
from resnetlab.data.splits import load
from resnetlab.errors import ResnetlabError
from resnetlab.finetune.photographs import load_photographs
from resnetlab.lazy_compiler import defer_compiler
from resnetlab.runs.execute import attempt
from resnetlab.runs.held import BusyError, CrowdedError
from resnetlab.runs.record import Evaluation, Result, RunFile
from resnetlab.training.abreast import take_turns
from resnetlab.training.loop import Progress
from resnetlab.training.numerics import Placement
from resnetlab.training.team import ALONE, Team
from resnetlab.training.tuning import Tuning


def main() -> None:
    """Serve the driver at the other end of standard input and output."""
    defer_compiler()  # optimizers would import it
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the driver decides
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints must not stand between the lines of the driver
    stop, jobs = threading.Event(), queue.Queue[dict[str, Any] | None]()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threading.Thread(target=_listen, args=(stop, jobs), daemon=True).start()
    driver = _Driver(out, stop)
    driver.tell(kind="ready")
    bench = Bench(stop.is_set, driver.tell)
    while (job := jobs.get()) is not None and not stop.is_set():
        bench.work(*job["jobs"])
    os._exit(0)  # the listening thread may hold standard input: nothing is left to close


def _listen(stop: threading.Event, jobs: queue.Queue[dict[str, Any] | None]) -> None:
    for line in sys.stdin:
        message = json.loads(line)
        if message.get("stop"):
            break
        jobs.put(message)
    stop.set()
    jobs.put(None)


class _Driver:
    """The process at the other end."""

    def __init__(self, out: TextIO, stop: threading.Event) -> None:
        self.out, self.stop = out, stop

    def tell(self, **message: object) -> None:
        try:
            self.out.write(json.dumps(message) + "\n")
            self.out.flush()
        except OSError:  # the driver is gone
            self.stop.set()


class Bench:
    """Where a process does one job after another; data that the next one shares stay open."""

    def __init__(
        self, stop: Callable[[], bool], tell: Callable[..., None], team: Team = ALONE, log: Path | None = None
    ) -> None:
        self.stop, self.tell, self.team, self.log = stop, tell, team, log
        self.held: tuple[Any, Any] | None = None
        self.residents = Residents()

    def work(self, *jobs: dict[str, Any]) -> None:
        """Do jobs of `message_of`, several side by side, and tell of them.

        The last word on each is busy, failed, stopped or finished. One for which there was no memory beside the others
        is done alone, after them.
        """
        beside = len(jobs) > 1
        crowded = [place for place, alone in take_turns(self._attempt(job, beside) for job in jobs) if alone]
        if crowded:
            gc.collect()  # what an error of those held of the device's memory
        for place in crowded:
            self.work(jobs[place] | {"from_step": None})

    def _attempt(self, job: dict[str, Any], beside: bool) -> Generator[None, None, bool]:
        """Do a job, a step in turn where others are `beside` it; true when it must be alone."""
        run_id, root = job["id"], Path(job["root"])
        try:
            file = decode(RunFile, job["file"], "job")
            placement = decode(Placement, job["placement"], "job")
            data = self._opened(file, root)
            run: Callable[..., Generator[None, None, Result | None]] = attempt
            if isinstance(file.run.recipe, Tuning):
                from resnetlab.finetune.run import attempt_tuning as run  # torchvision takes seconds to import

            def say(progress: Progress, evaluations: tuple[Evaluation, ...]) -> None:
                self.tell(
                    kind="progress", id=run_id, moment=progress.moment, step=progress.step, total=progress.total,
                    epoch=progress.epoch, images=progress.images, seconds=progress.seconds,
                    evaluations=[encode(evaluation) for evaluation in evaluations],
                )  # fmt: skip

            result = yield from run(
                run_id, file, data, root, placement, self.stop, say, job["from_step"], self.team,
                self.residents if beside else None,
            )  # fmt: skip
        except CrowdedError:
            return True
        except BusyError:
            self.tell(kind="busy", id=run_id)
        except ResnetlabError as error:
            self.tell(kind="failed", id=run_id, reason=str(error), exit_code=error.exit_code, again=False)
        except OSError as error:
            self.tell(kind="failed", id=run_id, reason=str(error), exit_code=1, again=True)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0] + self._keep_traceback()
            self.tell(kind="failed", id=run_id, reason=reason, exit_code=1, again=False)
        else:
            if result is None:
                self.tell(kind="stopped", id=run_id)
            else:
                self.tell(kind="finished", id=run_id, status=result.status)
        return False

    def _keep_traceback(self) -> str:
        """Write an unforeseen error to the log, and name it; a worker's log is its standard error."""
        if self.log is None:
            traceback.print_exc()
            return ""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.write_text(traceback.format_exc(), encoding="utf-8", errors="backslashreplace")
        return f" (more in {self.log})"

    def _opened(self, file: RunFile, root: Path) -> Any:
        """The data of a run, as its recipe takes them."""
        opening = load_photographs if isinstance(file.run.recipe, Tuning) else load
        if self.held is None or self.held[0] != (file.data, opening):
            self.held, self.residents = None, Residents()  # let the old one go before the new one comes
            self.held = (file.data, opening), opening(file.data, root / "cache")
        return self.held[1]


if __name__ == "__main__":
    main()
