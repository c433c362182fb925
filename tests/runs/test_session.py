"""One run is trained in this process, from its folder to its result."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import resnetlab as rl
from helpers.fake_cuda_graphs import FakeCudaGraphs
from helpers.outcomes import outcome
from helpers.small_run import SmallRun
from resnetlab.errors import InputError, ResourceError
from resnetlab.files import read_json, sha256, write_json
from resnetlab.models.weights import read_tensors
from resnetlab.runs import session
from resnetlab.runs.config import run_id
from resnetlab.runs.lifecycle import RunLockedError
from resnetlab.runs.paths import saved_steps
from resnetlab.runs.run_folder import RunFolder
from resnetlab.training.from_scratch_state import FromScratchState

pytestmark = pytest.mark.usefixtures("tick_after_every_step")
RECIPE = 'recipe.optimizer={name="adam",lr=0.003}'


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("numerics.threads=2",),
        ("recipe.ema=0.9", "recipe.select=best", "data.validation=0.2"),
        (
            'recipe.optimizer={name="sgd",lr=0.1,nesterov=true}',
            "recipe.schedule={name='one-cycle'}",
            "recipe.clip_norm=1.0",
        ),
        (
            "recipe.augment={crop_padding=2,flip=true,cutout=3}",
            "numerics.precision=bf16-emulated",
            "data.test_curve=true",
        ),
        (
            "recipe.augment={crop=6,flip=true,mixup=0.4,randaugment={operations=2}}",
            "recipe.normalize=zca",
            'recipe.optimizer={name="rmsprop"}',
        ),
    ],
)
def test_a_resumed_run_has_the_bits_of_an_uninterrupted_one(
    tmp_path: Path, small_npz: Path, options: tuple[str, ...]
) -> None:
    uninterrupted = SmallRun(small_npz, tmp_path / "whole", *options)
    assert uninterrupted() is not None
    file = uninterrupted.file
    steps = file.run.recipe.total_steps(file.train_images)
    for first, second in ((1, 2), (5, 6), (steps // 3, steps - 1), (steps // 3 + 1, steps)):
        broken = SmallRun(small_npz, tmp_path / f"broken-{first}", *options)
        assert broken(until=first) is None
        assert saved_steps(broken.run_folder.checkpoints)[-1] == first
        assert (broken(until=second) is not None) == (second == steps)
        broken()
        assert outcome(broken.run_folder.path) == outcome(uninterrupted.run_folder.path)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, small_npz: Path) -> SmallRun:
    """Return a run that was never stopped."""
    uninterrupted = SmallRun(small_npz, tmp_path_factory.mktemp("whole"), RECIPE)
    uninterrupted()
    return uninterrupted


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stops=st.lists(st.integers(1, 20), max_size=4))
def test_any_sequence_of_stops_gives_the_same_bits(
    tmp_path_factory: pytest.TempPathFactory,
    small_npz: Path,
    undisturbed: SmallRun,
    stops: list[int],
) -> None:
    broken = SmallRun(small_npz, tmp_path_factory.mktemp("broken"), RECIPE)
    for stop in sorted(stops):
        broken(until=stop)
    broken()
    assert outcome(broken.run_folder.path) == outcome(undisturbed.run_folder.path)


def test_the_checkpoint_interval_does_not_change_a_bit(tmp_path: Path, small_npz: Path) -> None:
    often, never = SmallRun(small_npz, tmp_path / "often"), SmallRun(small_npz, tmp_path / "never")
    often()
    never(placement=rl.Placement(checkpoint_seconds=1e9, max_checkpoint_seconds=1e9))
    assert outcome(often.run_folder.path) == outcome(never.run_folder.path)


def test_a_finished_run_is_not_trained_again(tmp_path: Path, small_npz: Path) -> None:
    runner = SmallRun(small_npz, tmp_path)
    result = runner()
    before = {
        path: path.stat().st_mtime_ns
        for path in runner.run_folder.path.iterdir()
        if path.name != "lock"
    }
    assert runner() == result
    assert runner.steps == []
    assert before == {
        path: path.stat().st_mtime_ns
        for path in runner.run_folder.path.iterdir()
        if path.name != "lock"
    }


def test_a_run_writes_the_files_that_its_readers_expect(tmp_path: Path, small_npz: Path) -> None:
    runner = SmallRun(small_npz, tmp_path)
    result = runner()
    assert result is not None
    assert result.test is not None
    folder = runner.run_folder.path
    assert {path.name for path in folder.iterdir()} == {
        "lock",
        "run.json",
        "provenance.jsonl",
        "metrics.jsonl",
        "result.json",
        "checksums.json",
        "weights.safetensors",
        "logits-test.safetensors",
    }
    logits = read_tensors(folder / "logits-test.safetensors")["logits"]
    error = 100 * (logits.argmax(1).numpy() != runner.dataset.test.labels).mean()
    assert error == pytest.approx(result.test.top1_error_pct)
    import safetensors

    with safetensors.safe_open(folder / "weights.safetensors", "pt") as file:
        described = json.loads(file.metadata()["resnetlab"])
    assert described["classes"] == ["left", "right", "middle"]
    record = runner.run_folder.record()
    assert record is not None
    assert [line["event"] for line in record.provenance] == ["start"]
    first = {line.split: line for line in record.metrics if line.step == 0}
    assert set(first) == {"train", "validation", "train epoch"}
    assert {line.split for line in record.metrics if line.step} == {
        "train",
        "validation",
        "train epoch",
    }


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("recipe.normalize=per-image",),
        ("recipe.normalize=zca", "recipe.augment.crop=6"),
        ("recipe.normalize=half",),
    ],
)
def test_the_weights_file_contains_everything_for_a_prediction(
    tmp_path: Path, small_npz: Path, options: tuple[str, ...]
) -> None:
    from resnetlab.models.build import build_model
    from resnetlab.models.weights import load_weights, read_weights

    runner = SmallRun(small_npz, tmp_path, *options)
    runner()
    tensors, metadata = read_weights(runner.run_folder.path / "weights.safetensors")
    model = build_model(runner.file.run.model, 1, 3, lambda _: torch.Generator()).eval()
    load_weights(model, tensors, "weights.safetensors")
    x = torch.from_numpy(runner.dataset.test.pixels) / 255
    edge = (runner.dataset.image_size - metadata.side) // 2
    x = x[:, edge : edge + metadata.side, edge : edge + metadata.side]
    match metadata.normalize:
        case "per-image":
            x = (x - x.mean((1, 2, 3), keepdim=True)) / x.std((1, 2, 3), correction=0, keepdim=True)
        case "zca":
            x = ((x.flatten(1) - metadata.whitening["mean"]) @ metadata.whitening["matrix"]).view(
                x.shape
            )
        case _:
            x = (x - torch.tensor(metadata.mean)) / torch.tensor(metadata.std)
    with torch.inference_mode():
        logits = model(x.permute(0, 3, 1, 2))
    saved = read_tensors(runner.run_folder.path / "logits-test.safetensors")["logits"]
    torch.testing.assert_close(logits, saved, rtol=1e-3, atol=1e-4)


def test_the_test_split_is_not_evaluated_before_the_end_unless_its_curve_is_requested(
    tmp_path: Path, small_npz: Path
) -> None:
    quiet, curve = (
        SmallRun(small_npz, tmp_path),
        SmallRun(small_npz, tmp_path, "data.test_curve=true"),
    )
    quiet()
    curve()
    assert not any(line.split == "test" for line in quiet.run_folder.metrics())
    assert any(line.split == "test" for line in curve.run_folder.metrics())
    # The metadata beside the weights name the data's settings, which differ; the weights do not.
    weights = [
        read_tensors(runner.run_folder.path / "weights.safetensors") for runner in (quiet, curve)
    ]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


def test_rarer_evaluation_changes_neither_weights_nor_the_other_evaluations(
    tmp_path: Path, small_npz: Path
) -> None:
    every, rare, small = (
        SmallRun(small_npz, tmp_path / name, "recipe.epochs=5", "data.test_curve=true", *options)
        for name, options in {
            "every": (),
            "rare": ("recipe.eval_every_epochs=2",),
            "small": ("data.curve_images=7",),
        }.items()
    )
    results = [run() for run in (every, rare, small)]
    reference, *others = results
    assert reference is not None
    for result in others:
        assert result is not None
        assert (result.test, result.train, result.validation) == (
            reference.test,
            reference.train,
            reference.validation,
        )

    weights = [
        read_tensors(run.run_folder.path / "weights.safetensors") for run in (every, rare, small)
    ]
    for other in weights[1:]:
        assert all(torch.equal(other[name], tensor) for name, tensor in weights[0].items())

    def curve(run: SmallRun, split: str) -> dict[float, float]:
        lines = run.run_folder.metrics()
        return {line.epoch: line.top1_error_pct for line in lines if line.split == split}

    for split in ("train", "validation", "test"):
        full = curve(every, split)
        assert list(full) == [0, 1, 2, 3, 4, 5]
        assert curve(rare, split) == {epoch: full[epoch] for epoch in (0, 2, 4, 5)}
        shares = [error * 7 / 100 for error in curve(small, split).values()]
        assert shares == pytest.approx([round(share) for share in shares])
    assert curve(rare, "train epoch") == curve(every, "train epoch")

    # The planned number of evaluated images is that of the lines, and of the last evaluation.
    for run, result in zip((every, rare, small), results, strict=True):
        assert result is not None
        assert result.train
        assert result.validation
        assert result.test
        sizes = {
            "train": result.train.images,
            "validation": result.validation.images,
            "test": result.test.images,
        }
        limit = run.file.data.curve_images
        lines = [line for line in run.run_folder.metrics() if line.split != "train epoch"]
        images = sum(min(limit or 10**9, sizes[line.split]) for line in lines)
        assert run.planned.evaluation_images == images + (sum(sizes.values()) if limit else 0)


def test_a_run_with_rare_evaluations_may_stop_at_any_step(tmp_path: Path, small_npz: Path) -> None:
    options = ("recipe.epochs=4", "recipe.eval_every_epochs=3", "data.curve_images=5")
    uninterrupted, stopped = (SmallRun(small_npz, tmp_path / name, *options) for name in ("a", "b"))
    result = uninterrupted()
    assert result is not None
    stop = 0
    while (resumed := stopped(until=stop)) is None:
        stop += 3
    assert resumed.weights_sha256 == result.weights_sha256
    assert [replace(line, seconds=0) for line in stopped.run_folder.metrics()] == [
        replace(line, seconds=0) for line in uninterrupted.run_folder.metrics()
    ]


def test_best_selects_the_weights_with_the_lowest_validation_error(
    tmp_path: Path, small_npz: Path
) -> None:
    runner = SmallRun(
        small_npz, tmp_path, "recipe.select=best", "data.validation=0.3", "recipe.epochs=6", RECIPE
    )
    result = runner()
    errors = {
        e.step: e.top1_error_pct
        for e in runner.run_folder.metrics()
        if e.split == "validation" and e.step
    }
    assert result is not None
    assert result.validation is not None
    assert result.selected_step == min(errors, key=lambda step: (errors[step], step))
    assert result.validation.top1_error_pct == min(errors.values())


def test_a_run_that_falls_back_to_eager_steps_records_the_reason(
    tmp_path: Path, small_npz: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resnetlab.training.make_step.CudaGraphs", FakeCudaGraphs)
    runner = SmallRun(small_npz, tmp_path)
    numerics = replace(runner.file.run.numerics, cuda_graphs="on")
    file = replace(runner.file, run=replace(runner.file.run, numerics=numerics))
    runner.run_folder = RunFolder.find(tmp_path, run_id(file.run, file.data_name))
    assert runner(file=file) is not None
    record = runner.run_folder.record()
    assert record is not None
    noted = [(line["event"], line.get("reason"), line["step"]) for line in record.provenance]
    assert noted == [("start", None, 0), ("eager steps", "a layer draws random numbers", 1)]


def test_a_run_that_another_process_has_locked_is_not_changed(
    tmp_path: Path, small_npz: Path
) -> None:
    runner = SmallRun(small_npz, tmp_path)
    with runner.run_folder.lock() as acquired:
        assert acquired
        with pytest.raises(RunLockedError):
            runner()
    assert runner() is not None


def poison(
    monkeypatch: pytest.MonkeyPatch, step: int, act: Callable[[FromScratchState], None]
) -> None:
    """Let `act` happen after `step` of training."""
    plain = FromScratchState.record_step

    def record(self: FromScratchState, metrics: torch.Tensor) -> None:
        plain(self, metrics)
        if self.step == step:
            act(self)

    monkeypatch.setattr(FromScratchState, "record_step", record)


@pytest.mark.parametrize("step", [1, 4, 13, 21])
@pytest.mark.parametrize("precision", ["fp32", "bf16-emulated"])
def test_a_non_finite_loss_ends_the_run_as_diverged_and_overwrites_no_good_checkpoint(
    tmp_path: Path, small_npz: Path, monkeypatch: pytest.MonkeyPatch, step: int, precision: str
) -> None:
    runner = SmallRun(small_npz, tmp_path, f"numerics.precision={precision}")
    saved: list[bool] = []
    plain = session.save_checkpoint

    def save(folder: Path, checkpoint: Any) -> None:
        saved.append(
            all(
                bool(t.isfinite().all())
                for t in checkpoint.tensors["state"].values()
                if t.is_floating_point()
            )
        )
        plain(folder, checkpoint)

    monkeypatch.setattr(session, "save_checkpoint", save)
    poison(
        monkeypatch,
        step,
        lambda train_state: next(train_state.model.parameters()).data.fill_(float("nan")),
    )
    result = runner()
    assert result is not None
    assert result.status == "diverged"
    assert step <= result.step <= step + 1
    assert result.test is None
    assert all(saved)
    assert runner() == result


def test_a_network_that_never_exceeds_chance_is_at_chance(tmp_path: Path, small_npz: Path) -> None:
    runner = SmallRun(small_npz, tmp_path, 'recipe.optimizer={name="sgd",lr=1e-12,momentum=0.0}')
    result = runner()
    assert result is not None
    assert result.status == "at chance"
    assert "never above chance" in result.reason
    assert result.test is not None


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError("no memory")]
)
def test_out_of_memory_is_a_result_and_the_batch_size_does_not_change(
    tmp_path: Path, small_npz: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    runner = SmallRun(small_npz, tmp_path)

    def fail(_: FromScratchState) -> None:
        raise error

    poison(monkeypatch, 5, fail)
    result = runner()
    assert result is not None
    assert (result.status, result.test) == ("out of memory", None)
    assert runner.run_folder.file().run.recipe.batch_size == 16


def test_other_errors_are_raised_and_not_recorded_as_results(
    tmp_path: Path, small_npz: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = SmallRun(small_npz, tmp_path)

    def fail(_: FromScratchState) -> None:
        raise RuntimeError("a bug")

    poison(monkeypatch, 5, fail)
    with pytest.raises(RuntimeError, match="a bug"):
        runner()
    assert runner.run_folder.result() is None


def test_a_full_disk_is_reported_before_a_checkpoint_and_the_run_continues_later(
    tmp_path: Path, small_npz: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uninterrupted, runner = (
        SmallRun(small_npz, tmp_path / "whole"),
        SmallRun(small_npz, tmp_path / "full"),
    )
    uninterrupted()
    assert runner(until=6) is None
    with monkeypatch.context() as patch:
        patch.setattr("resnetlab.runs.checkpoint.free_bytes", lambda _: 1000)
        with pytest.raises(ResourceError, match="no room for a checkpoint"):
            runner()
    assert saved_steps(runner.run_folder.checkpoints)[-1] == 6
    runner()
    assert outcome(runner.run_folder.path) == outcome(uninterrupted.run_folder.path)


@pytest.mark.parametrize(
    "setting",
    ["recipe.batch_size=8", "recipe.optimizer.lr=0.5", "numerics.precision=bf16-emulated"],
)
def test_a_folder_with_another_run_is_refused(
    tmp_path: Path, small_npz: Path, setting: str
) -> None:
    runner, other = SmallRun(small_npz, tmp_path), SmallRun(small_npz, tmp_path, setting)
    assert runner(until=3) is None
    path = runner.run_folder.path
    path.rename(path.parent / other.planned.id)
    with pytest.raises(InputError, match="its config is not that of the run in the folder's name"):
        other()


def test_other_data_are_refused(tmp_path: Path, small_npz: Path) -> None:
    runner = SmallRun(small_npz, tmp_path)
    assert runner(until=3) is None
    runner.dataset = replace(
        runner.dataset, identity=replace(runner.dataset.identity, sha256="0" * 64)
    )
    with pytest.raises(InputError, match="the data differ"):
        runner()


def test_another_torch_version_is_refused_with_its_number(
    tmp_path: Path, small_npz: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = SmallRun(small_npz, tmp_path)
    assert runner(until=3) is None
    with monkeypatch.context() as patch:
        patch.setattr(session, "torch_version", lambda: "9.9.9")
        with pytest.raises(InputError, match=r"torch: the checkpoint has .*, here is 9\.9\.9"):
            runner()
    assert runner() is not None


def test_a_damaged_checkpoint_is_refused_and_the_earlier_one_is_offered(
    tmp_path: Path, small_npz: Path
) -> None:
    uninterrupted, runner = (
        SmallRun(small_npz, tmp_path / "whole"),
        SmallRun(small_npz, tmp_path / "damaged"),
    )
    uninterrupted()
    assert runner(until=8) is None
    state = runner.run_folder.checkpoints / "8" / "state.safetensors"
    damaged = bytearray(state.read_bytes())
    damaged[-5] ^= 16
    state.write_bytes(damaged)
    with pytest.raises(InputError, match=r"state.safetensors differs .* --from-step 7"):
        runner()
    assert runner(from_step=7) is not None
    assert outcome(runner.run_folder.path) == outcome(uninterrupted.run_folder.path)


def test_a_checkpoint_with_nan_is_refused_by_name(tmp_path: Path, small_npz: Path) -> None:
    runner = SmallRun(small_npz, tmp_path)
    assert runner(until=8) is None
    folder = runner.run_folder.checkpoints / "8"
    tensors = load_file(folder / "state.safetensors")
    name = next(name for name, tensor in tensors.items() if tensor.is_floating_point())
    tensors[name].view(-1)[0] = float("nan")
    with safe_open(folder / "state.safetensors", "pt") as file:
        metadata = file.metadata()
    save_file(tensors, folder / "state.safetensors", metadata)
    manifest = read_json(folder / "MANIFEST.json")  # with the SHA-256 of the changed file
    path = folder / "state.safetensors"
    manifest["files"][path.name] = {"bytes": path.stat().st_size, "sha256": sha256(path)}
    write_json(folder / "MANIFEST.json", manifest)
    with pytest.raises(InputError, match=rf"checkpoints/8/state.*NaN or infinity in {name}"):
        runner()


def test_a_run_that_starts_again_removes_later_checkpoints(tmp_path: Path, small_npz: Path) -> None:
    uninterrupted, runner = (
        SmallRun(small_npz, tmp_path / "whole"),
        SmallRun(small_npz, tmp_path / "again"),
    )
    uninterrupted()
    assert runner(until=9) is None
    assert runner(until=2, from_step=0) is None
    assert saved_steps(runner.run_folder.checkpoints) == [1, 2]
    runner()
    assert outcome(runner.run_folder.path) == outcome(uninterrupted.run_folder.path)
    with pytest.raises(InputError, match="no checkpoint of step 5"):
        SmallRun(small_npz, tmp_path / "other")(from_step=5)
