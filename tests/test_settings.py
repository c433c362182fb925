"""A variable or a settings file can move the cache and forbid downloads, and mistakes are reported
in one line.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from resnetlab import settings
from resnetlab.data.download import REGISTRY, download_dataset
from resnetlab.data.sources import open_source
from resnetlab.errors import InputError


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the configuration file of a person who has set no variable."""
    for name in (settings.CACHE_VARIABLE, settings.OFFLINE_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "config" / "config.toml"
    path.parent.mkdir()
    monkeypatch.setattr(settings, "config_file", lambda: path)
    return path


def refused(action: object, *arguments: object, **keywords: object) -> str:
    with pytest.raises(InputError) as caught:
        action(*arguments, **keywords)  # type: ignore[operator]
    return str(caught.value)


def test_the_variable_has_priority_over_the_file_and_the_file_over_the_default(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import platformdirs

    assert settings.cache_dir() == Path(platformdirs.user_cache_dir("resnetlab", appauthor=False))
    assert settings.is_offline() is False
    config.write_text(f"cache = '{tmp_path / 'of the file'}'\noffline = true\n")
    assert settings.cache_dir() == tmp_path / "of the file"
    assert settings.is_offline() is True
    monkeypatch.setenv(settings.CACHE_VARIABLE, str(tmp_path / "of the variable"))
    monkeypatch.setenv(settings.OFFLINE_VARIABLE, "0")
    assert settings.cache_dir() == tmp_path / "of the variable"
    assert settings.is_offline() is False


def test_the_home_folder_is_written_as_a_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(settings.CACHE_VARIABLE, "~/big/cache")
    assert settings.cache_dir() == Path.home() / "big" / "cache"
    monkeypatch.setenv(settings.CACHE_VARIABLE, "~nobody-of-that-name/cache")
    assert "names the home folder of an unknown user" in refused(settings.cache_dir)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cache = ", "not TOML: "),
        (
            "cahce = '/data'",
            (
                "cahce: no such key (allowed: cache, offline, trusted_packages). Fix: did you mean "
                '"cache"?'
            ),
        ),
        ("offline = 'yes'", "offline: another kind of value (got 'yes'; allowed: true or false)"),
        (
            "cache = 3",
            "cache: another kind of value (got 3; allowed: the path of a folder, in quotes)",
        ),
    ],
)
def test_a_mistake_in_the_file_is_reported_in_one_line_with_its_name(
    config: Path, text: str, expected: str
) -> None:
    config.write_text(text)
    line = refused(settings.cache_dir)
    assert line.startswith(f"{config}: {expected}")
    assert ". Fix: " in line
    assert "\n" not in line


@pytest.mark.usefixtures("config")
def test_an_invalid_switch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(settings.OFFLINE_VARIABLE, "maybe")
    line = (
        f"{settings.OFFLINE_VARIABLE}: not a switch (got maybe; allowed: 1 or 0). Fix: "
        f"{settings.OFFLINE_VARIABLE}=1"
    )
    assert refused(settings.is_offline) == line


def test_offline_mode_downloads_nothing_and_names_the_file_to_copy(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(settings.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)  # a folder .data here may have the data
    config.write_text("offline = true")
    monkeypatch.setattr("socket.create_connection", lambda *_, **__: pytest.fail("a connection"))
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: pytest.fail("a download"))
    downloads = tmp_path / "cache" / "downloads"
    because = f"is not here, and nothing is downloaded because {config} has offline = true"
    line = refused(open_source, "cifar10", cache=tmp_path / "out")
    assert line.startswith(
        f"cifar10: {because}. Fix: put cifar-10-python.tar.gz into {downloads}, or give an .npz: "
    )
    name = next(iter(REGISTRY))
    line = refused(download_dataset, name, tmp_path)
    assert line == (
        f"{name}: {because}. Fix: put images.tar, lists.tar into {downloads / name}, then "
        "give the same command again"
    )


@pytest.mark.usefixtures("config")
@pytest.mark.parametrize("source", ["torchvision/squeezenet1_1", "timm/resnet18"])
def test_offline_weights_are_read_from_the_folders_where_a_user_put_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    import torch

    from resnetlab.models.build import build_model
    from resnetlab.models.configs import ExternalConfig
    from resnetlab.models.external import build_external, hub_weights, local_weights_path
    from resnetlab.models.weights import write_weights

    monkeypatch.setenv(settings.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setenv(settings.OFFLINE_VARIABLE, "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    config = ExternalConfig(source=source, weights="hub")
    file = tmp_path / "cache" / "weights" / config.library / f"{config.name}.safetensors"
    assert local_weights_path(config) == file
    line = refused(hub_weights, config)
    assert line.startswith(
        f"{config.slug}: is not here, and nothing is downloaded because "
        f"{settings.OFFLINE_VARIABLE} is set. "
    )
    assert line.endswith(f"Fix: place {file.name} in {file.parent}, or give its path as weights")
    assert not (tmp_path / "torch").exists()
    assert not (tmp_path / "hub").exists()
    write_weights(file, build_external(config, 3, 10).state_dict(), {})
    module = build_model(config, 3, 10, lambda _: torch.Generator())
    assert sum(tensor.numel() for tensor in module.state_dict().values()) > 100_000


def test_two_output_folders_share_decoded_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    monkeypatch.setenv(settings.CACHE_VARIABLE, str(tmp_path / "person"))
    for split in ("train", "test"):
        for number, name in enumerate(("cat", "dog")):
            folder = tmp_path / "pets" / split / name
            folder.mkdir(parents=True)
            Image.new("RGB", (16, 16), (90 * number, len(split) * 20, 7)).save(folder / "1.png")
    messages: list[str] = []
    for output in ("one", "two"):
        open_source(
            str(tmp_path / "pets"), cache=tmp_path / output / "cache", notify=messages.append
        )
    assert [line for line in messages if line.startswith("decoding")] == [
        "decoding 4 images to 16 x 16 pixels"
    ]


def test_a_cache_inside_the_image_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pets" / "cat").mkdir(parents=True)
    monkeypatch.setenv(settings.CACHE_VARIABLE, str(tmp_path / "pets" / "cache"))
    line = refused(open_source, str(tmp_path / "pets"), cache=tmp_path / "out")
    assert (
        "pets/cache/images is inside the folder of images. Fix: give RESNETLAB_CACHE a folder "
        "outside it" in line
    )


def test_a_mistake_in_the_file_ends_a_command_with_code_2_and_one_line(tmp_path: Path) -> None:
    """In a real process, whose configuration lies where the system says."""
    import platformdirs

    code = "import platformdirs; print(platformdirs.user_config_dir('resnetlab', appauthor=False))"
    environment = os.environ | {"XDG_CONFIG_HOME": str(tmp_path), "HOME": str(tmp_path)}
    environment = {
        key: value for key, value in environment.items() if key != settings.CACHE_VARIABLE
    }
    where = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    file = Path(where.stdout.strip()) / "config.toml"
    if not file.is_relative_to(tmp_path):
        pytest.skip("this system's configuration does not move with a variable")
    assert platformdirs.user_config_dir("resnetlab", appauthor=False) != str(file.parent)
    file.parent.mkdir(parents=True)
    file.write_text("cache = [")
    command = [
        sys.executable,
        "-m",
        "resnetlab",
        "data",
        "check",
        "cifar10",
        "--output",
        str(tmp_path / "out"),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=120, cwd=tmp_path
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"resnetlab: error: {file}: not TOML: ")
    assert len(done.stderr.splitlines()) == 1
