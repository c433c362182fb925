"""Published checkpoints are imported with their nesting, prefixes, file forms, preprocessing and
networks.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from helpers.pictures import picture
from resnetlab.deploy.checks import match_classes
from resnetlab.deploy.export.network import metadata
from resnetlab.deploy.inputs import EvaluationImages
from resnetlab.deploy.predict import load_model
from resnetlab.errors import InputError
from resnetlab.files import sha256
from resnetlab.model_folder.read import read_model_file
from resnetlab.models.build import build_model, build_uninitialized
from resnetlab.models.configs import CifarConfig, VGGConfig
from resnetlab.models.convert import ImportOptions, import_weights, map_vgg_in_order
from resnetlab.models.imported_file import ImportedFile
from resnetlab.models.parse import parse_model
from resnetlab.models.weight_sources import (
    CIFAR10_CLASSES,
    CIFAR100_CLASSES,
    REPOSITORIES,
    find_source,
    parse_channels,
    parse_classes,
)
from resnetlab.models.weights import WeightsMetadata, load_weights, read_weights
from resnetlab.schema import config_hash


def network(seed: int = 0, classes: int = 10, name: str = "cifar-resnet8") -> nn.Module:
    config = parse_model(name, "")
    return build_model(config, 3, classes, lambda _: torch.Generator().manual_seed(seed))


_THEIRS = (
    ("stages.0.", "layer1."),
    ("stages.1.", "layer2."),
    ("stages.2.", "layer3."),
    ("stem_norm", "bn1"),
    ("stem", "conv1"),
    (".norm", ".bn"),
    ("head", "linear"),
)


def their_state(seed: int = 0, classes: int = 10) -> dict[str, Tensor]:
    """Random weights of a ResNet-8 under the names of the public CIFAR repositories."""
    state = {}
    for name, tensor in network(seed, classes).state_dict().items():
        for ours, theirs in _THEIRS:
            name = name.replace(ours, theirs)
        state[name] = tensor.clone()
    return state


def prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


NESTINGS: dict[str, Any] = {
    "plain": lambda state: state,
    "DataParallel": lambda state: {"state_dict": prefixed("module.", state)},
    "torch.compile": lambda state: {"model": prefixed("_orig_mod.", state)},
    "both wrappers": lambda state: {"net": prefixed("_orig_mod.module.", state)},
    "Lightning, with its loss": lambda state: {
        "state_dict": prefixed("model.", state) | {"criterion.weight": torch.ones(10)},
        "epoch": 3,
        "hyper_parameters": {"lr": 0.1},
    },
    "Lightning with net and torch.compile": lambda state: {
        "state_dict": prefixed("net._orig_mod.", state)
    },
    "EMA alone": lambda state: {"state_dict_ema": prefixed("module.", state)},
    "model_ema": lambda state: {"model_ema": state, "args": None},
    "a level deeper": lambda state: {"checkpoint": {"model_state_dict": state}, "step": 1},
    "averaged": lambda state: prefixed("module.", state) | {"n_averaged": torch.tensor(4)},
}


@pytest.mark.parametrize("form", NESTINGS)
def test_every_nesting_of_a_checkpoint_gives_the_same_tensors(form: str, tmp_path: Path) -> None:
    torch.save(NESTINGS[form](their_state()), tmp_path / "net.pth")
    imported = import_weights(tmp_path / "net.pth", "cifar-resnet8", tmp_path / "out")
    tensors, expected = read_weights(imported.path)[0], network().state_dict()
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[name], expected[name]) for name in expected)
    left_out = any("criterion.weight" in line for line in imported.assumed)
    assert left_out == (form == "Lightning, with its loss")


def test_a_second_set_of_weights_is_reported_and_can_be_selected(tmp_path: Path) -> None:
    file = tmp_path / "net.pth"
    torch.save({"state_dict": their_state(1), "state_dict_ema": their_state(2)}, file)
    imported = import_weights(file, "cifar-resnet8", tmp_path / "a")
    assert "also has weights under state_dict_ema; state_dict is imported" in imported.assumed[0]
    options = ImportOptions(key="state_dict_ema")
    ema = import_weights(file, "cifar-resnet8", tmp_path / "b", options).path
    assert torch.equal(read_weights(ema)[0]["stem.weight"], network(2).state_dict()["stem.weight"])
    with pytest.raises(InputError, match="no weights under that key"):
        import_weights(file, "cifar-resnet8", tmp_path / "c", ImportOptions(key="nosuch"))


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_files_of_the_hugging_face_hub_are_imported(tmp_path: Path, name: str) -> None:
    if name.endswith(".bin"):
        torch.save(their_state(), tmp_path / name)
    else:
        save_file(their_state(), tmp_path / name)
    path = import_weights(tmp_path / name, "cifar-resnet8", tmp_path / "out").path
    assert torch.equal(read_weights(path)[0]["head.weight"], network().state_dict()["head.weight"])


def test_a_torch_file_given_as_safetensors_is_refused_with_the_import_command(
    tmp_path: Path,
) -> None:
    torch.save(their_state(), tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"a file of torch\.save.*import-weights"):
        read_weights(tmp_path / "pytorch_model.bin")


def test_damaged_weights_are_reported_under_the_name_in_their_file(tmp_path: Path) -> None:
    state = their_state()
    state["linear.bias"][3] = torch.nan
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(InputError, match=r"net\.pth: has NaN or infinity in linear\.bias"):
        import_weights(tmp_path / "net.pth", "cifar-resnet8", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def imported_model(tmp_path: Path, state: dict[str, Any], **options: Any) -> Any:
    torch.save(state, tmp_path / "net.pth")
    import_weights(
        tmp_path / "net.pth", "cifar-resnet8", tmp_path / "out", ImportOptions(**options)
    )
    return read_model_file(tmp_path / "out")


def test_assumed_values_of_imported_weights_become_caveats(tmp_path: Path) -> None:
    file = imported_model(tmp_path, their_state())
    assert file.classes == tuple(f"class {k}" for k in range(10))
    assert file.caveats == (
        (
            "shortcut option A is assumed with its zero channels at both ends; the same tensors "
            "fit cifar-resnet8-a-end, with them at the end, and a plain network"
        ),
        (
            "the file does not state its mean and std: those of ImageNet are assumed (--mean and "
            "--std, or --repository, give them)"
        ),
        "the 10 outputs have no names (--classes FILE, cifar10, cifar100 or imagenet)",
    )


@pytest.mark.parametrize(
    ("repository", "mean", "std"),
    [
        ("kuangliu", (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
        ("akamaster/pytorch_resnet_cifar10", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ],
)
def test_a_known_repository_sets_preprocessing_and_class_names(
    tmp_path: Path, repository: str, mean: Any, std: Any
) -> None:
    file = imported_model(tmp_path, their_state(), repository=repository)
    assert (file.eval_transform.mean, file.eval_transform.std) == (mean, std)
    assert file.classes == CIFAR10_CLASSES


def test_options_and_the_file_set_preprocessing_and_class_names(tmp_path: Path) -> None:
    options = {
        "mean": (0.1, 0.2, 0.3),
        "std": (0.4, 0.5, 0.6),
        "classes": parse_classes("cifar100"),
    }
    file = imported_model(tmp_path, their_state(classes=100), **options)
    assert (file.eval_transform.mean, file.eval_transform.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert file.classes == CIFAR100_CLASSES
    (tmp_path / "b").mkdir()
    stated = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "class_to_idx": {"b": 1, "a": 0}}
    file = imported_model(tmp_path / "b", {"net": their_state(classes=2)} | stated)
    assert (file.eval_transform.mean, file.classes) == ((0.1, 0.2, 0.3), ("a", "b"))
    with pytest.raises(InputError, match="--classes: 10 names for 100 outputs"):
        imported_model(tmp_path, their_state(classes=100), classes=CIFAR10_CLASSES)
    with pytest.raises(InputError, match="one without the other"):
        imported_model(tmp_path, their_state(), mean=(0.1, 0.2, 0.3))


def test_values_of_options_are_checked(tmp_path: Path) -> None:
    assert parse_channels(".1,.2,.3", "--mean") == (0.1, 0.2, 0.3)
    for text in ("1,2,3", "a", ".1,.2", "nan"):
        with pytest.raises(InputError, match="--std: not a value per channel"):
            parse_channels(text, "--std")
    (tmp_path / "names.txt").write_text("cat\ndog\ncat\n")
    with pytest.raises(InputError, match='"cat" occurs twice'):
        parse_classes(str(tmp_path / "names.txt"))
    assert len(set(CIFAR100_CLASSES)) == 100
    assert all(0 < value < 1 for one in REPOSITORIES.values() for value in one.mean + one.std)


def test_a_repository_with_several_kinds_of_weights_is_chosen_by_the_outputs() -> None:
    cifar100 = REPOSITORIES["chenyaofo/pytorch-cifar-models:cifar100"]
    for name in ("chenyaofo", "chenyaofo/pytorch-cifar-models"):
        assert find_source(name, 100) is cifar100
        assert find_source(name, 10) is REPOSITORIES["chenyaofo/pytorch-cifar-models"]
        with pytest.raises(InputError, match="--repository: none of its weights has 5 outputs"):
            find_source(name, 5)
    assert find_source("kuangliu", 5) is REPOSITORIES["kuangliu/pytorch-cifar"]


def test_weights_with_the_file_name_of_published_ones_get_their_resize(tmp_path: Path) -> None:
    from torchvision.models import ResNet50_Weights, resnet50

    file = tmp_path / ResNet50_Weights.IMAGENET1K_V2.url.rpartition("/")[2]
    torch.save(resnet50(weights=None).state_dict(), file)
    import_weights(file, "resnet50", tmp_path / "out")
    model = read_model_file(tmp_path / "out")
    assert model.eval_transform.resize == 232
    assert model.caveats == (
        (
            "by the file's name, its preprocessing is assumed to be that of torchvision's "
            "ResNet50_Weights.IMAGENET1K_V2"
        ),
        (
            "the 1,000 outputs are assumed to be ImageNet's classes in torchvision's order "
            "(--classes names them)"
        ),
    )
    import_weights(file, "resnet50", tmp_path / "b", ImportOptions(resize=240))
    assert read_model_file(tmp_path / "b").eval_transform.resize == 240


def test_the_import_of_other_weights_is_never_overwritten(tmp_path: Path) -> None:
    for seed in (1, 2):
        torch.save(their_state(seed), tmp_path / f"{seed}.pth")
    out = tmp_path / "out"
    first = import_weights(tmp_path / "1.pth", "cifar-resnet8", out).path.read_bytes()
    with pytest.raises(InputError, match=r"exists, with the weights of 1\.pth.*--out"):
        import_weights(tmp_path / "2.pth", "cifar-resnet8", out)
    assert (out / "weights.safetensors").read_bytes() == first
    import_weights(tmp_path / "1.pth", "cifar-resnet8", out, ImportOptions(repository="kuangliu"))


def test_zero_channels_at_the_end_are_another_network_with_the_same_tensors() -> None:
    from resnetlab.models.nets.shortcuts import ZeroPadShortcut

    x = torch.arange(2.0).view(1, 2, 1, 1) + 1
    assert ZeroPadShortcut(2, 6, 1)(x).flatten().tolist() == [0, 0, 1, 2, 0, 0]
    assert ZeroPadShortcut(2, 6, 1, at_end=True)(x).flatten().tolist() == [1, 2, 0, 0, 0, 0]
    both, end = (parse_model(f"cifar-resnet8{a}", "") for a in ("", "-a-end"))
    assert (both.slug, end.slug) == ("cifar-resnet8", "cifar-resnet8-a-end")
    assert config_hash(both) != config_hash(end)
    assert config_hash(both) == config_hash(CifarConfig(blocks=(1, 1, 1)))
    one, other = network(), network(name="cifar-resnet8-a-end")
    other.load_state_dict(one.state_dict())
    images = torch.randn(2, 3, 32, 32)
    assert not torch.allclose(one(images), other(images))
    with pytest.raises(InputError, match="shortcut B adds no zero channels"):
        parse_model({"name": "cifar-resnet8-b", "zero_channels": "end"}, "x")


def test_importing_residual_weights_into_a_plain_network_gives_a_note(tmp_path: Path) -> None:
    torch.save(their_state(), tmp_path / "net.pth")
    imported = import_weights(tmp_path / "net.pth", "cifar-plain8", tmp_path / "out")
    assert "a residual network with option A has the same tensors" in imported.assumed[0]


def predicted(folder: Path, theirs: nn.Module) -> float:
    """Return the largest difference between the model's logits and those of the other network."""
    model = load_model(folder)
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return float((model.module(images) - theirs.eval()(images)).abs().max())


@pytest.mark.parametrize("source", ["torchvision", "timm"])
def test_the_layers_of_a_vgg_of_another_package_are_mapped_by_their_order(
    tmp_path: Path, source: str
) -> None:
    """On the meta device, because a VGG has half a gigabyte of weights."""
    ours = parse_model("vgg16", "")
    with torch.device("meta"):
        if source == "timm":
            theirs = pytest.importorskip("timm").create_model("vgg16", num_classes=3)
        else:
            from torchvision.models import vgg16

            theirs = vgg16(num_classes=3)
        template = build_uninitialized(ours, 3, 3)
    file = ImportedFile(theirs.state_dict(), WeightsMetadata())
    mapped = map_vgg_in_order(tmp_path / "vgg.pth", file, template).tensors
    expected = template.state_dict()
    assert {name: t.shape for name, t in mapped.items()} == {
        name: t.shape for name, t in expected.items()
    }
    assert mapped["stages.4.2.conv.weight"] is file.tensors["features.28.weight"]
    assert mapped["stages.0.0.conv.bias"] is file.tensors["features.0.bias"]
    last = "classifier.6.bias" if source == "torchvision" else "head.fc.bias"
    assert mapped["fc3.bias"] is file.tensors[last]


def test_a_torchvision_vgg_with_our_names_gives_its_logits(tmp_path: Path) -> None:
    """With batch norm, and linear layers of 8 units in place of 4,096."""
    from torchvision.models import vgg11_bn

    torch.manual_seed(0)
    theirs = vgg11_bn(num_classes=3)
    for index, (inputs, outputs) in {0: (512 * 49, 8), 3: (8, 8), 6: (8, 3)}.items():
        theirs.classifier[index] = nn.Linear(inputs, outputs)
    for layer in theirs.features:
        if isinstance(layer, nn.BatchNorm2d):  # as after some training
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 2)
            nn.init.uniform_(layer.weight, 0.5, 2)
            nn.init.normal_(layer.bias)
    config = VGGConfig(convolutions=(1, 1, 2, 2, 2), hidden=8, batch_norm=True)
    ours = build_uninitialized(config, 3, 3)
    file = ImportedFile(theirs.state_dict(), WeightsMetadata())
    mapped = map_vgg_in_order(tmp_path / "vgg.pth", file, ours)
    load_weights(ours, mapped.tensors, "vgg.pth")
    images = torch.randn(2, 3, 224, 224)
    with torch.inference_mode():
        expected = theirs.eval()(images)
        torch.testing.assert_close(ours.eval()(images), expected, rtol=1e-4, atol=1e-4)
    assert expected.std() > 1e-3


def test_a_pre_activation_network_of_timm_is_refused_with_its_name(tmp_path: Path) -> None:
    net = pytest.importorskip("timm").create_model("resnetv2_18", num_classes=3)
    torch.save(net.state_dict(), tmp_path / "net.pth")
    with pytest.raises(InputError, match="pre-activation network of timm") as caught:
        import_weights(tmp_path / "net.pth", "resnet18", tmp_path / "out")
    assert str(caught.value).endswith("Fix: --as timm/resnetv2_50, or the timm name of its network")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "source", ["timm/mobilenetv2_035", "timm/resnetv2_18", "torchvision/mobilenet_v3_small"]
)
def test_an_external_network_with_its_classifier_is_imported_as_a_model(
    tmp_path: Path, source: str
) -> None:
    library, _, name = source.partition("/")
    if library == "timm":
        theirs = pytest.importorskip("timm").create_model(name, num_classes=7)
    else:
        from torchvision.models import get_model

        theirs = get_model(name, num_classes=7)
    torch.save(prefixed("module.", theirs.state_dict()), tmp_path / "net.bin")
    imported = import_weights(tmp_path / "net.bin", source, tmp_path / "out")
    assert predicted(tmp_path / "out", theirs) < 1e-4
    assert any("preprocessing" in line and "assumed" in line for line in imported.assumed)
    (prediction,) = load_model(tmp_path / "out").predict([picture(0)])
    assert len(prediction.top_classes) == 5


def test_a_function_whose_classifier_has_another_name_is_imported_as_a_model(
    tmp_path: Path,
) -> None:
    from helpers.user_network import tiny

    theirs = tiny(4)
    torch.save(theirs.state_dict(), tmp_path / "tiny.pth")
    import_weights(tmp_path / "tiny.pth", "helpers.user_network:tiny", tmp_path / "out")
    assert predicted(tmp_path / "out", theirs) < 1e-6


def test_a_classifier_with_an_unknown_name_is_detected_or_the_candidates_are_listed(
    tmp_path: Path,
) -> None:
    state = {name.replace("linear", "my_output"): t for name, t in their_state().items()}
    torch.save(state, tmp_path / "net.pth")
    imported = import_weights(tmp_path / "net.pth", "cifar-resnet8", tmp_path / "out")
    assert imported.assumed[0] == "my_output.weight is taken as the classifier"
    state["projection.weight"] = torch.zeros(5, 32)
    del state["my_output.weight"]
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(InputError, match=r"its matrices: projection\.weight 5x32"):
        import_weights(tmp_path / "net.pth", "cifar-resnet8", tmp_path / "b")


def test_the_hash_of_imported_weights_is_in_the_metadata_of_an_export(tmp_path: Path) -> None:
    torch.save(their_state(), tmp_path / "net.pth")
    path = import_weights(tmp_path / "net.pth", "cifar-resnet8", tmp_path / "out").path
    assert metadata(load_model(tmp_path / "out"))["weights_sha256"] == sha256(path)
    assert json.loads(metadata(load_model(tmp_path / "out"))["caveats"])


def test_outputs_that_are_not_exclusive_classes_are_refused_by_name(tmp_path: Path) -> None:
    torch.save(their_state(classes=1), tmp_path / "one.pth")
    with pytest.raises(InputError, match=r"one output \(a binary or a regression head\)"):
        import_weights(tmp_path / "one.pth", "cifar-resnet8", tmp_path / "out")
    state = prefixed("model.", their_state()) | {"loss.pos_weight": torch.ones(10)}
    torch.save({"state_dict": state}, tmp_path / "many.pth")
    with pytest.raises(InputError, match="a multi-label head"):
        import_weights(tmp_path / "many.pth", "cifar-resnet8", tmp_path / "out")


def test_outputs_without_names_are_refused_in_one_line_that_names_the_option(
    tmp_path: Path,
) -> None:
    model = tmp_path / "out"
    save_file(their_state(), tmp_path / "net.safetensors")
    import_weights(tmp_path / "net.safetensors", "cifar-resnet8", model)
    data = EvaluationImages("pets", "test", ("cat", "dog"), (), ("cat", "dog"))
    with pytest.raises(InputError) as caught:
        match_classes(load_model(model).classes, data)
    assert str(caught.value) == (
        "pets: the model's 10 outputs have no names, so no image can be scored. Fix: import its "
        "weights again with --classes and the names in the order of the outputs"
    )
