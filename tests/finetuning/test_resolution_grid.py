"""The table of train and test sizes is complete, is chosen by validation, and names the cells that
ran out of memory or were not run.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageColor

from helpers.texture_photographs import texture
from resnetlab.cli.main import main
from resnetlab.data.transforms.eval_transform import EvalTransform
from resnetlab.errors import InputError
from resnetlab.files import read_json
from resnetlab.finetuning import apparent_size, resolution_grid
from resnetlab.finetuning.apparent_size import apparent_sizes, draw_crops, median_crop_side
from resnetlab.finetuning.dataset import PhotoSplit
from resnetlab.finetuning.evaluation import predict_from_features
from resnetlab.finetuning.finetune_photos import fixres
from resnetlab.finetuning.network.model import FinetuneModel, PartitionedModel
from resnetlab.finetuning.request import FinetuneRequest
from resnetlab.finetuning.results import ResolutionTable
from resnetlab.finetuning.stage import train_stage
from resnetlab.finetuning.stage.train_stage import EpochResult, StageResult
from resnetlab.model_folder.store import load_model_folder
from resnetlab.models.photo_predictions import SplitPredictions
from resnetlab.recipes.finetune import Stage
from resnetlab.reports.fixres import build_page, rebuild, write_resolution_page
from resnetlab.schema import decode
from resnetlab.training.memory import Peak


def request(photos: Path, backbone: Path, **more: object) -> FinetuneRequest:
    settings = {"recipe": "fixres", "epochs": 1} | more
    return FinetuneRequest(
        folder=photos, model=str(backbone), output=photos.parent / "out", **settings
    )  # type: ignore[arg-type]


def swept(requested: FinetuneRequest, **more: object) -> tuple[ResolutionTable, Path]:
    """Return the whole table of 16 and 24 by 16, 24 and 32."""
    return list(
        fixres(requested, (16, 24), (16, 24, 32), command="resnetlab fixres stripes", **more)
    )[-1]  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def table(fitting: Path) -> tuple[ResolutionTable, Path]:
    """Return the whole table and the folder of its report."""
    return swept(request(fitting / "stripes", fitting / "tiny.toml"))


def test_every_cell_has_both_stages_and_the_best_one_by_validation_becomes_the_model(
    table: tuple[ResolutionTable, Path],
) -> None:
    measured, report = table
    assert [(cell.train_size, cell.test_size) for cell in measured.cells] == [
        (16, 16),
        (16, 24),
        (16, 32),
        (24, 16),
        (24, 24),
        (24, 32),
    ]
    sizes: dict[tuple[float, float], tuple[int, int]] = {}
    for cell in measured.cells:
        assert cell.status == "done"
        assert cell.stage_one is not None
        assert cell.stage_two is not None
        assert cell.paired is not None
        assert (
            cell.paired.only_this - cell.paired.only_baseline
            == cell.stage_two[1].correct - cell.stage_one[1].correct
        )
        for pair in (cell.stage_one, cell.stage_two):
            assert (pair[0].images, pair[1].images) == (12, 18)
            sizes.setdefault(
                (pair[0].accuracy_pct, -pair[0].loss_nats), (cell.train_size, cell.test_size)
            )
    assert measured.best == sizes[max(sizes)]
    loaded_model = load_model_folder(report.parents[1] / "models" / report.name)
    assert loaded_model.file.eval_transform.size == measured.best[1]  # type: ignore[index]
    bytes_of_weights = sum(weight.nbytes for weight in loaded_model.module.parameters())
    assert min(cell.peak_bytes for cell in measured.cells) > bytes_of_weights
    assert [row.status for row in measured.rows] == ["done", "done"]


def test_a_row_does_not_depend_on_the_rows_before_it(
    table: tuple[ResolutionTable, Path], photos: Path, backbone: Path
) -> None:
    """Shared rows of the frozen part are those that each train size would have computed."""
    together, _ = table
    alone = list(fixres(request(photos, backbone), (24,), (16, 24, 32), command=""))[-1][0]
    for left, right in zip(together.cells[3:], alone.cells, strict=True):
        assert replace(left, seconds=0.0, peak_bytes=0) == replace(right, seconds=0.0, peak_bytes=0)


def test_a_cell_that_runs_out_of_memory_is_a_result_and_the_others_continue(
    photos: Path, backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(
        model: FinetuneModel,
        partitioned: PartitionedModel,
        split: PhotoSplit,
        transform: EvalTransform,
    ) -> SplitPredictions:
        if transform.size == 32:
            raise RuntimeError(
                "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
            )
        return predict_from_features(model, partitioned, split, transform)

    planted = itertools.count(10)

    @contextmanager
    def planted_peak(_: torch.device) -> Iterator[Peak]:
        peak = Peak()
        yield peak
        peak.bytes = next(planted)

    monkeypatch.setattr(resolution_grid, "predict_from_features", short)
    monkeypatch.setattr(resolution_grid, "peak_memory", planted_peak)
    measured, report = swept(request(photos, backbone))
    assert [cell.status for cell in measured.cells] == ["done", "done", "out of memory"] * 2
    # Each row is measured before its cells.
    assert [cell.peak_bytes for cell in measured.cells] == [11, 12, 13, 15, 16, 17]
    write_resolution_page(measured, report)
    text = (report / "report.md").read_text()
    assert "| 16 → 32 | out of memory |" in text
    monkeypatch.setattr(
        resolution_grid,
        "train_stage",
        lambda *_, **__: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA")),
    )
    measured, report = swept(request(photos, backbone, seed=1, name="second"))
    assert {cell.status for cell in measured.cells} == {"out of memory"}
    assert measured.best is None
    assert "No cell has been measured." in build_page(measured).answer


def test_cells_after_a_stop_are_not_evaluated(photos: Path, backbone: Path) -> None:
    seen: list[ResolutionTable] = []
    for measured, _ in fixres(
        request(photos, backbone),
        (16, 24),
        (16, 24),
        command="",
        should_stop=lambda: len(seen) >= 3,
    ):
        seen.append(measured)
    assert [cell.status for cell in seen[-1].cells] == [
        "done",
        "done",
        "not evaluated",
        "not evaluated",
    ]


@pytest.mark.parametrize("stage_name", ["stage one", "stage two"])
def test_a_stage_that_is_stopped_between_its_epochs_is_not_reported_as_done(
    photos: Path, backbone: Path, monkeypatch: pytest.MonkeyPatch, stage_name: str
) -> None:
    """The stop comes after the first of three epochs, and no further epoch is trained."""
    epochs = list[str]()
    original = train_stage._epoch_result

    def count_epochs(*arguments: Any) -> EpochResult:
        epochs.append(running[-1])
        return original(*arguments)

    running = list[str]()

    def train(model: FinetuneModel, stage: Stage, *rest: Any, **more: Any) -> StageResult:
        running.append(stage.name)
        return train_stage.train_stage(model, stage, *rest, **more)

    monkeypatch.setattr(train_stage, "_epoch_result", count_epochs)
    monkeypatch.setattr(resolution_grid, "train_stage", train)
    (*_, last) = fixres(
        request(photos, backbone, epochs=3),
        (16,),
        (16, 24),
        command="",
        should_stop=lambda: stage_name in epochs,
    )
    (row,), cells = last[0].rows, last[0].cells
    assert epochs.count(stage_name) == 1
    assert row.status == ("not evaluated" if stage_name == "stage one" else "done")
    assert [cell.status for cell in cells] == ["not evaluated", "not evaluated"]
    assert last[0].best is None


def test_a_recipe_may_consist_of_the_first_stage_only(photos: Path, backbone: Path) -> None:
    measured, _ = swept(request(photos, backbone, recipe="proof-of-concept"))
    assert all(cell.stage_two is None and cell.stage_one is not None for cell in measured.cells)
    assert measured.trainable_parameters == 12 * 3 + 3
    recipe = photos.parent / "three.toml"
    recipe.write_text(
        "".join(f'[[stages]]\nname = "{name}"\nrecipe = {{ epochs = 1 }}\n' for name in "xyz")
    )
    with pytest.raises(InputError, match="--recipe fixres, or --recipe proof-of-concept"):
        swept(request(photos, backbone, recipe=str(recipe)))


def test_the_report_is_rebuilt_byte_for_byte_and_contains_the_numbers_of_the_table(
    table: tuple[ResolutionTable, Path], tmp_path: Path
) -> None:
    measured, report = table[0], tmp_path / "report"
    write_resolution_page(measured, report)
    rebuild(report, tmp_path / "again")
    names = sorted(path.relative_to(report) for path in report.rglob("*") if path.is_file())
    assert [str(name) for name in names] == [
        "cells.csv",
        "checksums.json",
        "figures/cost.svg",
        "figures/heat.svg",
        "figures/sizes.svg",
        "fixres.json",
        "report.html",
        "report.md",
    ]
    for name in names:
        assert (tmp_path / "again" / name).read_bytes() == (report / name).read_bytes(), name
    with (report / "cells.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row, cell in zip(rows, measured.cells, strict=True):
        assert cell.stage_two is not None
        assert float(row["two_test_pct"]) == cell.stage_two[1].accuracy_pct
        assert f"{cell.stage_two[1].accuracy_pct:.1f} %" in (report / "report.md").read_text()
    html = (report / "report.html").read_text()
    assert "peak memory" not in html  # cells share features, so none has a cost of its own
    assert not {"seconds", "peak_bytes"} & set(rows[0])
    assert "One seed: the intervals are over the 18 test images" in html
    assert "<img" not in html


def test_pairs_that_share_the_highest_validation_accuracy_are_counted() -> None:
    """Several entries of the committed table reach the highest accuracy on few images."""
    results = Path(__file__).parents[2] / "results" / "fixres-table"
    table: ResolutionTable = decode(
        ResolutionTable, read_json(results / "fixres.json"), str(results)
    )
    values = [
        pair[0].accuracy_pct
        for cell in table.cells
        for pair in (cell.stage_one, cell.stage_two)
        if pair
    ]
    tied = values.count(max(values))
    assert tied > 1
    start = f"{tied} entries of the table share the highest validation accuracy, 95.0 % of 120"
    assert build_page(table).answer.startswith(start)
    single = replace(table, cells=tuple(cell for cell in table.cells if cell.train_size == 224))
    assert build_page(single).answer.startswith("The pair with the highest validation accuracy is ")


def test_objects_appear_larger_in_training_by_the_ratio_of_their_scales() -> None:
    """Touvron et al. 2019, sec. 3: about 1.3 at equal sizes, for crops of half an image's side on
    average.
    """
    at_equal = apparent_sizes(500, 375, 224, 224).ratio
    assert 1.1 < at_equal < 1.5
    assert apparent_sizes(500, 375, 224, 448).ratio == pytest.approx(at_equal / 2, rel=1e-9)
    assert apparent_sizes(500, 375, 112, 224).ratio == pytest.approx(at_equal / 2, rel=1e-9)


def test_the_apparent_size_of_an_object_equals_the_drawn_size(tmp_path: Path) -> None:
    """A white square on black is as wide in the drawn crops as the sentence says."""
    photo = Image.new("RGB", (500, 375))
    photo.paste((255, 255, 255), (203, 140, 297, 234))  # 94 pixels, a quarter of 375
    photo.save(tmp_path / "square.png")
    sizes = draw_crops(tmp_path / "square.png", 224, (224, 288), tmp_path / "crops.png")
    assert [size.object_size for size in sizes] == [94, 94]
    assert sizes[0].test_pixels == pytest.approx(94 * 256 / 375)
    assert sizes[1].test_pixels == pytest.approx(94 * 329 / 375)
    assert sizes[0].train_pixels == pytest.approx(94 * 224 / median_crop_side(500, 375))
    crops = [apparent_size.median_train_crop(photo, 224)]
    crops += [apparent_size.evaluation_crop(photo, size) for size in (224, 288)]
    expected = [sizes[0].train_pixels, *(size.test_pixels for size in sizes)]
    for crop, pixels in zip(crops, expected, strict=True):
        white = np.asarray(crop.convert("L"))[crop.height // 2] > 127
        assert abs(white.sum() - pixels) < 1.5
    sheet = Image.open(tmp_path / "crops.png")
    assert sheet.width > 440 + 224 + 224 + 288  # the photograph and its three crops
    colors = {ImageColor.getrgb(name) for name in apparent_size.COLORS}
    assert colors <= {color for _, color in sheet.getcolors(2**24)}
    assert f"has {sizes[0].train_pixels:.0f} in the median of 1,000 train crops" in sizes[0].text
    assert f"and {sizes[1].test_pixels:.0f} in the test crop" in sizes[1].text


@pytest.mark.usefixtures("backbone")
def test_the_command_writes_the_table_and_the_picture_and_refuses_invalid_sizes(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(photos.parent)

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["resnetlab", "fixres", "stripes", *words])
        with pytest.raises(SystemExit) as done:
            main()
        return int(done.value.code or 0), *capfd.readouterr()

    code, out, err = call(
        "--model", "tiny.toml", "--train-sizes", "16", "--test-sizes", "16,24", "--epochs", "1"
    )
    assert code == 0, err
    assert re.match(
        r"The pair with the highest validation accuracy is train 16, test |"
        r"\d entries of the table share the highest validation accuracy, ",
        out,
    )
    assert (photos.parent / "reports" / "stripes-tiny-fixres" / "report.html").is_file()
    texture("plain", 1, 300, 200).save(photos.parent / "one.png")
    code, out, err = call("--preview", "one.png", "--train-sizes", "64", "--test-sizes", "64")
    assert code == 0, err
    assert out.count("times as large in training as in evaluation") == 1
    code, out, err = call("--preview", "one.png", "--train-sizes", "64", "--test-sizes", "96")
    assert code == 0, err
    assert out.count("times as large in training as in evaluation") == 2  # at the train size too
    assert len(list((photos.parent / "reports").glob("*-crops-*.png"))) == 2
    for bad in ("128,", "7", "16,16", "a"):
        code, _, err = call("--train-sizes", bad)
        assert code == 2
        assert "--train-sizes: not distinct sizes from 8 to 4096" in err
