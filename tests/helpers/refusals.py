"""Runs the command line in an empty folder with invalid input; a plugin for pytest_plugins."""

from collections.abc import Callable

import pytest
from command import run_main


@pytest.fixture
def refused(tmp_path, monkeypatch, capfd) -> Callable[..., str]:
    """Gives the one line about wrong input, which ends with status 2 and leaves no file."""

    def refusal(*arguments: str) -> str:
        monkeypatch.chdir(tmp_path)
        status = run_main(monkeypatch, *arguments)
        lines = capfd.readouterr().err.strip().splitlines()
        assert (status, len(lines)) == (2, 1), lines
        assert list(tmp_path.rglob("*")) == []
        return lines[0]

    return refusal
