"""A command in a real process reports a mistake before it imports heavy packages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.model_folders import write_model
from helpers.pictures import picture, save

HEAVY = (
    "torch",
    "torchvision",
    "torch._dynamo.symbolic_convert",
    "sympy",
    "timm",
    "sklearn",
    "pandas",
    "scipy.stats",
    "matplotlib",
    "onnx",
)
"""The compiler is named by a module of the real package, which a stand-in for it does not have."""

DRIVER = """
import atexit, json, sys
from resnetlab.cli.entry_point import run
def note():
    with open("modules.json", "w") as file:
        json.dump([name for name in HEAVY if name in sys.modules], file)
atexit.register(note)
run()
"""


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a small model, photographs, and files that are none."""
    root = tmp_path_factory.mktemp("startup")
    write_model(root / "pets")
    for number in range(6):
        for split in ("train", "test"):
            save(
                root / "photos" / split / ("cat" if number % 2 else "dog") / f"{number}.jpg",
                picture(number, 60, 50),
            )
    save(root / "photo.jpg", picture(1, 60, 50))
    (root / "text.jpg").write_text("no picture")
    (root / "typo.toml").write_text('source = "timm/mobilenetv2_100"\nstdev = [0.5, 0.5, 0.5]\n')
    (root / "bad.toml").write_text("source = \n")
    return root


def command(here: Path, *words: str) -> tuple[int, str, str, list[str]]:
    """Return the exit code, output and errors of a command in its own process, and which heavy
    packages it imported.
    """
    (here / "modules.json").unlink(missing_ok=True)
    driver = DRIVER.replace("HEAVY", repr(HEAVY))
    done = subprocess.run(
        [sys.executable, "-c", driver, *words],
        cwd=here,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return (
        done.returncode,
        done.stdout,
        done.stderr,
        json.loads((here / "modules.json").read_text()),
    )


MISTAKES = {
    "predict with a folder that is no model": (
        "predict nosuch photo.jpg",
        "nosuch: contains no model",
    ),
    "predict a photograph that is not there": (
        "predict pets nosuch.jpg",
        "nosuch.jpg: no such file",
    ),
    "predict with an unknown view": (
        "predict pets photo.jpg --tta twice",
        "'--tta': 'twice' is not one of 'none', 'flip', 'ten-crop'",
    ),
    "predict with an unknown way to sort": (
        "predict pets photo.jpg --sort-into sorted --sort-mode move",
        "'--sort-mode': 'move' is not one of 'copy', 'link'",
    ),
    "evaluate on an unknown split": (
        "evaluate pets photos --split holdout",
        "'--split': 'holdout' is not one of 'train', 'validation', 'test', 'all'",
    ),
    "evaluate with a folder that is no model": (
        "evaluate nosuch photos",
        "nosuch: contains no model",
    ),
    "evaluate on data that are not there": ("evaluate pets nosuch", "nosuch"),
    "ensemble with a folder that is no model": (
        "ensemble pets nosuch --data photos",
        "nosuch: contains no model",
    ),
    "explain what is no picture": ("explain pets text.jpg", "text.jpg: not an image"),
    "explain an unknown class": ("explain pets photo.jpg --class newts", 'did you mean "newt"?'),
    "export a folder that is no model": (
        "export nosuch --to onnx",
        "nosuch: contains no model",
    ),
    "explain with a folder that is no model": (
        "explain nosuch photo.jpg",
        "nosuch: contains no model",
    ),
    "fine-tune with a time without a unit": (
        "finetune photos --time-limit 5",
        (
            "--time-limit: a time without a unit (got 5; allowed: 90s, 10m, 2h, or 0 for none). "
            "Fix: --time-limit 5m"
        ),
    ),
    "fine-tune with a network of timm by its bare name": (
        "finetune photos --model mobilenetv2_035",
        'did you mean "timm/mobilenetv2_035"?',
    ),
    "compare sizes with a typo in TOML": ("fixres photos --model typo.toml", "unknown field"),
    "export to an unknown form": (
        "export pets --to tflite --out a.tflite",
        "'tflite' is not one of 'onnx', 'torch-export', 'openvino', 'html'",
    ),
    "serve a folder that is no model": ("serve nosuch", "nosuch: contains no model"),
    "fine-tune on a folder that is not there": ("finetune nosuch", "nosuch: no such folder"),
    "fine-tune with a typo in TOML": ("finetune photos --model typo.toml", "unknown field"),
    "fine-tune with a file that is no TOML": ("finetune photos --model bad.toml", "bad.toml"),
    "fine-tune with weights that are not there": (
        "finetune photos --weights nosuch.safetensors",
        "no such file",
    ),
    "fine-tune with an unknown recipe": ("finetune photos --recipe fool", 'did you mean "full"?'),
    "fine-tune with an unknown part frozen": ("finetune photos --freeze half", "--freeze: unknown"),
    "judge a table that is not there": ("judge nosuch.csv", "nosuch.csv: no such file"),
    "judge with an unknown field of a declaration": (
        "judge nosuch.csv --declaration typo.toml",
        "typo.toml: source: unknown field",
    ),
    "compare sizes of a folder that is not there": ("fixres nosuch", "nosuch: no such folder"),
    "import a file that is not there": (
        "import-weights nosuch.pth --as cifar-resnet20",
        "nosuch.pth: no such file",
    ),
    "ablate blocks of a folder that is no run": (
        "inspect block-ablation nosuch",
        "nosuch: no finished run",
    ),
    "measure landscapes of a folder that is no run": (
        "inspect landscape nosuch",
        "nosuch: no finished run",
    ),
    "print filters of a folder that is no run": (
        "inspect filters nosuch",
        "nosuch: no finished run",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_reported_before_heavy_imports(here: Path, mistake: str) -> None:
    words, expected = MISTAKES[mistake]
    code, out, err, imported = command(here, *words.split())
    assert (code, out, imported) == (2, "", [])
    assert expected in err
    assert "loading" not in err


@pytest.mark.parametrize(
    "words", ["--help", "models", "study references imagenet-tables", "data check photos"]
)
def test_commands_without_a_network_import_no_heavy_library(here: Path, words: str) -> None:
    code, out, _, imported = command(here, *words.split())
    assert (code, imported) == (0, [])
    assert out


@pytest.mark.parametrize(
    "words", ["predict pets photo.jpg", "explain pets photo.jpg", "evaluate pets photos"]
)
def test_a_network_of_the_user_needs_only_torch(here: Path, words: str) -> None:
    code, out, err, imported = command(here, *words.split())
    assert (code, imported) == (0, ["torch"])
    assert out
    assert "loading torch ...\n" in err


def test_the_layers_of_a_network_are_read_without_the_compiler(here: Path) -> None:
    code, out, err, imported = command(here, "inspect", "model", "cifar-resnet8")
    assert code == 0
    assert "75,290" in out
    assert err == "loading torch ...\n"
    assert set(imported) <= {"torch", "sympy"}


def test_a_network_of_timm_needs_neither_compiler_nor_scikit_learn(here: Path) -> None:
    pytest.importorskip("timm")
    code, _, err, imported = command(
        here, "inspect", "model", "timm/resnet10t", "--input", "3x64x64"
    )
    assert (code, err) == (0, "loading torch and timm ...\n")
    assert set(imported) <= {"torch", "torchvision", "timm", "sympy"}


def test_json_output_has_no_other_text(here: Path) -> None:
    code, out, err, _ = command(here, "predict", "pets", "photo.jpg", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["path"] == "photo.jpg"


COMPILER = """
import sys
from resnetlab.lazy_compiler import defer_compiler
if sys.argv[1] == "deferred":
    defer_compiler()
import torch
def trained(make):
    torch.manual_seed(0)
    layer = torch.nn.Linear(3, 2)
    optimizer = make(layer.parameters())
    for _ in range(3):
        optimizer.zero_grad()
        layer(torch.ones(4, 3)).square().sum().backward()
        optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
    return layer.weight.detach().flatten().tolist()
sgd = lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)
makers = [sgd, torch.optim.AdamW, torch.optim.RMSprop]
print([trained(make) for make in makers])
print("torch._dynamo.symbolic_convert" in sys.modules)
marked = torch.compiler.disable(lambda x: x + 2)
print(marked(1), "sympy" in sys.modules)
twice = torch.compile(lambda x: 2 * marked(x), backend="eager")
print(twice(torch.ones(2)).tolist(), "torch._dynamo.symbolic_convert" in sys.modules)
print([trained(make) for make in makers])
import torch._dynamo.config, torch._dynamo.utils
supported = torch._dynamo.utils.is_compile_supported("cpu")
print(torch._dynamo.__file__.endswith("__init__.py"), supported)
"""


def test_the_deferred_compiler_is_imported_when_needed_and_changes_no_bit(tmp_path: Path) -> None:
    def lines(compiler: str) -> list[str]:
        words = [sys.executable, "-W", "ignore", "-c", COMPILER, compiler]
        return subprocess.run(
            words, cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.splitlines()

    ours, theirs = lines("deferred"), lines("as it is")
    assert ours[0] == theirs[0]
    assert (ours[1], theirs[1]) == ("False", "True")
    assert ours[2] == "3 False"
    assert ours[3] == "[6.0, 6.0] True"
    assert ours[3:] == theirs[3:]
    assert ours[4] == ours[0]


LEAVING = """
import atexit, sys, tempfile, threading, time
from pathlib import Path
from resnetlab.cli.entry_point import exit_process
folder = tempfile.TemporaryDirectory()
print(folder.name)
atexit.register(lambda: print("an exit function"))
threading.Thread(target=lambda: (time.sleep(0.3), print("a thread"))).start()
sys.stderr.write("an error without an end of line")
print("x" * 100000)
exit_process(7)
"""


def test_a_fast_exit_writes_all_output() -> None:
    done = subprocess.run([sys.executable, "-c", LEAVING], capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert done.returncode == 7
    assert not Path(lines[0]).exists()
    assert lines[1:] == ["x" * 100000, "a thread", "an exit function"]
    assert done.stderr == "an error without an end of line"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_output_that_cannot_be_written_gives_an_error_code() -> None:
    leaving = "from resnetlab.cli.entry_point import exit_process; print('lost'); exit_process(0)"
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with Path("/dev/full").open("w") as full:
        assert (
            subprocess.run([sys.executable, "-c", leaving], stdout=full, env=buffered).returncode
            == 120
        )


def test_a_closed_pipe_gives_no_traceback(here: Path) -> None:
    words = f"{sys.executable} -m resnetlab models | head -1"
    done = subprocess.run(["bash", "-c", words], capture_output=True, text=True, cwd=here)
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


def test_a_long_step_prints_its_progress(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from resnetlab import messages
    from resnetlab.cli import loading

    clock = iter([0.0, 0.5, 9.0, 12.0, 21.0, 30.0])
    monkeypatch.setattr(messages.time, "monotonic", lambda: next(clock))
    pulse = loading.ProgressLine()
    for done in (0, 5, 90, 100, 190, 1000):
        pulse("photographs read", done, 1000)
    err = capsys.readouterr().err.splitlines()
    assert err == [
        "photographs read: 100 of 1,000, about 2 min left",
        "photographs read: 1,000 of 1,000",
    ]


def test_idle_threads_sleep_unless_the_environment_sets_another_policy(here: Path) -> None:
    command = (
        "import os, sys, atexit; atexit.register(lambda: print(os.environ.get('OMP_WAIT_POLICY'), "
        "file=sys.stderr))\n"
    )
    driver = f"{command}from resnetlab.cli.entry_point import run; run()"
    words = [sys.executable, "-c", driver, "predict", "pets", "photo.jpg", "--json"]
    for given, expected in ({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE"):
        plain = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
        done = subprocess.run(
            words, cwd=here, capture_output=True, text=True, env=plain | given, check=True
        )
        assert done.stderr == f"{expected}\n"


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps a folder that a process is in")
def test_a_removed_current_folder_is_reported_in_one_line(tmp_path: Path) -> None:
    script = (
        "import os; os.rmdir(os.getcwd())\n"
        "from resnetlab.cli.entry_point import run\n"
        "import sys; sys.argv = ['resnetlab', 'models']; run()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("resnetlab: error: the current folder: does not exist any more. Fix: ")
