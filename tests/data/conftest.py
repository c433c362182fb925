"""Fixture that gives each test an empty cache."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the cache of a person who has just begun: what one test decoded is no help to
    another.
    """
    monkeypatch.setenv("RESNETLAB_CACHE", str(tmp_path / "person"))
    return tmp_path / "person"
