"""A changed byte in a file of a finished run or of a report is refused with the file name wherever
the file is read.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import resnetlab as rl
from resnetlab.analysis import data_files
from resnetlab.checksums import CHECKSUMS
from resnetlab.cli.main import main
from resnetlab.deploy.results import ModelEvaluation
from resnetlab.errors import InputError
from resnetlab.inspection.diagnostics_records import BlockAblations
from resnetlab.model_folder.model_file import License
from resnetlab.reports import evaluation
from resnetlab.runs.damage import RunCheck, check_run
from resnetlab.runs.load import open_run
from resnetlab.runs.run_folder import RunFolder
from resnetlab.stats.proportion import proportion
from resnetlab.studies.compare import compare

SETTINGS = ("recipe.epochs=2", "recipe.batch_size=16", "numerics.precision=fp32")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, study_text: str) -> Path:
    """Return the output folder of a finished study with a report."""
    root = tmp_path_factory.mktemp("study")
    (root / "small.toml").write_text(study_text)
    loaded = rl.load_study(root / "small.toml", seeds=1, settings=["recipe.epochs=1"])
    loaded.run(root, workers=1)
    return root


@pytest.fixture
def run(study: Path, tmp_path: Path) -> Path:
    source = sorted((study / "runs").iterdir())[0]
    shutil.copytree(source, tmp_path / "runs" / source.name)
    return tmp_path / "runs" / source.name


def flip(path: Path, old: bytes = b"0", new: bytes = b"1") -> None:
    """Change one byte; the last digit 0 of a file becomes 1, and the file is still valid."""
    head, match, tail = path.read_bytes().rpartition(old)
    assert match, path
    path.write_bytes(head + new + tail)


@pytest.mark.parametrize("name", ["metrics.jsonl", "provenance.jsonl", "result.json", "run.json"])
def test_a_flipped_byte_of_a_finished_run_is_refused_by_name(name: str, run: Path) -> None:
    flip(run / name)
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        RunFolder(run).record()
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        compare(str(run), str(run))
    assert any(damage.path == str(run / name) for damage in check_run(run).damage)


def test_flipped_weights_and_logits_are_refused_before_a_block_ablation(
    run: Path, small_npz: Path
) -> None:
    logits = run / "logits-test.safetensors"
    logits.write_bytes(logits.read_bytes()[:-1] + b"\x55")
    with pytest.raises(InputError, match=r"logits-test\.safetensors: differs from its SHA"):
        RunFolder(run).read_test_probabilities()
    weights = run / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x55")
    with pytest.raises(InputError, match=r"weights\.safetensors: differs from its SHA"):
        open_run(run, str(small_npz))
    damaged = {Path(damage.path).name for damage in check_run(run).damage}
    assert damaged == {"weights.safetensors", "logits-test.safetensors"}


def test_additions_of_resnetlab_to_a_finished_run_renew_its_checksum(run: Path) -> None:
    run_folder = RunFolder(run)
    run_folder.log_event({"event": "note"})
    run_folder.measurements.save_block_ablation(BlockAblations(images=60, blocks=()))
    assert check_run(run).damage == ()
    assert run_folder.record() is not None
    flip(run / "provenance.jsonl")
    run_folder.log_event({"event": "note"})  # a change from outside stays one
    with pytest.raises(InputError, match=r"provenance\.jsonl"):
        run_folder.record()


def test_a_run_without_checksums_is_read_and_reported_in_a_note(run: Path) -> None:
    (run / CHECKSUMS).unlink()
    flip(run / "provenance.jsonl")
    assert RunFolder(run).record() is not None
    checked = check_run(run)
    assert checked.damage == ()
    assert CHECKSUMS in checked.note


@pytest.mark.parametrize("name", ["report.json", "results.csv", "curves.csv"])
@pytest.mark.parametrize("new", [b"1", b"\xff", b"\0"])
def test_a_flipped_byte_of_a_report_is_reported_in_one_line(
    name: str, new: bytes, study: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "report"
    shutil.copytree(next((study / "studies").iterdir()), folder)
    data_files.load_study_data(folder)
    flip(folder / name, new=new)
    with pytest.raises(InputError) as caught:
        data_files.load_study_data(folder)
    assert str(caught.value).startswith(f"{folder / name}: differs from its SHA-256 in {CHECKSUMS}")
    assert f"remove {CHECKSUMS} beside it" in str(caught.value)
    (folder / CHECKSUMS).unlink()  # an old report: what is not valid is still one line
    if new == b"\xff":
        with pytest.raises(InputError, match=name.replace(".", r"\.")):
            data_files.load_study_data(folder)


def test_a_changed_curve_is_detected_before_a_run_is_resumed(
    small_npz: Path, tmp_path: Path
) -> None:
    calls = iter(range(1000))
    with pytest.raises(rl.UnfinishedError):
        rl.train(
            "cifar-resnet8",
            str(small_npz),
            settings=SETTINGS,
            output=tmp_path,
            should_stop=lambda: next(calls) > 12,
        )
    (run,) = (tmp_path / "runs").iterdir()
    assert list((run / "checkpoints").glob("*/MANIFEST.json"))
    content = (run / "metrics.jsonl").read_bytes()
    restore: Callable[[], int] = lambda: (run / "metrics.jsonl").write_bytes(content)  # noqa: E731
    for old, new in ((b"epoch", b"epocj"), (b"0", b"1")):
        flip(run / "metrics.jsonl", old, new)
        with pytest.raises(InputError, match=r"metrics\.jsonl: changed since the ch"):
            rl.resume(run)
        restore()
    assert rl.resume(run).result is not None


def test_doctor_reports_a_changed_table_of_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "scores"
    result = ModelEvaluation(
        model="pets",
        model_sha256="",
        license=License(),
        tta="none",
        data="photos",
        split="test",
        top1=proportion(30, 40),
        top5=proportion(40, 40),
        balanced_accuracy_pct=50.0,
        macro_f1_pct=50.0,
        weighted_f1_pct=50.0,
        loss_nats=0.5,
        ece_pct=1.0,
        outputs=2,
        classes=(),
        bins=(),
        confusions=(),
        mistakes=(),
    )
    evaluation.write_evaluation_page(result, {}, folder)
    assert check_run(folder) == RunCheck(str(folder), "report", ())
    flip(folder / "evaluation.json", b"40", b"41")
    (damage,) = check_run(folder).damage
    assert damage.path == str(folder / "evaluation.json")
    monkeypatch.setattr("sys.argv", ["resnetlab", "doctor", str(folder)])
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == 5
    assert "evaluation.json: differs from its SHA-256 in checksums.json" in capsys.readouterr().out
