"""Start and end of the command line's process, without the import of torch's compiler and without
slow cleanup.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
from typing import NoReturn

from resnetlab.lazy_compiler import defer_compiler


def run() -> None:
    """Run the program `resnetlab`. Other Python programs should call `cli.main.main` instead."""
    try:
        from resnetlab.cli.main import main

        defer_compiler()
        main()
    except SystemExit as end:
        if _is_debugged():
            raise
        exit_process(_exit_code(end))
    except KeyboardInterrupt:  # while the command line itself was loading
        print("resnetlab: interrupted", file=sys.stderr)
        exit_process(130)
    if not _is_debugged():
        exit_process(0)


def exit_process(code: int) -> NoReturn:
    """End this process at once, after joining threads, calling exit functions and flushing buffers.

    Python would also destroy every module and object, which takes seconds with torch and frees
    nothing that the system does not free.
    """
    with contextlib.suppress(Exception):  # waits for non-daemon threads, like Python itself
        threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()  # temporary folders, other processes, coverage
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except BrokenPipeError:  # `resnetlab ... | head`
        pass
    except (OSError, ValueError):  # a full disk: Python exits with 120 too
        code = code or 120
    os._exit(code)


def _exit_code(system_exit: SystemExit) -> int:
    if system_exit.code is None or isinstance(system_exit.code, int):
        return (system_exit.code or 0) & 0xFF
    print(system_exit.code, file=sys.stderr)
    return 1


def _is_debugged() -> bool:
    """Return True if a profiler, a debugger or `python -i` needs the process after its end."""
    return bool(sys.getprofile() or sys.gettrace() or sys.flags.inspect or sys.flags.interactive)
