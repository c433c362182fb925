"""The learning rates by block are those of timm's `param_groups_layer_decay`."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
import torchvision
from timm.optim import param_groups_layer_decay

from helpers.texture_photographs import KINDS
from resnetlab.finetuning.dataset import open_photographs
from resnetlab.finetuning.network.model import FinetuneModel
from resnetlab.finetuning.stage.state import FinetuneState, block_decay_scales
from resnetlab.models.configs import ExternalConfig
from resnetlab.recipes.finetune import Stage
from resnetlab.recipes.numerics import Numerics
from resnetlab.recipes.train import Adam, Recipe


def timm_scales(name: str) -> tuple[torch.nn.Module, dict[str, float]]:
    with torch.device("meta"):
        model = timm.create_model(name)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    expected = {
        names[id(parameter)]: group["lr_scale"]
        for group in param_groups_layer_decay(model, layer_decay=0.7)
        for parameter in group["params"]
    }
    assert len(set(expected.values())) > 5
    return model, expected


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2_035", "regnety_002"])
def test_the_learning_rates_by_block_equal_timm(name: str) -> None:
    model, expected = timm_scales(name)
    scale = block_decay_scales(model, model, 0.7)
    assert {name: scale(name) for name in expected} == pytest.approx(expected)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_a_torchvision_network_has_the_learning_rates_of_the_same_timm_network(name: str) -> None:
    """Its parameters have the same names, and timm's groups are not asked for."""
    _, expected = timm_scales(name)
    with torch.device("meta"):
        model = torchvision.models.get_model(name)
    scale = block_decay_scales(model, model, 0.7)
    assert {name: scale(name) for name in expected} == pytest.approx(expected)


def test_the_optimizer_of_a_stage_gets_these_rates_even_with_a_frozen_part(
    photos: Path, config: ExternalConfig
) -> None:
    """Frozen are stem, norm and the first block; the second has half the rate of the head."""
    data = open_photographs(photos, cache=photos.parent / "cache")
    numerics = Numerics(device="cpu", precision="fp32", memory_format="channels_last", threads=1)
    model = FinetuneModel(config, None, KINDS, 0, numerics, torch.device("cpu"))
    stage = Stage(
        name="stage",
        trainable=3,
        layer_decay=0.5,
        layer_decay_by="block",
        recipe=Recipe(batch_size=8, epochs=1, optimizer=Adam(lr=0.8)),
    )
    partitioned = model.partition_for_training(3, 24)
    assert partitioned.frozen_part is not None
    state = FinetuneState(
        model, partitioned, stage, stage.recipe, model.eval_transform(24), 0, data.train, None
    )
    rates = {
        id(parameter): group["lr"]
        for group in state.optimizer.param_groups
        for parameter in group["params"]
    }
    scales = {
        name: rates[id(parameter)]
        for name, parameter in model.model.named_parameters()
        if id(parameter) in rates
    }
    assert {name.split(".")[0] for name in scales} == {"blocks", "head"}
    for name, rate in scales.items():
        assert rate == pytest.approx(0.8 if name.startswith("head") else 0.4)
