"""Show that the tests of the promises can fail: remove each safeguard in turn, in a copy of the
source, and run the tests that guard it. `make sabotage`.

Ends with 1 if some tests pass without their safeguard.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROMISES = "tests/promises"
FAULTS = f"{PROMISES}/test_file_faults_lose_no_checkpoint.py"
KILLS = f"{PROMISES}/test_killed_runs_resume_bit_for_bit.py"


@dataclass(frozen=True)
class Safeguard:
    """Safeguard of the source with the text that removes it."""

    name: str
    file: str
    """Path of the module below src/resnetlab."""
    text: str
    """Text of the safeguard, which stands once in the module."""
    without: str
    """Text that takes its place."""
    tests: str
    """Tests that must fail without it."""


SAFEGUARDS = (
    Safeguard(
        "fsync of files",
        "files.py",
        "    file.flush()\n    os.fsync(file.fileno())",
        "    file.flush()",
        FAULTS,
    ),
    Safeguard(
        "fsync of folders",
        "files.py",
        "        os.fsync(handle)",
        "        pass",
        FAULTS,
    ),
    Safeguard(
        "rename of complete files",
        "files.py",
        'name = str(path.parent / f".{shorten_name(path.name)}.{secrets.token_hex(8)}.part")',
        "name = str(path)",
        FAULTS,
    ),
    Safeguard(
        "random names of temporary files",
        "files.py",
        "{secrets.token_hex(8)}",
        "0",
        "tests/test_files.py",
    ),
    Safeguard(
        "SHA-256 of checkpoints",
        "runs/checkpoint_manifest.py",
        " and sha256(path) == self.sha256",
        "",
        "tests/runs/test_checkpoint.py",
    ),
    Safeguard(
        "SHA-256 of the metadata of a checkpoint",
        "runs/checkpoint_manifest.py",
        "    if metadata_sha256 != json_sha256(metadata):",
        "    if False:",
        "tests/runs/test_checkpoint.py",
    ),
    Safeguard(
        "SHA-256 of run.json",
        "runs/lifecycle.py",
        "            run_folder.check_metadata()\n",
        "",
        f"{PROMISES}/test_a_changed_run_is_not_continued.py",
    ),
    Safeguard(
        "SHA-256 of model.json",
        "model_folder/read.py",
        'if table.get("sha256") and table["sha256"] != description_sha256(table):',
        "if False:",
        "tests/model_folder/test_store.py",
    ),
    Safeguard(
        "MANIFEST.json of checkpoints",
        "runs/paths.py",
        'if p.name.isdecimal() and (p / "MANIFEST.json").exists()',
        "if p.name.isdecimal()",
        FAULTS,
    ),
    Safeguard(
        "lock of a run",
        "files.py",
        "acquired = lock_descriptor(file.fileno(), blocking=False)",
        "lock_descriptor(file.fileno(), blocking=False)\n        acquired = True",
        "tests/test_files.py",
    ),
    Safeguard(
        "random streams by name, for each epoch anew",
        "training/rng.py",
        "return torch.Generator().manual_seed(derive_seed(seed, *names))",
        "return _STREAMS.setdefault(\n"
        "        (seed, names[0]), torch.Generator().manual_seed(derive_seed(seed, *names))\n"
        "    )\n\n\n"
        "_STREAMS: dict[tuple[int, str | int], torch.Generator] = {}",
        KILLS,
    ),
    Safeguard(
        "check of finite losses and weights",
        "runs/evaluator.py",
        "        step = self.state.first_nonfinite_step()\n",
        "        return None\n",
        "tests/runs/test_session.py",
    ),
)


def copy_source(folder: Path) -> Path:
    """Copy the source into `folder` and return the copy."""
    source = folder / "src"
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
    return source


def failure_without(safeguard: Safeguard, folder: Path) -> str:
    """Return the first test that fails in a copy of the source that lacks the safeguard; an empty
    text if they pass.
    """
    source = copy_source(folder)
    module = source / "resnetlab" / safeguard.file
    text = module.read_text(encoding="utf-8")
    if text.count(safeguard.text) != 1:
        sys.exit(
            f"{safeguard.name}: its text stands {text.count(safeguard.text)} times in {module}"
        )
    module.write_text(text.replace(safeguard.text, safeguard.without), encoding="utf-8")
    return first_failure(safeguard.tests, source)


def first_failure(tests: str, source: Path) -> str:
    """Return the first test of a file that fails with that source; an empty text if they pass.

    A test that cannot begin because of an error in its preparation does not count: it ends the
    program.
    """
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "-m", "not slow", tests],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=False,
    )
    failed = re.search(r"^FAILED (\S+)", done.stdout, re.M)
    if done.returncode not in (0, 1) or (done.returncode == 1 and not failed):
        sys.exit(f"{tests}: pytest ended with {done.returncode}\n{done.stdout}")
    return failed[1] if failed else ""


def main() -> int:
    """Remove each safeguard, print a line about it, and return the exit code."""
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        source = copy_source(Path(folder))
        for tests in sorted({safeguard.tests for safeguard in SAFEGUARDS}):
            if failed := first_failure(tests, source):
                sys.exit(f"{failed} fails with every safeguard in place, so it shows nothing")
        for safeguard in SAFEGUARDS:
            failed = failure_without(safeguard, Path(folder))
            missed += not failed
            verdict = f"{failed} fails" if failed else f"ALL OF {safeguard.tests} PASS"
            print(f"without {safeguard.name}: {verdict}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
