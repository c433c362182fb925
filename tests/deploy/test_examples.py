"""The example in the help of each command runs as written, on a small model and small images."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from helpers.model_folders import add_confidence, write_model
from helpers.pictures import picture, save
from resnetlab.cli.main import app

COMMANDS = ("predict", "evaluate", "ensemble", "explain", "export", "serve")
LEFT = {"evaluate": "scores/report.html", "explain": "why.png", "export": "pets.onnx"}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_example_in_the_help_text_of_each_command_runs(
    command: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = CliRunner().invoke(app, [command, "--help"]).output
    match = re.search(r"Example:\s+resnetlab (.+)", output)
    assert match is not None
    monkeypatch.chdir(tmp_path)
    add_confidence(write_model(Path("pets")))
    write_model(Path("pets-2"), seed=4)
    shutil.copytree(photos, "photos")
    save(Path("photo.jpg"), picture(1, 60, 50))
    served: list[int] = []
    monkeypatch.setattr(
        "resnetlab.deploy.serve.server.run_server", lambda _, __, port, *___: served.append(port)
    )
    done = CliRunner().invoke(app, shlex.split(match[1]), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert done.output or served == [8000]
    if command in LEFT:
        assert Path(LEFT[command]).stat().st_size > 0
