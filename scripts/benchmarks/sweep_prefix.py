"""Counts the training epochs of an iterative sweep in its training loops."""

from inspect import signature
from pathlib import Path
from typing import Any

from harness.launch.backends.base import try_execute_line
from harness.launch.compose import compose_config
from harness.launch.digests.data import digest_if_readable, with_data_digests
from harness.launch.run_spec import RunSpec
from harness.launch.sweeps.planned_run import plan_runs
from harness.launch.variables import plain
from harness.training.trainer import Trainer

FIT = signature(Trainer.fit)
MODES = ("keep", "weight_rewind", "lr_rewind")


def epochs(runs: Path, share: bool, quick: bool) -> int:
    """Counts epochs of the sweep keep, weight_rewind, lr_rewind x depths 3, 5, 7, with dense."""
    depths = (2, 3) if quick else (3, 5, 7)
    batch = [
        [
            "data=blobs", "model=mlp", "schedule=constant", "schedule.final=0.8",
            "calibration.samples=64", "training.epochs=4", "retraining.epochs=4", "tracking=none",
            f"finetune={mode}", f"schedule.levels={depth}", f"output_dir={runs}",
            "sweep_name=prefix",
        ]
        for mode in MODES
        for depth in depths
    ]  # fmt: skip
    named = with_data_digests(enumerate(map(_point, batch)), digest_if_readable)
    points = plan_runs(named, batch, share)
    trained: list[int] = []
    fit = Trainer.fit

    def counted(trainer: Trainer, *given: Any, **named: Any) -> Any:
        bound = FIT.bind(trainer, *given, **named).arguments
        begin, stop = bound.get("begin"), bound.get("stop")
        if bound["context"].level != "rehearsal":
            trained.append((stop.epoch if stop else trainer.epochs) - (begin.epoch if begin else 0))
        return fit(trainer, *given, **named)

    Trainer.fit = counted  # type: ignore[method-assign]
    try:
        for point in sorted(points, key=lambda point: -len(point.shared)):
            outcome = try_execute_line(point.line)
            if outcome.state != "finished":
                raise RuntimeError(f"{point.label}: {outcome.reason}")
    finally:
        Trainer.fit = fit  # type: ignore[method-assign]
    return sum(trained)


def _point(overrides: list[str]) -> RunSpec:
    choices = dict(text.split("=") for text in overrides)
    return RunSpec(plain(compose_config(overrides)), choices, choices["finetune"], "", overrides)
