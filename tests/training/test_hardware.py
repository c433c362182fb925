"""The operating system and torch agree about this machine, so that a plan does not need torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ASK = """
import json, sys
from resnetlab.recipes.numerics import Numerics
from resnetlab.schema import encode
from resnetlab.training.resolve import resolve_numerics
if {first!r}:
    import torch
answer = encode(resolve_numerics(Numerics(), single_run=False))
print(json.dumps([answer, "torch" in sys.modules]))
"""
CHECK = """
import json, sys
from resnetlab.training import hardware
hardware.GPU_FILES = (sys.argv[1],)
hardware.has_cuda()
print(json.dumps("torch" in sys.modules))
"""


def ask(*, torch_first: bool) -> tuple[dict[str, object], bool]:
    done = subprocess.run(
        [sys.executable, "-c", ASK.format(first=torch_first)],
        capture_output=True,
        text=True,
        check=True,
    )
    answer, imported = json.loads(done.stdout)
    return answer, imported


def test_a_process_without_torch_resolves_numerics_as_a_process_with_torch_does() -> None:
    quick, _ = ask(torch_first=False)
    known, imported = ask(torch_first=True)
    assert imported
    assert quick == known


@pytest.mark.skipif(
    sys.platform != "linux" or torch.cuda.is_available(),
    reason="a GPU, or another system, is asked of torch",
)
def test_on_linux_without_a_gpu_torch_is_not_called() -> None:
    assert ask(torch_first=False)[1] is False


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such files")
@pytest.mark.parametrize("exists", [False, True])
def test_a_gpu_driver_file_makes_the_check_use_torch(tmp_path: Path, exists: bool) -> None:
    path = tmp_path if exists else tmp_path / "absent"
    command = [sys.executable, "-c", CHECK, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == exists
