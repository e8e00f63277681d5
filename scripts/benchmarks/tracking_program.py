"""Runs the tracking of one sweep worker, and prints the cost of each run as JSON.

PROGRAM FOLDER RUNS: a run of the default survey's size (LeNet-300-100, level 1, 12 epochs before
and 8 after pruning) with W&B offline and without a tracker, in alternation. Nothing is trained.
"""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from harness.models.lenet_300_100 import LeNet300100
from harness.run_folder.export import ExportedModel, export_model
from harness.run_folder.records import Record
from harness.tracking.base import RunInfo, Tracking
from harness.tracking.none import NoTracking
from harness.tracking.wandb import Wandb

EPOCHS = {"dense": 12, "finetuned": 8}


def main(top: Path, runs: int) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    seconds: dict[str, list[float]] = {"W&B offline": [], "none": []}
    trackers: dict[str, Tracking] = {"W&B offline": Wandb(), "none": NoTracking()}
    for number in range(runs):
        turns = list(trackers.items())
        for name, tracker in turns[:: -1 if number % 2 else 1]:
            info = prepared(top, f"{number}-{name[0]}")
            since = time.perf_counter()
            track(tracker, info)
            seconds[name].append(time.perf_counter() - since)
    print(json.dumps(seconds))


def prepared(top: Path, name: str) -> RunInfo:
    """Makes a run folder with all files that the end of a run reads."""
    folder, dense = top / "sweep" / name[:2] / name, top / ".cache/dense" / "de" / "de15e"
    folder.mkdir(parents=True)
    dense.mkdir(parents=True, exist_ok=True)
    model = LeNet300100().build((1, 28, 28), 10)
    masks = {
        key: torch.rand_like(weight) < 0.25
        for key, weight in model.named_parameters()
        if weight.dim() > 1
    }
    export_model(folder, ExportedModel(model.state_dict(), masks, (1, 28, 28), 10))
    (folder / "records.jsonl").write_text("{}\n" * 3)
    (folder / "config.yaml").write_text("seed: 0\n" * 100)
    (folder / "environment.json").write_text("{}\n")
    config = {f"part_{number}": {"name": "text", "value": number} for number in range(40)}
    facts = {"id": name, "method": "magnitude", "label": "Magnitude", "setting": "5e77"}
    subject = {"model": "lenet_300_100", "data": "mnist_5k", "seed": 0, "group": "survey"}
    return RunInfo(
        folder=folder,
        job_type="magnitude",
        config=config,
        sweep=top / "sweep",
        dense=dense,
        **facts,  # type: ignore[arg-type]
        **subject,  # type: ignore[arg-type]
    )


def track(tracker: Tracking, info: RunInfo) -> None:
    with tracker.open(info) as sink:
        for record in records():
            for epoch, loss in enumerate(record.epoch_losses or [], start=1):
                sink.epoch(record.level, epoch, loss, 0.9)
            sink.log(record)


def records() -> list[Record]:
    pruned = Record(
        run="", method="", label="", setting="", model="", data="", seed=0, level=1,
        model_published_as=None, data_published_as=None,
        stage="pruned", requested_density=0.25, requested_compression=4.0, density=0.25,
        density_of="weights", density_of_weights=0.25, compression=3.9, speedup=4.0,
        parameters=66000, macs=66000, top1=0.5, top5=0.9, loss=1.0, validation_top1=0.5,
        validation_loss=1.0, epochs=0, steps=0, masks="d16e57",
        layers={"fc1.weight": 0.2, "fc2.weight": 0.4, "fc3.weight": 0.8}, epoch_losses=[],
    )  # fmt: skip
    dense = replace(pruned, level=0, stage="dense", requested_compression=1.0, **curve("dense"))
    return [dense, pruned, replace(pruned, stage="finetuned", **curve("finetuned"))]


def curve(stage: str) -> dict[str, list[float]]:
    epochs = EPOCHS[stage]
    return {"epoch_losses": [0.5] * epochs, "epoch_validation": [0.9] * epochs}


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
