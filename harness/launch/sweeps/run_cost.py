"""What one run costs, by its config: epochs, and which runs are alike in time and size."""

import hashlib
import json
from dataclasses import dataclass

from harness.launch.instantiate import build_part
from harness.run_folder.identity import Config

DECIDES = ("model", "data", "dtype", "threads", "device")


@dataclass(frozen=True)
class Cost:
    """Of runs that are alike in time and size."""

    seconds_per_epoch: float
    megabytes: float  # of one run's folder


def kind(config: Config) -> str:
    """Equal for runs whose epochs take about as long, and whose results are about as large."""
    batch = config["training"]["batch_size"]
    decides = [*(config[key] for key in DECIDES), batch, config["launch"].get("ranks_per_run", 1)]
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:12]


def epochs_of(config: Config) -> dict[str, int]:
    """Of one level's trainings, by stage. Speed-ups, which Scratch-B's length depends on, count as
    1; nothing for a config that no run can have."""
    try:
        plan = build_part(config["finetune"]).plan(config["training"]["epochs"], 1.0)
        penalty = (config.get("penalty") or {}).get("epochs", 0)
        if plan is None:
            return {"penalised": penalty}
        whole = config[plan.recipe]["epochs"] if plan.epochs is None else plan.epochs
        return {"penalised": penalty, "finetuned": int(whole - plan.begin.epoch)}
    except Exception:  # the run itself will say what is wrong
        return {}
