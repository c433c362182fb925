"""Files from other people run no code: every command that reads a file is run on files that name a
function whose module, when it is imported, writes a file.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from resnetlab import trust
from resnetlab.errors import InputError
from resnetlab.files import read_json, write_json
from resnetlab.models.configs import ExternalConfig
from resnetlab.models.tensorfile import read_metadata
from resnetlab.models.weights import read_weights, write_weights
from resnetlab.runs.config import run_id
from resnetlab.runs.records import RunFile
from resnetlab.schema import decode, encode

Resnetlab = Callable[..., tuple[int, str, str]]

MODULE = """
from pathlib import Path
from torch import nn
Path(__file__).with_name("marker").write_text("the code was run")


class Net(nn.Sequential):
    def __init__(self, num_classes: int = 3, width: int = 4) -> None:
        super().__init__(
            nn.Conv2d(1, width, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(width, num_classes),
        )


def plain(num_classes: int = 3):
    return Net(num_classes)
"""


@dataclass
class Files:
    """Files that name the function, and the marker that its module writes."""

    source: str
    marker: Path
    model: Path
    weights: Path
    run: Path
    unfinished: Path
    study: Path
    config: Path
    plan: Path


@pytest.fixture
def files(workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Files]:
    code_folder = tmp_path / "code"
    code_folder.mkdir()
    (code_folder / "strangers.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(code_folder))
    table = {"family": "external", "source": "strangers:Net", "kwargs": {"width": 6}}
    root = tmp_path / "files"
    model = root / "model"
    shutil.copytree(next((workspace / "models").iterdir()), model)
    described = read_json(model / "model.json") | {"model": table, "sha256": ""}
    write_json(model / "model.json", described)
    honest = sorted(path for path in (workspace / "runs").iterdir() if "-s0-" in path.name)[0]
    weights = root / "weights"
    weights.mkdir(parents=True)
    tensors, _ = read_weights(honest / "weights.safetensors")
    details = dict(read_metadata(honest / "weights.safetensors"))
    write_weights(weights / "weights.safetensors", tensors, details | {"model": table})
    run_table = read_json(honest / "run.json")
    run_table["run"]["model"] = table
    run_table["data"]["source"] = str(workspace / "bands.npz")
    file: RunFile = decode(RunFile, run_table, "run.json")
    run = root / "runs" / run_id(file.run, file.data_name)
    shutil.copytree(honest, run)
    write_json(run / "run.json", run_table)
    shutil.copy(weights / "weights.safetensors", run)
    (run / "checksums.json").unlink()
    unfinished = root / "other" / "runs" / run.name
    shutil.copytree(run, unfinished)
    (unfinished / "result.json").unlink()
    (unfinished / "provenance.jsonl").unlink()  # it has the SHA-256 of the honest run.json
    (unfinished / "weights.safetensors").unlink()
    text = (workspace / "small.toml").read_text()
    study = root / "small.toml"
    model_line = 'model = { name = "strangers:Net" }'
    text = text.replace("model = { depth = 8, widths = [4, 4, 8] }", model_line)
    text = text.replace('model.shortcut = ["none", "A"]', "model.kwargs.width = [4, 6]")
    text = text.replace('model.shortcut = "A"', "model.kwargs.width = 6")
    study.write_text(text.replace('model.shortcut = "none"', "model.kwargs.width = 4"))
    config = root / "net.toml"
    config.write_text('source = "strangers:Net"\n')
    plan = root / "studies" / "small"
    shutil.copytree(next((workspace / "studies").iterdir()), plan)
    (plan / "checksums.json").unlink()
    for name in ("plan.json", "report.json"):
        replaced = _replace_models(read_json(plan / name), table)
        write_json(plan / name, replaced)
    yield Files(
        "strangers:Net",
        code_folder / "marker",
        model,
        weights,
        run,
        unfinished,
        study,
        config,
        plan,
    )
    sys.modules.pop("strangers", None)
    trust.reset()


def _replace_models(value: Any, table: dict[str, Any]) -> Any:
    """Return a table of a file in which every network is `table`."""
    if isinstance(value, list):
        return [_replace_models(item, table) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: table
        if key == "model" and isinstance(item, dict) and ("blocks" in item or "family" in item)
        else _replace_models(item, table)
        for key, item in value.items()
    }


COMMANDS = [
    "predict {model} {photo}",
    "predict {weights} {photo}",
    "predict {run} {photo}",
    "evaluate {model} {photos}",
    "evaluate {weights} {bands}",
    "ensemble {model} {model} --data {photos}",
    "explain {model} {photo}",
    "export {model} --to onnx --out {here}/a.onnx",
    "serve {model} --port 0",
    "finetune {photos} --model {config}",
    "finetune {photos} --weights {weights}/weights.safetensors",
    "fixres {photos} --model {config} --train-sizes 16 --test-sizes 16",
    "train {config} --data {bands}",
    "train cifar-resnet8 --data {bands} --set model={config}",
    "resume {unfinished}",
    "resume {run}",
    "compare {run} {run}",
    "verify {plan} --output {here}",
    "doctor {run}",
    "import-weights {weights}/weights.safetensors --as strangers:Net",
    "study run {study}",
    "study run {study} --dry-run",
    "study plan {study}",
    "study check {study}",
    "study show {study}",
    "study status {study}",
    "study status {plan}",
    "study report {study}",
    "study report {plan}",
    "study references {study}",
    "inspect model {config}",
    "inspect fully-convolutional {config} --input 3x64x64",
    "inspect gradients {config} --data {bands}",
    "inspect gradients {run}",
    "inspect filters {run}",
    "inspect block-ablation {run}",
    "inspect landscape {run}",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_runs_code_named_by_a_file_without_consent(
    command: str, files: Files, workspace: Path, resnetlab: Resnetlab
) -> None:
    photos = workspace / "photos"
    names = vars(files) | {
        "photos": photos,
        "photo": next(photos.rglob("*.png")),
        "bands": workspace / "bands.npz",
        "here": Path.cwd(),
    }
    code, _, err = resnetlab(*command.format(**names).split())
    assert not files.marker.exists(), err
    assert "unexpected" not in err
    imports_nothing = ("compare", "doctor", "study check", "study show", "study references")
    if command.startswith(imports_nothing) or command in (
        "study status {plan}",
        "study report {plan}",
        "resume {run}",  # it is finished
    ):
        return
    assert code == 2
    refusal = {
        "study status": "its plan needs the code strangers:Net",
    }.get(" ".join(command.split()[: 1 + command.startswith("study")]), "without your consent")
    assert refusal in err


def test_the_refusal_names_the_file_the_function_and_its_arguments(
    files: Files, workspace: Path, resnetlab: Resnetlab
) -> None:
    photo = next((workspace / "photos").rglob("*.png"))
    _, _, err = resnetlab("predict", files.model, photo)
    assert err == (
        f"resnetlab: error: {files.model / 'model.json'}: names code that is not run without your "
        "consent: strangers:Net(width=6). Fix: read the module strangers; if you trust it, add "
        "--trust-code (in Python, trust_code=True)\n"
    )


def test_with_consent_the_code_is_shown_and_also_runs_in_the_workers(
    files: Files, resnetlab: Resnetlab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(files.marker.parent), *sys.path]))
    code, _, err = resnetlab("study", "run", files.study, "--trust-code", "-j", "2")
    assert code == 0, err
    assert files.marker.exists()
    for width in (4, 6):
        assert f"custom code: strangers:Net(width={width}), named by {files.study}" in err
    code, _, err = resnetlab("study", "status", files.study)
    assert (code, err) == (0, "")
    run = next(path for path in Path("runs").iterdir() if (path / "result.json").exists())
    files.marker.unlink()
    sys.modules.pop("strangers")
    code, _, err = resnetlab("inspect", "filters", run)
    assert (code, files.marker.exists()) == (2, False)
    code, _, err = resnetlab("inspect", "filters", run, "--trust-code")
    assert (code, files.marker.exists()) == (0, True), err


def test_a_function_named_on_the_command_line_needs_no_other_consent(
    files: Files, workspace: Path, resnetlab: Resnetlab
) -> None:
    bands = workspace / "bands.npz"
    code, _, err = resnetlab("train", files.source, "--data", bands, "--epochs", "1")
    assert code == 0, err
    code, _, err = resnetlab("train", "strangers:plain", "--data", bands, "--epochs", "1")
    assert code == 2
    assert "strangers:plain: is not declared as a function that builds networks" in err
    code, _, err = resnetlab("train", "os:system", "--data", bands, "--epochs", "1")
    assert code == 2
    assert "os:system: is not declared as a function that builds networks" in err


def test_a_trusted_package_needs_no_other_consent_and_trust_covers_no_longer_name(
    files: Files, tmp_path: Path, resnetlab: Resnetlab, monkeypatch: pytest.MonkeyPatch
) -> None:
    from resnetlab import settings

    config = tmp_path / "config.toml"
    monkeypatch.setattr(settings, "config_file", lambda: config)
    for packages, code in ((["stranger"], 2), (["strangers.nets"], 2), (["strangers"], 0)):
        config.write_text(f"trusted_packages = {json.dumps(packages)}\n")
        done, _, err = resnetlab("inspect", "model", files.config, "--input", "1x8x8")
        assert done == code, err
        assert files.marker.exists() == (code == 0)
    config.write_text('trusted_packages = "strangers"\n')
    assert resnetlab("inspect", "model", files.config)[0] == 2


def _api_calls(files: Files, workspace: Path) -> dict[str, Callable[..., object]]:
    import resnetlab as rl

    bands = str(workspace / "bands.npz")
    return {
        "load_model": lambda **consent: rl.load_model(files.weights, **consent),
        "train": lambda **consent: rl.train(
            files.source, bands, settings=["recipe.epochs=1"], output=files.run.parent, **consent
        ),
        "resume": lambda **consent: rl.resume(files.unfinished, **consent),
        "load_study": lambda **consent: rl.load_study(files.study, **consent).plan(files.plan),
    }


@pytest.mark.parametrize("name", ["load_model", "train", "resume", "load_study"])
def test_python_runs_code_named_by_a_file_only_with_trust_code(
    name: str, files: Files, workspace: Path
) -> None:
    trust.reset()
    call = _api_calls(files, workspace)[name]
    with pytest.raises(InputError, match="not run without your consent"):
        call()
    assert not files.marker.exists()
    if name == "load_model":  # its weights are another network's
        with pytest.raises(InputError, match="is missing"):
            call(trust_code=True)
    else:
        call(trust_code=True)
    assert files.marker.exists()


def test_passing_a_function_object_is_consent(files: Files, workspace: Path) -> None:
    import strangers  # type: ignore[import-not-found]

    import resnetlab as rl

    trust.reset()
    bands = str(workspace / "bands.npz")
    record = rl.train(strangers.Net, bands, settings=["recipe.epochs=1"], output=files.plan)
    assert record.file.run.model.slug == "strangers:Net"
    with pytest.raises(InputError, match="another process cannot import it"):
        rl.train(lambda num_classes: strangers.Net(num_classes), bands)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"pretrained": True},
        {"pretrained_cfg": "hf-hub:someone/net"},
        {"checkpoint_path": "x.pth"},
        {"weights": "https://example.org/x.pth"},
        {"weights_backbone": "DEFAULT"},
        {"cache_dir": "x"},
        {"act_layer": "../x"},
        {"global_pool": "hf-hub:someone/net"},
    ],
)
@pytest.mark.parametrize("source", ["timm/resnet18", "torchvision/resnet18"])
def test_arguments_of_a_library_that_load_something_are_refused(
    source: str, kwargs: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match=f"{next(iter(kwargs))} may load a file or an address"):
        decode(ExternalConfig, {"source": source, "kwargs": kwargs}, "model.json")
    plain = {"num_classes": 5, "norm_layer": "batchnorm2d", "drop_rate": 0.5}
    decode(ExternalConfig, {"source": source, "kwargs": plain}, "model.json")
    for name in ("timm/hf-hub:a/b", "timm/hf_hub:b", "timm/local-dir:b", "torchvision/../b"):
        with pytest.raises(InputError, match="names no network"):
            decode(ExternalConfig, {"source": name}, "model.json")


def test_a_model_folder_loads_only_its_own_weights(files: Files, tmp_path: Path) -> None:
    from resnetlab.model_folder.read import read_model_file

    table = read_json(files.model / "model.json")
    named = ExternalConfig(source="torchvision/resnet18", weights=str(tmp_path / "secret"))
    write_json(files.model / "model.json", table | {"model": encode(named), "sha256": ""})
    assert read_model_file(files.model).model == ExternalConfig(source="torchvision/resnet18")


def test_python_fine_tunes_a_network_of_the_user_only_with_trust_code(
    files: Files, workspace: Path, tmp_path: Path
) -> None:
    from resnetlab.finetuning.finetune_photos import finetune
    from resnetlab.finetuning.request import FinetuneRequest

    request = FinetuneRequest(
        folder=workspace / "photos",
        model=str(files.config),
        train_size=32,
        output=tmp_path / "tuned",
    )
    with pytest.raises(InputError, match=r"code that is not run without your consent"):
        finetune(request)
    assert not files.marker.exists()
    # The network has one channel, so the photographs do not fit; its code did run.
    with pytest.raises(InputError, match="channels"):
        finetune(replace(request, trust_code=True))
    assert files.marker.exists()


def test_verify_reports_that_the_code_of_the_network_changed(
    files: Files, workspace: Path, resnetlab: Resnetlab
) -> None:
    """The report is of other runs, so the ids of its runs are not those of this code."""
    words = ("verify", files.plan, "--runs", 1, "--data", workspace / "bands.npz", "--output", ".")
    code, out, err = resnetlab(*words, "--trust-code")
    assert code in (0, 5), err
    assert "the network's own code is not that of the report; " in out
