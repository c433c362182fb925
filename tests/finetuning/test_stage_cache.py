"""The stage cache trains each stage once, and its weights have the bits of an uninterrupted
training.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from helpers.finetuning import NUMERICS, make_model, stage
from helpers.processes import environment
from resnetlab.finetuning.dataset import PhotoDataset, open_photographs
from resnetlab.finetuning.finetune_photos import fixres
from resnetlab.finetuning.network.model import FinetuneModel
from resnetlab.finetuning.request import FinetuneRequest
from resnetlab.finetuning.results import ResolutionTable
from resnetlab.finetuning.stage.stage_cache import (
    StageCache,
    StageKey,
    StageLockedError,
    stage_key,
    state_dict_hash,
    trainable_state,
)
from resnetlab.finetuning.stage.train_stage import StageCallbacks, StageResult, train_stage
from resnetlab.models.configs import ExternalConfig
from resnetlab.recipes.finetune import Stage, Trainable
from resnetlab.schema import config_hash

SLOW = """
[[stages]]
name = "stage one"
trainable = "classifier"
recipe = { batch_size = 8, epochs = 2, optimizer = { name = "adam" } }
[[stages]]
name = "stage two"
trainable = "all"
recipe = { batch_size = 8, epochs = 25, optimizer = { name = "adam" } }
"""


@pytest.fixture
def data(photos: Path, tmp_path: Path) -> PhotoDataset:
    return open_photographs(photos, cache=tmp_path / "cache")


def fitted(
    cache: StageCache, one: FinetuneModel, one_stage: Stage, photos: PhotoDataset
) -> tuple[StageResult, int]:
    """Return the stage as it is kept or computed, and how often it was computed."""
    transform, calls = one.eval_transform(24), []

    def compute() -> StageResult:
        calls.append(1)
        return train_stage(
            one, one_stage, photos, {"train": transform, "test": transform}, one.seed
        )

    basis = stage_key(one, photos.sha256, "none").with_stage(one_stage, transform)
    return cache.load_or_train(basis, one, compute), len(calls)


@pytest.mark.parametrize("trainable", ["classifier", "last norm", "all", 2])
def test_a_cached_stage_gives_the_bits_and_the_history_of_the_computed_one(
    trainable: Trainable, config: ExternalConfig, data: PhotoDataset, tmp_path: Path
) -> None:
    cache, one_stage = StageCache(tmp_path / "stages"), stage(trainable=trainable)
    first, second = make_model(config), make_model(config)
    computed, read = fitted(cache, first, one_stage, data), fitted(cache, second, one_stage, data)
    assert (computed[1], read[1]) == (1, 0)
    assert computed[0] == read[0]
    assert state_dict_hash(first.model.state_dict()) == state_dict_hash(second.model.state_dict())
    assert state_dict_hash(first.model.state_dict()) != state_dict_hash(
        make_model(config).model.state_dict()
    )
    assert set(trainable_state(first.model)) <= set(first.model.state_dict())


def test_a_change_that_may_change_bits_gives_another_cache_key(
    config: ExternalConfig, data: PhotoDataset
) -> None:
    one = make_model(config)
    transform, smaller = one.eval_transform(24), one.eval_transform(16)
    basis = stage_key(one, data.sha256, "none")
    others: list[StageKey] = [
        basis,
        basis.with_stage(stage(), transform),
        basis.with_stage(stage(), smaller),
        basis.with_stage(stage(trainable="all"), transform),
        basis.with_stage(stage(), transform).with_stage(stage(), transform),
        replace(basis, numerics=replace(NUMERICS, threads=2)),
        stage_key(make_model(config, seed=1), data.sha256, "none"),
        stage_key(one, "other", "none"),
        stage_key(one, data.sha256, "balanced"),
        replace(basis, packages=basis.packages | {"torch": "0"}),
    ]
    with torch.no_grad():
        next(one.model.parameters()).add_(1)
    others.append(stage_key(one, data.sha256, "none"))
    assert len({config_hash(other) for other in others}) == len(others)


@pytest.mark.parametrize("harm", ["cut", "flipped", "empty"])
def test_a_file_of_the_stage_cache_that_was_changed_counts_as_absent(
    harm: str, config: ExternalConfig, data: PhotoDataset, tmp_path: Path
) -> None:
    cache, one = StageCache(tmp_path / "stages"), make_model(config)
    fitted(cache, one, stage(), data)
    (path,) = cache.folder.glob("*.safetensors")
    content = path.read_bytes()
    path.write_bytes(
        {"cut": content[:-3], "flipped": content[:-1] + bytes([content[-1] ^ 1]), "empty": b""}[
            harm
        ]
    )
    again = make_model(config)
    assert fitted(cache, again, stage(), data)[1] == 1
    assert state_dict_hash(again.model.state_dict()) == state_dict_hash(one.model.state_dict())
    assert fitted(cache, make_model(config), stage(), data)[1] == 0


def test_two_simultaneous_requests_train_a_stage_once_and_the_second_waits(
    config: ExternalConfig, data: PhotoDataset, tmp_path: Path
) -> None:
    computed: list[int] = []

    def ask() -> None:
        computed.append(
            fitted(
                StageCache(tmp_path / "stages"), make_model(config), stage(trainable="all"), data
            )[1]
        )

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert sorted(computed) == [0, 1]
    cache, one = StageCache(tmp_path / "other", wait_seconds=0.1), make_model(config)
    transform = one.eval_transform(24)
    basis = stage_key(one, data.sha256, "none").with_stage(stage(), transform)

    def within() -> StageResult:
        cache.load_or_train(basis, one, within)  # requests a lock that it has itself
        raise AssertionError

    with pytest.raises(StageLockedError):
        cache.load_or_train(basis, one, within)


def test_a_stage_that_was_stopped_early_is_not_cached(
    config: ExternalConfig, data: PhotoDataset, tmp_path: Path
) -> None:
    cache, one = StageCache(tmp_path / "stages"), make_model(config)
    transform, calls = one.eval_transform(24), []

    def stop() -> bool:
        calls.append(1)
        return len(calls) > 6

    transforms = {"train": transform, "test": transform}
    basis = stage_key(one, data.sha256, "none").with_stage(stage(), transform)
    callbacks = StageCallbacks(should_stop=stop)
    cut = cache.load_or_train(
        basis, one, lambda: train_stage(one, stage(), data, transforms, 0, callbacks=callbacks)
    )
    assert not cut.complete
    assert not list(cache.folder.glob("*.safetensors"))


def test_an_interrupted_table_of_sizes_continues_to_the_same_table(
    photos: Path, backbone: Path, tmp_path: Path
) -> None:
    def table(root: Path, until: int = 99) -> ResolutionTable:
        request = FinetuneRequest(
            folder=photos, model=str(backbone), output=root, recipe="fixres", epochs=1
        )
        rows = fixres(request, (16, 24), (16, 24), command="")
        return [sweep for _, (sweep, _) in zip(range(until), rows, strict=False)][-1]

    expected = table(tmp_path / "whole")
    table(tmp_path / "cut", until=3)  # stage one of the first row, and two of its cells
    cached = {
        path: path.stat().st_mtime_ns
        for path in (tmp_path / "cut").glob("cache/stages/*.safetensors")
    }
    again = table(tmp_path / "cut")
    assert len(cached) == 3
    assert all(path.stat().st_mtime_ns == written for path, written in cached.items())
    assert [cell.status for cell in again.cells] == ["done"] * 4
    for left, right in zip(expected.cells, again.cells, strict=True):
        assert replace(left, seconds=0.0, peak_bytes=0) == replace(right, seconds=0.0, peak_bytes=0)
    assert (expected.best, expected.best_paired) == (again.best, again.best_paired)
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")


def command(photos: Path, root: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "resnetlab", *words, "--output", str(root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=photos.parent,
        env=environment(),
        start_new_session=True,
    )


def killed(process: subprocess.Popen[str], root: Path, pause: float) -> None:
    """Kill it and its workers with signal 9, so long after its first stage was kept."""
    deadline = time.monotonic() + 120
    while not list(root.glob("cache/stages/*.safetensors")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(pause)
    assert process.poll() is None, (
        "it was done before it could be killed: make its second stage longer"
    )
    # Workers are in sessions of their own; their log names their owner.
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                log = str((entry / "fd" / "2").readlink())
            except OSError:
                continue
            if str(root.resolve()) in log:
                os.kill(int(entry.name), signal.SIGKILL)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def finished(process: subprocess.Popen[str]) -> str:
    out, error = process.communicate(timeout=240)
    assert process.returncode == 0, error
    return out


def weights(root: Path) -> dict[str, str]:
    """Return the SHA-256 of every network below `models` and `runs`."""
    paths = [*root.glob("models/*/model.safetensors"), *root.glob("runs/*/weights.safetensors")]
    return {path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.mark.slow
@pytest.mark.usefixtures("backbone")
def test_after_kill_9_a_fine_tuning_continues_from_its_last_stage_with_the_same_bits(
    photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "slow.toml").write_text(SLOW)
    words = (
        "finetune",
        "stripes",
        "--model",
        "tiny.toml",
        "--recipe",
        "slow.toml",
        "--train-size",
        "24",
        "--time-limit",
        "0",
    )
    finished(command(photos, tmp_path / "whole", *words))
    root = tmp_path / "killed"
    killed(command(photos, root, *words), root, 0.3)
    (first,) = root.glob("cache/stages/*.safetensors")
    written = first.stat().st_mtime_ns
    finished(command(photos, root, *words))
    assert first.stat().st_mtime_ns == written
    assert weights(root) == weights(tmp_path / "whole")
    assert len(weights(root)) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("backbone")
def test_after_kill_9_a_study_of_fine_tunings_continues_with_the_same_bits(
    photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "slow.toml").write_text(SLOW)
    (tmp_path / "study.toml").write_text(
        'name = "kills"\nquestion = "Which?"\ndata = "stripes"\nmodel = "tiny.toml"\nseeds = [0]\n'
        'recipe = { base = "slow.toml", train_size = 24 }\n[grid]\n"recipe.test_size" = [16, 24]\n'
    )
    words = ("study", "run", "study.toml", "-j", "2")
    finished(command(photos, tmp_path / "whole", *words))
    root = tmp_path / "killed"
    killed(command(photos, root, *words), root, 0.3)
    written = {path: path.stat().st_mtime_ns for path in root.glob("cache/stages/*.safetensors")}
    finished(command(photos, root, *words))
    assert written == {path: path.stat().st_mtime_ns for path in written}
    assert weights(root) == weights(tmp_path / "whole")
    assert len(weights(root)) == 2


AUGMENTED = """
[[stages]]
name = "stage one"
trainable = "classifier"
recipe = { batch_size = 8, epochs = 1, optimizer = { name = "adam" } }
[[stages]]
name = "stage two"
trainable = "all"
augment = "trivial"
mixup = 0.4
cutmix = 1.0
random_erasing = 0.5
recipe = { batch_size = 8, epochs = EPOCHS, optimizer = { name = "adam" } }
"""


@pytest.mark.slow
def test_a_killed_fine_tuning_continues_with_the_bits_of_an_uninterrupted_one(
    photos: Path, backbone: Path, tmp_path: Path
) -> None:
    """The process is killed within the augmented stage, and the same command started again."""
    (tmp_path / "augmented.toml").write_text(AUGMENTED.replace("EPOCHS", "12"))

    def command(output: str) -> list[str]:
        return [
            *(sys.executable, "-m", "resnetlab", "finetune", str(photos), "--time-limit", "0"),
            *("--model", str(backbone), "--recipe", str(tmp_path / "augmented.toml")),
            *("--train-size", "24", "--output", output, "--trust-code"),
        ]

    begun = subprocess.Popen(
        command("killed"), cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True
    )
    assert begun.stderr is not None
    for line in begun.stderr:
        if line.startswith("stage two: begins"):
            time.sleep(0.2)
            os.kill(begun.pid, signal.SIGKILL)
            break
    begun.communicate()
    assert begun.returncode == -signal.SIGKILL
    weights = []
    for output in ("killed", "whole"):
        subprocess.run(
            command(output), cwd=tmp_path, env=environment(), check=True, capture_output=True
        )
        (path,) = (tmp_path / output / "models").glob("*/model.safetensors")
        weights.append(path.read_bytes())
    assert weights[0] == weights[1]
