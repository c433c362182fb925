"""The picture of a network shows its layers down a column and every way around them."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from resnetlab.inspection.drawing import draw_network, longest_path
from resnetlab.inspection.layers import trace_layers
from resnetlab.models.parse import parse_model
from resnetlab.models.registry import registered_models

Call = Callable[..., tuple[int, str, str]]


def drawn(name: str) -> Counter[str]:
    """How many marks of each class the picture has: `layer`, `side`, `join`, `shortcut`, `shortcut
    changes`.
    """
    entry = next((entry for entry in registered_models() if entry.name == name), None)
    image, classes = (
        ((entry.channels, entry.side, entry.side), entry.num_classes)
        if entry
        else ((3, 32, 32), 10)
    )
    root = ET.fromstring(draw_network(trace_layers(parse_model(name, "test"), image, classes)))
    marks = [element.get("class", "") for element in root.iter()]
    arrows = sum(mark.startswith("shortcut") for mark in marks) // 2  # a line and its head
    return Counter(
        mark.split(" ")[0] for mark in marks if not mark.startswith("shortcut")
    ) + Counter({"shortcut": arrows, "changes": sum("changes" in mark for mark in marks)})


@pytest.mark.parametrize(
    ("name", "layers", "joins", "side", "ways", "changes"),
    [  # layers: convolutions of the column, poolings and linear layers
        ("cifar-plain20", 21, 0, 0, 0, 0),
        ("cifar-resnet20", 21, 9, 0, 9, 2),
        ("cifar-resnet20-b", 21, 9, 2, 9, 2),
        ("cifar-resnet20-c", 21, 9, 9, 9, 2),
        ("resnet50", 52, 16, 4, 16, 4),
        ("lenet5", 7, 0, 0, 0, 0),
        ("densenet10-k4", 13, 6, 0, 6, 0),
    ],
)
def test_a_picture_has_every_layer_every_join_and_every_way_around(
    name: str, layers: int, joins: int, side: int, ways: int, changes: int
) -> None:
    found = drawn(name)
    assert (found["layer"], found["join"], found["side"]) == (layers, joins, side)
    assert (found["shortcut"], found["changes"]) == (ways, changes)


@pytest.mark.parametrize(
    "name", ["cifar-resnet8-gated", "torchvision/googlenet", "torchvision/mobilenet_v3_small"]
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_no_layer_of_a_network_is_left_out(name: str) -> None:
    side = 32 if name.startswith("cifar") else 224
    layers = trace_layers(parse_model(name, "test"), (3, side, side), 10)
    column = longest_path(layers.rows)
    assert column[-1] == len(layers.rows) - 1
    titles = [
        e.text or ""
        for e in ET.fromstring(draw_network(layers)).iter("{http://www.w3.org/2000/svg}title")
    ][1:]
    shown = {title.partition(":")[0] for title in titles}
    assert {row.name for row in layers.rows if row.layer_parameters} <= shown


def test_inspect_model_writes_the_picture(call: Call, tmp_path: Path) -> None:
    file = tmp_path / "figures" / "resnet20.svg"
    code, out, err = call("model", "cifar-resnet20", "--draw", str(file))
    assert (code, err) == (0, f"wrote {file}\n")
    assert "parameters" in out
    assert "stages.2" in "".join(ET.parse(file).getroot().itertext())


@pytest.mark.parametrize("name", ["cifar-resnet20-c", "resnet50", "densenet40-k12"])
def test_the_parameters_of_the_stages_are_all_of_the_network(name: str) -> None:
    entry = next(entry for entry in registered_models() if entry.name == name)
    layers = trace_layers(entry.model, (entry.channels, entry.side, entry.side), entry.num_classes)
    said = re.findall(r">([\d,]+) parameters<", draw_network(layers))
    single = sum(row.parameters for row in layers.rows if row.name in ("stem", "head"))
    assert sum(int(number.replace(",", "")) for number in said) + single == layers.parameters
