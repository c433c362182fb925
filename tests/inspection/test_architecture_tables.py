"""`inspect table` computes the architecture tables of the sources from the model configs."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from resnetlab.inspection.architecture_tables import architecture_table

Call = Callable[..., tuple[int, str, str]]

TABLE_1 = {  # the depth report's, as printed
    "16 to 16": (None, 1, 1, 3, 6),
    "16 to 32": (1, 1, 1, 1, 1),
    "32 to 32": (None, 1, 1, 3, 5),
    "32 to 64": (1, 1, 1, 1, 1),
    "64 to 64": (None, None, 1, 5, 5),
    "64 to 128": (1, 1, 1, 1, 1),
    "128 to 128": (None, 1, 1, 2, 5),
}


def test_table_1_of_the_depth_report_is_built_from_the_model_configs() -> None:
    depths = ("8", "14", "18", "34", "50")
    rows = {
        row["blocks"]: tuple(row[depth] for depth in depths)
        for row in architecture_table("depth-report")
    }
    assert {name: rows[name] for name in TABLE_1} == TABLE_1
    assert list(rows)[:7] == list(TABLE_1)
    assert rows["weighted layers"] == (8, 14, 16, 34, 50)


SLIDES = {  # the slides' table, as printed
    "conv1": ("112x112", ["7x7, 64, stride 2"] * 5),
    "max pool": ("56x56", ["3x3, stride 2"] * 5),
    "conv2_x": (
        "56x56",
        [
            "[3x3, 64; 3x3, 64] x 2",
            "[3x3, 64; 3x3, 64] x 3",
            *["[1x1, 64; 3x3, 64; 1x1, 256] x 3"] * 3,
        ],
    ),
    "conv3_x": (
        "28x28",
        [
            "[3x3, 128; 3x3, 128] x 2",
            "[3x3, 128; 3x3, 128] x 4",
            *[f"[1x1, 128; 3x3, 128; 1x1, 512] x {blocks}" for blocks in (4, 4, 8)],
        ],
    ),
    "conv4_x": (
        "14x14",
        [
            "[3x3, 256; 3x3, 256] x 2",
            "[3x3, 256; 3x3, 256] x 6",
            *[f"[1x1, 256; 3x3, 256; 1x1, 1024] x {blocks}" for blocks in (6, 23, 36)],
        ],
    ),
    "conv5_x": (
        "7x7",
        [
            "[3x3, 512; 3x3, 512] x 2",
            "[3x3, 512; 3x3, 512] x 3",
            *["[1x1, 512; 3x3, 512; 1x1, 2048] x 3"] * 3,
        ],
    ),
    "slides' FLOPs": ("", [f"{flops} x 10^9" for flops in (1.8, 3.6, 3.8, 7.6, 11.3)]),
}


def test_the_network_table_of_the_slides_is_built_from_the_model_configs(call: Call) -> None:
    names = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
    rows = {row["layer"]: row for row in architecture_table("imagenet")}
    table = {
        layer: (rows[layer]["output"], [rows[layer][name] for name in names]) for layer in SLIDES
    }
    assert table == SLIDES
    lines = call("table", "imagenet")[1].splitlines()
    (first,) = [number for number, line in enumerate(lines) if line.startswith("conv5_x")]
    assert lines[first].split("  ")[-1].strip() == "[1x1, 512"
    assert [line[-14:].strip() for line in lines[first + 1 : first + 3]] == [
        "3x3, 512",
        "1x1, 2048] x 3",
    ]


def test_the_option_data_adds_parameters_per_training_image(call: Call, small_npz: Path) -> None:
    code, out, _ = call("table", "depth-report", "--data", str(small_npz), "--csv")
    rows = {row["blocks"]: row for row in csv.DictReader(out.splitlines())}
    assert code == 0
    images = float(rows["parameters, plain"]["8"]) / float(
        rows["parameters per training image, plain"]["8"]
    )
    assert images == pytest.approx(120)  # no validation split
    assert "weighted layers" in call("table", "depth-report")[1]


def test_an_unknown_family_is_refused_with_the_nearest_name(call: Call) -> None:
    code, out, err = call("table", "depth-repot")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert 'did you mean "depth-report"?' in err
