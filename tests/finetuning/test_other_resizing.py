"""A sentence states if timm resizes or crops images for the pre-trained weights in another way than
fine-tuning does.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm

from resnetlab.finetuning.network.model import describe_other_resizing
from resnetlab.models.configs import ExternalConfig

USED = "fine-tuning and the model folder use bilinear interpolation and a crop of 87.5 %"


@pytest.mark.parametrize("name", ["resnet50.a1_in1k", "resnet18.tv_in1k", "resnet50.tv_in1k"])
def test_the_sentence_has_the_interpolation_and_the_crop_of_timm(name: str) -> None:
    """Without a difference, there is no sentence. timm's `crop_pct` is the reference."""
    published = timm.get_pretrained_cfg(name)
    assert published is not None
    note = describe_other_resizing(ExternalConfig(source=f"timm/{name}", weights="hub"))
    if (published.interpolation, published.crop_pct) == ("bilinear", 0.875):
        assert note == ""
    else:
        expected = f"timm states {published.interpolation} interpolation and a crop of "
        assert note.startswith(expected)
        share = float(note.removeprefix(expected).split(" %")[0])
        assert share == pytest.approx(100 * published.crop_pct, abs=0.4)
        assert USED in note


def test_a_folder_of_timm_is_described_by_its_own_file(tmp_path: Path) -> None:
    settings = {"input_size": [3, 224, 224], "interpolation": "bicubic", "crop_pct": 1.0}
    table = {"architecture": "resnet18", "num_classes": 5, "pretrained_cfg": settings}
    (tmp_path / "config.json").write_text(json.dumps(table))
    config = ExternalConfig(
        source="timm/resnet18",
        weights=str(tmp_path / "model.safetensors"),
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
    )
    note = describe_other_resizing(config)
    assert "timm states bicubic interpolation and a crop of 100.0 % of the shorter side" in note
    assert USED in note
    (tmp_path / "config.json").write_text("{}")  # of another program
    assert describe_other_resizing(config) == ""
    (tmp_path / "config.json").unlink()
    assert describe_other_resizing(config) == ""
