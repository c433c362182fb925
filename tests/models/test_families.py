"""Every accepted config of every family is built, has the computed cost, and is read back from its
file.
"""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from resnetlab.errors import InputError
from resnetlab.models.build import build_model
from resnetlab.models.configs import (
    AlexNetCifarConfig,
    CifarConfig,
    DenseNetConfig,
    ImageNetConfig,
    LeNet5Config,
    ModelConfig,
    VGGConfig,
)
from resnetlab.models.model_cost import traced_cost
from resnetlab.models.parse import parse_model
from resnetlab.models.registry import registered_models
from resnetlab.schema import decode, encode, without_defaults
from resnetlab.training.rng import make_generator

few = st.integers(1, 2)
shortcuts = st.sampled_from(["none", "A", "B", "C"])
inits = st.sampled_from(["he", "pytorch"])
SPECS = st.one_of(
    st.builds(
        CifarConfig,
        blocks=st.tuples(few, few),
        widths=st.just((4, 6)),
        shortcut=shortcuts | st.just("gated"),
        block=st.sampled_from(["basic", "bottleneck"]),
        batch_norm=st.booleans(),
        init=inits,
        arrangement=st.sampled_from(["original", "norm-after-addition", "full-preactivation"]),
    ),
    st.builds(ImageNetConfig, blocks=st.tuples(few, few, few, few), shortcut=shortcuts, init=inits),
    st.builds(
        ImageNetConfig,
        blocks=st.tuples(few, few, few, few),
        shortcut=shortcuts,
        block=st.just("bottleneck"),
        stride_on=st.sampled_from(["first", "middle"]),
        cardinality=st.sampled_from([1, 2, 8]),
        group_width=st.sampled_from([4, 8, 64]),
    ),
    st.builds(
        DenseNetConfig,
        depth=st.sampled_from([7, 10, 13]),
        growth=st.integers(1, 5),
        stem=st.integers(1, 5),
    ),
    st.builds(
        VGGConfig,
        convolutions=st.tuples(few, few),
        widths=st.tuples(few, few),
        hidden=st.integers(1, 9),
        batch_norm=st.booleans(),
        init=inits,
    ),
    st.builds(LeNet5Config, init=inits),
    st.builds(AlexNetCifarConfig, ceil_mode=st.booleans(), batch_norm=st.booleans(), init=inits),
)


@given(
    config=SPECS,
    channels=st.sampled_from([1, 3]),
    classes=st.integers(1, 5),
    side=st.integers(1, 40),
)
def test_the_cost_of_a_config_equals_its_network_or_the_image_size_is_refused(
    config: ModelConfig, channels: int, classes: int, side: int
) -> None:
    try:
        cost = config.cost(channels, classes, side)
    except InputError as error:
        with pytest.raises((RuntimeError, InputError)):
            traced_cost.__wrapped__(config, channels, classes, side)
        smallest = int(error.problems[0].fix.split(" are ")[1].split("x")[0])
        assert smallest != side
        assert config.cost(channels, classes, smallest) == traced_cost(
            config, channels, classes, smallest
        )
        return
    assert cost == traced_cost(config, channels, classes, side)


@given(config=SPECS)
def test_a_config_is_decoded_from_its_file_and_parsed_from_its_table(config: ModelConfig) -> None:
    assert decode(ModelConfig, json.loads(json.dumps(encode(config))), "x") == config
    assert parse_model(without_defaults(config), "x") == config
    assert config.slug
    assert config.title
    assert config.depth > 1


@pytest.mark.parametrize(
    "config",
    [
        LeNet5Config(),
        AlexNetCifarConfig(batch_norm=True),
        DenseNetConfig(depth=10),
        VGGConfig(hidden=8),
    ],
)
def test_all_initial_weights_are_drawn_by_their_names(config: ModelConfig) -> None:
    names: list[str] = []

    def draw(name: str) -> torch.Generator:
        names.append(name)
        return make_generator(0, "init", name)

    model = build_model(config, 3, 10, draw)
    drawn = [
        f"{name}.{part}"
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
        for part, _ in module.named_parameters()
        if part == "weight" or config.init == "pytorch"
    ]
    assert sorted(names) == sorted(drawn)
    for tensor in model.state_dict().values():
        assert torch.isfinite(tensor.float()).all()


def test_a_name_and_its_table_give_the_same_network() -> None:
    for entry in registered_models():
        assert parse_model({"name": entry.name}, "x") == entry.model
        assert parse_model(encode(entry.model), "x") == entry.model
