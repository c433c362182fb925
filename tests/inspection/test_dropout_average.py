"""Evaluation mode is compared with the mean over dropout masks and with training mode."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from resnetlab.data.device_images import DeviceImages
from resnetlab.inspection.dropout_average import (
    DropoutAverage,
    average_details,
    average_rows,
    average_sentences,
    sample_dropout,
)
from resnetlab.inspection.mode_comparison import compare_modes, mode_sentences

Call = Callable[..., tuple[int, str, str]]

DROPOUT_NET = """
family = "cifar"
blocks = [1]
widths = [4]
dropout = 0.5
"""


def stub(model: nn.Module) -> Any:
    """Return a training state of a network that takes floating-point pixels as they are."""
    return SimpleNamespace(
        model=model,
        seed=0,
        model_config=SimpleNamespace(slug="net"),
        eval_forward_pixels=lambda pixels: model(pixels),
    )


def net_and_images() -> tuple[nn.Sequential, DeviceImages]:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(3, 4), nn.ReLU(), nn.Dropout(0.25), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    return model, DeviceImages(torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2]))


def test_the_mean_over_sampled_masks_approximates_the_mean_over_all_masks() -> None:
    model, images = net_and_images()
    average = sample_dropout(stub(model), images, 4000)
    hidden = F.relu(model[0](images.pixels))
    probabilities, logits = torch.zeros(6, 3), torch.zeros(6, 3)
    for mask in itertools.product((0, 1), repeat=4):
        weight = 0.75 ** sum(mask) * 0.25 ** (4 - sum(mask))
        answer = model[5](F.relu(model[3](hidden * torch.tensor(mask) / 0.75)))
        probabilities += weight * answer.softmax(1)
        logits += weight * answer
    assert torch.allclose(average.samples.softmax(2).mean(0), probabilities, atol=0.04)
    assert torch.allclose(average.evaluation, model[5](F.relu(model[3](hidden))))
    error = average_details(average)["sampling_error_of_mean"]
    assert (average.samples.mean(0) - logits).square().mean().sqrt() < 3 * error
    rows = {row["answer"]: row for row in average_rows(average)}
    exact = 50 * (probabilities - average.evaluation.softmax(1)).abs().sum(1).mean()
    assert rows["mean over masks"]["distance_to_evaluation_points"] == pytest.approx(
        float(exact.detach()), abs=1
    )
    assert rows["evaluation mode"]["loss_nats"] == pytest.approx(
        float(F.cross_entropy(average.evaluation, images.labels)), rel=1e-5
    )
    assert rows["evaluation mode"]["distance_to_evaluation_points"] == 0
    assert average.layers == {"2": 0.25}


def test_dropout_before_the_last_linear_layer_has_the_evaluation_logits_as_mean() -> None:
    model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 4))
    images = DeviceImages(torch.ones(5, 3), torch.zeros(5, dtype=torch.long))
    details = average_details(sample_dropout(stub(model), images, 2000))
    assert details["logits_evaluation_minus_mean"] < 3 * details["sampling_error_of_mean"]
    assert details["sd_of_logits_over_masks"] > 0.05
    assert model.training
    assert details["sampling_error_of_mean"] == pytest.approx(
        details["sd_of_logits_over_masks"] / 2000**0.5
    )


@pytest.mark.parametrize(
    ("evaluation", "phrase"),
    [
        (
            [[0.0, 0.0]],
            (
                "0 from the geometric mean, 48 from one thinned network: it is at least twice as "
                "near to the mean of many networks as to one of them"
            ),
        ),
        ([[8.0, 0.0]], "it is less than twice as near to the"),
    ],
)
def test_the_sentence_follows_from_the_distances(
    evaluation: list[list[float]], phrase: str
) -> None:
    samples = torch.tensor([[[4.0, 0.0]], [[-4.0, 0.0]]])  # probabilities .982 and .018
    average = DropoutAverage({"d": 0.5}, torch.tensor([0]), torch.tensor(evaluation), samples)
    sentences = average_sentences(average)
    assert phrase in sentences[1]
    assert sentences[2].startswith("The mean is more accurate than one thinned network: 100.0 %")


def test_the_outputs_of_both_modes_equal_torch_and_the_network_is_unchanged() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 2))
    images = DeviceImages(torch.randn(8, 3) + 5, torch.arange(8) % 2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    comparison = compare_modes(stub(model), images)
    rows = {row.training_mode: row for row in comparison.rows}
    evaluation, norm, dropout, training = comparison.rows
    assert list(rows) == [
        "none: evaluation mode",
        "batch norm alone",
        "dropout alone",
        "all: training mode",
    ]
    x = images.pixels
    running = model[2](x / (1 + 1e-5) ** 0.5)  # mean 0 and variance 1 at the start
    batch = model[2]((x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-5).sqrt())
    for row, logits in ((evaluation, running), (norm, batch)):
        assert row.loss_nats == pytest.approx(
            float(F.cross_entropy(logits, images.labels).detach()), rel=1e-4
        )
    assert norm.difference_from_evaluation == pytest.approx(
        float((running - batch).square().mean().sqrt().detach()), rel=1e-4
    )
    assert evaluation.difference_between_passes == norm.difference_between_passes == 0
    assert dropout.difference_between_passes > 0 < training.difference_between_passes
    assert [row.buffers_changed for row in comparison.rows] == [0, 3, 0, 3]
    assert comparison.layers == {"batch norm": {"0": "BatchNorm1d"}, "dropout": {"1": "Dropout"}}
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    sentences = mode_sentences(comparison)
    assert "identical outputs in evaluation mode and different outputs in training" in sentences[2]


def test_a_network_without_dropout_and_batch_norm_is_the_same_in_both_modes() -> None:
    images = DeviceImages(torch.randn(4, 3), torch.zeros(4, dtype=torch.long))
    sentences = mode_sentences(compare_modes(stub(nn.Linear(3, 2)), images))
    assert sentences == [
        (
            "The network has neither batch normalization nor dropout: training and evaluation mode "
            "give the same outputs."
        )
    ]


def test_both_commands_accept_a_model_file_and_a_run(
    call: Call, small_npz: Path, tmp_path: Path
) -> None:
    from resnetlab.api.single_runs import train
    from resnetlab.models.parse import parse_model

    file = tmp_path / "net.toml"
    file.write_text(DROPOUT_NET, encoding="utf-8")
    given = (str(file), "--data", str(small_npz), "--epochs", "1", "--output", str(tmp_path))
    code, out, _ = call("modes", *given, "--json")
    result = json.loads(out)
    assert code == 0
    assert list(result["layers_that_change"]) == ["batch norm", "dropout"]
    assert result["images"] == 60
    assert result["rows"][0]["loss_nats"] == result["rows"][0]["second_pass_loss_nats"]
    record = train(
        parse_model(str(file), "test"),
        str(small_npz),
        "digits",
        settings=["recipe.epochs=1"],
        output=tmp_path,
    )
    assert record.result
    assert record.result.test
    run = str(tmp_path / "runs" / record.id)
    code, out, _ = call("dropout", run, "--masks", "3", "--json")
    rows = json.loads(out)["rows"]
    assert code == 0
    assert rows[0]["accuracy_pct"] == pytest.approx(100 - record.result.test.top1_error_pct)
    assert "dropout layers" in call("dropout", *given, "--masks", "3")[1]


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [
        (("dropout", "cifar-resnet8", "--data", "digits", "--epochs", "0"), "no dropout layer"),
        (("modes", "cifar-resnet8"), "--data: missing. Fix: give --data digits"),
    ],
)
def test_invalid_input_is_reported_in_one_line(
    call: Call, arguments: tuple[str, ...], phrase: str
) -> None:
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert phrase in err
