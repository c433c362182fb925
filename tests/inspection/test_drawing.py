"""The drawing of a network shows its layers in a column, with every shortcut."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from resnetlab.inspection.drawing import draw_network, longest_path
from resnetlab.inspection.layers import trace_layers
from resnetlab.models.build import build_model
from resnetlab.models.configs.cifar import Arrangement
from resnetlab.models.parse import parse_model
from resnetlab.models.registry import registered_models
from resnetlab.training.rng import make_generator

Call = Callable[..., tuple[int, str, str]]


def drawn(name: str) -> Counter[str]:
    """Count the marks of each class in the picture: `layer`, `side`, `join`, `shortcut`, `shortcut
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
        ("cifar-resnet20", 21, 9, 2, 9, 2),  # beside: the padding of option A
        ("cifar-resnet20-b", 21, 9, 2, 9, 2),
        ("cifar-resnet20-c", 21, 9, 9, 9, 2),
        ("resnet50", 52, 16, 4, 16, 4),
        ("lenet5", 7, 0, 0, 0, 0),
        # of six dense layers and one transition, the norm that not all paths go through
        ("densenet10-k4", 13 + 6, 6, 0, 6, 0),
    ],
)
def test_a_picture_contains_every_layer_join_and_shortcut(
    name: str, layers: int, joins: int, side: int, ways: int, changes: int
) -> None:
    counts = drawn(name)
    assert (counts["layer"], counts["join"], counts["side"]) == (layers, joins, side)
    assert (counts["shortcut"], counts["changes"]) == (ways, changes)


@pytest.mark.parametrize(
    "name", ["cifar-resnet8-gated", "torchvision/googlenet", "torchvision/mobilenet_v3_small"]
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_drawing_contains_every_layer_of_a_network(name: str) -> None:
    side = 32 if name.startswith("cifar") else 224
    layers = trace_layers(parse_model(name, "test"), (3, side, side), 10)
    column = longest_path(layers.rows)
    assert column[-1] == len(layers.rows) - 1
    titles = [
        e.text or ""
        for e in ET.fromstring(draw_network(layers)).iter("{http://www.w3.org/2000/svg}title")
    ][1:]
    names = {title.partition(":")[0] for title in titles}
    assert {row.name for row in layers.rows if row.layer_parameters} <= names


def test_inspect_model_writes_the_picture(call: Call, tmp_path: Path) -> None:
    file = tmp_path / "figures" / "resnet20.svg"
    code, out, err = call("model", "cifar-resnet20", "--draw", str(file))
    assert (code, err) == (0, f"wrote {file}\n")
    assert "parameters" in out
    assert "stages.2" in "".join(ET.parse(file).getroot().itertext())


@pytest.mark.parametrize("name", ["cifar-resnet20-c", "resnet50", "densenet40-k12"])
def test_the_parameters_of_the_stages_add_up_to_the_network(name: str) -> None:
    entry = next(entry for entry in registered_models() if entry.name == name)
    layers = trace_layers(entry.model, (entry.channels, entry.side, entry.side), entry.num_classes)
    texts = re.findall(r">([\d,]+) parameters<", draw_network(layers))
    single = sum(row.parameters for row in layers.rows if row.name in ("stem", "head"))
    assert sum(int(number.replace(",", "")) for number in texts) + single == layers.parameters


CALLS: dict[Any, str] = {
    F.conv2d: "conv",
    F.batch_norm: "norm",
    F.relu: "relu",
    Tensor.add: "add",
    F.adaptive_avg_pool2d: "average pool",
    F.linear: "linear",
}


class CallRecorder(TorchFunctionMode):
    """The operations of a forward pass in the order of their calls, and for each addition the
    number of operations before the tensor that came around the branch.
    """

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.starts: list[int] = []
        self.made_by: dict[int, int] = {}
        self.kept: list[Any] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func in CALLS:
            if func is Tensor.add:
                self.starts.append(min(self.made_by.get(id(tensor), 0) for tensor in args))
            self.names.append(CALLS[func])
            self.made_by[id(out)] = len(self.names)
            self.kept.append(out)  # so that no id is used twice
        return out


def drawn_operations(svg: str) -> tuple[list[str], list[int]]:
    """Return the operations of a drawing from top to bottom, and for each shortcut the number of
    operations above its beginning.
    """
    root = ET.fromstring(svg)
    namespace = "{http://www.w3.org/2000/svg}"
    heights: list[tuple[float, list[str]]] = []
    for group in root.iter(f"{namespace}g"):
        texts = list(group.iter(f"{namespace}text"))
        if group.get("class", "").startswith("layer"):
            label = "".join(texts[0].itertext())
            bare = re.match(
                r"(?:\d+x\d+ )?(average pool|[a-z]+)(?:, \d+)?(?:, /\d+)?(?: (.*))?$", label
            )
            assert bare, label
            then = (bare[2] or "").split(", ")
            heights.append((float(texts[0].get("y", "")), [bare[1], *then]))
        elif group.get("class") == "join":
            then = (texts[1].text or "").split(", ")
            heights.append((float(texts[0].get("y", "")), ["add", *then]))
    heights.sort()
    operations = [[name for name in names if name] for _, names in heights]
    ends = re.findall(r'class="shortcut[^"]*" d="M\d+,(\d+)H\d+q[^V]*V(\d+)', svg)
    starts = []
    for top, _ in sorted(ends, key=lambda pair: int(pair[1])):
        above = [names for (y, _), names in zip(heights, operations, strict=True) if y < int(top)]
        starts.append(sum(map(len, above)))
    return [name for names in operations for name in names], starts


@pytest.mark.parametrize("arrangement", get_args(Arrangement))
@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize("shortcut", ["A", "none"])
def test_a_drawing_has_the_operations_of_a_forward_pass_in_their_order(
    arrangement: str, block: str, shortcut: str
) -> None:
    width = 8
    table = {
        "blocks": [3],
        "widths": [width],
        "shortcut": shortcut,
        "arrangement": arrangement,
        "block": block,
    }
    config = parse_model(table, "test")
    model = build_model(config, 3, 5, lambda name: make_generator(0, "init", name)).eval()
    # The first bottleneck gives more maps than it gets: the padding is drawn beside its shortcut.
    with torch.no_grad(), CallRecorder() as recorder:
        model(torch.zeros(1, 3, 8, 8))
    operations, starts = drawn_operations(draw_network(trace_layers(config, (3, 8, 8), 5)))
    assert operations == recorder.names
    if block == "basic":
        assert starts == recorder.starts
    assert len(starts) == (0 if shortcut == "none" else 3)


def test_the_five_block_arrangements_have_five_different_drawings() -> None:
    drawings = []
    for arrangement in get_args(Arrangement):
        config = parse_model({"blocks": [2, 2, 2], "arrangement": arrangement}, "test")
        drawings.append(drawn_operations(draw_network(trace_layers(config, (3, 32, 32), 10))))
    assert len({str(drawing) for drawing in drawings}) == len(drawings) == 5


def test_the_zero_padding_of_option_a_is_drawn_on_the_shortcut() -> None:
    layers = trace_layers(parse_model("cifar-resnet8", "test"), (3, 32, 32), 10)
    pads = [row for row in layers.rows if row.kind == "pad"]
    assert [(row.name, row.output, row.stride) for row in pads] == [
        ("stages.1.0.shortcut.pad", (32, 16, 16), (2, 2)),
        ("stages.2.0.shortcut.pad", (64, 8, 8), (2, 2)),
    ]
    root = ET.fromstring(draw_network(layers))
    texts = [
        "".join(text.itertext())
        for group in root.iter("{http://www.w3.org/2000/svg}g")
        if group.get("class", "").startswith("side")
        for text in group.iter("{http://www.w3.org/2000/svg}text")
    ]
    assert texts == ["pad, 32, /2", "pad, 64, /2"]
