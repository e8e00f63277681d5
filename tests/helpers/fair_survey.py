"""Writes a survey that keeps the protocol except for a change, and reads the linter's verdicts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from survey_records import dense, make, write_run

from harness.report.protocol.lint import check
from harness.report.read.load import load
from harness.run_folder.records import Record

METHODS = {
    "random": "Random",
    "global_magnitude": "Global Magnitude",
    "layerwise_magnitude": "Layerwise Magnitude",
}
POINTS = (2.0, 4.0, 8.0, 16.0, 32.0)
Change = Callable[[Record], Record | None]
DEVICE = {"numerics_key": {"device": "cpu x86_64"}}


def write(folder: Path, change: Change = lambda record: record, device: Any = DEVICE) -> None:
    """Writes three methods x five points x three seeds; `change` edits a record, None drops it."""
    for method, label in METHODS.items():
        for asked in POINTS:
            for seed in range(3):
                same = {"method": method, "label": label, "setting": method, "seed": seed}
                measured = {"requested_compression": asked, "compression": asked * 1.01}
                rows = (
                    dense(**same, validation_loss=0.2),
                    make(**same, **measured, validation_loss=0.2),
                )
                left = [row for row in map(change, rows) if row]
                run = folder / f"{method}-{asked:g}-{seed}"
                if left:
                    write_run(run, *left)
                if left and device:
                    (run / "environment.json").write_text(json.dumps(device))


def verdicts(folder: Path) -> dict[str, str]:
    table = check(load(folder)).set_index("item")
    found: dict[str, str] = table["verdict"].to_dict()
    return {item: verdict for item, verdict in found.items() if verdict != "pass"}


def details_of(folder: Path, item: str) -> str:
    return str(check(load(folder)).set_index("item").loc[item, "details"])
