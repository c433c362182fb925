"""Fully connected layers as convolutions give the same outputs, and on a larger image the outputs
of its windows.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch

from resnetlab.errors import InputError
from resnetlab.inspection.fully_convolutional import (
    FullyConvolutional,
    acceptance_sentence,
    layers_of_unchanged_network,
)
from resnetlab.models.build import build_model
from resnetlab.models.parse import parse_model
from resnetlab.training.rng import make_generator

Call = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("lenet5", (1, 28, 28)),
        ("alexnet-cifar", (3, 32, 32)),
        ("cifar-resnet14", (3, 32, 32)),
        ("depth-report-resnet8", (3, 32, 32)),
        ("resnet18", (3, 64, 64)),
        ("densenet10-k4", (3, 32, 32)),
    ],
)
def test_outputs_at_the_training_size_are_equal(name: str, image: tuple[int, int, int]) -> None:
    model = build_model(
        parse_model(name, "test"), image[0], 10, lambda part: make_generator(0, "init", part)
    ).eval()
    images = torch.randn(2, *image, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        scores = FullyConvolutional(model, image)(images)
        assert scores.shape == (2, 10, 1, 1)
        torch.testing.assert_close(scores.flatten(1), model(images), rtol=1e-5, atol=1e-5)


def test_the_linear_layers_of_vgg_become_convolutions_as_large_as_their_input_maps() -> None:
    model = build_model(
        parse_model({"family": "vgg", "hidden": 8}, "test"),
        3,
        5,
        lambda part: make_generator(0, "init", part),
    )
    converted = FullyConvolutional(model, (3, 224, 224))
    assert converted.layers() == [
        ("fc1", 512, (7, 7), 8),
        ("fc2", 8, (1, 1), 8),
        ("fc3", 8, (1, 1), 5),
    ]


def test_the_map_of_a_larger_image_equals_the_network_on_each_window() -> None:
    """Exactly so where nothing is padded: here the padding convolutions are made not to look
    sideways.
    """
    model = build_model(
        parse_model("alexnet-cifar", "test"), 3, 10, lambda part: make_generator(0, "init", part)
    ).eval()
    with torch.no_grad():
        for layer in (model.conv1, model.conv2, model.conv3):
            center = layer.weight[:, :, 2, 2].clone()
            layer.weight.zero_()
            layer.weight[:, :, 2, 2] = center
        image = torch.randn(1, 3, 48, 40, generator=torch.Generator().manual_seed(2))
        scores = FullyConvolutional(model, (3, 32, 32))(image)
        assert scores.shape == (1, 10, 3, 2)
        for row in range(3):
            for column in range(2):
                window = image[:, :, 8 * row : 8 * row + 32, 8 * column : 8 * column + 32]
                torch.testing.assert_close(
                    scores[:, :, row, column], model(window), rtol=1e-5, atol=1e-5
                )


def test_a_network_that_cannot_be_made_fully_convolutional_is_refused_in_one_line() -> None:
    class Mean(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = torch.nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.head(x.mean((2, 3)))
            return out

    with pytest.raises(InputError, match="cannot be converted to convolutions"):
        FullyConvolutional(Mean(), (3, 8, 8))


def test_fully_conv_prints_the_map_of_scores(call: Call) -> None:
    code, out, _ = call("fully-convolutional", "alexnet-cifar", "--input", "3x64x96", "--json")
    result = json.loads(out)
    assert (code, result["scores"]) == (0, [10, 5, 9])
    assert result["largest_difference_at_training_size"] < 1e-5
    code, _, err = call("fully-convolutional", "alexnet-cifar", "--input", "3x16x96")
    assert (code, err.count("\n")) == (2, 1)
    assert "at least 3x32x32" in err


@pytest.mark.parametrize("adaptive_pool", [False, True])
def test_question_4_names_the_layers_that_accept_a_larger_image(adaptive_pool: bool) -> None:
    table = {"family": "vgg", "hidden": 8, "widths": [2] * 5, "adaptive_pool": adaptive_pool}
    model = build_model(
        parse_model(table, "test"), 3, 5, lambda part: make_generator(0, "init", part)
    )
    network = FullyConvolutional(model, (3, 224, 224))
    layers = layers_of_unchanged_network(network, (3, 256, 256))
    refusing = [layer.layer for layer in layers if not layer.accepts]
    sentence = acceptance_sentence(layers, (3, 256, 256))
    if adaptive_pool:
        assert refusing == []
        assert "every layer accepts 3x256x256" in sentence
    else:
        assert refusing == ["fc1", "fc2", "fc3"]
        assert sentence == (
            "Unchanged, 13 convolution layers and 5 max pooling layers accept 3x256x256, but 3 "
            "linear layers do not: fc1 takes 98 numbers and gets 128."  # 2 maps of 7x7, of 8x8
        )
    # The network itself agrees.
    images = torch.zeros(1, 3, 256, 256)
    if adaptive_pool:
        assert model.eval()(images).shape == (1, 5)
    else:
        with pytest.raises(InputError, match="layer fc1 takes maps of 7x7 and gets 8x8"):
            model.eval()(images)
