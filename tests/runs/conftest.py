"""Fixtures of tests that stop runs."""

from __future__ import annotations

import pytest


@pytest.fixture
def tick_after_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Yield a tick event after each step, so that a checkpoint may follow every step."""
    monkeypatch.setattr("resnetlab.training.events.TICK_SECONDS", -1.0)
