"""Runs the command line as a user would, and reads what it left."""

import os
import subprocess
import sys
from pathlib import Path

import fork_server
import pytest
from handlers import as_before
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra

from harness.cli.main import main
from harness.run_folder import records
from harness.run_folder.records import Record

TINY = (
    "data=blobs", "model=mlp", "training.epochs=2", "retraining.epochs=1",
    "calibration.samples=64", "tracking=none", "schedule=one_shot",
)  # fmt: skip
# Where it does not matter how many work on a sweep: each takes seconds to start.
ONE_WORKER = "hydra.launcher.n_jobs=1"


def harness(
    *arguments: str, ranks: int = 1, cwd: Path | None = None, timeout: float = 240
) -> subprocess.CompletedProcess[str]:
    """Runs pruning-harness ARGUMENTS, under torchrun if there are several ranks."""
    if ranks == 1:
        return python("-m", "harness", *arguments, cwd=cwd, timeout=timeout)
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    return subprocess.run(
        [sys.executable, *torchrun, "-m", "harness", *arguments], cwd=cwd, capture_output=True,
        text=True, timeout=timeout, env=environment(),
    )  # fmt: skip


def python(
    *arguments: str | Path, cwd: Path | None = None, timeout: float = 240, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Runs python ARGUMENTS in a process that has torch and the harness imported (fork_server)."""
    return fork_server.run([*map(str, arguments)], environment() | variables, cwd, timeout)


def environment() -> dict[str, str]:
    root = Path(__file__).parents[2]
    kept = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    path = os.pathsep.join(map(str, (root, root / "tests" / "helpers", root / "tests")))
    return {**kept, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def only_run(runs: Path, sweep: str = "single") -> Path:
    """Returns the folder of the only run below runs/<sweep>."""
    (folder,) = run_folders(runs, sweep)
    return folder


def run_folders(runs: Path, sweep: str = "single") -> list[Path]:
    return sorted(file.parent for file in (runs / sweep).glob("*/*/status.json"))


def records_of(folder: Path) -> list[Record]:
    return records.read(folder / "records.jsonl")


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: str, command: str = "run") -> int:
    """Returns a function that runs the command line in this process and gives its exit status.

    The process keeps its signal handlers.

    command: of harness.cli.main.
    """
    GlobalHydra.instance().clear()
    monkeypatch.setattr(sys, "argv", ["harness"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.delenv("HYDRA_FULL_ERROR")
    # It composes all once more, only to read hydra.mode, which nothing here sets.
    monkeypatch.setattr(Hydra, "get_mode", lambda *_, **__: None)
    try:
        with as_before():
            return main([command, *arguments])
    except SystemExit as leave:
        return int(leave.code or 0)
    finally:
        GlobalHydra.instance().clear()
