"""Promise: Ctrl-C ends a command with one line and code 130, also while the command line is still
loading.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from helpers.processes import environment


def test_ctrl_c_in_the_first_half_second_is_reported_in_one_line(
    amount: Callable[[int], int], record_property: Callable[[str, str], None]
) -> None:
    generator = random.Random(0)
    trials, interrupted = amount(50), 0
    for _ in range(trials):
        # Python prints a line when a module has been imported: the program begins to load here.
        command = [sys.executable, "-X", "importtime", "-m", "resnetlab", "study", "plan", "digits"]
        with subprocess.Popen(
            [*command, "--no-timing"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        ) as process:
            assert process.stderr is not None
            for line in process.stderr:
                if "resnetlab.lazy_compiler" in line:
                    break
            time.sleep(generator.uniform(0, 0.5))
            os.kill(process.pid, signal.SIGINT)
            output = process.stderr.read()
        lines = [line for line in output.splitlines() if not line.startswith("import time:")]
        assert "Traceback" not in output, output[-2000:]
        if process.returncode != 0:  # it was not yet done
            assert process.returncode == 130
            assert lines[-1] == "resnetlab: interrupted"
            interrupted += 1
    assert interrupted
    record_property("figures", f"{trials} signals, {interrupted} before the end, 0 tracebacks")
