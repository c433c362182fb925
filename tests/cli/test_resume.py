"""`resume` continues a run whose data moved, does not continue a finished run, and the commands
that it prints work.
"""

from __future__ import annotations

import itertools
import json
import re
import shlex
from pathlib import Path

import pytest

from helpers.commands import run_command
from helpers.pictures import class_tree
from resnetlab.api.single_runs import resume, train
from resnetlab.cli.main import main
from resnetlab.errors import InputError, UnfinishedError
from resnetlab.runs.damage import check_run
from resnetlab.runs.killed import was_killed
from resnetlab.runs.run_folder import RunFolder
from resnetlab.studies.single_run import resume_job
from resnetlab.studies.status import count_runs


def command(words: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """Run a command in this process and return its exit code."""
    monkeypatch.setattr("sys.argv", ["resnetlab", *words])
    try:
        main()
    except SystemExit as leaving:
        return int(leaving.code or 0)
    return 0


@pytest.fixture
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a run that was stopped at its first step, on photographs in `photos`."""
    root = tmp_path / "a"
    class_tree(root / "photos", size=(8, 8))
    monkeypatch.chdir(root)
    calls = itertools.count()
    with pytest.raises(UnfinishedError):
        train(
            "cifar-resnet8",
            "photos",
            "adam",
            settings=["recipe.epochs=1", "recipe.batch_size=2", "numerics.threads=1"],
            should_stop=lambda: next(calls) > 2,
        )
    (run,) = (root / "runs").iterdir()
    return run


def test_resume_uses_moved_data_if_they_are_the_same(
    stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)  # `photos` lies in the folder of runs/, not here
    job, _ = resume_job(stopped)
    assert job.file.data.source == str(tmp_path / "a" / "photos")
    (tmp_path / "a" / "photos").rename(tmp_path / "pictures")
    monkeypatch.chdir(tmp_path / "a")
    run = stopped.relative_to(tmp_path / "a")
    assert command(["resume", str(run)], monkeypatch) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "its data are not in their place (got photos)" in line
    (words,) = re.findall(r"resnetlab (resume .* PATH)", line)
    words = shlex.split(words.replace("PATH", "../pictures"))
    assert command(words, monkeypatch) == 0
    assert "Run: " in capsys.readouterr().out
    assert (stopped / "result.json").exists()


def test_resume_refuses_other_data(stopped: Path, tmp_path: Path) -> None:
    class_tree(tmp_path / "other", size=(8, 10))
    with pytest.raises(InputError, match="the data differ from the run's") as caught:
        resume(stopped, data=str(tmp_path / "other"))
    assert str(caught.value).count("sha256 ") == 2  # one field differs: its two values alone
    assert "split_seed" not in str(caught.value)
    ended = run_command("resume", stopped, "--data", tmp_path / "other", folder=tmp_path)
    assert ended.code == 2  # invalid data, as docs/command-line.md says
    assert ended.errors.count("resnetlab: error: ") == 1


def test_more_epochs_for_a_finished_run_need_another_run_whose_command_is_printed(
    stopped: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    assert command(["resume", str(stopped)], monkeypatch) == 0
    capsys.readouterr()
    assert command(["resume", str(stopped)], monkeypatch) == 0
    output = capsys.readouterr().err
    assert "The run is finished. For another run with more epochs, from the start: " in output
    (words,) = re.findall(r"resnetlab (resume .*)", output)
    assert shlex.split(words)[-2:] == ["--epochs", "2"]
    assert command(shlex.split(words), monkeypatch) == 0
    output = capsys.readouterr()
    assert "is another run, from the start: " in output.err
    first, second = sorted(stopped.parent.iterdir(), key=lambda run: run != stopped)
    assert first == stopped
    assert resume_job(second)[0].file.run.recipe.epochs == 2
    assert f"Run: {second}" in output.out
    with pytest.raises(InputError, match="the run is finished, so it has no checkpoint"):
        resume_job(stopped, from_step=0)


def test_a_run_with_more_epochs_has_the_algorithm_version_that_trains_it(
    stopped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The finished run stays what it is; the new one is trained by the present algorithm."""
    assert command(["resume", str(stopped)], monkeypatch) == 0
    monkeypatch.setattr("resnetlab.runs.config.ALGORITHM_VERSION", 99)
    old_version = json.loads((stopped / "run.json").read_text())["run"]["algorithm_version"]
    assert old_version != 99
    (same, _), (longer, _) = resume_job(stopped), resume_job(stopped, epochs=2)
    assert same.file.run.algorithm_version == old_version
    assert longer.file.run.algorithm_version == 99
    assert longer.id.endswith(longer.file.run.hash)


def test_a_killed_run_is_reported_as_killed_and_a_stopped_run_is_not(
    stopped: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    note = "was killed (signal 9, often for lack of memory), or the machine stopped"
    assert not was_killed(stopped)
    assert check_run(stopped).note == ""
    lines = (stopped / "provenance.jsonl").read_text().splitlines(keepends=True)
    assert [json.loads(line)["event"] for line in lines] == ["start", "stopped"]
    (stopped / "provenance.jsonl").write_text(lines[0])  # as SIGKILL leaves it
    assert was_killed(stopped)
    assert check_run(stopped).note == f"its last process {note}: it left no result"
    with RunFolder(stopped).lock():
        assert not was_killed(stopped)
    run = {"id": stopped.name, "condition": "a"}
    plan = {"runs": [run], "study": {"conditions": [{"label": "a"}]}}
    assert count_runs(plan, stopped.parent.parent).killed == 1
    assert command(["resume", str(stopped)], monkeypatch) == 0
    assert f"The last process of this run {note}: it left no result." in capsys.readouterr().err
    assert not was_killed(stopped)
    assert count_runs(plan, stopped.parent.parent).killed == 0


def test_an_edited_run_in_a_renamed_folder_is_refused(
    stopped: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Without the hash in the name of the folder, the run's own records know the config."""
    renamed = stopped.rename(stopped.with_name("best"))
    table = json.loads((renamed / "run.json").read_text())
    original = json.dumps(table)
    table["run"]["recipe"]["optimizer"]["lr"] = 0.5
    (renamed / "run.json").write_text(json.dumps(table))
    assert command(["resume", str(renamed)], monkeypatch) == 2
    assert "run.json" in (error := capsys.readouterr().err)
    assert "train it again" in error
    assert not (renamed / "result.json").exists()
    (renamed / "run.json").write_text(original)
    assert command(["resume", str(renamed)], monkeypatch) == 0
    assert (renamed / "result.json").exists()
