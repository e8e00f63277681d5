"""Starts sweeps like a user, with runs as jobs of the tests' cluster."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from command import TINY, run_folders
from forked_ranks import harness_on_ranks
from slowed import SLOW
from slurm_cluster import PATIENCE_S, Slurm, wait_until

# 120 steps of retraining: a second, or, while the test holds them up, most of a minute.
RUN = (*TINY, "retraining.epochs=30", "+retraining.augmentation._target_=slowed.Shifting")
NAME = "grid"
HARNESS = [sys.executable, "-m", "harness"]


@dataclass(frozen=True)
class Sweep:
    """Holds a sweep; folder: of its files."""

    slurm: Slurm
    folder: Path

    @property
    def runs(self) -> list[Path]:
        return run_folders(self.folder, NAME)

    @property
    def records(self) -> dict[str, bytes]:
        files = [run / "records.jsonl" for run in self.runs]
        return {file.parent.name: file.read_bytes() for file in files if file.exists()}

    @property
    def arrays(self) -> list[str]:
        """Returns ids of what it has submitted, in order."""
        jobs = self.folder / NAME / ".sweep" / "jobs"
        return sorted((file.parent.name for file in jobs.glob("*/keys.json")), key=int)

    def job_of(self, point: str) -> str:
        """Returns the newest job of that run in the newest array."""
        file = self.folder / NAME / ".sweep" / "jobs" / self.arrays[-1] / "keys.json"
        return {does: job for job, does in json.loads(file.read_text()).items()}[f"run {point}"]

    def command(self, *arguments: str) -> list[str]:
        place = (f"output_dir={self.folder}", f"sweep_name={NAME}", "hydra/launcher=slurm")
        return [*HARNESS, "-m", *RUN, *place, *arguments]

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Starts the sweep; training is slow until `hurry`."""
        self.slow.touch()
        return self.go_on(*arguments)

    def go_on(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            self.command(*arguments), env={**self.slurm.environment, SLOW: str(self.slow)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.folder,
        )  # fmt: skip

    @property
    def slow(self) -> Path:
        return self.folder / "slow"

    @contextmanager
    def in_its_middle(self, count: int) -> Iterator[None]:
        """Waits until `count` runs have left a checkpoint; the runs are slow inside the context."""
        saved = f"{NAME}/*/*/checkpoints"
        wait_until(
            lambda: len([f for f in self.folder.glob(saved) if _is_retraining(f)]) == count, saved
        )
        try:
            yield
        finally:
            self.slow.unlink()


def undisturbed(folder: Path, *points: Sequence[str], ranks: int = 1) -> dict[str, bytes]:
    """Returns the records of each point on ranks of this machine, without SLURM, by run."""
    for point in points:
        place = (f"output_dir={folder}", f"sweep_name={NAME}")
        done = harness_on_ranks(ranks, *RUN, *point, *place)
        assert done.returncode == 0, done.stderr
    return {run.name: (run / "records.jsonl").read_bytes() for run in run_folders(folder, NAME)}


def ended(sweep: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """Returns (status, stdout, stderr)."""
    out, err = sweep.communicate(timeout=PATIENCE_S)
    return sweep.returncode, out, err


def resumed(run: Path) -> int:
    """Counts how often the run was resumed."""
    lines = (run / "timings.jsonl").read_text().splitlines()
    return [json.loads(line).get("event") for line in lines].count("resumed")


def _is_retraining(checkpoints: Path) -> bool:
    return any(checkpoints.glob("*-level-01-epoch-*"))
