"""Fast trials of the command line in fresh processes: a server process imports torch once and
starts a copy of itself for each trial.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pkgutil
import signal
import subprocess
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import resnetlab
from helpers.processes import environment


@dataclass(frozen=True)
class Trial:
    """Result of one trial."""

    code: int
    """Exit code; negative for the number of the signal that killed the process."""
    output: str
    """Text on standard output and standard error."""
    operations: tuple[str, ...] = ()
    """File operations that the fault layer counted; none if it was killed."""


class TrialServer:
    """Process that runs commands of resnetlab in copies of itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "helpers.trials", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(MKL_NUM_THREADS="1"),
        )

    def start(
        self,
        *arguments: object,
        fault: str = "",
        at: int = -1,
        root: object = "",
        part: str = "",
        once: object = "",
        folder: object = "",
        prepare: str = "",
    ) -> None:
        """Start a trial. `wait` returns its result.

        Args:
            *arguments: Arguments of the command line; none for `prepare` alone.
            fault: One of the kinds of `helpers.faults`.
            at: Number of the file operation that is broken.
            root: Folder whose file operations are counted; none without it.
            part: Text in the paths of the files that are counted; empty for all.
            once: File that marks that the fault happened, for one fault among several processes.
            folder: Current folder of the trial.
            prepare: Functions that are called in the trial before the command, with arguments:
                `helpers.injections:out_of_memory 5`; several are separated by `;`.
        """
        request = {
            "arguments": list(map(str, arguments)),
            "fault": fault,
            "at": at,
            "root": str(root),
            "part": part,
            "once": str(once),
            "folder": str(folder),
            "prepare": prepare,
        }
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        assert self.process.stdout is not None
        self.pid = int(self.process.stdout.readline())

    def is_alive(self) -> bool:
        """Return True until the trial that runs has ended."""
        return Path(f"/proc/{self.pid}").exists()

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to the trial that runs."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self) -> Trial:
        """Wait for the trial that runs."""
        assert self.process.stdout is not None
        reply: dict[str, Any] = json.loads(self.process.stdout.readline())
        return Trial(reply["code"], reply["output"], tuple(reply["operations"]))

    def run(self, *arguments: object, **options: Any) -> Trial:
        """Run a command to its end; `start` explains the options."""
        self.start(*arguments, **options)
        return self.wait()

    def close(self) -> None:
        """End the server."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(300)
        assert self.process.stdout is not None
        self.process.stdout.close()


def _serve(folder: Path) -> None:
    from resnetlab.lazy_compiler import defer_compiler

    defer_compiler()
    import torch

    from resnetlab.runs.session import RunSession
    from resnetlab.training import events

    _import_modules()
    torch.set_num_threads(1)
    # A run of a second would write no checkpoint: they are 30 seconds apart. Here they are at every
    # third step and at the end of an epoch, whatever the clock says.
    events.TICK_SECONDS = -1.0
    RunSession._should_save = (  # type: ignore[method-assign]
        lambda _, event, __: (
            event.step > 0
            and (
                event.kind == "interrupted"
                or (event.kind == "epoch" and event.step < event.total_steps)
                or (event.kind == "tick" and event.step % 3 == 0)
            )
        )
    )
    output, counts = folder / "trial.log", folder / "operations.json"
    modules = folder / "modules.json"
    for line in sys.stdin:
        request = json.loads(line)
        counts.unlink(missing_ok=True)
        pid = os.fork()
        if pid == 0:
            _run(request, output, counts, modules)
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        counted = counts.read_text() if counts.exists() else ""  # empty after a kill
        operations = json.loads(counted or "[]")
        text = output.read_text(errors="replace") if output.exists() else ""
        code = os.waitstatus_to_exitcode(status)
        reply = {"code": code, "output": text, "operations": operations}
        print(json.dumps(reply), flush=True)
        for name in json.loads(modules.read_text()) if modules.exists() else ():
            with contextlib.suppress(Exception):  # not all can be imported by themselves
                importlib.import_module(name)


def _import_modules() -> None:
    """Import what commands import when they are called, so that no trial spends time on it."""
    for module in pkgutil.walk_packages(resnetlab.__path__, "resnetlab."):
        others = ("resnetlab.examples", "resnetlab.studies.executors.ray", "resnetlab.__main__")
        if not module.name.startswith(others):
            with contextlib.suppress(ImportError):
                importlib.import_module(module.name)


def _run(request: dict[str, Any], output: Path, counts: Path, modules: Path) -> None:
    """Run the command in this copy of the process, and end it.

    The names of the modules that it imported are in the file `modules`, for the server.
    """
    before = set(sys.modules)
    from helpers.faults import FaultLayer
    from resnetlab.cli.main import main

    with output.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    with Path(os.devnull).open() as nothing:  # the requests of other trials come on this input
        os.dup2(nothing.fileno(), 0)
    os.setsid()
    if request["folder"]:
        os.chdir(request["folder"])
    for call in filter(None, request["prepare"].split(";")):
        target, *values = call.split()
        module, _, function = target.partition(":")
        getattr(importlib.import_module(module), function)(*values)
    layer = FaultLayer(*(request[name] for name in ("root", "fault", "at", "part", "once")))
    record = counts.open("w")
    if request["root"]:
        layer.install()
    sys.argv = ["resnetlab", *request["arguments"]]
    code = 0
    try:
        if request["arguments"]:
            main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    record.write(json.dumps(layer.operations))
    record.close()
    # A kill may arrive here, and the server must not read half a list.
    unfinished = modules.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(sorted(set(sys.modules) - before)))
    unfinished.replace(modules)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
