"""A network for fine-tuning gets a new classifier and frozen layers, and its two halves compute
what the whole network does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from resnetlab.errors import InputError
from resnetlab.models.build import build_uninitialized
from resnetlab.models.configs import ExternalConfig
from resnetlab.models.configs.external import with_num_classes
from resnetlab.models.model_cost import count_parameters, model_cost
from resnetlab.models.registry import get_model_config
from resnetlab.models.transfer import (
    build_with_new_head,
    check_accepts_image_size,
    count_trainable_parameters,
    find_head,
    forward_in_eval_mode,
    freeze,
    is_folded,
    last_batch_norm,
    list_parts,
    partition_at,
)
from resnetlab.models.weights import write_weights

WEIGHTS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "weights"
SOURCES = [
    "torchvision/resnet18",
    "torchvision/mobilenet_v3_small",
    "timm/mobilenetv2_035",
    "timm/resnet18",
]


def generator(name: str) -> torch.Generator:
    return torch.Generator().manual_seed(len(name))


def pretrained(tmp_path: Path, source: str, classes: int) -> ExternalConfig:
    """Return a config with weights that were drawn for `classes`."""
    config = ExternalConfig(source=source, kwargs={"num_classes": classes})
    model = build_with_new_head(config, classes, generator)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()  # type: ignore[union-attr]
    path = tmp_path / "weights.safetensors"
    write_weights(path, model.state_dict(), {})
    return ExternalConfig(source=source, weights=str(path))


@pytest.mark.parametrize("source", SOURCES)
def test_the_backbone_has_the_pretrained_weights_and_the_new_classifier_is_reproducible(
    tmp_path: Path, source: str
) -> None:
    config = pretrained(tmp_path, source, 7)
    model, again = (
        build_with_new_head(config, 4, generator),
        build_with_new_head(config, 4, generator),
    )
    name, head = find_head(model, source)
    assert head.out_features == 4
    assert 0 < head.weight.abs().max() <= head.in_features**-0.5
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[key]), key
    converted = build_with_new_head(
        ExternalConfig(source=source, weights=config.weights), 7, generator
    ).state_dict()
    for key, tensor in model.state_dict().items():
        assert key.startswith(f"{name}.") or torch.equal(tensor, converted[key]), key


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("part", ["classifier", "last norm", "middle"])
def test_the_two_parts_of_a_split_network_give_the_output_of_the_whole(
    source: str, part: str
) -> None:
    model = build_with_new_head(ExternalConfig(source=source), 5, generator).eval()
    names = {
        "classifier": find_head(model, "")[0],
        "last norm": last_batch_norm(model, 64) or "",
        "middle": "",
    }
    at = names[part] or list_parts(model)[len(list_parts(model)) // 2][0]
    halves = partition_at(model, at, 64)
    assert halves is not None
    frozen_part, trainable_part = halves
    images = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        rows = frozen_part(images)
        assert rows.dim() == 2
        torch.testing.assert_close(trainable_part(rows), model(images), rtol=1e-5, atol=1e-5)
    ids = {id(p) for p in trainable_part.parameters()}
    assert ids < {id(p) for p in model.parameters()}  # shared, not copied


def test_the_last_norm_is_the_last_one_in_the_forward_pass_and_not_in_the_module_list() -> None:
    model = build_with_new_head(get_model_config("resnet18", "", ""), 5, generator)
    assert last_batch_norm(model, 32) == "stages.3.1.norm2"
    assert (
        last_batch_norm(
            build_with_new_head(ExternalConfig(source="timm/mobilenetv2_035"), 5, generator), 32
        )
        == "bn2"
    )


def test_the_parameters_of_the_published_network_are_counted_on_the_meta_device() -> None:
    """Proof of concept of FixRes: 245,880 trainable of 826,608,056."""
    with torch.device("meta"):
        model = build_uninitialized(get_model_config("resnext101_32x48d", "", ""), 3, 120)
    freeze(model, "backbone", "")
    assert (count_parameters(model, trainable=True), count_parameters(model)) == (
        245_880,
        826_608_056,
    )


def test_the_parameter_count_of_a_network_includes_its_new_classifier() -> None:
    """Weights of 1,001 classes: their head of 1,282,281 parameters gives way to one of 12,810."""
    kwargs: dict[str, Any] = {"num_classes": 1001, "pad_type": "same"}
    config = ExternalConfig(source="timm/mobilenetv2_100", kwargs=kwargs)
    fitted = build_with_new_head(config, 10, generator)
    parameters = sum(parameter.numel() for parameter in fitted.parameters())
    assert parameters == 2_236_682
    assert model_cost(with_num_classes(config, 10), 3, 10, 96)[0] == parameters
    trained = model_cost(config, 3, 10, 96)
    assert trained[0] - parameters == 991 * 1281
    assert trained[1] - model_cost(with_num_classes(config, 10), 3, 10, 96)[1] == 991 * 1280
    assert count_trainable_parameters(with_num_classes(config, 10), 3, 10, "backbone") == 12_810
    assert config.kwargs["num_classes"] == 1001
    plain = ExternalConfig(source="torchvision/resnet18")
    assert with_num_classes(plain, 10) == plain


def test_frozen_layers_have_no_gradient_and_fixed_statistics() -> None:
    model = build_with_new_head(ExternalConfig(source="torchvision/resnet18"), 3, generator)
    for freeze_option, trained in (("backbone", {"fc"}), (9, {"layer4.1", "fc"})):
        freeze(model, freeze_option, "")
        assert {
            n.rpartition(".")[0].split(".conv")[0].split(".bn")[0]
            for n, p in model.named_parameters()
            if p.requires_grad
        } >= trained
        frozen = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d) and not m.training]
        before = [m.running_mean.clone() for m in frozen]  # type: ignore[union-attr]
        model(torch.randn(4, 3, 32, 32)).sum().backward()
        assert frozen
        for module, values in zip(frozen, before, strict=True):
            assert torch.equal(module.running_mean, values)  # type: ignore[arg-type]
            assert module.weight.grad is None
        model.zero_grad(set_to_none=True)


def test_weights_of_another_architecture_are_refused_by_name(tmp_path: Path) -> None:
    config = pretrained(tmp_path, "torchvision/resnet18", 5)
    with pytest.raises(
        InputError, match=r"is missing .*tensors.*Fix: give the file of this network"
    ):
        build_with_new_head(
            ExternalConfig(source="torchvision/resnet34", weights=config.weights), 5, generator
        )


def test_impossible_image_sizes_and_freezing_all_layers_are_refused() -> None:
    model = build_with_new_head(ExternalConfig(source="torchvision/alexnet"), 3, generator)
    with pytest.raises(InputError, match=r"does not take images of 32 x 32: .*Fix: a larger size"):
        check_accepts_image_size(model, 32, "torchvision/alexnet")
    count = len(list_parts(model))
    with pytest.raises(
        InputError, match=f"freeze: {count} of its {count} parts leave nothing to train"
    ):
        freeze(model, count, "alexnet")
    with pytest.raises(InputError, match="the model has no final linear layer to replace"):
        build_with_new_head(ExternalConfig(source="torchvision/squeezenet1_0"), 3, generator)


def test_folded_statistics_are_recognized() -> None:
    norm = nn.BatchNorm2d(4, eps=1e-3)
    assert not is_folded(norm)  # mean 0, variance 1: what a norm starts with
    assert norm.running_var is not None
    norm.running_var.fill_(1 - 1e-3)
    assert is_folded(norm)
    assert norm.running_mean is not None
    norm.running_mean[2] = 0.1
    assert not is_folded(norm)


def test_forward_in_eval_mode_restores_the_training_flags() -> None:
    model = build_with_new_head(ExternalConfig(source="torchvision/resnet18"), 3, generator)
    freeze(model, "backbone", "")
    before = [module.training for module in model.modules()]
    forward_in_eval_mode(model, torch.zeros(2, 3, 32, 32))
    assert [module.training for module in model.modules()] == before
    assert not all(before)


@pytest.mark.skipif(not WEIGHTS.is_dir(), reason="the pre-trained weights are not here")
@pytest.mark.parametrize(
    ("name", "folded"), [("mobilenetv2_100", True), ("mobilenetv2_035", False)]
)
def test_only_one_of_the_published_networks_has_folded_statistics(name: str, folded: bool) -> None:
    file = WEIGHTS / f"{name}{'' if folded else '_features'}.safetensors"
    kwargs = {"pad_type": "same"} | ({} if folded else {"bn_eps": 1e-3})
    model = build_with_new_head(
        ExternalConfig(source=f"timm/{name}", kwargs=kwargs, weights=str(file)), 10, generator
    )
    norm = model.get_submodule(last_batch_norm(model, 64) or "")
    assert is_folded(norm) == folded
