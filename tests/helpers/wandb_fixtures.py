"""Provides a W&B without settings, and a server on loopback; pytest_plugins names this module."""

from collections.abc import Iterator

import pytest
from tracking_fakes import forget_settings
from wandb_stub import Stub


@pytest.fixture
def no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_settings(monkeypatch)


@pytest.fixture
def nobody_logged_in(no_settings_of_the_user, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def stub(nobody_logged_in: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """Starts a server that the environment names, with a key."""
    with Stub() as stub:
        for name, value in stub.environment.items():
            monkeypatch.setenv(name, value)
        yield stub
