"""Writes runs for which a claim can be judged by hand, and reads the verdict."""

import json
from pathlib import Path
from typing import Any

from survey_records import dense, make, write_run

from harness.report.claims.check import judged
from harness.report.claims.claim import claims
from harness.report.claims.treatments import treated
from harness.report.read.load import load

TARGETS = {
    "saliency": "harness.saliency.{}.X",
    "structure": "harness.structure.{}.X",
    "allocation": "harness.allocation.{}.X",
    "finetune": "harness.finetune.{}.X",
    "schedule": "harness.schedule.{}.X",
}
PARTS = {
    "saliency": "magnitude", "structure": "element", "allocation": "global_ranking",
    "finetune": "keep", "schedule": "one_shot",
}  # fmt: skip


def run(runs: Path, name: str, top1: list[float], **changes: Any) -> None:
    """Writes a run per seed with its config.

    `changes`: components, config keys (extra), or fields of a record.
    """
    extra = changes.pop("extra", {})
    parts = {**PARTS, **{key: changes.pop(key) for key in PARTS if key in changes}}
    config = {group: {"_target_": TARGETS[group].format(part)} for group, part in parts.items()}
    prune_at, control = changes.pop("prune_at", "after_training"), changes.pop("control", "none")
    before = changes.pop("before", None)
    for seed, share in enumerate(top1):
        same = {"seed": seed, "label": name, "setting": name, **changes}
        folder = runs / f"{name} {changes.get('requested_compression', 4)} {seed}"
        rows = [dense(**{key: same[key] for key in ("seed", "label", "setting")}, top1=0.9)]
        if before is not None:
            rows.append(make(**same, stage="pruned", top1=before))
        write_run(folder, *rows, make(**same, top1=share))
        asides = {"seed": seed, "prune_at": prune_at, "control": control}
        text = json.dumps({"hashed_config": {**config, **asides, **extra}})
        (folder / "identity.json").write_text(text)


def claimed(runs: Path, key: str) -> dict[str, Any]:
    (claim,) = (claim for claim in claims() if claim.key == key)
    return judged(treated(load(runs)), claim)


def verdict(runs: Path, key: str) -> str:
    return str(claimed(runs, key)["verdict"])
