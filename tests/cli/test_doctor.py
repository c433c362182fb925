"""`resnetlab doctor` describes the machine and finds damaged files."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

Resnetlab = Callable[..., tuple[int, str, str]]


@pytest.fixture
def root(workspace: Path, tmp_path: Path) -> Path:
    """Return a copy of the runs and the cache."""
    for name in ("runs", "cache"):
        shutil.copytree(workspace / name, tmp_path / "root" / name)
    return tmp_path / "root"


def test_doctor_describes_a_machine_without_faults(resnetlab: Resnetlab, root: Path) -> None:
    code, out, err = resnetlab("doctor", "--output", root)
    assert (code, err) == (0, "")
    lines = dict(line.split(maxsplit=1) for line in out.splitlines() if not line.startswith(" "))
    assert list(lines)[:4] == ["resnetlab", "processor", "disk", "cache"]
    assert lines["torch"].startswith(torch.__version__)
    assert "MB/s written" in lines["disk"]
    assert f"to clear it: rm -r {root / 'cache'}" in out
    assert lines["runs"].split(",")[0] == f"{len(list((root / 'runs').iterdir()))} finished"
    assert not list(root.glob(".*"))


def test_the_details_of_doctor_agree_with_other_sources(resnetlab: Resnetlab, root: Path) -> None:
    _, out, _ = resnetlab("doctor", "--output", root, "--json")
    details = json.loads(out)
    assert details["torch"]["version"] == torch.__version__
    assert details["torch"]["cpu_capability"].startswith(torch.backends.cpu.get_cpu_capability())
    assert len(details["torch"]["gpus"]) == torch.cuda.device_count()
    total = next(cache for cache in details["caches"] if cache["path"] == str(root / "cache"))
    sizes = [path.stat().st_size for path in (root / "cache").rglob("*") if path.is_file()]
    assert (total["bytes"], total["files"]) == (sum(sizes), len(sizes))
    assert details["disk"]["write_mb_per_second"] > 0
    if sys.platform == "linux" and "avx2" in Path("/proc/cpuinfo").read_text():
        assert "AVX2" in details["processor"]["features"]


def test_a_damaged_run_is_printed_with_its_repair_and_gives_exit_code_5(
    resnetlab: Resnetlab, root: Path
) -> None:
    run = sorted((root / "runs").iterdir())[0]
    (run / "weights.safetensors").unlink()
    code, out, _ = resnetlab("doctor", "--output", root)
    assert code == 5
    (line,) = [line for line in out.splitlines() if line.startswith("damage")]
    assert line.endswith(
        f". Fix: remove {run / 'result.json'}, then: resnetlab resume {run} --from-step 0"
    )
    code, out, _ = resnetlab("doctor", run, "--json")
    assert code == 5
    assert [item["path"] for item in json.loads(out)["damage"]] == [
        str(run / "weights.safetensors")
    ]


def test_repair_changes_only_the_given_run(resnetlab: Resnetlab, root: Path) -> None:
    one, other = sorted((root / "runs").iterdir())[:2]
    for run in (one, other):
        with (run / "metrics.jsonl").open("a") as file:
            file.write("{")
    code, out, _ = resnetlab("doctor", one, "--repair")
    assert (code, out.splitlines()[0]) == (0, f"repaired: {one / 'metrics.jsonl'}")
    assert resnetlab("doctor", other)[0] == 5
    code, _, err = resnetlab("doctor", "--repair")
    assert code == 2
    assert "--repair: no run was named. Fix: resnetlab doctor RUN --repair" in err


def test_the_first_lines_are_printed_before_torch_is_imported(root: Path) -> None:
    """Details that need no torch are printed before torch is imported, which takes seconds."""
    code = (
        "import sys\nfrom resnetlab import doctor\n"
        "def assert_no_torch():\n    assert 'torch' not in sys.modules\n    raise SystemExit(0)\n"
        "doctor.inspect_torch = assert_no_torch\n"
        "sys.argv = ['resnetlab', 'doctor', '--output', sys.argv[1]]\n"
        "from resnetlab.cli.main import main\nmain()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(root)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()][:2] == ["resnetlab", "processor"]
