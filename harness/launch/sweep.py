"""A sweep on one machine: points that fail do not stop the others and are listed at the end."""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import uuid4

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from harness.identity import OPERATIONAL
from harness.launch.errors import one_line
from harness.runs import Outcome

OUTCOMES = "HARNESS_SWEEP_OUTCOMES"  # file to which the points of the sweep under way append


class SweepSummary(Callback):
    """Tells at the end of a sweep what became of its points; status 1 if any failed."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        folder = Path(config.runs) / config.sweep_name
        folder.mkdir(parents=True, exist_ok=True)
        # Worker processes inherit the variable.
        os.environ[OUTCOMES] = str((folder / f".outcomes-{uuid4().hex[:8]}.jsonl").absolute())

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        file = Path(os.environ.pop(OUTCOMES))
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        outcomes = [json.loads(line) for line in lines]
        print("\n".join(summary(outcomes)), flush=True)
        if any(outcome["state"] == "failed" for outcome in outcomes):
            sys.exit(1)


def forget_outcomes() -> None:
    """Removes what an interrupted sweep left to be summed up; its runs' folders say the same."""
    if OUTCOMES in os.environ:
        Path(os.environ.pop(OUTCOMES)).unlink(missing_ok=True)


def summary(outcomes: list[dict[str, str]]) -> list[str]:
    """Lines: counts; then what other commits made; then what failed, with its reason."""
    of = {
        state: [outcome for outcome in outcomes if outcome["state"] == state]
        for state in ("finished", "skipped", "failed")
    }
    counts = ", ".join(f"{len(of[state])} {state}" for state in of)
    stale = [o for o in of["skipped"] if ", by " in o["reason"]]
    return [
        f"sweep: {len(outcomes)} runs: {counts}",
        *(f"  {o['folder']}: {o['reason']}; rerun=changed redoes it" for o in stale),
        *(f"  failed: {o['point']}: {o['reason']}" for o in of["failed"]),
    ]


def report_outcome(run: Callable[[], Outcome]) -> None:
    """Runs one point; whatever happens to it becomes an outcome of the sweep."""
    began = time.perf_counter()
    try:
        outcome = run()
    except Exception as error:
        outcome = Outcome("failed", "", one_line(error))
    job = HydraConfig.get()
    point = _point(job.overrides.task)
    line = json.dumps({**asdict(outcome), "point": point}) + "\n"
    with Path(os.environ[OUTCOMES]).open("a") as file:
        file.write(line)
    result = f"top-1 {100 * outcome.top1:.2f} %" if outcome.top1 is not None else outcome.reason
    seconds = time.perf_counter() - began
    print(f"[{job.job.num + 1}] {outcome.state} in {seconds:.1f} s: {point}: {result}", flush=True)


def _point(overrides: Sequence[str]) -> str:
    """What tells the point from others: not where the sweep writes and what tracks it."""
    same = {"sweep", *OPERATIONAL} - {"method"}
    return " ".join(text for text in overrides if text.split("=")[0].split(".")[0] not in same)
