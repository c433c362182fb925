"""Folders of timm are read as models, from this machine or from a cache of the Hub that the test
makes.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import timm
import torch
from timm.models import save_for_hf

from resnetlab.cli import models as commands
from resnetlab.cli.inspect.networks import model as inspect_model
from resnetlab.errors import InputError
from resnetlab.finetuning.network.backbones import select_backbone, with_library_license
from resnetlab.model_folder.store import load_model_folder
from resnetlab.models.configs import ExternalConfig
from resnetlab.models.parse import parse_model
from resnetlab.models.timm_source import read_timm_source
from resnetlab.models.transfer import build_with_new_head

MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
LABELS = ["cat", "dog", "newt"]


@pytest.fixture(scope="module")
def network() -> Any:
    torch.manual_seed(0)
    return timm.create_model("mobilenetv2_035", num_classes=3, pad_type="same").eval()


@pytest.fixture
def folder(network: Any, tmp_path: Path) -> Path:
    """Return a folder that timm itself wrote."""
    path = tmp_path / "theirs"
    save_for_hf(
        network,
        str(path),
        model_config={"label_names": LABELS},
        model_args={"pad_type": "same"},
        safe_serialization=True,
        data_config={"mean": MEAN, "std": STD, "input_size": (3, 96, 96), "crop_pct": 0.9},
    )
    return path


@pytest.fixture
def hub(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the cache of huggingface_hub with that folder as `someone/birds`, and no network."""
    cache = tmp_path / "hub"
    repository = cache / "models--someone--birds"
    commit = "0123456789" * 4
    shutil.copytree(folder, repository / "snapshots" / commit)
    (repository / "snapshots" / commit / "README.md").write_text(
        "---\nlicense: cc-by-nc-4.0\ntags:\n- timm\n---\n# Birds\nlicense: mit\n"
    )
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setenv("RESNETLAB_OFFLINE", "1")
    return cache


def frozen_part(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {n: t for n, t in model.state_dict().items() if not n.startswith("classifier.")}


def test_finetune_starts_from_the_weights_of_a_timm_folder(network: Any, folder: Path) -> None:
    backbone = select_backbone(f"local-dir:{folder}", None, False)
    config = backbone.config
    assert isinstance(config, ExternalConfig)
    assert (config.source, config.mean, config.std) == ("timm/mobilenetv2_035", MEAN, STD)
    assert config.kwargs["pad_type"] == "same"
    assert len(config.sha256) == 64
    built = build_with_new_head(config, 5, lambda _: torch.Generator())
    assert built.get_submodule("classifier").out_features == 5  # type: ignore[union-attr]
    expected = frozen_part(network)
    assert all(torch.equal(t, expected[n]) for n, t in frozen_part(built).items())


def test_finetune_starts_from_hub_weights_and_reads_the_license_of_the_card(
    network: Any, hub: Path
) -> None:
    with pytest.raises(InputError, match=r"forbids commercial use: cc-by-nc-4\.0"):
        select_backbone("hf-hub:someone/birds", None, False)
    backbone = with_library_license(select_backbone("hf-hub:someone/birds", None, True), True)
    assert backbone.license.name == "cc-by-nc-4.0"
    assert isinstance(backbone.config, ExternalConfig)
    assert str(hub) in backbone.config.weights
    built = build_with_new_head(backbone.config, 2, lambda _: torch.Generator())
    expected = frozen_part(network)
    assert all(torch.equal(t, expected[n]) for n, t in frozen_part(built).items())


@pytest.mark.usefixtures("hub")
def test_a_timm_folder_sets_the_network_and_the_preprocessing_of_imported_weights(
    network: Any, folder: Path, tmp_path: Path
) -> None:
    torch.save(network.state_dict(), tmp_path / "checkpoint.pth")
    images = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    for number, source in enumerate((f"local-dir:{folder}", "hf-hub:someone/birds")):
        out = tmp_path / f"imported{number}"
        commands.import_weights(tmp_path / "checkpoint.pth", source, out)
        loaded_model = load_model_folder(out)
        transform = loaded_model.file.eval_transform
        assert loaded_model.file.classes == tuple(LABELS)
        assert (transform.mean, transform.std) == (MEAN, STD)
        assert (transform.size, transform.shorter_side) == (96, 106)
        assert transform.interpolation == "bicubic"
        with torch.inference_mode():
            assert torch.allclose(loaded_model.module(images), network(images), atol=1e-5)


@pytest.mark.usefixtures("hub")
def test_inspect_lists_the_layers_of_a_timm_folder(
    network: Any, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for source in (f"local-dir:{folder}", "hf-hub:someone/birds@main"):
        inspect_model([source], json=True)
        metadata = json.loads(capsys.readouterr().out)
        assert metadata["parameters"] == sum(p.numel() for p in network.parameters())


@pytest.mark.usefixtures("hub")
def test_a_folder_that_is_not_a_timm_folder_is_refused_in_one_line(
    folder: Path, tmp_path: Path
) -> None:
    def refused(name: str, pattern: str) -> None:
        with pytest.raises(InputError, match=pattern) as caught:
            select_backbone(name, None, False)
        assert "\n" not in str(caught.value)

    (tmp_path / "empty").mkdir()
    refused(f"local-dir:{tmp_path / 'absent'}", "no such folder")
    refused("local-dir:", "no such folder")
    refused(f"local-dir:{tmp_path / 'empty'}", r"has no config\.json, which timm reads")
    refused("hf-hub:someone", "not OWNER/NAME of the Hub")
    refused("hf-hub:someone/cats", "nothing is downloaded because RESNETLAB_OFFLINE is set")
    with pytest.raises(InputError, match="such names are for finetune --model"):
        parse_model(f"local-dir:{folder}", "model")
    config = folder / "config.json"
    table = json.loads(config.read_text())
    for changed, pattern in (
        ({"architecture": "a/../b"}, "source: names no network"),
        ({"model_args": {"checkpoint_path": "/etc/passwd"}}, "may load a file"),
        ({"model_args": 3}, "is not the description of a network"),
        ({"pretrained_cfg": None}, "is not the description of a network"),
    ):
        config.write_text(json.dumps(table | changed))
        refused(f"local-dir:{folder}", pattern)
    config.write_text("{")
    refused(f"local-dir:{folder}", "is not the description of a network")
    config.write_text(json.dumps(table))
    (folder / "model.safetensors").unlink()
    refused(f"local-dir:{folder}", r"has no model\.safetensors")
    assert read_timm_source(f"local-dir:{folder}", "x").resize == 106


def test_a_file_of_weights_given_beside_the_folder_has_priority(
    folder: Path, tmp_path: Path
) -> None:
    shutil.copy(folder / "model.safetensors", tmp_path / "other.safetensors")
    (folder / "model.safetensors").unlink()
    weights = tmp_path / "other.safetensors"
    backbone = select_backbone(f"local-dir:{folder}", weights, False)
    assert backbone.weights_path == weights
    assert replace(backbone.config, weights="") == backbone.config
