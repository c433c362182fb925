"""`inspect model` prints size, parameters, cost and receptive field of each layer as text,
Markdown, CSV or JSON.
"""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from resnetlab.errors import InputError
from resnetlab.inspection.architecture_tables import SLIDES_FLOPS, architecture_table
from resnetlab.inspection.layers import trace_layers, trace_module
from resnetlab.inspection.receptive_field import ReceptiveField
from resnetlab.models.build import build_uninitialized
from resnetlab.models.nets.shortcuts import ZeroPadShortcut
from resnetlab.models.parse import parse_model
from resnetlab.models.registry import registered_models
from resnetlab.recipes.train import Recipe
from resnetlab.studies.parsing.conditions import load_recipe

Call = Callable[..., tuple[int, str, str]]

NAMES = (
    "cifar-plain20",
    "cifar-resnet56",
    "cifar-resnet110-gated",
    "depth-report-resnet18",
    "resnet18",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x48d",
    "densenet40-k12",
    "lenet5",
    "alexnet-cifar",
    "vgg16",
)


@pytest.mark.parametrize("name", NAMES)
def test_flops_and_parameter_counts_equal_torch(name: str) -> None:
    entry = next(entry for entry in registered_models() if entry.name == name)
    image = (entry.channels, entry.side, entry.side)
    layers = trace_layers(entry.model, image, entry.num_classes)
    with torch.device("meta"):
        model = build_uninitialized(entry.model, entry.channels, entry.num_classes).eval()
        counter: Any = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            model(torch.zeros(1, *image))
    assert layers.flops == pytest.approx(counter.get_total_flops(), rel=1e-3)
    assert layers.parameters == sum(row.parameters for row in layers.rows)
    assert (layers.parameters, layers.macs) == entry.model.cost(
        entry.channels, entry.num_classes, entry.side
    )
    assert layers.unused == 0


def test_the_layers_of_alexnet_equal_question_10_of_the_practical() -> None:
    rows = trace_layers(parse_model("alexnet-cifar", "test"), (3, 32, 32), 10).rows
    assert [(row.name, row.output, row.layer_parameters) for row in rows] == [
        ("conv1", (32, 32, 32), 2432),
        ("pool1", (32, 16, 16), 0),
        ("conv2", (64, 16, 16), 51264),
        ("pool2", (64, 8, 8), 0),
        ("conv3", (64, 8, 8), 102464),
        ("pool3", (64, 4, 4), 0),
        ("fc4", (1000,), 1025000),
        ("fc5", (10,), 10010),
    ]
    assert [row.receptive_field.size[0] for row in rows[:6] if row.receptive_field] == [
        5,
        6,
        14,
        16,
        32,
        36,
    ]


def test_questions_10_and_11_are_answered_with_shares_and_parameters_per_image(call: Call) -> None:
    code, text, _ = call("model", "alexnet-cifar", "--train-images", "50000")
    assert code == 0
    assert "fc4 has 86.0 % of the parameters, the largest share." in text  # 1,025,000 / 1,191,170
    assert "From conv3 on, the receptive field (32x32) is as large as the image (32x32)" in text
    assert re.search(r"parameters per training image +23\.8\n", text)
    result = json.loads(call("model", "alexnet-cifar", "--json")[1])["rows"]
    assert [row["share_of_parameters_pct"] for row in result] == [
        pytest.approx(100 * row["parameters"] / 1_191_170) for row in result
    ]
    assert [row["receptive_field"] for row in result][:3] == ["5", "6", "14"]


def test_the_option_data_sets_the_number_of_training_images_and_the_input_shape(
    call: Call, small_npz: Path
) -> None:
    details = json.loads(call("model", "cifar-resnet8", "--data", str(small_npz), "--json")[1])
    assert details["training_images"] == 120
    assert details["parameters_per_training_image"] == round(details["parameters"] / 120, 1)
    code, _, err = call("model", "lenet5", "--data", "digits", "--train-images", "3")
    assert (code, err.count("\n")) == (2, 1)


def test_dropout_is_a_row_at_its_position_in_the_network(call: Call, tmp_path: Path) -> None:
    file = tmp_path / "alexnet.toml"
    file.write_text('name = "alexnet-cifar"\ndropout = 0.5\n')
    rows = json.loads(call("model", str(file), "--json")[1])["rows"]
    kinds = [row["kind"] for row in rows]
    assert kinds[-3:] == ["linear", "dropout 0.5", "linear"]
    assert rows[-3]["then"] == "relu"  # before the dropout
    assert "dropout" not in str(json.loads(call("model", "alexnet-cifar", "--json")[1])["rows"])
    depth_report = trace_layers(parse_model("depth-report-resnet8", "test"), (3, 32, 32), 10)
    names = [(row.name, row.kind) for row in depth_report.rows]
    assert names[3:6] == [
        ("stages.1.0.dropout", "dropout2d 0.5"),  # after the branch, before the addition
        ("stages.1.0.shortcut.conv", "conv"),
        ("stages.1.0.add", "add"),
    ]


def test_a_dropout_function_call_is_a_row() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(12, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = x.flatten(1).tanh()
            dropped = nn.functional.dropout(x, 0.2, self.training)
            out: Tensor = self.head(dropped + x)
            return out

    rows = trace_module(Net(), (3, 2, 2)).rows
    assert [(row.kind, row.inputs) for row in rows] == [
        ("tanh", (-1,)),
        ("dropout 0.2", (0,)),
        ("add", (1, 0)),  # the other summand is not dropped
        ("linear", (2,)),
    ]


@pytest.mark.parametrize("name", ["alexnet-cifar", "cifar-resnet56-b", "vgg16", "plain34"])
def test_the_table_of_a_network_fits_into_a_hundred_columns(call: Call, name: str) -> None:
    table, _, _ = call("model", name)[1].partition("\n\n")
    assert max(map(len, table.splitlines())) <= 100


def test_several_networks_have_one_row_each(call: Call, tmp_path: Path) -> None:
    names = ("cifar-plain20", "cifar-resnet20")
    file = tmp_path / "both.svg"
    code, out, _ = call("model", *names, "--json", "--draw", str(file))
    rows = json.loads(out)["rows"]
    assert code == 0
    assert [row["network"] for row in rows] == list(names)
    assert [(row["weighted_layers"], row["shortcuts"]) for row in rows] == [(20, 0), (20, 9)]
    assert [row["parameters"] for row in rows] == [269_722, 269_722]
    drawings = ET.parse(file).getroot().findall("{http://www.w3.org/2000/svg}svg")
    lefts = [int(drawing.get("x", "-1")) for drawing in drawings]
    assert lefts[0] == 0
    assert lefts[1] > int(drawings[0].get("width", "0"))


def test_model_files_are_compared_under_their_file_names(call: Call, tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.toml" for name in ("norm-after-addition", "relu-before-addition")]
    for file in files:
        file.write_text(f'family = "cifar"\ndepth = 8\narrangement = "{file.stem}"\n')
    picture = tmp_path / "two.svg"
    code, out, _ = call("model", *map(str, files), "--json", "--draw", str(picture))
    assert code == 0
    assert [row["network"] for row in json.loads(out)["rows"]] == [file.stem for file in files]
    svg = picture.read_text()
    for file in files:
        assert f"{file.stem} for 3x32x32" in svg


def test_the_work_of_tracing_is_proportional_to_the_number_of_layers(
    calls: Callable[[Callable[[], object]], int],
) -> None:
    assert len(trace_layers(parse_model("cifar-resnet1202", "test"), (3, 32, 32), 10).rows) == 1805
    fewer, more = (
        calls(lambda name=name: trace_layers(parse_model(name, "test"), (3, 32, 32), 10))
        for name in ("cifar-resnet32", "cifar-resnet122")
    )
    assert more < 4 * fewer


def test_the_flops_of_the_slides_are_multiply_adds_with_the_stride_on_the_first_convolution() -> (
    None
):
    rows = {row["layer"]: row for row in architecture_table("imagenet")}
    first = {name: rows["MACs (first)"][name] for name in SLIDES_FLOPS}
    assert {name: round(macs / 1e9, 1) for name, macs in first.items()} == {
        "resnet18": 1.8,
        "resnet34": 3.7,
        "resnet50": 3.9,
        "resnet101": 7.6,
        "resnet152": 11.3,
    }
    assert all(
        abs(first[name] - published) < 0.075e9 for name, published in SLIDES_FLOPS.items()
    )  # cut, not rounded, in the table
    assert first["resnet101"] == pytest.approx(7.57e9, rel=1e-3)


class Average(nn.Module):
    """A pooling that passes every gradient on: a maximum has the support of one number."""

    def __init__(self, like: nn.MaxPool2d) -> None:
        super().__init__()
        self.size = (like.kernel_size, like.stride, like.padding)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(x, *self.size)


def _positive(model: nn.Module) -> nn.Module:
    """In evaluation mode, in fp64, every weight positive, so that no path cancels another."""
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.MaxPool2d):
                setattr(module, name, Average(child))
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, 0.01)
    return model.double().eval()


def _support(
    model: nn.Module, layer: str, position: tuple[int, int], side: int, channels: int
) -> tuple[range, range]:
    """Return the rows and columns of the image to which the output of the module `layer` at
    `position` has a gradient.
    """
    collected: list[Tensor] = []
    dict(model.named_modules())[layer].register_forward_hook(
        lambda *given: collected.append(given[2])
    )
    images = torch.ones(1, channels, side, side, dtype=torch.float64, requires_grad=True)
    model(images)
    collected[0][0, :, position[0], position[1]].sum().backward()
    assert images.grad is not None
    seen = images.grad[0].abs().sum(0).nonzero()
    (top, left), (bottom, right) = seen.min(0).values.tolist(), seen.max(0).values.tolist()
    return range(top, bottom + 1), range(left, right + 1)


@pytest.mark.parametrize(
    ("name", "layer", "row", "side"),
    [
        ("cifar-plain8", "stages.1.0.conv2", "stages.1.0.conv2", 64),
        ("cifar-resnet14", "stages.1.1", "stages.1.1.add", 64),
        ("cifar-resnet14-c", "stages.2.1", "stages.2.1.add", 96),
        ("cifar-resnet8-gated", "stages.1.0", "stages.1.0.add", 48),
        ("densenet7-k2", "blocks.2.0", "blocks.2.0.concatenate", 48),
        ("alexnet-cifar", "pool3", "pool3", 32),
    ],
)
@pytest.mark.parametrize("position", [(0, 0), (2, 1)])
def test_a_receptive_field_is_the_support_of_the_gradient_of_the_image(
    name: str, layer: str, row: str, side: int, position: tuple[int, int]
) -> None:
    config = parse_model(name, "test")
    paths = _receptive_field(config, row, side)
    seen = _support(_positive(build_uninitialized(config, 3, 10)), layer, position, side, 3)
    assert seen == tuple(
        span.pixels(at, side) for span, at in zip(paths.largest, position, strict=True)
    )


@pytest.mark.parametrize("position", [(0, 0), (3, 2)])
def test_the_smallest_receptive_field_is_the_field_through_shortcuts_only(
    position: tuple[int, int],
) -> None:
    config = parse_model("cifar-resnet20-b", "test")
    model = _positive(build_uninitialized(config, 3, 10))
    for name, module in model.named_modules():
        if name.endswith("conv2"):
            torch.nn.init.zeros_(module.weight)
    paths = _receptive_field(config, "stages.2.2.add", 32)
    seen = _support(model, "stages.2.2", position, 32, 3)
    assert paths.smallest_size == (3, 3)
    assert seen == tuple(
        span.pixels(at, 32) for span, at in zip(paths.smallest, position, strict=True)
    )


def _receptive_field(config: Any, name: str, side: int) -> ReceptiveField:
    paths = next(
        row.receptive_field
        for row in trace_layers(config, (3, side, side), 10).rows
        if row.name == name
    )
    assert paths
    return paths


def test_external_networks_are_traced_and_unknown_values_are_empty() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 4, (3, 5), (1, 2), (1, 2)),
        nn.ReLU(),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(4, 2, 1, bias=False),
    )
    layers = trace_module(model, (1, 8, 8))
    assert [(row.kind, row.output, row.parameters, row.macs) for row in layers.rows] == [
        ("conv", (4, 8, 4), 64, 60 * 32),
        ("conv", (2, 16, 8), 8, 8 * 128),
    ]
    assert layers.rows[0].receptive_field
    assert layers.rows[0].receptive_field.size == (3, 5)
    assert layers.rows[1].receptive_field is None
    assert "relu" in layers.uncounted


def test_a_torchvision_network_has_the_same_rows_as_our_network() -> None:
    ours, theirs = (
        trace_layers(parse_model(name, "test"), (3, 224, 224), 1000)
        for name in ("resnet18", "torchvision/resnet18")
    )
    assert (ours.macs, ours.parameters) == (theirs.macs, theirs.parameters)
    assert sorted(str(row.receptive_field) for row in ours.rows) == sorted(
        str(row.receptive_field) for row in theirs.rows
    )


def test_an_impossible_image_size_is_refused_with_the_layer_and_a_size_that_works() -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Conv2d(3, 4, 7), nn.Flatten(), nn.Linear(4 * 10 * 10, 2))
    with pytest.raises(
        InputError, match=r"layer 2 does not accept .* 16x16 pixels|no square image"
    ):
        trace_module(model, (3, 32, 32))
    with (
        torch.device("meta"),
        pytest.raises(InputError, match=r"smallest images .* are 7x7"),
    ):
        trace_module(nn.Sequential(nn.Conv2d(3, 4, 5)), (3, 2, 2))


def test_inspect_model_prints_text_markdown_csv_and_json(call: Call) -> None:
    code, text, _ = call("model", "cifar-resnet20", "--input", "3x32x32", "--classes", "10")
    assert code == 0
    assert "parameters        269,722" in text
    table = json.loads(call("model", "cifar-resnet20", "--json")[1])
    assert table["flops"] == 2 * table["macs"] == sum(row["flops"] for row in table["rows"])
    lines = list(csv.DictReader(call("model", "cifar-resnet20", "--csv")[1].splitlines()))
    assert [line["layer"] for line in lines] == [row["layer"] for row in table["rows"]]
    assert call("model", "lenet5", "--markdown")[1].startswith("| layer | kind | output |")


def test_option_a_pads_channels_and_not_pixels(call: Call) -> None:
    assert "option A pads" not in call("model", "cifar-resnet20-b")[1]
    out = " ".join(call("model", "cifar-resnet20")[1].split())
    assert "adds no pixel. The padding of 4 in He et al. 2016, sec. 4.2, is that of the" in out
    recipe = load_recipe("cifar")
    assert isinstance(recipe, Recipe)
    assert recipe.augment.crop_padding == 4
    images = torch.ones(1, 16, 8, 8)
    padded = ZeroPadShortcut(16, 32, 2)(images)
    assert padded.shape == (1, 32, 4, 4)
    assert padded.sum(1).unique().tolist() == [16]  # every pixel is used, 16 maps of zeros


def test_a_difference_to_the_slides_is_explained_for_networks_of_the_slides(call: Call) -> None:
    assert (
        "3,857,973,248 multiply-adds with the stride on the first" in call("model", "resnet50")[1]
    )
    assert (
        json.loads(call("model", "resnet50", "--stride-on", "first", "--json")[1])["macs"]
        == 3_857_973_248
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("model", "lenet5", "--input", "1x20x20"),
            "layer fc3 takes maps of 5x5 and gets 3x3. Fix: the smallest",
        ),
        (("model", "cifar-resnt20"), 'did you mean "cifar-resnet20"?'),
        (("model", "lenet5", "--input", "28x28"), "not three sizes"),
        (("model", "lenet5", "--json", "--csv"), "more than one output format"),
        (("model", "lenet5", "--stride-on", "first"), "unknown field"),
    ],
)
def test_invalid_input_is_refused_in_one_line(
    call: Call, arguments: tuple[str, ...], message: str
) -> None:
    code, out, err = call(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_the_inspect_commands_are_imported_without_torch(tmp_path: Path) -> None:
    code = (
        "import sys, resnetlab.cli.main; print([m for m in ('torch', 'numpy', 'rich') if m in "
        "sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
        ).stdout
        == "[]\n"
    )


SEEN = """
import sys
import torch, torch.utils.flop_counter
import resnetlab.inspection.layer_table, resnetlab.inspection.drawing
from resnetlab.cli.main import app
from typer.testing import CliRunner
for name in sys.argv[1:]:
    done = CliRunner().invoke(app, ["inspect", "model", name, "--draw", f"{name}.svg"])
    assert done.exit_code == 0, done.output
print("torchvision" in sys.modules)
"""


@pytest.mark.parametrize("deepest", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_every_registered_network_is_traced_and_drawn_without_torchvision(
    tmp_path: Path, deepest: bool
) -> None:
    names = [entry.name for entry in registered_models() if ("1202" in entry.name) == deepest]
    done = subprocess.run(
        [sys.executable, "-c", SEEN, *names], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stdout == "False\n", done.stderr
    assert len(list(tmp_path.glob("*.svg"))) == len(names) > 3


def test_inspect_model_contains_the_metadata_of_library_weights(call: Call) -> None:
    code, out, _ = call("model", "timm/resnet18", "--json")
    result = json.loads(out)
    assert (code, result["weights_side"], result["weights_mean"]) == (0, 224, "0.485, 0.456, 0.406")
    assert json.loads(call("model", "torchvision/resnet18", "--json")[1])["weights_classes"] == 1000
    assert "weights_mean" not in json.loads(call("model", "resnet18", "--json")[1])
