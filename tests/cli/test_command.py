"""Tests what the small commands have in common, each as a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest
from command import environment, python
from survey_records import make, write_run

COMMANDS = ("report", "status", "sweep", "tracking", "clean")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_wrong_option_is_one_line_and_status_2(name) -> None:
    done = python("-m", "harness", name, "--no-such-option")
    assert done.returncode == 2
    assert done.stderr.startswith("harness: ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["report", "status"])
def test_a_full_disk_is_one_line_and_status_1(name, tmp_path) -> None:
    write_run(tmp_path / "ab" / "run", make())
    (tmp_path / "ab" / "run" / "status.json").write_text('{"state": "finished"}')
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "harness", name, str(tmp_path)], env=environment(),
            stdout=full, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert done.returncode == 1
    assert "No space left on device" in done.stderr and "Traceback" not in done.stderr
