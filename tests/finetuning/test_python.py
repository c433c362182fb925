"""The Python functions for photographs have the results of the commands."""

from __future__ import annotations

import json
from pathlib import Path

import resnetlab as rl


def test_a_network_is_fine_tuned_and_its_page_is_written(
    photos: Path, backbone: Path, tmp_path: Path
) -> None:
    finetuned = rl.finetune(
        photos,
        model=str(backbone),
        recipe="probe",
        train_size=24,
        epochs=1,
        time_limit_seconds=None,
        output=tmp_path,
        progress=False,
    )
    assert (finetuned.report_folder / "report.html").exists()
    assert len(repr(finetuned)) < 500
    assert str(finetuned.model_folder) in finetuned._repr_html_()  # type: ignore[attr-defined]
    result = rl.evaluate(rl.load_model(finetuned.model_folder), str(photos), cache=tmp_path)
    assert result.top1.pct == finetuned.result.test.accuracy_pct
    assert len(repr(result)) < 400


def test_photographs_in_subfolders_are_used_by_a_choice_for_the_folder(
    photos: Path, backbone: Path, tmp_path: Path
) -> None:
    for path in sorted(photos.rglob("*.*"))[::2]:
        (path.parent / "more").mkdir(exist_ok=True)
        path.rename(path.parent / "more" / path.name)
    finetuned = rl.finetune(
        photos,
        model=str(backbone),
        recipe="probe",
        train_size=24,
        epochs=1,
        time_limit_seconds=None,
        folder_choices=rl.FolderChoices(nested=True),
        output=tmp_path,
        progress=False,
    )
    assert finetuned.result.test.images == 3 * 6


def test_the_sizes_are_compared_in_a_table(photos: Path, backbone: Path, tmp_path: Path) -> None:
    comparison = rl.fixres(
        photos,
        (16,),
        (16, 24),
        model=str(backbone),
        epochs=1,
        output=tmp_path,
        progress=False,
    )
    table = json.loads((comparison.report.parent / "fixres.json").read_text(encoding="utf-8"))
    assert [(row["train_size"], row["test_size"]) for row in comparison.table()] == [
        (cell["train_size"], cell["test_size"]) for cell in table["cells"]
    ]
    assert [row["stage_one_test_pct"] for row in comparison.table()] == [
        cell["stage_one"][1]["accuracy_pct"] for cell in table["cells"]
    ]
    assert comparison.answer in repr(comparison) or comparison.answer[:100] in repr(comparison)


def test_a_folder_is_described_and_its_page_is_written(photos: Path, tmp_path: Path) -> None:
    summary = rl.describe_data(photos, output=tmp_path, out=tmp_path / "page", progress=False)
    assert summary.audit.num_images == 60
    assert list((tmp_path / "page").glob("*.html"))
    assert "60 images of 3 classes" in repr(summary)
