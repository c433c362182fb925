"""A model folder is written whole or not at all, is checked when it is read, and gives the same
predictions in any place.
"""

from __future__ import annotations

import errno
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from resnetlab.data.transforms.eval_transform import EvalTransform
from resnetlab.errors import InputError, ResourceError
from resnetlab.model_folder import store
from resnetlab.model_folder.model_file import License, Metric, ModelFile
from resnetlab.model_folder.store import load_model_folder, read_model_file, save_model_folder
from resnetlab.models.build import build_model
from resnetlab.models.configs import CifarConfig, ExternalConfig, ModelConfig
from resnetlab.models.weights import write_weights

TRANSFORM = EvalTransform(size=32, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
SMALL = CifarConfig(blocks=(1, 1), widths=(4, 8))
SQUEEZE = ExternalConfig(source="torchvision/squeezenet1_1")


def network(model: ModelConfig, classes: int = 3, seed: int = 0) -> nn.Module:
    return build_model(
        model, 3, classes, lambda name: torch.Generator().manual_seed(seed + len(name))
    ).eval()


def described(model: ModelConfig, **fields: object) -> ModelFile:
    return ModelFile(
        **{
            "name": "pets",
            "model": model,
            "classes": ("cat", "dog", "newt"),
            "eval_transform": TRANSFORM,
        }
        | fields
    )  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "model",
    [SMALL, SQUEEZE, ExternalConfig(source="timm/mobilenetv2_035", kwargs={"num_classes": 7})],
)
def test_a_loaded_model_has_the_outputs_of_the_saved_one(
    tmp_path: Path, model: ModelConfig
) -> None:
    """The last was built with seven outputs, and its classifier was replaced."""
    kwargs = {"num_classes": 3} if isinstance(model, ExternalConfig) else {}
    module = network(replace(model, kwargs=kwargs) if isinstance(model, ExternalConfig) else model)
    save_model_folder(tmp_path / "pets", module, described(model))
    loaded_model = load_model_folder(tmp_path / "pets")
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert torch.equal(loaded_model.module(images), module(images))
    assert not loaded_model.module.training
    assert loaded_model.file.parameters == sum(p.numel() for p in module.parameters())


def test_the_files_of_a_model_contain_no_path_of_the_machine_that_wrote_them(
    tmp_path: Path,
) -> None:
    write_weights(tmp_path / "start.safetensors", network(SQUEEZE, 3).state_dict(), {})
    made = ExternalConfig(
        source="torchvision/squeezenet1_1",
        weights=str(tmp_path / "start.safetensors"),
        class_names=("a",),
    )
    save_model_folder(tmp_path / "pets", network(made), described(made))
    for name in ("model.json", "README.md"):
        assert str(tmp_path) not in (tmp_path / "pets" / name).read_text()
    shutil.move(tmp_path / "pets", tmp_path / "elsewhere")
    (tmp_path / "start.safetensors").unlink()
    assert load_model_folder(tmp_path / "elsewhere").file.classes == ("cat", "dog", "newt")


def test_a_flipped_bit_of_the_weights_is_refused_by_name(tmp_path: Path) -> None:
    save_model_folder(tmp_path / "pets", network(SMALL), described(SMALL))
    path = tmp_path / "pets" / "model.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 1
    path.write_bytes(raw)
    with pytest.raises(InputError, match=r"model\.safetensors: differs from its SHA-256"):
        load_model_folder(tmp_path / "pets")


def test_a_changed_class_in_the_file_of_a_model_is_refused_by_name(tmp_path: Path) -> None:
    save_model_folder(tmp_path / "pets", network(SMALL), described(SMALL))
    path = tmp_path / "pets" / "model.json"
    table = json.loads(path.read_text())
    changed = table | {"classes": [table["classes"][0] + "s", *table["classes"][1:]]}
    path.write_text(json.dumps(changed))
    with pytest.raises(InputError, match=r"model\.json: differs from its SHA-256"):
        load_model_folder(tmp_path / "pets")
    del changed["sha256"]  # changed on purpose, or written by an older version
    path.write_text(json.dumps(changed))
    assert load_model_folder(tmp_path / "pets").file.classes[0] == changed["classes"][0]


def test_a_model_folder_is_replaced_completely_or_stays_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "pets"
    save_model_folder(folder, network(SMALL), described(SMALL))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for part in ("write_text", "write_json", "write_weights"):
        with monkeypatch.context() as patch:
            patch.setattr(store, part, full)
            with pytest.raises(ResourceError):
                save_model_folder(folder, network(SMALL, seed=5), described(SMALL, name="newer"))
            with pytest.raises(ResourceError):
                save_model_folder(tmp_path / "other", network(SMALL), described(SMALL))
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
        assert [path.name for path in tmp_path.iterdir()] == ["pets"]
    save_model_folder(folder, network(SMALL, seed=5), described(SMALL, name="newer"))
    assert read_model_file(folder).name == "newer"
    assert [path.name for path in tmp_path.iterdir()] == ["pets"]


STEPS = ("the new model.json", "the weights", "the card", "model.json in place")


@pytest.mark.parametrize("step", range(len(STEPS)), ids=STEPS)
def test_a_save_that_is_killed_at_any_step_leaves_the_old_or_the_new_model_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    folder, real, moved = tmp_path / "pets", store.replace_file, list[Path]()
    save_model_folder(folder, network(SMALL), described(SMALL, name="older"))

    def killed(source: Path, target: Path) -> None:
        if len(moved) == step:
            raise KeyboardInterrupt
        moved.append(target)
        real(source, target)

    monkeypatch.setattr(store, "replace_file", killed)
    with pytest.raises(KeyboardInterrupt):
        save_model_folder(folder, network(SMALL, seed=5), described(SMALL, name="newer"))
    monkeypatch.setattr(store, "replace_file", real)
    loaded_model = load_model_folder(folder)
    expected = network(SMALL) if loaded_model.file.name == "older" else network(SMALL, seed=5)
    assert loaded_model.file.name == ("older" if step < 2 else "newer")
    for name, tensor in expected.state_dict().items():
        assert torch.equal(loaded_model.module.state_dict()[name], tensor)
    save_model_folder(folder, network(SMALL, seed=9), described(SMALL, name="newest"))
    assert load_model_folder(folder).file.name == "newest"
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "model.json",
        "model.safetensors",
    ]


def test_weights_that_another_program_has_open_are_reported_and_the_old_model_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows replaces no file that is mapped: one that `resnetlab serve` has open elsewhere."""
    folder, real = tmp_path / "pets", store.replace_file
    save_model_folder(folder, network(SMALL), described(SMALL, name="older"))

    def refused(source: Path, target: Path) -> None:
        if target.name == "model.safetensors":
            error = PermissionError(errno.EACCES, "in use")
            error.winerror = 32  # type: ignore[attr-defined]
            raise error
        real(source, target)

    monkeypatch.setattr(store, "replace_file", refused)
    with pytest.raises(
        InputError,
        match=r"model\.safetensors: is open in another program\. Fix: close the program",
    ):
        save_model_folder(folder, network(SMALL, seed=5), described(SMALL, name="newer"))
    assert load_model_folder(folder).file.name == "older"
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "model.json",
        "model.safetensors",
    ]


def test_a_folder_that_is_not_a_model_folder_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="exists and is not a model folder"):
        save_model_folder(tmp_path, network(SMALL), described(SMALL))
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_weights_of_another_network_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has another shape: head"):
        save_model_folder(tmp_path / "pets", network(SMALL, classes=5), described(SMALL))
    assert list(tmp_path.iterdir()) == []


def test_the_card_has_the_content_of_the_model_file_and_escapes_markup_in_names(
    tmp_path: Path,
) -> None:
    file = described(
        SMALL,
        name="<script>",
        classes=("a|b", "*c*", "d"),
        license=License(name="CC-BY-NC-4.0", applies_to="the backbone"),
        caveats=("The pre-training saw the test images.",),
        metrics=(
            Metric(
                name="top1_error_pct", value=12.5, low=8.1, high=18.2, data="photos", images=160
            ),
        ),
        provenance={"run": "photos-s0"},
    )
    save_model_folder(tmp_path / "pets", network(SMALL), file)
    text = (tmp_path / "pets" / "README.md").read_text()
    for message in (
        "CC-BY-NC-4.0",
        "No commercial use",
        "saw the test images",
        "| 12.5 | [8.1, 18.2] |",
        "photos-s0",
    ):
        assert message in text
    assert "<script>" not in text
    assert r"a\|b, \*c\*, d" in text


def test_a_folder_without_a_model_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="contains no model"):
        load_model_folder(tmp_path)
    with pytest.raises(InputError, match="contains no model"):
        load_model_folder(tmp_path / "absent")
    write_weights(tmp_path / "weights.safetensors", {"a": torch.zeros(2)}, {})
    with pytest.raises(InputError, match="does not name its network"):
        load_model_folder(tmp_path)
    (tmp_path / "model.json").write_text(json.dumps({"schema": 99}))
    with pytest.raises(InputError, match="another schema"):
        load_model_folder(tmp_path)


@pytest.mark.parametrize(
    ("name", "non_commercial"), [("Apache-2.0", False), ("CC-BY-NC-4.0", True), ("cc-by-nc", True)]
)
def test_a_non_commercial_license_is_recognized_by_its_name(
    name: str, non_commercial: bool
) -> None:
    assert License(name=name).non_commercial is non_commercial


def test_a_finished_run_is_loaded_as_a_model_with_the_transform_of_its_training(
    tmp_path: Path, small_npz: Path
) -> None:
    import resnetlab as rl

    record = rl.train(SMALL, str(small_npz), "adam", settings=["recipe.epochs=1"], output=tmp_path)
    loaded_model = load_model_folder(tmp_path / "runs" / record.id)
    assert loaded_model.file.classes == ("left", "right", "middle")
    assert (
        loaded_model.file.eval_transform.crop_mode,
        loaded_model.file.eval_transform.size,
        loaded_model.file.eval_transform.channels,
    ) == ("square", 8, 1)
    assert loaded_model.file.provenance["run"] == record.id
    assert record.result is not None
    assert loaded_model.file.weights_sha256 == record.result.weights_sha256
    (tmp_path / "runs" / record.id / "weights.safetensors").unlink()
    with pytest.raises(InputError, match="a run without weights"):
        load_model_folder(tmp_path / "runs" / record.id)


def test_a_run_on_crops_is_evaluated_on_center_crops_and_a_whitened_run_is_refused(
    tmp_path: Path, small_npz: Path
) -> None:
    import resnetlab as rl

    cropped = ["recipe.epochs=1", "recipe.augment.crop=6"]
    record = rl.train(SMALL, str(small_npz), "adam", settings=cropped, output=tmp_path)
    transform = read_model_file(tmp_path / "runs" / record.id).eval_transform
    assert (transform.crop_mode, transform.resize, transform.size) == ("crop", 8, 6)
    record = rl.train(
        SMALL, str(small_npz), "adam", settings=[*cropped, "recipe.normalize=zca"], output=tmp_path
    )
    with pytest.raises(InputError, match="normalized by zca"):
        read_model_file(tmp_path / "runs" / record.id)
