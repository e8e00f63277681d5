"""Runs the cases of test_dynamic_ranks.py on several ranks."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from silent import ME, Silent
from torch.optim import SGD
from watched import experiment, optimized

from harness.distributed import Ranks
from harness.distributed.options import Options
from harness.experiment import runner
from harness.experiment.experiment import Experiment
from harness.experiment.recorder import Recorder
from harness.experiment.train_hooks import TrainHooks
from harness.run_folder.records import to_line
from harness.system.errors import RanksDisagree
from harness.vocabulary.tensors import clone_tensors

# 10 steps: masks change before steps 2, 4 and 6. Ranks share the last batch of 3 samples unequally.
SHARED = ("dtype=float64", "data.train=515", "retraining.accumulate=2", "retraining.epochs=2")
RIGL = ("mask_updates=rigl", "mask_updates.update_interval=2")
MODES = {
    "rigl": RIGL,
    "snfs": ("mask_updates=snfs", "mask_updates.update_interval=2", "mask_updates.history=2"),
    "cubic": (
        "prune_at=during_training",
        "schedule=cubic",
        "gradual.interval=2",
        "saliency=weight_gradient",
    ),
}


def method(*overrides: str) -> Experiment:
    optimizer = partial(SGD, lr=0.1, momentum=0.9)
    return optimized(experiment(*SHARED, *overrides), optimizer)


def masks_by_step(ranks: Ranks, out: Path, mode: str) -> dict[str, Any]:
    """Returns a digest of the masks after every step, and the final state of the run."""
    levels = runner.prepare(method(*MODES[mode]), ranks, out)
    digests: list[str] = []
    real = TrainHooks.after_backward

    def noting(inside: TrainHooks) -> None:
        real(inside)
        digests.append(levels.state.masks.digest)

    TrainHooks.after_backward = noting  # type: ignore[method-assign]
    try:
        runner.run(Recorder(*levels, ME, sink := Silent()))
        network, masks = levels.state.model, levels.state.masks.masks
    finally:
        TrainHooks.after_backward = real  # type: ignore[method-assign]
    return {
        "digests": digests,
        "masks": clone_tensors(masks),
        "state": clone_tensors(network.state_dict()),
        "records": [to_line(record) for record in sink.records],
    }


def diverged(ranks: Ranks, out: Path) -> str:
    """Returns all ranks' errors when a mask of the last one loses a bit before the first update."""
    levels = runner.prepare(method(*RIGL), ranks, out)
    real = TrainHooks.before_step

    def flipping(inside: TrainHooks, number: int, optimizer: torch.optim.Optimizer) -> None:
        real(inside, number, optimizer)
        if number == 1 and ranks.rank == ranks.world_size - 1:
            mask = levels.state.masks.masks["fc2.weight"]
            mask.view(-1)[mask.view(-1).nonzero()[0]] = False

    TrainHooks.before_step = flipping  # type: ignore[method-assign]
    try:
        runner.run(Recorder(*levels, ME, Silent()))
    except RanksDisagree as error:
        return str(error)
    finally:
        TrainHooks.before_step = real  # type: ignore[method-assign]
    return ""


def all_cases(ranks: Ranks, out: Path) -> dict[str, Any]:
    found = dict[str, Any]()
    for exchange in ("dense", "sparse") if ranks.world_size == 2 else ("sparse",):
        asked = replace(ranks, options=Options(gradient_exchange=exchange))
        for mode in MODES if ranks.world_size == 2 else ["rigl"]:
            found[f"{mode} {exchange}"] = masks_by_step(asked, out, mode)
    return {**found, "said": diverged(asked, out)}
