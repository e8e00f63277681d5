"""What the tests run on several ranks: torchrun ... ranks_program.py TASK OUT."""

import sys
from pathlib import Path

import torch
from command import TINY

from harness.budget import Goal
from harness.distributed import Ranks, RanksDisagree, ranks_of_environment
from harness.launch.compose import composed
from harness.launch.paths import CONF
from harness.main import build
from harness.records import Identity, Record
from harness.tensors import prunable_weights

ME = Identity("run", "setting", "method", "label", "mlp", "blobs")


class Silent:
    follows_epochs = False

    def __init__(self) -> None:
        self.records: list[Record] = []

    def begin(self, levels: int, epochs: int) -> None:
        pass

    def log(self, record: Record) -> None:
        self.records.append(record)

    def epoch(self, level: int, epoch: int, epochs: int, accuracy: float | None) -> None:
        pass


def prune_with_every_saliency(ranks: Ranks, out: Path) -> dict[str, object]:
    """Per saliency and dtype: masks of one event on equal weights, and the scores behind them."""
    found: dict[str, object] = {}
    for file in sorted((CONF / "saliency").glob("*.yaml")):
        for dtype in ("float32", "float64"):
            overrides = [*TINY, f"saliency={file.stem}", f"dtype={dtype}"]
            levels = build(composed(overrides)).prepare(ranks, out / "dense")
            data = levels.subject.calibration(100, 32)
            evidence = levels.what.saliency.evidence(
                levels.network, data.batches, data.loss, data.mean
            )
            weights = prunable_weights(levels.network)
            masks = levels.what.pruner.decide(
                levels.network, levels.store, levels.units, Goal(140, "weights"), data
            ).masks
            found[f"{file.stem} {dtype}"] = {
                "scores": levels.what.saliency.score(weights, evidence),
                "masks": ranks.agree(masks),
            }
    return found


def run_levels(ranks: Ranks, out: Path) -> dict[str, object]:
    """Three levels in float64, through training, with a last batch that ranks share unequally."""
    overrides = [
        *TINY, "dtype=float64", "schedule=geometric", "schedule.levels=3", "data.train=515",
        "saliency=weight_gradient", "training.accumulate=2", "model.batch_norm=false",
        "finetune=weight_rewind", "finetune.epoch=1",
    ]  # fmt: skip
    levels = build(composed(overrides)).prepare(ranks, out / f"dense-{ranks.count}")
    watcher = Silent()
    network, masks = levels.run(ME, watcher)
    return {"masks": masks, "state": network.state_dict(), "records": watcher.records}


def diverge(ranks: Ranks, out: Path) -> dict[str, object]:
    """One bit of the masks in force differs on the last rank; every rank must notice."""
    levels = build(composed(TINY)).prepare(ranks, out / "dense")
    if ranks.rank == ranks.count - 1:
        levels.store.masks["fc2.weight"][3, 5] = False
    said = ""
    try:
        levels.run(ME, Silent())
    except RanksDisagree as error:
        said = str(error)
    (out / f"said-{ranks.rank}").write_text(said)
    return {}


def differ_in_decision(ranks: Ranks, out: Path) -> dict[str, object]:
    """Ranks decide different masks; rank 0's must arrive everywhere."""
    mask = torch.arange(13) % (ranks.rank + 2) == 0
    return {"agreed": ranks.agree({"w": mask})["w"]}


def main() -> None:
    torch.set_num_threads(1)
    task, out = globals()[sys.argv[1]], Path(sys.argv[2])
    with ranks_of_environment("cpu") as ranks:
        found = task(ranks, out)
        torch.save(found, out / f"{sys.argv[1]}-{ranks.count}-{ranks.rank}.pt")


if __name__ == "__main__":
    main()
