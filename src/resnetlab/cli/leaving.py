"""How the command line's own process begins and ends: without torch's compiler, and without taking torch apart."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
from typing import NoReturn

from resnetlab.lazy_compiler import defer_compiler


def run() -> None:
    """The entry point of the program `resnetlab`; from another Python program, call `main` of the commands."""
    from resnetlab.cli.main import main

    defer_compiler()
    try:
        main()
    except SystemExit as end:
        if _is_watched():
            raise
        leave(_code(end))
    if not _is_watched():
        leave(0)


def leave(code: int) -> NoReturn:
    """End this process at once with what would be lost done: threads, exit functions and buffers.

    Python would go on to take apart every module and object, which takes seconds with torch, and frees nothing that the
    system does not free.
    """
    with contextlib.suppress(Exception):  # waits for threads that are no daemons, as Python does
        threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()  # temporary folders, other processes, coverage
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except BrokenPipeError:  # `resnetlab ... | head`
        pass
    except (OSError, ValueError):  # a full disk: as Python's own end has it
        code = code or 120
    os._exit(code)


def _code(end: SystemExit) -> int:
    if end.code is None or isinstance(end.code, int):
        return (end.code or 0) & 0xFF
    print(end.code, file=sys.stderr)
    return 1


def _is_watched() -> bool:
    """Whether a profiler, a debugger or a person wants to look at the process after its end."""
    return bool(sys.getprofile() or sys.gettrace() or sys.flags.inspect or sys.flags.interactive)
