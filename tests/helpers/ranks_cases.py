"""Runs the cases of test_ranks.py on several ranks."""

from pathlib import Path
from typing import Any

import torch
from command import TINY
from silent import ME, Silent
from torch import Tensor, nn

from harness.allocation.global_ranking import GlobalRanking
from harness.distributed import Ranks
from harness.experiment import runner
from harness.experiment.recorder import Recorder
from harness.launch.compose import compose_config
from harness.launch.execute import build
from harness.launch.instantiate import build_named
from harness.launch.paths import CONF
from harness.pruning.budget import RequestedSize
from harness.pruning.prunable import make_mask_store
from harness.pruning.pruner import Pruner
from harness.pruning.reader import Calibration
from harness.structure.element import Element
from harness.structure.filter import Filter
from harness.system.errors import RanksDisagree
from harness.vocabulary.tensors import Batch

FEWER = {"hutchinson": {"probes": 8}}  # each is a mean over ranks


def prune_with_every_saliency(ranks: Ranks) -> dict[str, Any]:
    """Returns the masks of one event on equal weights, and their scores, per saliency and dtype.

    51 samples in batches of 16: shards and last batches differ between ranks.
    """
    found: dict[str, Any] = {}
    for file in sorted((CONF / "saliency").glob("*.yaml")):
        for dtype in (torch.float32, torch.float64):
            network = convolutional().to(dtype)
            saliency = build_named("saliency", file.stem, seed=0, changes=FEWER.get(file.stem, {}))
            structure = Filter() if saliency.granularity == "unit" else Element()
            pruner = Pruner(saliency, structure, GlobalRanking())
            inputs, labels = calibration(dtype)
            shares = ranks.shard(torch.arange(len(labels))).split(16)
            data = Calibration(
                [(inputs[i], labels[i]) for i in shares if len(i)], summed, ranks.mean
            )
            units = structure.units(network, inputs[:2])
            keep = sum(network.get_parameter(name).numel() for name in units) * 2 // 5
            store = make_mask_store(network, units)
            decision = pruner.propose(
                network, store, units, RequestedSize(keep, "parameters"), data
            )
            found[f"{file.stem} {str(dtype).removeprefix('torch.')}"] = {
                "scores": pruner.scores(network, units, data),
                "masks": ranks.broadcast_masks(decision.masks),
                "moved": decision.updated_weights(decision.masks),
            }
    return found


def convolutional() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(),
        nn.Conv2d(4, 6, 3, stride=2), nn.BatchNorm2d(6), nn.ReLU(),
        nn.Flatten(), nn.Linear(24, 8), nn.ReLU(), nn.Linear(8, 3),
    )  # fmt: skip


def calibration(dtype: torch.dtype) -> Batch:
    stream = torch.Generator().manual_seed(1)
    inputs = torch.randn(51, 1, 8, 8, generator=stream, dtype=torch.float64)
    return inputs.to(dtype), torch.randint(0, 3, (51,), generator=stream)


def summed(outputs: Tensor, labels: Tensor) -> Tensor:
    return nn.functional.cross_entropy(outputs, labels, reduction="sum")


def run_levels(ranks: Ranks, out: Path) -> dict[str, Any]:
    """Runs three levels in float64, with a last batch that is sharded unequally."""
    overrides = [
        *TINY, "dtype=float64", "schedule=geometric", "schedule.levels=3", "data.train=515",
        "saliency=weight_gradient", "training.accumulate=2", "model.batch_norm=false",
        "finetune=weight_rewind", "finetune.epoch=1",
    ]  # fmt: skip
    levels = runner.prepare(
        build(compose_config(overrides)), ranks, out / f"dense-{ranks.world_size}"
    )
    sink = Silent()
    runner.run(Recorder(*levels, ME, sink))
    network, masks = levels.state.model, levels.state.masks.masks
    return {"masks": masks, "state": network.state_dict(), "records": sink.records}


def diverge(ranks: Ranks, out: Path) -> str:
    """Returns each rank's error when one bit of the masks differs on the last rank."""
    levels = runner.prepare(build(compose_config(TINY)), ranks, out / "dense")
    if ranks.rank == ranks.world_size - 1:
        levels.state.masks.masks["fc2.weight"][3, 5] = False
    try:
        runner.run(Recorder(*levels, ME, Silent()))
    except RanksDisagree as error:
        return str(error)
    return ""


def differ_in_decision(ranks: Ranks) -> list[int]:
    """Ranks decide different masks; where they agree to keep something."""
    mask = torch.arange(13) % (ranks.rank + 2) == 0
    return ranks.broadcast_masks({"w": mask})["w"].nonzero().flatten().tolist()
