"""The system and torch agree about this machine, so that a plan may ask the first alone."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from resnetlab.training import hardware

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


def test_a_gpu_driver_file_makes_the_check_use_torch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    calls: list[str] = []

    class Cuda:
        @staticmethod
        def is_available() -> bool:
            calls.append("cuda")
            return True

    monkeypatch.setattr(hardware, "_torch_is_loaded", lambda: False)
    monkeypatch.setattr(hardware, "_import_torch", lambda: type("Torch", (), {"cuda": Cuda}))
    monkeypatch.setattr(hardware, "GPU_FILES", ("/nothing",))
    monkeypatch.setattr("sys.platform", "linux")
    assert not hardware.has_cuda()
    assert calls == []
    monkeypatch.setattr(hardware, "GPU_FILES", ("/nothing", str(tmp_path)))
    assert hardware.has_cuda()
    assert calls == ["cuda"]
