"""Damage in the folder of a run is detected, and the printed command repairs it."""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import resnetlab as rl
from resnetlab import files
from resnetlab.errors import InputError, ResnetlabError
from resnetlab.runs.damage import check_run, repair
from resnetlab.runs.run_folder import RunFolder
from resnetlab.studies.single_run import plan_run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, small_npz: Path) -> Path:
    """Return a finished run."""
    settings = ("recipe.epochs=2", "recipe.batch_size=16")
    record = rl.train(
        "cifar-resnet8",
        str(small_npz),
        "adam",
        settings=settings,
        output=tmp_path_factory.mktemp("root"),
    )
    return Path(record.folder)


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """Return a copy of it, to be damaged."""
    return Path(shutil.copytree(finished, tmp_path / "runs" / finished.name))


@pytest.fixture
def stopped(tmp_path: Path, small_npz: Path) -> Path:
    """Return a run that was stopped, with two checkpoints."""
    calls = iter([False] * 20)
    settings = ("recipe.epochs=4", "recipe.batch_size=16")
    plan = plan_run("cifar-resnet8", str(small_npz), "adam", settings=settings, output=tmp_path)
    from helpers.attempts import train_run
    from resnetlab.data.splits import load_dataset
    from resnetlab.recipes.numerics import Placement

    planned = plan.runs[0]
    dataset = load_dataset(planned.file.data, tmp_path / "cache", lambda _: None)
    often = Placement(checkpoint_seconds=0, max_checkpoint_seconds=1e6)
    result = train_run(
        planned.id,
        planned.file,
        dataset,
        tmp_path,
        often,
        lambda: next(calls, True),
        lambda *_: None,
    )
    assert result is None
    return RunFolder.find(tmp_path, planned.id).path


def test_an_undamaged_run_has_no_damage(finished: Path) -> None:
    assert (check_run(finished).state, check_run(finished).damage) == ("finished", ())


def test_an_unfinished_run_is_listed_with_the_command_that_continues_it(stopped: Path) -> None:
    checked = check_run(stopped)
    assert (checked.state, checked.damage) == ("unfinished", ())
    assert checked.resume_command == f"resnetlab resume {stopped}"


def test_a_run_that_is_being_trained_is_not_checked(run: Path) -> None:
    (run / "metrics.jsonl").write_text("{torn")
    with RunFolder(run).lock() as acquired:
        assert acquired
        assert (check_run(run).state, check_run(run).damage) == ("running", ())
        assert repair(run) == []
    assert check_run(run).damage


def test_an_unlocked_lock_file_is_not_a_damage(run: Path) -> None:
    (run / "lock").write_text("")
    assert check_run(run).damage == ()


def flip(path: Path) -> None:
    """Change one byte near the end."""
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    """Lose the end."""
    path.write_bytes(path.read_bytes()[:-7])


def scribble(path: Path) -> None:
    path.write_text("{not JSON")


DAMAGES: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "run.json is not JSON": ("run.json", scribble, "unreadable"),
    "run.json is missing": ("run.json", Path.unlink, "missing"),
    "result.json is not JSON": ("result.json", scribble, "unreadable"),
    "a byte of the weights differs": ("weights.safetensors", flip, "corrupt"),
    "the weights are missing": ("weights.safetensors", Path.unlink, "missing"),
    "the logits are cut short": ("logits-test.safetensors", cut, "corrupt"),
    "the logits are something else": ("logits-test.safetensors", scribble, "corrupt"),
    "the logits are missing": ("logits-test.safetensors", Path.unlink, "missing"),
    "a line of the metrics is incomplete": ("metrics.jsonl", cut, "incomplete line"),
}


@pytest.mark.parametrize("why", DAMAGES)
def test_each_damage_is_reported_in_its_file_only(run: Path, why: str) -> None:
    name, damage, kind = DAMAGES[why]
    damage(run / name)
    (damage_item,) = check_run(run).damage
    assert (damage_item.path, damage_item.kind) == (str(run / name), kind)
    assert str(run) in damage_item.fix


def test_a_temporary_file_of_a_killed_write_is_detected(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real write of this package, ended between its temporary file and its name."""
    monkeypatch.setattr("os.unlink", lambda *_: None)  # a kill leaves no time to clean up
    with contextlib.suppress(ZeroDivisionError), files.atomic_write(run / "result.json") as file:
        file.write("{")
        raise ZeroDivisionError
    monkeypatch.undo()
    (damage,) = check_run(run).damage
    assert (damage.kind, Path(damage.path).parent) == ("leftover", run)
    assert shlex.split(damage.fix) == ["resnetlab", "doctor", str(run), "--repair"]


def test_repair_removes_only_files_that_no_reader_uses(run: Path) -> None:
    metrics, before = RunFolder(run).metrics(), {path.name for path in run.iterdir()}
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9')
    (run / ".weights.safetensors.0123456789abcdef.part").write_bytes(b"half")
    (run / "my notes.part").write_text("of a person")
    assert len(check_run(run).damage) == 2
    assert len(repair(run)) == 2
    assert check_run(run).damage == ()
    assert {path.name for path in run.iterdir()} == before | {"my notes.part"}
    assert RunFolder(run).metrics() == metrics
    assert all(json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines())


def test_a_damaged_checkpoint_is_reported_with_the_earlier_one_that_continues_the_run(
    stopped: Path,
) -> None:
    steps = sorted(int(path.name) for path in (stopped / "checkpoints").iterdir())
    assert len(steps) == 2
    flip(stopped / "checkpoints" / str(steps[1]) / "state.safetensors")
    (damage,) = check_run(stopped).damage
    assert (damage.kind, damage.path) == ("corrupt", str(stopped / "checkpoints" / str(steps[1])))
    assert damage.fix == f"resnetlab resume {stopped} --from-step {steps[0]}"
    with pytest.raises(ResnetlabError, match="differs from its SHA-256"):
        rl.resume(stopped)
    assert rl.resume(stopped, from_step=steps[0]).result
    assert check_run(stopped).damage == ()


def test_a_truncated_checkpoint_needs_no_repair_before_the_run_continues(stopped: Path) -> None:
    last = max((stopped / "checkpoints").iterdir(), key=lambda path: int(path.name))
    (last / "MANIFEST.json").unlink()
    (damage,) = check_run(stopped).damage
    assert damage.fix == f"resnetlab resume {stopped}"
    assert rl.resume(stopped).result
    assert check_run(stopped).damage == ()


def test_a_finished_run_with_damaged_weights_is_trained_again_by_the_printed_command(
    run: Path,
) -> None:
    flip(run / "weights.safetensors")
    (damage,) = check_run(run).damage
    assert damage.fix == f"remove {run / 'result.json'}, then: resnetlab resume {run} --from-step 0"
    before = RunFolder(run).result()
    (run / "result.json").unlink()
    again = rl.resume(run, from_step=0).result
    assert check_run(run).damage == ()
    assert before is not None
    assert again is not None
    assert (again.test, again.weights_sha256) == (before.test, before.weights_sha256)


def test_an_absent_run_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        check_run(tmp_path / "nothing")


def test_a_folder_that_is_no_run_is_never_to_be_removed(tmp_path: Path) -> None:
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    (tmp_path / "photos" / "cat" / "1.jpg").write_bytes(b"")
    (damage,) = check_run(tmp_path / "photos").damage
    assert damage.fix == "give the folder of a run or of a report"
