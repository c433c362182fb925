"""The blocks of a document run one after another, as a reader copies them into a shell."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import pytest

from helpers.documents import BLOCKS, PAGES, ROOT, Block, page_id, plain, write_workspace

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the commands are those of bash")

RUNNING = ("sh", "python")
TESTED = [
    page
    for page in PAGES
    if any(b.page == page and b.runs and b.language in RUNNING for b in BLOCKS)
]
SMALL_NETWORK = "mobilenetv3_small_050"
"""Network of timm with random weights, instead of a pre-trained one."""


@pytest.fixture(scope="session")
def backbones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for RESNETLAB_WEIGHTS. Its network learned nothing, and no network is
    needed.
    """
    import timm
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("backbones")
    model = timm.create_model(SMALL_NETWORK, pretrained=False)
    save_file(model.state_dict(), folder / f"{SMALL_NETWORK}.safetensors")
    return folder


@pytest.fixture
def environment(tmp_path: Path, backbones: Path) -> dict[str, str]:
    """Return the environment of a reader: the commands are on the path, and nothing is
    downloaded.
    """
    scripts = Path(sys.executable).parent
    tools = tmp_path / "tools"
    tools.mkdir()
    start = f'#!/bin/sh\nexec "{sys.executable}" -m resnetlab "$@"\n'
    (tools / "resnetlab").write_text(start)
    (tools / "resnetlab").chmod(0o755)
    return os.environ | {
        "PATH": os.pathsep.join([str(tools), str(scripts), os.environ["PATH"]]),
        "RESNETLAB_OFFLINE": "1",
        "RESNETLAB_WEIGHTS": str(backbones),
        "MPLBACKEND": "Agg",
        "CI": "1",
    }


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", TESTED, ids=page_id)
def test_the_blocks_of_a_document_run_and_print_the_shown_output(
    page: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    folder = tmp_path / "reader"
    folder.mkdir()
    write_workspace(folder)
    (folder / "results").symlink_to(ROOT / "results")
    outputs: dict[str, str] = {}
    blocks = [block for block in BLOCKS if block.page == page and block.runs and not block.title]
    for language, group in groupby(blocks, key=lambda block: block.language):
        if language == "sh":
            for block in group:
                outputs |= run_commands(block, folder, environment)
        elif language == "python":
            code = "\n".join(block.code for block in group)
            run([sys.executable, "-c", code], folder, environment)
    for block in blocks:
        if block.mark == "output":
            output = plain(outputs[block.value])
            missing = [line for line in block.code.splitlines() if plain(line) not in output]
            assert missing == [], outputs[block.value]


def run_commands(block: Block, folder: Path, environment: dict[str, str]) -> dict[str, str]:
    """Run the commands of a block. Return the output of each, with its errors."""
    expected = int(block.value) if block.mark == "exit code" else 0
    return {
        line: run(["bash", "-c", line], folder, environment, expected) for line in block.commands
    }


def run(command: list[str], folder: Path, environment: dict[str, str], code: int = 0) -> str:
    """Run a command to its end and return what it printed."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )
    assert done.returncode == code, f"{command[-1]}\n{done.stdout[-3000:]}"
    return done.stdout
