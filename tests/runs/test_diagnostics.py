"""Requested measurements of a run have complete files, also after a stop, and do not change
training.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import resnetlab as rl
from helpers.small_run import SmallRun
from resnetlab.errors import InputError
from resnetlab.inspection.block_ablation import ablate_blocks
from resnetlab.runs.damage import check_run
from resnetlab.training.distributed import World

pytestmark = pytest.mark.usefixtures("tick_after_every_step")
LANDSCAPE = rl.LandscapeConfig(planes=2, points=5, images=8)
ALL = rl.DiagnosticsConfig(
    gradient_norms=(0, 1, 3), ablate_blocks=True, ablate_sets=True, loss_landscape=LANDSCAPE
)


class Run(SmallRun):
    """A small residual network with dropout, under a root of its own."""

    def __init__(
        self, data: Path, root: Path, diagnostics: rl.DiagnosticsConfig = ALL, *settings: str
    ) -> None:
        super().__init__(data, root, *settings, diagnostics=diagnostics)

    def measured(self) -> dict[str, bytes]:
        return {
            path.name: path.read_bytes()
            for path in (self.run_folder.path / "diagnostics").glob("*")
        }


@pytest.mark.parametrize(
    "settings",
    [
        (),
        (
            "recipe.ema=0.9",
            "recipe.select=best",
            "data.validation=0.2",
            "numerics.precision=bf16-emulated",
        ),
    ],
)
def test_diagnostics_do_not_change_the_bits_or_the_id_of_a_run(
    tmp_path: Path, small_npz: Path, settings: tuple[str, ...]
) -> None:
    watched = Run(small_npz, tmp_path / "watched", ALL, *settings)
    alone = Run(small_npz, tmp_path / "alone", rl.DiagnosticsConfig(), *settings)
    results = [run() for run in (watched, alone)]
    assert watched.run_folder.path.name == alone.run_folder.path.name
    assert results[0]
    assert results[1]
    assert results[0].weights_sha256 == results[1].weights_sha256
    logits = [
        (run.run_folder.path / "logits-test.safetensors").read_bytes() for run in (watched, alone)
    ]
    assert logits[0] == logits[1]
    assert not alone.measured()
    assert {
        "gradient-norms-0.json",
        "gradient-norms-1.json",
        "gradient-norms-3.json",
        "block-ablation.json",
        "loss-landscape.json",
    } == set(watched.measured())


def test_a_stopped_run_ends_with_the_measurements_of_an_uninterrupted_one(
    tmp_path: Path, small_npz: Path
) -> None:
    uninterrupted = Run(small_npz, tmp_path / "whole")
    uninterrupted()
    steps = uninterrupted.file.run.recipe.steps_per_epoch(uninterrupted.file.train_images)
    for stop in (1, steps - 1, steps, steps + 1):
        broken = Run(small_npz, tmp_path / f"broken-{stop}")
        assert broken(until=stop) is None
        assert ("gradient-norms-1.json" in broken.measured()) == (stop >= steps)
        broken()
        assert broken.measured() == uninterrupted.measured()


def test_a_measurement_out_of_memory_leaves_the_result_of_the_run(
    tmp_path: Path, small_npz: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The measurements of a trained run need memory of their own, and are made later."""

    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("out of memory")

    run = Run(small_npz, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("resnetlab.runs.measure_missing.ablate_blocks", fail)
        result = run()
    assert result
    assert result.status == "trained"
    assert "block-ablation.json" not in run.measured()
    assert "loss-landscape.json" in run.measured()
    lines = (run.run_folder.path / "provenance.jsonl").read_text().splitlines()
    assert "measurement out of memory" in [json.loads(line)["event"] for line in lines]
    assert run() == result
    uninterrupted = Run(small_npz, tmp_path / "whole")
    uninterrupted()
    assert run.measured() == uninterrupted.measured()


def test_a_stop_during_the_measurements_is_no_stop_of_the_finished_run(
    tmp_path: Path, small_npz: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("resnetlab.runs.measure_missing.ablate_blocks", interrupt)
    run = Run(small_npz, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run()
    assert run.run_folder.result() is not None
    lines = (run.run_folder.path / "provenance.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["start"]


def test_no_other_process_waits_for_the_measurements_of_the_main_process(
    tmp_path: Path, small_npz: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process in a broadcast gives up after ten minutes; measurements may need more."""
    order: list[object] = []
    original_broadcast, original_ablation = World.broadcast, ablate_blocks

    def broadcast(world: World, value: object) -> object:
        order.append(value)
        return original_broadcast(world, value)

    def ablate(*arguments: Any) -> Any:
        order.append("ablation")
        return original_ablation(*arguments)

    monkeypatch.setattr(World, "broadcast", broadcast)
    monkeypatch.setattr("resnetlab.runs.measure_missing.ablate_blocks", ablate)
    run = Run(small_npz, tmp_path)
    result = run()
    assert result is not None
    assert order[-2:] == [result, "ablation"]


def test_a_run_that_starts_again_deletes_its_earlier_measurements(
    tmp_path: Path, small_npz: Path
) -> None:
    run = Run(small_npz, tmp_path)
    steps = run.file.run.recipe.steps_per_epoch(run.file.train_images)
    run(until=steps + 1)
    assert len(run.run_folder.measurements.read_gradient_norms()) == 2
    run(until=1, from_step=0)
    assert [norms.epoch for norms in run.run_folder.measurements.read_gradient_norms()] == [0]


def test_a_measurement_has_a_row_for_each_layer_and_block_ablation_starts_with_the_full_model(
    tmp_path: Path, small_npz: Path
) -> None:
    run = Run(small_npz, tmp_path)
    result = run()
    record = run.run_folder.record()
    assert record
    assert result
    assert result.test
    assert [norms.epoch for norms in record.gradient_norms] == [0, 1, 3]
    layers = record.gradient_norms[0].layers
    assert [layer.depth for layer in layers] == list(range(1, 7))
    assert (layers[0].layer, layers[-1].layer) == ("stem", "head")
    assert record.gradient_norms[0].images == 16
    assert layers != record.gradient_norms[1].layers
    assert record.block_ablation
    assert [block.without for block in record.block_ablation.blocks] == [
        "nothing",
        "stages.0.0",
        "stages.1.0",
    ]
    assert record.block_ablation.blocks[0].accuracy_pct == pytest.approx(
        100 - result.test.top1_error_pct
    )
    assert [item.without for item in record.block_ablation.sets] == [(1, 2)]


def test_block_ablation_may_be_requested_after_the_end_without_training_again(
    tmp_path: Path, small_npz: Path
) -> None:
    run = Run(small_npz, tmp_path, rl.DiagnosticsConfig())
    result = run()
    blocks = replace(run.file, diagnostics=rl.DiagnosticsConfig(ablate_blocks=True))
    requested = replace(run.file, diagnostics=rl.DiagnosticsConfig(ablate_sets=True))
    assert run.run_folder.needs_work(blocks)
    assert not run.run_folder.needs_work(run.file)
    before = (run.run_folder.path / "metrics.jsonl").read_bytes()
    assert run(file=blocks) == result
    assert not run.run_folder.needs_work(blocks)
    assert run.run_folder.needs_work(requested)
    assert run(file=requested) == result
    assert (run.run_folder.path / "metrics.jsonl").read_bytes() == before
    assert not run.run_folder.needs_work(requested)
    uninterrupted = Run(small_npz, tmp_path / "whole")
    uninterrupted()
    assert run.measured()["block-ablation.json"] == uninterrupted.measured()["block-ablation.json"]


def test_landscapes_are_measured_after_the_end_and_again_if_their_size_changes(
    tmp_path: Path, small_npz: Path
) -> None:
    run = Run(small_npz, tmp_path / "late", rl.DiagnosticsConfig())
    result = run()
    for size in (LANDSCAPE, replace(LANDSCAPE, planes=1)):
        requested = replace(run.file, diagnostics=rl.DiagnosticsConfig(loss_landscape=size))
        assert run.run_folder.needs_work(requested)
        assert run(file=requested) == result
        assert not run.run_folder.needs_work(requested)
        landscape = run.run_folder.measurements.read_loss_landscape()
        assert landscape
        assert landscape.fulfills(size, run.file.train_images)
    assert run.run_folder.record()  # its checksums are right
    uninterrupted = Run(small_npz, tmp_path / "whole")
    uninterrupted()
    measured = uninterrupted.run_folder.measurements.read_loss_landscape()
    assert measured
    assert measured.planes[0] == landscape.planes[0]


def test_a_study_measures_the_landscapes_of_its_first_seeds(
    tmp_path: Path, study_text: str
) -> None:
    table = "{ planes = 2, points = 5, images = 8, seeds = 1 }"
    file = _written(tmp_path / "s.toml", f"{study_text}\n[diagnostics]\nloss_landscape = {table}\n")
    outcome = rl.load_study(file).run(tmp_path)
    for study_run in outcome.record.runs:
        assert study_run.record
        assert (study_run.record.loss_landscape is not None) == (study_run.planned.seed == 0)
    plain = rl.load_study(_written(tmp_path / "p.toml", study_text)).plan(tmp_path)
    assert [study_run.planned.id for study_run in outcome.record.runs] == [
        run.id for run in plain.runs
    ]
    with pytest.raises(InputError, match=r"diagnostics.loss_landscape.points: not an odd number"):
        rl.load_study(
            _written(
                tmp_path / "bad.toml",
                f"{study_text}\n[diagnostics]\nloss_landscape = {{ points = 8 }}\n",
            )
        )


def test_diagnostics_requested_for_an_unfinished_run_are_stored_for_its_resumption(
    tmp_path: Path, small_npz: Path
) -> None:
    run = Run(small_npz, tmp_path, rl.DiagnosticsConfig())
    run(until=2)
    run(until=3, file=replace(run.file, diagnostics=ALL))
    assert run.run_folder.file().diagnostics == ALL


def test_a_study_file_requests_diagnostics_and_mistakes_in_it_are_reported(
    tmp_path: Path, study_text: str
) -> None:
    file = tmp_path / "s.toml"
    file.write_text(study_text + "\n[diagnostics]\ngradient_norms = [0, 1]\nablate_blocks = true\n")
    outcome = rl.load_study(file).run(tmp_path)
    plain = rl.load_study(_written(tmp_path / "p.toml", study_text)).plan(tmp_path)
    assert [study_run.planned.id for study_run in outcome.record.runs] == [
        run.id for run in plain.runs
    ]
    for study_run in outcome.record.runs:
        assert study_run.record
        assert [norms.epoch for norms in study_run.record.gradient_norms] == [0, 1]
        assert study_run.record.block_ablation
    for message, line in (
        (
            "gradient_norms = [0, 99]",
            "diagnostics.gradient_norms: after the last epoch (got 99). Fix: epochs from 0",
        ),
        ("gradient_norms = [1, 1]", "diagnostics.gradient_norms: an epoch is given twice"),
        ("drop_block = true", "diagnostics.drop_block: unknown field"),
    ):
        with pytest.raises(InputError, match=line.replace("(", r"\(").replace(")", r"\)")):
            rl.load_study(
                _written(tmp_path / "bad.toml", f"{study_text}\n[diagnostics]\n{message}\n")
            )


def test_train_accepts_options_for_gradient_epochs_and_blocks(
    tmp_path: Path,
    small_npz: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out, _ = _call(
        monkeypatch,
        capsys,
        "train",
        "cifar-resnet8",
        "--data",
        str(small_npz),
        "--recipe",
        "digits",
        "--epochs",
        "1",
        "--gradient-norms",
        "0,1",
        "--ablate-blocks",
        "--output",
        str(tmp_path),
    )
    assert code == 0
    run = Path(out.rpartition("Run: ")[2].strip())
    code, out, _ = _call(monkeypatch, capsys, "inspect", "gradients", str(run), "--json")
    rows = json.loads(out)["rows"]
    assert {row["epoch"] for row in rows} == {0, 1}
    code, out, _ = _call(monkeypatch, capsys, "inspect", "block-ablation", str(run), "--json")
    assert json.loads(out)["rows"][0]["without"] == "nothing"
    code, _, err = _call(monkeypatch, capsys, "train", "cifar-resnet8", "--gradient-norms", "one")
    assert (code, err.count("\n")) == (2, 1)


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def _call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, str, str]:
    from resnetlab.cli.main import main

    monkeypatch.setattr("sys.argv", ["resnetlab", *arguments])
    code = 0
    try:
        main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    output = capsys.readouterr()
    return code, output.out, output.err


def test_a_removed_measurement_is_made_again_though_its_bytes_may_differ(
    tmp_path: Path, small_npz: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command `doctor` says so of a damaged file: another machine may measure other digits."""
    run = Run(small_npz, tmp_path)
    run()
    path = run.run_folder.path / "diagnostics" / "block-ablation.json"
    path.write_text("{")
    (damage,) = check_run(run.run_folder.path).damage
    assert damage.fix.startswith("remove ")
    assert "study run measures it again" in damage.fix
    path.unlink()

    def ablate(*arguments: Any) -> Any:
        return replace(ablate_blocks(*arguments), images=59)

    monkeypatch.setattr("resnetlab.runs.measure_missing.ablate_blocks", ablate)
    run()
    assert check_run(run.run_folder.path).damage == ()
    assert run.run_folder.record() is not None
    norms = run.run_folder.path / "diagnostics" / "gradient-norms-1.json"
    norms.write_text("{")
    (damage,) = check_run(run.run_folder.path).damage
    assert "resume" in damage.fix  # they are measured while the run trains
