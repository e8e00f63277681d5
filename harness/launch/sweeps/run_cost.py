"""Reads from a run's config how many epochs it trains and which runs cost about the same."""

import hashlib
import json
from dataclasses import dataclass

from harness.launch.instantiate import build_part
from harness.run_folder.identity import Config

DECIDES = ("model", "data", "dtype", "threads", "device")


@dataclass(frozen=True)
class RunCost:
    """Holds the cost of runs of one kind."""

    seconds_per_epoch: float
    megabytes: float  # of one run's folder


def kind(config: Config) -> str:
    """Returns 12 hex digits, equal for runs with about the same time per epoch and size."""
    batch = config["training"]["batch_size"]
    decides = [*(config[key] for key in DECIDES), batch, config["launch"].get("ranks_per_run", 1)]
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:12]


def epochs_of(config: Config) -> dict[str, int]:
    """Returns the epochs of one level's trainings, by stage; empty for an invalid config.

    Scratch-B's length depends on the speed-up, which counts as 1 here.
    """
    try:
        plan = build_part(config["finetune"]).plan(config["training"]["epochs"], 1.0)
        penalty = (config.get("penalty") or {}).get("epochs", 0)
        if plan is None:
            return {"penalised": penalty}
        whole = config[plan.recipe]["epochs"] if plan.epochs is None else plan.epochs
        return {"penalised": penalty, "finetuned": int(whole - plan.begin.epoch)}
    except Exception:  # the run itself reports the error
        return {}
