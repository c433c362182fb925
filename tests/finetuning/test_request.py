"""All input of a fine-tuning is checked before training, mistakes are refused in one line, and a
default network that cannot be downloaded is reported with a fix.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from helpers.finetuning import request, stage
from helpers.texture_photographs import QUICK, texture
from resnetlab.errors import InputError
from resnetlab.finetuning.finetune_photos import finetune, prepare_job
from resnetlab.finetuning.network.backbones import (
    DOWNLOAD_MEGABYTES,
    PREFERRED_MODELS,
    PREFERRED_ON_CPU,
)
from resnetlab.finetuning.request import FinetuneRequest
from resnetlab.model_folder.store import load_model_folder
from resnetlab.recipes.finetune import (
    FinetuneRecipe,
)
from resnetlab.recipes.train import Recipe


def refused(requested: FinetuneRequest) -> str:
    with pytest.raises(InputError) as caught:
        finetune(requested)
    assert not (requested.output / "models").exists()
    assert not (requested.output / "reports").exists()
    return str(caught.value)


def test_mistakes_are_refused_in_one_line_and_leave_no_partial_files(
    photos: Path, backbone: Path, tmp_path: Path
) -> None:
    assert (
        "unknown fine-tuning recipe (allowed: fixres, full, full-cutmix, full-mixup, "
        "full-random-erasing, full-trivialaugment, probe, proof-of-concept, "
        "proof-of-concept-as-run, stage-one)" in refused(request(photos, backbone, recipe="fixre"))
    )
    assert "--freeze: unknown (got most; allowed: backbone, none, a number of parts)" in refused(
        request(photos, backbone, freeze="most")
    )
    assert "freeze: 5 of its 5 parts leave nothing to train" in refused(
        request(photos, backbone, freeze="5", recipe="proof-of-concept")
    )
    assert "no such folder" in refused(request(tmp_path / "absent", backbone))
    backbone.write_text(backbone.read_text() + "\nlayers = 3\n")
    assert "layers: unknown field" in refused(request(photos, backbone))


def test_weights_of_another_network_are_refused(photos: Path, backbone: Path) -> None:
    requested = replace(
        request(photos, backbone),
        model="torchvision/resnet18",
        weights=backbone.with_suffix(".safetensors"),
    )
    assert "Fix: give the file of this network, or the network of this file" in refused(requested)


def test_an_image_size_below_the_minimum_of_the_network_is_refused(
    photos: Path, backbone: Path
) -> None:
    backbone.write_text('source = "torchvision/alexnet"\n')
    assert "does not take images of 24 x 24" in refused(request(photos, backbone))


def test_non_commercial_weights_need_accept_license(photos: Path, backbone: Path) -> None:
    backbone.write_text(backbone.read_text().replace("Apache-2.0", "CC-BY-NC-4.0"))
    assert "forbids commercial use: CC-BY-NC-4.0" in refused(request(photos, backbone))
    done = finetune(request(photos, backbone, recipe=QUICK, accept_license=True))
    assert load_model_folder(done.model_folder).file.license.non_commercial


def test_a_test_class_that_train_lacks_is_reported_by_name(photos: Path, backbone: Path) -> None:
    (photos / "test" / "dots").mkdir()
    texture("plain", 5).save(photos / "test" / "dots" / "a.png")
    assert f"{photos}/test/dots: a class that is not in train" in refused(request(photos, backbone))


def test_a_broken_photograph_is_reported_and_skipped_on_request(
    photos: Path, backbone: Path
) -> None:
    (photos / "train" / "plain" / "zz.jpg").write_text("words")
    assert "not an image (allowed: JPEG" in refused(request(photos, backbone))
    assert (
        finetune(request(photos, backbone, recipe=QUICK, skip_bad=True)).result.train_images == 30
    )


def test_a_failed_download_of_the_default_weights_is_reported_with_a_fix(
    photos: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("RESNETLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("RESNETLAB_WEIGHTS", raising=False)
    for function in (
        "resnetlab.models.external.connection_problem",
        "resnetlab.finetuning.network.backbones.connection_problem",
    ):
        monkeypatch.setattr(function, lambda _: "")
    monkeypatch.setattr(
        "torch.hub.download_url_to_file",
        lambda *_, **__: (_ for _ in ()).throw(OSError("no route")),
    )
    text = refused(FinetuneRequest(folder=photos, device="cpu", output=tmp_path / "out"))
    assert text.startswith(
        "torchvision/mobilenet_v3_large+: the hub of torchvision cannot be reached: no route. "
        "Fix: place "
    )
    assert "\n" not in text


def test_without_a_network_connection_the_error_lists_the_local_weights(
    photos: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("RESNETLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("RESNETLAB_WEIGHTS", raising=False)
    requested = FinetuneRequest(folder=photos, device="cpu", output=tmp_path / "out")
    monkeypatch.setattr(
        "resnetlab.finetuning.network.backbones.connection_problem", lambda _: "no answer in 4 s"
    )
    text = refused(requested)
    start = (
        "--model: the default network torchvision/mobilenet_v3_large (22 MB) is not on this "
        "machine, and "
    )
    assert text.startswith(f"{start}it cannot be downloaded: no answer in 4 s. Fix: --model timm/")
    assert "resnetlab import-weights FILE.pth --as torchvision/mobilenet_v3_large --out DIR" in text
    snapshot = tmp_path / "hub" / "models--timm--resnet10t.c3_in1k" / "snapshots" / "1"
    snapshot.mkdir(parents=True)
    (tmp_path / "hub" / "models--timm--begun").mkdir()
    (snapshot / "model.safetensors").write_bytes(b"x")
    monkeypatch.setenv("RESNETLAB_OFFLINE", "1")
    text = refused(requested)
    assert f"{start}downloads are switched off" in text
    assert "timm has downloaded before: --model timm/resnet10t.c3_in1k;" in text


def test_the_stated_download_size_of_the_default_networks_equals_torchvision() -> None:
    from torchvision.models import get_model_weights

    assert {PREFERRED_MODELS[0], PREFERRED_ON_CPU[0]} == set(DOWNLOAD_MEGABYTES)
    for name, expected in DOWNLOAD_MEGABYTES.items():
        megabytes = get_model_weights(name).DEFAULT.meta["_file_size"]  # in units of 2^20 bytes
        assert round(megabytes * 2**20 / 1e6) == expected


def test_without_a_gpu_the_default_network_has_the_fewest_operations() -> None:
    from torchvision.models import get_model_weights

    assert set(PREFERRED_ON_CPU) == set(PREFERRED_MODELS)
    operations = [get_model_weights(name).DEFAULT.meta["_ops"] for name in PREFERRED_ON_CPU]
    assert operations == sorted(operations)


def test_invalid_combinations_in_a_recipe_are_refused() -> None:
    recipe = Recipe(epochs=1)
    with pytest.raises(ValueError, match="cannot set augment"):
        stage(recipe=replace(recipe, normalize="half"))
    with pytest.raises(ValueError, match="whole images differ in shape"):
        FinetuneRecipe(name="a", crop_mode="whole", stages=(stage(),))


def test_all_input_is_checked_before_training(photos: Path, backbone: Path) -> None:
    job = prepare_job(request(photos, backbone, recipe="fixres", test_size=32), lambda _: None)
    assert (job.recipe.train_size, job.recipe.test_size) == (24, 32)
    assert (len(job.photos.train), job.photos.name) == (30, "stripes")
