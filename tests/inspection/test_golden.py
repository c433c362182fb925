"""The results of `inspect` equal the golden tables and the values of the sources and of torch."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from torch import nn

from helpers.golden import GOLDEN, load_regenerate


@pytest.fixture(scope="module")
def regenerate() -> ModuleType:
    return load_regenerate()


def golden_rows(name: str) -> list[dict[str, str]]:
    head, *lines = [line.split("\t") for line in (GOLDEN / f"{name}.tsv").read_text().splitlines()]
    return [dict(zip(head, line, strict=True)) for line in lines]


@pytest.mark.parametrize("table", ["fields", "families", "windows", "layers"])
def test_the_inspection_functions_reproduce_the_golden_table(
    regenerate: ModuleType, table: str
) -> None:
    assert regenerate.TABLES[table]() == (GOLDEN / f"{table}.tsv").read_text().splitlines()


def test_every_table_in_the_golden_folder_is_written_by_the_command(regenerate: ModuleType) -> None:
    assert {path.stem for path in GOLDEN.glob("*.tsv")} == set(regenerate.TABLES)


@pytest.mark.parametrize(
    "row", golden_rows("windows"), ids=lambda row: "-".join(list(row.values())[:7])
)
def test_the_windows_of_the_golden_table_equal_torch(row: dict[str, str]) -> None:
    names = ("height", "width", "depth", "kernel", "stride", "padding", "filters")
    height, width, depth, kernel, stride, padding, filters = (int(row[name]) for name in names)
    with torch.device("meta"):
        layer = (
            nn.Conv2d(depth, filters, kernel, stride, padding)
            if filters
            else nn.MaxPool2d(kernel, stride, padding)
        )
        out = layer(torch.zeros(1, depth, height, width))
    assert row["output"] == "x".join(map(str, (*out.shape[2:], out.shape[1])))
    assert int(row["weights"]) == sum(p.numel() for p in layer.parameters())


@pytest.mark.parametrize(
    ("network", "layer", "field", "jump"),
    [  # by hand: r = 1 + sum of (k - 1) x the strides before
        ("lenet5", "conv2", 5 + 1 + 4 * 2, 2),
        ("alexnet-cifar", "pool3", 36, 8),
        ("vgg16", "stages.4.2.conv", 196, 16),
        ("cifar-plain20", "stages.2.2.conv2", 3 + 6 * 2 + 2 + 5 * 4 + 4 + 5 * 8, 4),
        ("resnet18", "stages.3.1.add", 435, 32),
        ("resnet50", "stages.3.2.add", 427, 32),
    ],
)
def test_the_receptive_fields_of_the_golden_table_equal_published_ones(
    network: str, layer: str, field: int, jump: int
) -> None:
    row = next(
        row for row in golden_rows("fields") if (row["network"], row["layer"]) == (network, layer)
    )
    assert (row["receptive_field"], row["jump"]) == (str(field), str(jump))


def test_table_1_of_the_depth_report_is_in_the_golden_table() -> None:
    rows = {
        (r["row"], r["column"]): r["value"]
        for r in golden_rows("families")
        if r["family"] == "depth-report"
    }
    depths = ("8", "14", "18", "34", "50")
    printed = {  # blocks a size, as the report has them
        "16 to 16": ("", "1", "1", "3", "6"),
        "32 to 32": ("", "1", "1", "3", "5"),
        "64 to 64": ("", "", "1", "5", "5"),
        "128 to 128": ("", "1", "1", "2", "5"),
        "weighted layers": ("8", "14", "16", "34", "50"),
    }
    assert {name: tuple(rows[name, depth] for depth in depths) for name in printed} == printed
