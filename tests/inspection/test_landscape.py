"""Loss landscapes follow the published method, equal known formulas, and change no weight."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import resnetlab as rl
from resnetlab.api.single_runs import train
from resnetlab.inspection.diagnostics_config import LandscapeConfig
from resnetlab.inspection.landscape_figure import contour_levels, draw_landscapes
from resnetlab.inspection.landscape_summary import (
    Grid,
    NamedLandscape,
    axis_values,
    landscape_sentences,
    summarize_plane,
)
from resnetlab.inspection.loss_landscape import MeasuredLoss, measure_landscape, random_direction
from resnetlab.models.parse import parse_model
from resnetlab.training.rng import derive_seed

Call = Callable[..., tuple[int, str, str]]
SMALL = LandscapeConfig(planes=2, points=5, images=24)


class Small(nn.Module):
    """A network with filters, groups, batch norm, biases and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.grouped = nn.Conv2d(4, 4, 3, padding=1, groups=2, bias=False)
        self.head = nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, 3)."""
        features = F.relu(self.norm(self.conv(images)))
        logits: Tensor = self.head(F.relu(self.grouped(features)).mean((2, 3)))
        return logits


@pytest.fixture
def loss() -> MeasuredLoss:
    """Return the loss of a small network with running statistics of its own."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Small()
        inputs, labels = torch.randn(24, 1, 6, 6), torch.randint(0, 3, (24,))
        model(3 * inputs + 1)  # running statistics that are not those of the images
        with torch.no_grad():
            model.conv.weight[2] = 0  # a filter without a norm has no direction
    model.train()
    return MeasuredLoss(model, dict(model.named_parameters()), inputs, labels)


def test_losses_equal_a_copy_of_the_network_with_manually_changed_weights(
    loss: MeasuredLoss,
) -> None:
    measured = measure_landscape(loss, SMALL, seed=7)
    for plane in measured.planes:
        directions = []
        for axis in ("x", "y"):
            direction = {}
            for name in ("conv.weight", "grouped.weight", "head.weight"):
                seed = derive_seed(7, "loss landscape", plane.plane, axis, name)
                weights = dict(loss.model.named_parameters())[name].detach()
                drawn = torch.randn(weights.shape, generator=torch.Generator().manual_seed(seed))
                for index in range(len(weights)):  # one filter after the other
                    drawn[index] *= weights[index].norm() / drawn[index].norm()
                direction[name] = drawn
            directions.append(direction)
        for row, y in zip(plane.losses_nats, (-1, -0.5, 0, 0.5, 1), strict=True):
            for value, x in zip(row, (-1, -0.5, 0, 0.5, 1), strict=True):
                model = copy.deepcopy(loss.model).eval()
                state = model.state_dict()
                for step, direction in zip((x, y), directions, strict=True):
                    for name, change in direction.items():
                        state[name] = state[name] + step * change
                model.load_state_dict(state)
                with torch.no_grad():
                    expected = F.cross_entropy(model(loss.inputs), loss.labels)
                assert value == pytest.approx(float(expected), rel=1e-5)


def test_each_filter_of_a_direction_has_the_norm_of_the_corresponding_filter_of_the_weights(
    loss: MeasuredLoss,
) -> None:
    direction = random_direction(loss, 0, 0, "x")
    assert set(direction) == {"conv.weight", "grouped.weight", "head.weight"}  # no bias, no norm
    for name, change in direction.items():
        for moved, weights in zip(change, loss.weights[name], strict=True):
            assert float(moved.norm()) == pytest.approx(float(weights.detach().norm()), rel=1e-5)
    assert not direction["conv.weight"][2].any()


def test_planes_use_different_random_streams_and_one_seed_gives_one_result(
    loss: MeasuredLoss,
) -> None:
    first = measure_landscape(loss, SMALL, seed=1)
    assert measure_landscape(loss, SMALL, seed=1) == first
    assert measure_landscape(loss, SMALL, seed=1, workers=3) == first
    more = measure_landscape(loss, LandscapeConfig(planes=3, points=5, images=24), seed=1)
    assert more.planes[:2] == first.planes
    assert first.planes[0].losses_nats != first.planes[1].losses_nats
    assert measure_landscape(loss, SMALL, seed=2) != first


def test_the_network_has_the_same_bits_and_mode_after_the_measurement(loss: MeasuredLoss) -> None:
    before = {name: value.clone() for name, value in loss.model.state_dict().items()}
    for batch_statistics in (False, True):
        measured = MeasuredLoss(
            loss.model, loss.weights, loss.inputs, loss.labels, batch_statistics=batch_statistics
        )
        measure_landscape(measured, SMALL)
        after = loss.model.state_dict()
        assert all(torch.equal(after[name], value) for name, value in before.items())
        assert all(module.training for module in loss.model.modules())


def test_losses_do_not_depend_on_the_batch_size(loss: MeasuredLoss) -> None:
    steps, directions = (0.5, -1.0), tuple(random_direction(loss, 0, 0, a) for a in ("x", "y"))
    expected = loss.at(steps, directions)
    for size in (1, 7, 24):
        part = MeasuredLoss(loss.model, loss.weights, loss.inputs, loss.labels, size)
        assert part.at(steps, directions) == pytest.approx(expected, rel=1e-5)


def test_the_loss_with_batch_statistics_equals_training_mode(loss: MeasuredLoss) -> None:
    at_images = MeasuredLoss(
        loss.model, loss.weights, loss.inputs, loss.labels, 5, batch_statistics=True
    )
    with torch.no_grad():
        logits = copy.deepcopy(loss.model).train()(loss.inputs)
    expected = float(F.cross_entropy(logits, loss.labels))
    assert at_images.at() == pytest.approx(expected, rel=1e-5)
    assert at_images.at() != pytest.approx(loss.at(), rel=5e-5)


def grid(function: Callable[[float, float], float], points: int = 9) -> Grid:
    return [[function(x, y) for x in axis_values(points)] for y in axis_values(points)]


def test_the_summary_of_a_quadratic_equals_its_formula() -> None:
    """L = 1 + (3 x^2 + 5 y^2) / 2 rises by (3 + 5) / 4 = 2 at distance 1, and is convex."""
    bowl = summarize_plane(grid(lambda x, y: 1 + (3 * x * x + 5 * y * y) / 2))
    assert bowl.center_loss_nats == 1
    assert bowl.rise_nats == pytest.approx(2)
    assert bowl.negative_curvature_pct == 0
    inside = [x * x * 3 + y * y * 5 < 2 for x in axis_values(9) for y in axis_values(9)]
    assert bowl.low_loss_pct == pytest.approx(100 * sum(inside) / 81)
    assert summarize_plane(grid(lambda x, y: 9 - x * x - y * y)).negative_curvature_pct == 100
    assert summarize_plane(grid(lambda x, y: 2 + 0 * x * y)).negative_curvature_pct == 0


def test_a_saddle_is_concave_along_the_direction_of_its_negative_eigenvalue() -> None:
    """L = x^2 - 2 y^2: concave along y, and along both diagonals, since 1 - 2 < 0; not along x."""
    side = 9
    along_axis, along_diagonal = side * (side - 2), (side - 2) ** 2
    share = (along_axis + 2 * along_diagonal) / (2 * along_axis + 2 * along_diagonal)
    saddle = summarize_plane(grid(lambda x, y: 10 + x * x - 2 * y * y, side))
    assert saddle.negative_curvature_pct == pytest.approx(100 * share)


def test_the_landscape_of_a_linear_network_equals_its_formula() -> None:
    """A linear layer with two outputs z = (w a, 0) has the loss log(1 + exp(-w a)) for label 0."""
    model = nn.Linear(1, 2)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[2.0], [0.0]]))
        model.bias.zero_()
    loss = MeasuredLoss(
        model, dict(model.named_parameters()), torch.ones(4, 1), torch.zeros(4, dtype=torch.int64)
    )
    signs = [float(random_direction(loss, 3, 0, a)["weight"][0, 0]) / 2 for a in ("x", "y")]
    assert [abs(sign) for sign in signs] == pytest.approx([1, 1])
    plane = measure_landscape(loss, LandscapeConfig(planes=1, points=5), seed=3).planes[0]
    for y, row in zip(axis_values(5), plane.losses_nats, strict=True):
        for x, value in zip(axis_values(5), row, strict=True):
            weight = 2 * (1 + x * signs[0] + y * signs[1])
            assert value == pytest.approx(math.log1p(math.exp(-weight)), rel=1e-4)
    assert summarize_plane(plane.losses_nats).negative_curvature_pct == 0  # it is convex


def test_a_loss_that_is_not_finite_is_counted_and_marked(loss: MeasuredLoss) -> None:
    with torch.no_grad():
        loss.model.get_parameter("head.weight").mul_(1e38)
    measured = measure_landscape(loss, SMALL)
    losses = [value for row in measured.planes[0].losses_nats for value in row]
    assert None in losses
    summary = summarize_plane(measured.planes[0].losses_nats)
    assert summary.not_finite == losses.count(None)
    run = NamedLandscape("run", "small", "hash", measured)
    assert draw_landscapes([run]).count("<use") > summary.not_finite


def test_a_number_that_depends_on_a_loss_that_is_not_finite_is_absent() -> None:
    values = [list(row) for row in grid(lambda x, y: x * x + y * y, 5)]
    values[2][4] = None
    summary = summarize_plane(values)
    assert (summary.rise_nats, summary.not_finite) == (None, 1)
    assert summary.low_loss_pct == 100 * 9 / 25  # x^2 + y^2 < 1
    values[2][2] = None
    assert summarize_plane(values).low_loss_pct is None


def test_contour_levels_cover_the_losses_and_mark_values_outside_of_them() -> None:
    levels = contour_levels([grid(lambda x, y: 0.5 + 30 * (x * x + y * y))])
    assert (levels.values[0], levels.values[-1], levels.extend) == (0.3, 100.0, "neither")
    wide = contour_levels([grid(lambda x, y: 1e-6 + 1e9 * (x * x + y * y))])
    assert (wide.values[0], wide.values[-1], wide.extend) == (0.01, 1000.0, "both")
    flat = contour_levels([grid(lambda x, y: 2.3 + 0.005 * (x + y))])
    assert len(flat.values) >= 5
    assert flat.values[0] <= 2.291 < 2.309 <= flat.values[-1]


@pytest.fixture(scope="module")
def runs(small_npz: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return a plain and a residual network, trained for an epoch."""
    root = tmp_path_factory.mktemp("runs")
    folders = []
    for shortcut in ("none", "A"):
        model = parse_model({"depth": 8, "widths": [4, 4, 8], "shortcut": shortcut}, "test")
        settings = ["recipe.epochs=1", "numerics.precision=fp32"]
        record = train(model, str(small_npz), "digits", settings=settings, output=root)
        folders.append(root / "runs" / record.id)
    return folders


def test_two_runs_have_a_table_a_picture_and_the_same_numbers_in_python(
    call: Call, runs: list[Path], tmp_path: Path
) -> None:
    size = ("--planes", "2", "--points", "5", "--images", "20")
    names, picture = [str(run) for run in runs], tmp_path / "landscapes.svg"
    code, out, err = call("landscape", *names, *size, "--draw", str(picture))
    assert code == 0
    assert "100 losses to measure: about" in err
    assert "description without a verdict" in " ".join(out.split())
    assert picture.read_text().count("plane ") == 2
    code, out, _ = call("landscape", *names, *size, "--json")
    rows = json.loads(out)["rows"]
    assert [(row["run"], row["plane"]) for row in rows] == [
        (run.name, plane) for run in runs for plane in (0, 1)
    ]
    assert summarize_plane(rows[0]["losses_nats"]).rise_nats == pytest.approx(rows[0]["rise_nats"])
    table = rl.inspect_landscape(runs, planes=2, points=5, images=20)
    assert table.columns["rise_nats"] == [row["rise_nats"] for row in rows]


def test_several_runs_of_one_condition_are_summarized_by_their_medians(loss: MeasuredLoss) -> None:
    first, second = (measure_landscape(loss, SMALL, seed=seed) for seed in (0, 1))
    parts = enumerate((first, second))
    same = [NamedLandscape(f"run {number}", "small", "a", part) for number, part in parts]
    sentences = landscape_sentences(same)
    assert "small, medians of 2 runs: low loss, %" in sentences[-1]
    assert not any("without a verdict" in sentence for sentence in sentences)


def test_invalid_sizes_and_folders_are_refused_in_one_line(
    call: Call, runs: list[Path], tmp_path: Path
) -> None:
    for arguments, words in (
        ((str(runs[0]), "--points", "8"), "--points"),
        ((str(tmp_path),), "no finished run"),
    ):
        code, out, err = call("landscape", *arguments)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert words in err
