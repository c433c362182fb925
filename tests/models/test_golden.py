"""Every named network has the cost in the golden tables, as built, by its config, and in papers."""

from __future__ import annotations

import pytest

from helpers.golden import GOLDEN, load_regenerate
from resnetlab.models.model_cost import traced_cost
from resnetlab.models.parse import parse_model
from resnetlab.models.registry import get_model_config, registered_models

ROWS = {
    line.split("\t")[0]: line.split("\t")[1:]
    for line in (GOLDEN / "networks.tsv").read_text().splitlines()[1:]
}


def test_the_golden_table_contains_every_registered_network() -> None:
    assert list(ROWS) == [entry.name for entry in registered_models()]


@pytest.mark.parametrize("entry", registered_models(), ids=lambda entry: entry.name)
def test_the_cost_of_a_config_equals_the_golden_table(entry: object) -> None:
    image, classes, depth, parameters, macs = ROWS[entry.name]  # type: ignore[attr-defined]
    channels, side = int(image.split("x")[0]), int(image.split("x")[1])
    model = get_model_config(entry.name, "", "")  # type: ignore[attr-defined]
    assert model.cost(channels, int(classes), side) == (int(parameters), int(macs))
    assert model.depth == int(depth)


@pytest.mark.parametrize(
    "name",
    [
        "depth-report-resnet18",
        "depth-report-plain50",
        "plain34",
        "resnet18",
        "resnet50",
        "resnext101_32x48d",
        "densenet40-k12",
        "lenet5",
        "alexnet-cifar",
        "vgg16",
        "cifar-resnet20-c",
    ],
)
def test_the_cost_of_the_built_network_equals_the_golden_table(name: str) -> None:
    image, classes, _, parameters, macs = ROWS[name]
    channels, side = int(image.split("x")[0]), int(image.split("x")[1])
    assert traced_cost(get_model_config(name, "", ""), channels, int(classes), side) == (
        int(parameters),
        int(macs),
    )


@pytest.mark.slow
def test_the_golden_tables_equal_the_output_of_their_command() -> None:
    for name, made in load_regenerate().TABLES.items():
        assert made() == (GOLDEN / f"{name}.tsv").read_text().splitlines(), name


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("resnet18", 11_689_512),
        ("resnet34", 21_797_672),
        ("resnet50", 25_557_032),
        ("resnet101", 44_549_160),
        ("resnet152", 60_192_808),
        ("resnext50_32x4d", 25_028_904),
        ("resnext101_32x8d", 88_791_336),
        ("resnext101_32x48d", 828_411_176),
        ("vgg16", 138_357_544),
        ("densenet40-k12", 1_019_722),
        ("alexnet-cifar", 1_191_170),
        ("lenet5", 61_706),
    ],
)
def test_parameter_counts_equal_published_ones(name: str, parameters: int) -> None:
    assert int(ROWS[name][3]) == parameters


@pytest.mark.parametrize(
    ("name", "macs"),
    [
        ("resnet18", 1.8e9),
        ("resnet34", 3.6e9),
        ("resnet50", 3.86e9),
        ("resnet101", 7.57e9),
        ("resnet152", 11.28e9),
    ],
)
def test_multiply_adds_equal_the_slides_with_the_stride_on_the_first_convolution(
    name: str, macs: float
) -> None:
    table = {"name": name, "stride_on": "first"}
    cost = parse_model(table, "").cost(3, 1000, 224)[1]
    assert cost == pytest.approx(macs, rel=0.02 if macs < 3.8e9 else 0.002)


def test_the_layers_of_the_practical_equal_its_question_10() -> None:
    rows = [line.split("\t") for line in (GOLDEN / "layers.tsv").read_text().splitlines()[1:]]
    net = {
        layer: (out, int(w), int(b))
        for title, layer, out, w, b in rows
        if title == "alexnet-cifar 3x32x32"
    }
    assert net == {
        "conv1": ("32x32x32", 5 * 5 * 3 * 32, 32),
        "pool1": ("32x16x16", 0, 0),
        "conv2": ("64x16x16", 5 * 5 * 32 * 64, 64),
        "pool2": ("64x8x8", 0, 0),
        "conv3": ("64x8x8", 5 * 5 * 64 * 64, 64),
        "pool3": ("64x4x4", 0, 0),
        "fc4": ("1000", 1024 * 1000, 1000),
        "fc5": ("10", 10_000, 10),
    }
    assert sum(w + b for _, w, b in net.values()) == 1_191_170
    assert load_regenerate().layers() == (GOLDEN / "layers.tsv").read_text().splitlines()
