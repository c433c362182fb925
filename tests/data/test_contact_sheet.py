"""A contact sheet has the images of each class in its row."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.pictures import split_tree
from resnetlab.cli.main import main
from resnetlab.data.contact_sheet import SheetRow, class_rows, render_contact_sheet
from resnetlab.data.sources import open_source

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Caller of `resnetlab data` that returns exit code, output and errors."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["resnetlab", "data", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        output = capsys.readouterr()
        return int(ended.value.code or 0), output.out, output.err

    return run


def test_a_row_has_the_first_train_images_of_its_class(small_npz: Path, tmp_path: Path) -> None:
    arrays = np.load(small_npz)
    rows = class_rows(open_source(str(small_npz), cache=tmp_path), 4)
    assert [row.label for row in rows] == ["left", "right", "middle"]
    for label, row in enumerate(rows):
        expected = arrays["x_train"][arrays["y_train"] == label][:4]
        assert np.array_equal(np.stack(row.images)[..., 0], expected)


def test_tiles_are_arranged_in_rows_and_columns_and_a_smaller_one_is_centered() -> None:
    colors = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
    large = {name: np.full((8, 8, 3), color, np.uint8) for name, color in colors.items()}
    gray = np.full((4, 4, 1), 90, np.uint8)
    rows = [
        SheetRow("first", [large["red"], large["green"]]),
        SheetRow("second", [large["blue"], gray]),
    ]
    png = render_contact_sheet(rows, "title")
    assert png == render_contact_sheet(rows, "title")
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    centers, sizes = {}, {}
    for name, color in (colors | {"gray": (90, 90, 90)}).items():
        ys, xs = np.nonzero((pixels == color).all(2))
        centers[name], sizes[name] = (ys.mean(), xs.mean()), len(ys)
    assert centers["red"][0] == pytest.approx(centers["green"][0], abs=2)
    assert centers["red"][1] == pytest.approx(centers["blue"][1], abs=2)
    assert centers["gray"][0] == pytest.approx(centers["blue"][0], abs=2)
    assert centers["gray"][1] == pytest.approx(centers["green"][1], abs=2)
    assert centers["blue"][0] > centers["red"][0]
    assert sizes["gray"] == pytest.approx(sizes["blue"] / 4, rel=0.1)


def test_the_command_draws_an_npz_and_a_folder_and_counts_their_images(
    call: Call, small_npz: Path, tmp_path: Path
) -> None:
    sheet = tmp_path / "pictures" / "sheet.png"
    code, out, err = call("show", str(small_npz), "--out", str(sheet), "--json")
    result = json.loads(out)
    assert code == 0
    assert f"wrote {sheet}" in err
    assert result["rows"][0] == {"class": "left", "train": 40, "test": 20, "shown": 10}
    assert result["notes"] == [
        "bands: 120 train and 60 test images of 8x8x1 in 3 classes, 40 train images of each class."
    ]
    assert sheet.read_bytes().startswith(b"\x89PNG")
    root = split_tree(tmp_path / "pets")
    code, out, _ = call("show", str(root), "--out", str(sheet), "--output", str(tmp_path))
    assert code == 0
    assert "8 train and 4 test images of 64x64x3 in 2 classes" in out


def test_describe_names_the_commands_for_data_that_are_not_a_folder(
    call: Call, small_npz: Path, tmp_path: Path
) -> None:
    code, out, err = call("describe", str(small_npz), "--output", str(tmp_path))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "is a file, not a folder of photographs. Fix: resnetlab data check" in err
    assert f"resnetlab data show {small_npz}" in err
    code, _, err = call("describe", "cifar10", "--output", str(tmp_path))
    assert code == 2
    assert "cifar10: no such folder of photographs" in err
    assert "Not a directory" not in err
