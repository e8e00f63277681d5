"""Fakes a run, its records, and a W&B run that records its calls."""

from pathlib import Path
from typing import Any

import pytest
import wandb

import harness.tracking.wandb as tracked
from harness.run_folder.records import Record
from harness.tracking.base import RunInfo, Tracking


def record(level: int, stage: str) -> Record:
    compression = 2.0**level
    return Record(
        run="0123456789ab", method="global_magnitude", label="Global Magnitude", setting="5e77",
        model="lenet", data="digits", model_published_as=None, data_published_as=None, seed=7,
        level=level, stage=stage,
        requested_density=1 / compression, requested_compression=compression,
        density=1 / compression, density_of="weights", density_of_weights=1 / compression,
        compression=compression - level / 100, speedup=1.5, parameters=1000 // 2**level,
        macs=2000, top1=0.9 if stage == "finetuned" else 0.4, top5=0.99, loss=0.25,
        validation_top1=0.8, validation_loss=0.5, epochs=3, steps=30,
        layers={"conv.weight": 0.5 / level, "fc.weight": 0.25 / level}, masks="d16e57",
        examples=1200, training_flops=7200 // 2**level, training_flops_dense=7200,
        optimizer_state="reset", gradient_norm=0.125,
    )  # fmt: skip


def info(folder: Path, sweep: Path | None = None) -> RunInfo:
    """Returns a RunInfo. sweep: the folder shared with other runs; None: the run is alone."""
    return RunInfo(
        id="0123456789ab", folder=folder, method="global_magnitude", label="Global Magnitude",
        setting="5e77", model="lenet", data="digits", seed=7, group="survey", job_type="prune",
        config={"seed": 7, "schedule": {"levels": 2, "densities": [0.5, 0.25]}},
        sweep=sweep or folder, dense=folder / ".cache/dense" / "de15e",
    )  # fmt: skip


def track(tracking: Tracking, folder: Path) -> None:
    with tracking.open(info(folder)) as sink:
        for level in (1, 2):
            for stage in ("pruned", "finetuned"):
                sink.log(record(level, stage))


def forget_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Removes the settings of the user, and the state that an earlier test has left."""
    for name in ("WANDB_MODE", "WANDB_DIR", "WANDB_RUN_ID", "WANDB_API_KEY", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(tracked, "_online_failed", False)


class FakeRun:
    """Records the calls of a W&B run."""

    id = "f" * 16
    starting_step = 0

    def __init__(self, folder: Path) -> None:
        self.dir = str(folder / "fake" / "files")
        self.rows: list[dict[str, Any]] = []
        self.exit_codes: list[int] = []

    def define_metric(self, name: str, step_metric: str | None = None) -> None: ...

    def log(self, row: dict[str, Any], step: int | None = None, commit: bool = True) -> None:
        self.rows.append(row | {"step": step})

    def log_artifact(self, artifact: wandb.Artifact) -> None: ...

    def finish(self, exit_code: int) -> None:
        self.exit_codes.append(exit_code)


def fail(*_: Any, **__: Any) -> Any:
    raise wandb.errors.CommError("the server\nis gone")


def speed(level: int, speedup: float = 1.5, **changes: Any) -> dict[str, Any]:
    """Returns an event of measured speed, as timings.jsonl holds it."""
    numbers = {"milliseconds_median": 2.0, "dense_milliseconds_median": 2 * speedup}
    numbers |= {"speedup_median": speedup, "speedup_low": 1.25, "speedup_high": 1.75}
    numbers |= {"peak_bytes": 300, "dense_peak_bytes": 400, "file_bytes": 100}
    return {
        "event": "latency", "level": level, "stage": "finetuned", "runtime": "eager",
        "batch_size": 1, "dtype": "float32", "threads": 2, "device": "cpu Fast 9000",
        "torch": "2.14.1", **numbers, "dense_file_bytes": 200, **changes,
    }  # fmt: skip
