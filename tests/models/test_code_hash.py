"""The code of a user's own network is part of the id of its runs."""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import resnetlab as rl
from resnetlab import trust
from resnetlab.errors import InputError
from resnetlab.models.code_hash import (
    changed_modules,
    loaded_module_hashes,
    module_hashes,
    with_module_hashes,
)
from resnetlab.models.configs import ExternalConfig
from resnetlab.studies.single_run import plan_run

LAYERS = """
from torch import nn
WIDTH = 8
def head(num_classes):
    return nn.Linear(WIDTH, num_classes)
"""
NETS = """
from torch import nn
from . import layers
from .layers import head
def small(num_classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, layers.WIDTH, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head(num_classes)
    )
"""
SOURCE = "lab_nets.nets:small"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a package of two modules, and one that they do not import."""
    folder = tmp_path / "code" / "lab_nets"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "layers.py").write_text(LAYERS)
    (folder / "nets.py").write_text(NETS)
    (folder / "other.py").write_text("")
    monkeypatch.syspath_prepend(str(folder.parent))
    yield folder
    forget()
    trust.reset()


def forget() -> None:
    """Import the package again, as a new process would."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "lab_nets"]:
        del sys.modules[name]


def run_id(data: Path) -> str:
    settings = ["recipe.epochs=1", "recipe.batch_size=16", "numerics.precision=fp32"]
    return plan_run(SOURCE, str(data), "cifar", settings=settings, trust_code=True).runs[0].id


def test_the_hash_covers_only_the_imported_modules(package: Path) -> None:
    before = module_hashes(SOURCE)
    assert list(before) == ["lab_nets", "lab_nets.layers", "lab_nets.nets"]
    assert "lab_nets.nets" not in sys.modules
    (package / "other.py").write_text("VALUE = 1\n")
    assert module_hashes(SOURCE) == before
    model = with_module_hashes(ExternalConfig(source=SOURCE))
    assert changed_modules(model) == []
    (package / "layers.py").write_text(LAYERS.replace("8", "32"))
    assert changed_modules(model) == [str(package / "layers.py")]


def test_a_file_beside_a_single_module_is_part_of_the_hash(package: Path) -> None:
    (package.parent / "lab_single.py").write_text("import lab_beside\nimport json\n")
    (package.parent / "lab_beside.py").write_text("")
    assert list(module_hashes("lab_single:net")) == ["lab_beside", "lab_single"]


def test_an_edited_network_is_another_run_and_a_started_run_is_not_continued(
    package: Path, small_npz: Path, tmp_path: Path
) -> None:
    first = run_id(small_npz)
    assert run_id(small_npz) == first
    settings = ["recipe.epochs=1", "recipe.batch_size=16", "numerics.precision=fp32"]

    calls = iter(range(1000))

    def stopped() -> rl.RunRecord:
        return rl.train(
            SOURCE,
            str(small_npz),
            settings=settings,
            output=tmp_path,
            should_stop=lambda: next(calls) > 3,
            trust_code=True,
        )

    with pytest.raises(rl.UnfinishedError):
        stopped()
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name == first
    (package / "layers.py").write_text(LAYERS.replace("8", "32"))
    with pytest.raises(InputError, match="was edited after it was imported"):
        run_id(small_npz)
    forget()
    with pytest.raises(InputError) as caught:
        rl.resume(folder, trust_code=True)
    assert str(caught.value) == (
        f"{folder}: the code of its network changed since it began: {package / 'layers.py'}. "
        "Fix: restore the code, or train again under a new id"
    )
    assert run_id(small_npz) != first
    (package / "layers.py").write_text(LAYERS)
    forget()
    assert run_id(small_npz) == first
    assert rl.resume(folder, trust_code=True).result is not None


def test_a_module_that_is_imported_again_is_hashed_again(package: Path) -> None:
    """Python may give the new module the address of the old one; fifty imports make that likely."""
    for units in range(50):
        (package / "layers.py").write_text(LAYERS.replace("8", str(units + 1)))
        forget()
        gc.collect()
        importlib.invalidate_caches()
        importlib.import_module("lab_nets.nets")
        assert loaded_module_hashes(SOURCE) == module_hashes(SOURCE)


def test_a_network_of_this_package_or_a_library_has_no_code_hash() -> None:
    for source in ("timm/resnet18", "torchvision/resnet18", "resnetlab.examples.wsl:f"):
        model = ExternalConfig(source=source)
        assert with_module_hashes(model) is model
