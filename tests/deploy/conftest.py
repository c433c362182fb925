"""Fixtures of a small model folder and of a folder of small photographs."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six classes, random weights."""
    from helpers.model_folders import write_model

    return write_model(tmp_path_factory.mktemp("models") / "pets")


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cats and dogs of several sizes: four of each in train, eight and six in test."""
    from helpers.pictures import picture, save

    root = tmp_path_factory.mktemp("data") / "photos"
    counts = {"train/cat": 4, "train/dog": 4, "test/cat": 8, "test/dog": 6}
    seed = 0
    for folder, count in counts.items():
        for number in range(count):
            save(root / folder / f"{number:03}.jpg", picture(seed, 40 + 3 * seed, 70 - 2 * seed))
            seed += 1
    return root
