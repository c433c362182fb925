"""The filters and feature maps of the first layer equal the values of the layer, and their picture
is visible.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from resnetlab.api.single_runs import train
from resnetlab.errors import InputError
from resnetlab.inspection.filters import CaptionedImage, filter_rows, first_filters, render_figure
from resnetlab.models.parse import parse_model

Call = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("channels", "kernel", "count"), [(1, 5, 6), (3, 7, 20), (3, 1, 3), (1, 3, 70), (2, 2, 4)]
)
def test_the_maps_equal_the_outputs_of_the_first_convolution_for_every_shape(
    channels: int, kernel: int, count: int
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.BatchNorm2d(channels),
        nn.Conv2d(channels, count, kernel),
        nn.ReLU(),
        nn.Conv2d(count, 2, 1),
    )
    images = torch.randn(2, channels, 12, 9)
    maps = first_filters(model, images, "net")
    with torch.no_grad():
        expected = F.conv2d(model[0].eval()(images), model[1].weight, model[1].bias)
    assert model.training
    assert maps.layer == "1"
    torch.testing.assert_close(maps.responses, expected)
    table = filter_rows(maps)
    assert [row["filter"] for row in table] == list(range(1, count + 1))
    assert table[1]["response_sd"] == pytest.approx(float(expected[:, 1].std()))
    assert table[2]["positive_pct"] == pytest.approx(
        100 * float((expected[:, 2] > 0).float().mean())
    )
    pixels = np.zeros((12, 9, channels if channels == 3 else 1), np.uint8)
    drawn = Image.open(
        io.BytesIO(
            render_figure(
                maps,
                [CaptionedImage(pixels, "image 0"), CaptionedImage(pixels, "image 1")],
                "a run",
            )
        )
    )
    assert drawn.format == "PNG"
    assert drawn.width > 300
    assert len(set(drawn.convert("L").tobytes())) > 8  # something is drawn


def test_a_network_without_a_convolution_is_reported() -> None:
    with pytest.raises(InputError, match="its network has no convolution"):
        first_filters(nn.Flatten(), torch.zeros(1, 3, 4, 4), "runs/x")


def test_inspect_filters_draws_the_filters_of_a_run(
    call: Call, small_npz: Path, tmp_path: Path
) -> None:
    table = parse_model({"depth": 8, "widths": [4, 4, 8]}, "test")
    record = train(table, str(small_npz), "digits", settings=["recipe.epochs=1"], output=tmp_path)
    folder = tmp_path / "runs" / record.id
    code, out, err = call(
        "filters", str(folder), "--images", "0,4", "--out", str(tmp_path / "seen"), "--json"
    )
    assert code == 0
    result = json.loads(out)["rows"]
    assert len(result) == 4
    path = tmp_path / "seen" / f"{record.id}-filters.png"
    assert err.endswith(f"wrote {path}\n")
    before = path.read_bytes()
    assert Image.open(io.BytesIO(before)).format == "PNG"
    call("filters", str(folder), "--images", "0,4", "--out", str(tmp_path / "seen"))
    assert path.read_bytes() == before
    for images, message in (("0,999", "the test split has"), ("first", "not a list of numbers")):
        code, out, err = call("filters", str(folder), "--images", images)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert message in err
