"""All features work on a system like Windows, which has no `fcntl` and no `resource`, and can
neither rename an open file nor open a folder.

Nobody has run this on Windows yet. The tests take from resnetlab, and from no other package, what
Windows lacks, in real processes: a `sitecustomize` on PYTHONPATH does it, so that worker processes
have it too.
"""

from __future__ import annotations

import contextlib
import json
import os
import pkgutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import resnetlab
from helpers.processes import has_trained

TESTS = Path(__file__).resolve().parents[1]

SITE = """
import builtins, os, sys, types

PACKAGE = "resnetlab"
MODULES = {"fcntl", "resource", "pwd", "grp", "termios"}
GONE = {"O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "statvfs", "killpg", "setsid", "fork"}
GONE |= {"sched_getaffinity", "getuid"}


class Lacking(types.ModuleType):
    name = "nt"

    def __getattr__(self, name):
        if name in GONE:
            raise AttributeError(f"module 'os' has no attribute {name!r}")
        return getattr(os, name)

    @staticmethod
    def open(path, flags, mode=0o777):
        if os.path.isdir(path):
            raise PermissionError(13, "Permission denied", str(path))
        return os.open(path, flags, mode)

    @staticmethod
    def link(source, target):
        raise OSError(22, "Invalid argument", str(source))  # as a FAT stick says it


lacking, real_import = Lacking("os"), builtins.__import__


def importing(name, globals=None, locals=None, fromlist=(), level=0):
    names = globals or {}
    if PACKAGE in {str(names.get(key)).partition(".")[0] for key in ("__name__", "__package__")}:
        if name in MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        if name == "os":
            return lacking
    return real_import(name, globals, locals, fromlist, level)


builtins.__import__ = importing

# A file that this process has open, or mapped, is neither replaced nor removed,
# and its folder is not renamed.
ROOT = os.environ.get("LACKING_ROOT", "")


def open_paths():
    found = []
    for handle in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{handle}"))
        except OSError:
            pass
    with open("/proc/self/maps") as maps:
        found += [line.split(None, 5)[5].strip() for line in maps if ROOT in line]
    return found


def refused(action):
    def act(*arguments, **keywords):
        for path in arguments:
            if keywords.get("dir_fd") is not None:
                folder = os.readlink(f"/proc/self/fd/{keywords['dir_fd']}")
                path = os.path.join(folder, os.fspath(path))
            path = os.path.abspath(os.fspath(path))
            if path.startswith(ROOT) and any(
                (opened + "/").startswith(path + "/") for opened in open_paths()
            ):
                error = PermissionError(13, "in use by another process", path)
                error.winerror = 32
                raise error
        return action(*arguments, **keywords)

    return act


if ROOT and os.path.isdir("/proc/self/fd"):
    for name in ("replace", "rename", "unlink", "remove"):
        setattr(os, name, refused(getattr(os, name)))
"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("windows")


@pytest.fixture(scope="module")
def environment(workspace: Path) -> dict[str, str]:
    """Return the environment of processes that lack what Windows lacks."""
    (workspace / "site").mkdir()
    (workspace / "site" / "sitecustomize.py").write_text(SITE, encoding="utf-8")
    paths = (workspace / "site", TESTS, Path(resnetlab.__file__).parents[1])
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "LACKING_ROOT": str(workspace / "here"),
        "OMP_NUM_THREADS": "1",
        "RESNETLAB_CACHE": str(workspace / "here" / "cache of a person"),
    }


@pytest.fixture(scope="module")
def here(workspace: Path) -> Path:
    (workspace / "here").mkdir()
    return workspace / "here"


ONE_AFTER_ANOTHER = """
import json, sys
from resnetlab.cli.main import main
for words in json.loads(sys.argv[1]):
    sys.argv = ["resnetlab", *words]
    try:
        main()
    except SystemExit as ended:
        if ended.code:
            raise
    print("\\f", end="", flush=True)
"""


def run_all(here: Path, environment: dict[str, str], *commands: tuple[object, ...]) -> list[str]:
    """Output of commands, run one after another in a process that lacks what Windows lacks."""
    given = json.dumps([list(map(str, words)) for words in commands])
    done = subprocess.run(
        [sys.executable, "-c", ONE_AFTER_ANOTHER, given],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        env=environment,
        cwd=here,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout.split("\f")[:-1]


def run(here: Path, environment: dict[str, str], *words: object) -> str:
    return run_all(here, environment, words)[0]


def test_the_simulated_windows_lacks_unix_features_only_for_resnetlab(
    here: Path, environment: dict[str, str]
) -> None:
    """Else the tests below would prove nothing, or fail for another package's sake."""
    code = (
        "import fcntl, os; os.O_NOFOLLOW; import sys, types\n"
        "names = {'__name__': 'resnetlab.x', '__package__': 'resnetlab'}\n"
        "try: exec('import resource', names)\n"
        "except ModuleNotFoundError: print('absent')\n"
        "exec('import os; print(hasattr(os, \"statvfs\"), os.getpid() > 0)', names)\n"
        "with open('held', 'w') as file, open('other', 'w'):\n"
        "    try: os.replace('other', 'held')\n"
        "    except PermissionError as error: print(error.winerror)\n"
        "os.replace('other', 'held')\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=here, timeout=60
    )
    assert done.stdout.split() == ["absent", "False", "True", "32"], done.stderr


def test_every_module_can_be_imported(environment: dict[str, str]) -> None:
    code = (
        "import importlib, sys\nfor name in sys.argv[1:]: "
        "importlib.import_module(name)\nprint('all')"
    )
    names = [module.name for module in pkgutil.walk_packages(resnetlab.__path__, "resnetlab.")]
    names = [name for name in names if not name.endswith("__main__")]
    assert len(names) > 150
    done = subprocess.run(
        [sys.executable, "-c", code, *names],
        capture_output=True,
        text=True,
        env=environment,
        timeout=250,
    )
    assert done.stdout == "all\n", done.stderr


SMALL = ("--set", "grid.model.depth=[8]", "--set", "recipe.epochs=2")


@pytest.mark.parametrize(
    "more", [SMALL, pytest.param((), marks=pytest.mark.slow)], ids=["small", "whole"]
)
def test_a_study_runs_and_its_report_is_written_again(
    here: Path, environment: dict[str, str], more: tuple[str, ...]
) -> None:
    output = run(here, environment, "study", "run", "digits", "--seeds", 1, *more)
    (page,) = [
        here / line.removeprefix("Report: ")
        for line in output.splitlines()
        if line.startswith("Report: ")
    ]
    before = page.read_bytes()
    page.unlink()
    run(here, environment, "study", "report", page.parent)
    assert page.read_bytes() == before
    assert len(list(here.glob("runs/*/result.json"))) >= 2


def started(here: Path, environment: dict[str, str], *words: str) -> subprocess.Popen[bytes]:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(
        [sys.executable, "-m", "resnetlab", *words], env=environment, cwd=here, **quiet
    )  # type: ignore[call-overload,no-any-return]


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def kill_all(here: Path) -> None:
    """End every process of the tests at once, as a machine that loses its power does."""
    mark = f"LACKING_ROOT={here}".encode()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0"):
                os.kill(int(entry.name), signal.SIGKILL)


def test_an_interrupted_and_killed_run_continues_from_its_checkpoint(
    here: Path, environment: dict[str, str]
) -> None:
    words = (
        "train",
        "cifar-resnet8",
        "--data",
        "digits",
        "--recipe",
        "digits",
        "--seed",
        "7",
        "--epochs",
        "10",
        "--set",
        "numerics.threads=1",
    )
    first = started(here, environment, *words)
    wait_for(lambda: has_trained(here, "*-s7-*"))
    first.send_signal(signal.SIGINT)
    assert first.wait(60) == 130
    (saved,) = here.glob("runs/*-s7-*/checkpoints/*/MANIFEST.json")
    folder = saved.parents[2]

    def events() -> list[str]:
        return [
            json.loads(line)["event"]
            for line in (folder / "provenance.jsonl").read_text().splitlines()
        ]

    second = started(here, environment, "resume", str(folder))
    wait_for(lambda: events() == ["start", "stopped", "resume"])
    kill_all(here)  # the process with the run's lock released it
    second.wait(60)
    assert not (folder / "result.json").exists()
    output = run(here, environment, "resume", folder)
    assert f"Run: {folder}" in output
    assert events() == ["start", "stopped", "resume", "resume"]
    assert not (folder / "checkpoints").exists()


def test_a_network_is_fine_tuned_used_and_evaluated(
    here: Path, environment: dict[str, str]
) -> None:
    from helpers.texture_photographs import QUICK, folder
    from helpers.user_network import tiny
    from resnetlab.models.weights import write_weights

    photos = folder(here / "stripes", {"train": 10, "val": 4, "test": 6})
    write_weights(here / "tiny.safetensors", tiny(num_classes=5).state_dict(), {})
    (here / "tiny.toml").write_text(
        'source = "helpers.user_network:tiny"\nweights = "tiny.safetensors"\n'
        'license = "Apache-2.0"\n'
        "mean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]\n"
    )
    words = ("finetune", photos, "--model", "tiny.toml", "--recipe", QUICK, "--train-size", 32)
    model = here / "models" / f"stripes-tiny-{Path(QUICK).stem}"
    _, output, named, scored = run_all(
        here,
        environment,
        words,
        words,  # a second time: the files of the model are replaced
        ("predict", model, photos / "test" / "across" / "00.png"),
        ("evaluate", model, photos, "--json"),
    )
    assert "resnetlab predict" in output
    assert "across" in named
    assert json.loads(scored[scored.index("{") :].partition("\n}")[0] + "\n}")
    assert list((here / "cache of a person" / "images").glob("*.npy"))
    assert not list((here / "cache").glob("*.npy"))


def test_characters_that_a_terminal_cannot_show_are_escaped(
    here: Path, environment: dict[str, str]
) -> None:
    """Windows' consoles and pipes have an encoding of their own, which must not end a command."""
    from PIL import Image

    for name, shade in (("\u732b", 0), ("\u72ac", 200)):
        for number in range(3):
            (here / "animals" / name).mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), shade + 9 * number).save(
                here / "animals" / name / f"{number}.png"
            )
    narrow = environment | {"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    assert r"\u732b" in run(
        here, narrow, "data", "check", here / "animals", "--output", here / "out"
    )
    assert "\u732b" in run(
        here, environment | {"PYTHONUTF8": "1"}, "data", "check", here / "animals"
    )
