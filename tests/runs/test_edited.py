"""A run whose run.json was edited is refused by name wherever it is read. A run in two folders is
one run, and a study file is compared with its plan by its content.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import resnetlab as rl
from resnetlab.errors import InputError
from resnetlab.files import read_json, write_json
from resnetlab.inspection.diagnostics_config import DiagnosticsConfig
from resnetlab.runs.damage import check_run
from resnetlab.runs.run_folder import RunFolder
from resnetlab.studies.compare import compare
from resnetlab.studies.single_run import resume_job
from resnetlab.studies.started import find_started

EDITS: dict[str, Callable[[Any], None]] = {
    "lr": lambda run: run["recipe"]["optimizer"].update(lr=0.5),
    "seed": lambda run: run.update(seed=7),
    "threads": lambda run: run["numerics"].update(threads=2),
    "precision": lambda run: run["numerics"].update(precision="bf16"),
    "algorithm_version": lambda run: run.update(algorithm_version=9),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, small_npz: Path) -> Path:
    """Return a study of two finished runs."""
    root = tmp_path_factory.mktemp("trained")
    for seed in (0, 1):
        rl.train(
            "cifar-resnet8",
            str(small_npz),
            seed=seed,
            settings=["recipe.epochs=1", "recipe.batch_size=16", "numerics.precision=fp32"],
            output=root,
        )
    return root


@pytest.mark.parametrize("field", EDITS)
def test_an_edited_run_is_refused_by_name_by_every_reader(
    field: str, trained: Path, tmp_path: Path
) -> None:
    source = sorted((trained / "runs").iterdir())[0]
    folder = tmp_path / "runs" / source.name
    shutil.copytree(source, folder)
    for name in ("result.json", "checksums.json"):  # as if it had been stopped
        (folder / name).unlink()
    table = read_json(folder / "run.json")
    EDITS[field](table["run"])
    write_json(folder / "run.json", table)
    line = f"{folder / 'run.json'}: was edited: its config is not that of the run in the folder's"
    with pytest.raises(InputError, match=line.replace("(", ".")):
        rl.resume(folder)
    with pytest.raises(InputError, match="was edited"):
        RunFolder(folder).record()
    with pytest.raises(InputError, match="was edited"):
        compare(str(folder), str(source))
    assert any("was edited" in damage.message for damage in check_run(folder).damage)


def test_a_plan_that_gives_a_run_the_id_of_another_writes_no_file(
    trained: Path, tmp_path: Path
) -> None:
    first, second = sorted((trained / "runs").iterdir())
    shutil.copytree(first, tmp_path / "runs" / first.name)
    for name in (first.name, second.name.replace("s1", "s2")):
        run_folder = RunFolder.find(tmp_path, name)
        run_folder.path.mkdir(exist_ok=True)
        before = sorted(path.read_bytes() for path in run_folder.path.rglob("*") if path.is_file())
        other = RunFolder(second if name == first.name else first).file()
        with pytest.raises(InputError, match="its config is not that of the run in the folder's"):
            run_folder.write_config(other)
        after = sorted(path.read_bytes() for path in run_folder.path.rglob("*") if path.is_file())
        assert after == before


def test_fields_outside_of_the_identity_may_change(trained: Path, tmp_path: Path) -> None:
    source = sorted((trained / "runs").iterdir())[0]
    folder = tmp_path / "runs" / source.name
    shutil.copytree(source, folder)
    run_folder = RunFolder(folder)
    table = read_json(folder / "run.json")
    table["diagnostics"] = {"ablate_blocks": True}
    write_json(folder / "run.json", table)
    assert run_folder.file().diagnostics == DiagnosticsConfig(ablate_blocks=True)


def test_a_run_of_another_algorithm_version_is_not_continued(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = sorted((trained / "runs").iterdir())[0]
    folder = tmp_path / "runs" / source.name
    shutil.copytree(source, folder)
    monkeypatch.setattr("resnetlab.runs.config.ALGORITHM_VERSION", 5)
    resume_job(folder)  # it is finished, so that nothing is mixed
    (folder / "result.json").unlink()
    with pytest.raises(InputError, match=r"algorithm_version: .*got 1; allowed: 5"):
        resume_job(folder)


def test_a_run_in_two_folders_counts_once(trained: Path, tmp_path: Path) -> None:
    first, second = sorted((trained / "runs").iterdir())
    for folder in (first, second):
        shutil.copytree(folder, tmp_path / folder.name)
    shutil.copytree(first, tmp_path / f"copy-{first.name}")
    comparison = compare(str(tmp_path / "*"), str(second))
    assert len(comparison.a.records) == 2
    (tmp_path / f"copy-{first.name}" / "checksums.json").unlink()
    result = read_json(tmp_path / f"copy-{first.name}" / "result.json")
    result["test"]["top1_error_pct"] = 1.5
    write_json(tmp_path / f"copy-{first.name}" / "result.json", result)
    with pytest.raises(InputError, match=r"is the same run as .* and their results differ"):
        compare(str(tmp_path / "*"), str(second))


def test_a_changed_study_file_is_detected_regardless_of_its_time(
    study_file: Path, tmp_path: Path
) -> None:
    network = tmp_path / "net.toml"
    network.write_text("depth = 8\nwidths = [4, 4, 8]\n")
    text = study_file.read_text().replace(
        "model = { depth = 8, widths = [4, 4, 8] }\n", 'model = "net.toml"\n'
    )
    text = text.partition("[grid]")[0]
    study_file.write_text(text)
    loaded = rl.load_study(study_file)
    plan = loaded.plan(tmp_path)
    loaded.report(plan, tmp_path)
    folder = tmp_path / "studies" / "small"
    assert find_started(str(study_file), tmp_path).plan_folder == folder
    for path, new in ((study_file, text + "# more\n"), (network, "depth = 14\nwidths = [4]\n")):
        old = path.read_text()
        path.write_text(new)
        os.utime(path, (1, 1))
        assert find_started(str(study_file), tmp_path).plan_folder is None
        path.write_text(old)
        assert find_started(str(study_file), tmp_path).plan_folder == folder
