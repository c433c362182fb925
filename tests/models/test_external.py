"""Networks of other libraries are built by name or function, with weights from files, and an
unreachable hub is reported.
"""

from __future__ import annotations

import os
import subprocess
import sys
import types
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from helpers.networks import build as build_network
from resnetlab import trust
from resnetlab.errors import InputError
from resnetlab.files import sha256
from resnetlab.models import external
from resnetlab.models.configs import ExternalConfig, ModelConfig
from resnetlab.models.external import check_one_output, local_weights_path, weights_metadata
from resnetlab.models.factory import model_factory
from resnetlab.models.model_cost import model_cost
from resnetlab.models.parse import parse_model
from resnetlab.models.weights import WeightsMetadata, read_weights, write_weights
from resnetlab.schema import config_hash, decode, encode

SMALL = ExternalConfig(source="torchvision/squeezenet1_1")
SHARED_WEIGHTS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "weights"
REAL = Path(os.environ.get("RESNETLAB_TEST_WEIGHTS") or SHARED_WEIGHTS)


build = partial(build_network, classes=7)


def tiny(num_classes: int = 2, width: int = 4, channels: int = 3) -> nn.Module:
    """Package that a user may have written."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, num_classes),
    )


def fixed() -> nn.Sequential:
    return nn.Sequential(*tiny(3).children())


NAMES = ("tiny", "wrong", "fixed", "none", "undeclared")


@pytest.fixture
def custom_model(monkeypatch: pytest.MonkeyPatch) -> str:
    module: Any = types.ModuleType("ownpackage")
    module.tiny, module.wrong, module.fixed = tiny, model_factory(lambda: 5), fixed
    module.undeclared = lambda: tiny(3)
    monkeypatch.setitem(sys.modules, "ownpackage", module)
    for source in ("no_such_package:f", *(f"ownpackage:{name}" for name in NAMES)):
        trust.allow(source)
    return "ownpackage:tiny"


def error_text(config: ExternalConfig) -> str:
    with pytest.raises(InputError) as caught:
        build(config)
    return str(caught.value)


@pytest.mark.parametrize(
    "name", ["timm/mobilenetv2_100", "torchvision/resnet18", "package.module:function"]
)
def test_an_external_network_has_a_name_and_is_decoded_from_a_file(name: str) -> None:
    config = parse_model(name, "x")
    assert config == ExternalConfig(source=name)
    assert config.slug == name
    table = {"name": name, "kwargs": {"num_classes": 1001, "pad_type": "same", "rates": [1, 2]}}
    more = parse_model(table, "x")
    assert isinstance(more, ExternalConfig)
    assert more.kwargs == {"num_classes": 1001, "pad_type": "same", "rates": [1, 2]}
    assert decode(ModelConfig, encode(more), "x") == more
    assert config_hash(more) != config_hash(config)
    assert more.slug == f"{name}+"
    assert {more, config, replace(config)} == {more, config}


def test_a_torchvision_network_is_built_for_the_classes_of_the_data() -> None:
    model = build(SMALL).eval()
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 7)
    assert model_cost(SMALL, 3, 7, 64)[0] == sum(p.numel() for p in model.parameters())
    with_kwargs = build(ExternalConfig(source=SMALL.source, kwargs={"num_classes": 11}))
    assert with_kwargs.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 11)


def test_initial_weights_follow_from_the_seed_and_the_global_generator_is_unchanged() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one, same, other = (build(SMALL, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["features.0.weight"], other["features.0.weight"])


def test_a_function_of_the_user_is_called_with_kwargs_and_classes(custom_model: str) -> None:
    config = ExternalConfig(source=custom_model, kwargs={"width": 6})
    assert build(config)[3].weight.shape == (7, 6)
    assert model_cost(config, 3, 7, 8) == (6 * 27 + 6 + 7 * 6 + 7, 6 * 27 * 36 + 42)
    assert build(ExternalConfig(source="ownpackage:fixed"))[3].weight.shape == (3, 4)


def test_a_local_weights_file_is_written_and_read_with_classes_and_preprocessing(
    custom_model: str, tmp_path: Path
) -> None:
    model, path = build(ExternalConfig(source=custom_model)), tmp_path / "w.safetensors"
    write_weights(
        path,
        model.state_dict(),
        {"classes": ["a", "b"], "mean": [0.5], "std": [0.25], "side": 8},
    )
    config = ExternalConfig(source=custom_model, weights=str(path), sha256=sha256(path))
    again = build(config, seed=5).state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in model.state_dict().items())
    assert weights_metadata(config) == WeightsMetadata(("a", "b"), (0.5,), (0.25,), 8)
    changed = replace(config, mean=(0.1,), std=(0.2,), class_names=("x", "y"))
    assert weights_metadata(changed) == WeightsMetadata(("x", "y"), (0.1,), (0.2,), 8)


def test_a_file_with_another_hash_than_the_config_is_refused(
    custom_model: str, tmp_path: Path
) -> None:
    path = tmp_path / "w.safetensors"
    write_weights(path, build(ExternalConfig(source=custom_model)).state_dict(), {})
    line = error_text(ExternalConfig(source=custom_model, weights=str(path), sha256="0" * 64))
    assert (
        line
        == f"{path}: differs from the SHA-256 of the config. Fix: give the file that the config "
        "was made with"
    )


def test_a_file_with_missing_or_extra_names_is_refused_with_five_names_and_their_number(
    custom_model: str, tmp_path: Path
) -> None:
    path, state = (
        tmp_path / "w.safetensors",
        build(ExternalConfig(source=custom_model)).state_dict(),
    )
    contents = {f"more.{index}": torch.zeros(1) for index in range(1234)} | {
        "0.weight": torch.zeros(2, 2)
    }
    write_weights(path, contents, {})
    lines = error_text(ExternalConfig(source=custom_model, weights=str(path))).splitlines()
    assert lines[0].startswith(f"{path}: is missing 0.bias, 3.weight, 3.bias (3 tensors). Fix: ")
    assert ".0" in lines[1]
    assert lines[1].count("more.") == 5
    assert "(1,234 tensors)" in lines[1]
    assert lines[2].startswith(f"{path}: has another shape: 0.weight 2x2 for 4x3x3x3. Fix: ")
    assert len(state) == 4


@pytest.mark.parametrize(
    "path", ["~nobody-of-that-name/w.safetensors", "a" * 5000, "nul\0", "/", "."]
)
def test_an_invalid_path_is_reported_when_the_weights_are_read(
    custom_model: str, path: str
) -> None:
    config = parse_model({"name": custom_model, "weights": path}, "x")
    assert isinstance(config, ExternalConfig)
    assert config.sha256 == ""
    assert len(error_text(config).splitlines()) == 1


@pytest.mark.parametrize("metadata", [[], {"classes": 3}, {"mean": ["x"]}, {"side": None}])
def test_metadata_of_another_program_are_ignored(
    custom_model: str, tmp_path: Path, metadata: Any
) -> None:
    path = tmp_path / "w.safetensors"
    write_weights(path, build(ExternalConfig(source=custom_model)).state_dict(), metadata)
    assert read_weights(path)[1] == WeightsMetadata()


@pytest.mark.parametrize("content", [None, b"", b"no tensors", b"\xff" * 100])
def test_a_file_that_is_not_a_weights_file_is_refused(
    custom_model: str, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "w.safetensors"
    if content is not None:
        path.write_bytes(content)
    line = error_text(ExternalConfig(source=custom_model, weights=str(path)))
    assert line.startswith(
        f"{path}: " + ("no such file" if content is None else "not a complete safetensors file")
    )
    assert len(line.splitlines()) == 1


def test_an_unreachable_hub_is_reported_with_the_file_to_download_and_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import urllib.error

    def refuse(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("RESNETLAB_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("torch.hub.urlopen", refuse)
    monkeypatch.setattr("resnetlab.models.external.connection_problem", lambda _: "")
    config = replace(SMALL, weights="hub")
    folder = tmp_path / "weights" / "torchvision"
    line = error_text(config)
    assert line == (
        "torchvision/squeezenet1_1+: the hub of torchvision cannot be reached: <urlopen error no "
        f"route to host>. Fix: place squeezenet1_1.safetensors in {folder}, or give its path as "
        "weights"
    )
    assert local_weights_path(config) == folder / "squeezenet1_1.safetensors"
    folder.mkdir(parents=True)
    state = build(SMALL, classes=1000).state_dict()
    write_weights(local_weights_path(config), state, {})
    placed = build(config, classes=1000, seed=9).state_dict()
    assert all(torch.equal(placed[name], state[name]) for name in state)
    metadata = weights_metadata(config)
    assert (len(metadata.class_names), metadata.mean, metadata.side) == (
        1000,
        (0.485, 0.456, 0.406),
        224,
    )


def test_a_library_that_is_not_installed_is_reported_with_its_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    line = error_text(ExternalConfig(source="timm/resnet18"))
    assert line == 'timm/resnet18: timm is not installed. Fix: pip install "resnetlab[timm]"'


@pytest.mark.parametrize(
    ("config", "start"),
    [
        (
            ExternalConfig(source="torchvision/nonet"),
            "torchvision/nonet: cannot be built: Unknown model nonet.",
        ),
        (
            ExternalConfig(source="torchvision/resnet18", kwargs={"nowidth": 3}),
            "torchvision/resnet18+: cannot be built: ",
        ),
        (
            ExternalConfig(source="no_such_package:f"),
            "no_such_package:f: no_such_package cannot be imported: ",
        ),
        (
            ExternalConfig(source="ownpackage:none"),
            "ownpackage:none: ownpackage has no function none.",
        ),
        (
            ExternalConfig(source="ownpackage:wrong"),
            "ownpackage:wrong: gives a int, not a torch.nn.Module.",
        ),
        (
            ExternalConfig(source="ownpackage:undeclared"),
            "ownpackage:undeclared: is not declared as a function that builds networks.",
        ),
    ],
)
@pytest.mark.usefixtures("custom_model")
def test_a_network_that_cannot_be_built_is_refused_in_one_line(
    config: ExternalConfig, start: str
) -> None:
    line = error_text(config)
    assert line.startswith(start)
    assert len(line.splitlines()) == 1
    assert ". Fix: " in line


@pytest.mark.parametrize(
    ("table", "line"),
    [
        (
            {"source": "resnet18"},
            'model.source: names no network. Fix: source = "torchvision/resnet18"',
        ),
        (
            {"source": "timm/a", "mean": [0.5]},
            "model.mean: mean and std differ in length. Fix: give one value per channel in both",
        ),
        (
            {"source": "a:b", "weights": "hub"},
            "model.weights: a function has no hub. Fix: the path of a safetensors file",
        ),
        ({"source": "a:b", "kwargs": 3}, "model.kwargs: not a table "),
    ],
)
def test_mistakes_in_the_table_of_an_external_network_are_reported(
    table: dict[str, Any], line: str
) -> None:
    with pytest.raises(InputError) as caught:
        parse_model({"family": "external"} | table, "s.toml")
    assert str(caught.value).startswith("s.toml: " + line.split("(")[0])


def test_an_image_that_an_external_network_cannot_process_is_reported() -> None:
    with pytest.raises(InputError) as caught:
        model_cost(SMALL, 3, 7, 4)
    assert str(caught.value).startswith("torchvision/squeezenet1_1: cannot take images of 3x4x4: ")
    assert len(str(caught.value).splitlines()) == 1


def test_the_content_of_a_weights_file_is_part_of_the_config_hash(
    custom_model: str, tmp_path: Path
) -> None:
    path = tmp_path / "w.safetensors"
    write_weights(path, build(ExternalConfig(source=custom_model)).state_dict(), {})
    table = {"name": custom_model, "weights": str(path)}
    config = parse_model(table, "x")
    assert isinstance(config, ExternalConfig)
    assert config.sha256 == sha256(path)
    write_weights(path, build(ExternalConfig(source=custom_model), seed=1).state_dict(), {})
    assert config_hash(parse_model(table, "x")) != config_hash(config)


@pytest.mark.parametrize(
    ("file", "kwargs"),
    [
        ("mobilenetv2_100.safetensors", {"num_classes": 1001, "pad_type": "same"}),
        (
            "mobilenetv2_035_features.safetensors",
            {"num_classes": 0, "pad_type": "same", "bn_eps": 1e-3},
        ),
    ],
)
def test_published_weights_load_into_the_timm_network(file: str, kwargs: dict[str, Any]) -> None:
    path = REAL / file
    if not path.is_file():
        pytest.skip(
            f"{file} lies neither beside this repository nor where RESNETLAB_TEST_WEIGHTS says"
        )
    name = file.split(".")[0].removesuffix("_features")
    config = ExternalConfig(
        source=f"timm/{name}",
        kwargs=kwargs,
        weights=str(path),
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
    )
    model = build(config).eval()
    tensors, _ = read_weights(path)
    assert all(torch.equal(model.state_dict()[key], tensor) for key, tensor in tensors.items())
    with torch.no_grad():
        out = model(torch.zeros(1, 3, 96, 96))
    assert out.shape == (1, kwargs["num_classes"] or 1280)
    assert torch.isfinite(out).all()
    assert weights_metadata(config).mean == (0.5, 0.5, 0.5)
    assert external.weights_file(config) == path


def test_naming_an_external_network_does_not_import_torch() -> None:
    program = (
        "import sys, resnetlab.models.parse as m; m.parse_model('timm/a', ''); print('torch' in "
        "sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_a_study_may_compare_an_external_network_with_ours() -> None:
    from resnetlab.studies.parsing.overrides import Overrides
    from resnetlab.studies.parsing.study_file import parse_study

    text = {
        "name": "x",
        "question": "?",
        "data": "digits",
        "recipe": "digits",
        "seeds": [0],
        "grid": {"model": ["torchvision/resnet18", "cifar-resnet8"]},
    }
    study = parse_study(text, "study.toml", Overrides())
    assert [condition.label for condition in study.conditions] == [
        "resnet18 (torchvision)",
        "residual 8 (A)",
    ]
    assert model_cost(study.conditions[0].model, 3, 10, 32) == model_cost(
        parse_model("resnet18", ""), 3, 10, 32
    )


def test_a_network_with_auxiliary_outputs_is_refused_by_name() -> None:
    from torchvision.models import googlenet

    with torch.device("meta"):
        check_one_output(googlenet(aux_logits=False, init_weights=False), "googlenet")
        with pytest.raises(InputError, match="gives auxiliary outputs in training") as caught:
            check_one_output(googlenet(aux_logits=True, init_weights=False), "googlenet")
    assert str(caught.value).endswith("aux_logits = false } in a TOML file of the network")


def test_assumed_metadata_of_a_local_file_are_listed(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    import timm

    def assumptions(outputs: int, metadata: dict[str, Any], **fields: Any) -> list[str]:
        path = tmp_path / f"net{outputs}.safetensors"
        state = timm.create_model("resnet10t", num_classes=outputs).state_dict()
        write_weights(path, state, metadata)
        config = ExternalConfig(source="timm/resnet10t", weights=str(path), **fields)
        return list(external.weights_assumptions(config, "fc"))

    (line,) = assumptions(1000, {})
    assert line.startswith(
        "net1000.safetensors does not state its preprocessing: mean and std of timm/resnet10t are "
        "assumed; a TOML file"
    )
    _, line = assumptions(1001, {})
    assert "net1001.safetensors has 1,001 outputs where timm/resnet10t has 1,000" in line
    assert 'pad_type = "same"' in line
    _, line = assumptions(20, {})
    assert "TensorFlow" not in line
    half = (0.5, 0.5, 0.5)
    assert assumptions(1001, {"mean": half, "std": half}) == []
    assert assumptions(1001, {}, mean=half, std=half) == []
    hub = ExternalConfig(source="timm/resnet10t", weights="hub")
    assert external.weights_assumptions(hub, "fc") == ()
