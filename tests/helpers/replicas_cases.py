"""Runs the cases of the tests of replicas on two ranks; rank 1 differs in each case."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from command import TINY
from manners import MANNERS, holding, hook
from silent import ME, Silent
from simulated import Small, cross_entropy, small_batches
from torch import Tensor, nn

from harness.allocation.uniform import Uniform
from harness.data.base import Split
from harness.distributed import Ranks
from harness.distributed.gradient_exchange import DENSE
from harness.experiment import runner
from harness.experiment.recorder import Recorder
from harness.launch.compose import compose_config
from harness.launch.execute import build
from harness.penalty.l1 import L1
from harness.pruning.budget import RequestedSize
from harness.pruning.masks import MaskStore
from harness.pruning.pruner import Pruner
from harness.pruning.reader import Calibration
from harness.saliency.base import CalibrationData
from harness.saliency.magnitude import Magnitude
from harness.structure.element import Element
from harness.system.errors import RanksDisagree
from harness.task.classification import Classification
from harness.training.evaluation import evaluate
from harness.vocabulary.tensors import Tensors

SPLIT = Split(torch.randn(9, 2, 4, 4), torch.arange(9) % 4)
CALLS = ("statistics", "score", "solve", "compensate")


class RankFault(Magnitude):
    """Changes a weight of the model on rank 1 in its `call`; can solve or compensate."""

    network: nn.Module | None = None

    def __init__(self, rank: int, call: str):
        self.rank, self.call = rank, call
        if call == "solve":
            self.solve = self._solve
        if call == "compensate":
            self.compensate = self._compensate

    def statistics(self, data: CalibrationData) -> Tensors:
        self.network = data.module
        return self._passed("statistics", {})

    def score(self, weights: Tensors, statistics: Tensors) -> Tensors:
        return self._passed("score", {name: weight.abs() for name, weight in weights.items()})

    def _solve(self, weights: Tensors, keep: Any, statistics: Tensors, alive: Tensors) -> Any:
        kept = {n: torch.arange(w.numel()).view(w.shape) < keep[n] for n, w in weights.items()}
        return self._passed("solve", (kept, {}))

    def _compensate(self, weights: Tensors, masks: Tensors, statistics: Tensors) -> Tensors:
        return self._passed("compensate", {})

    def _passed(self, call: str, result: Any) -> Any:
        if self.rank == 1 and call == self.call and self.network is not None:
            next(self.network.parameters()).data.view(-1)[0] += 1e-6
        return result


@dataclass(frozen=True)
class RecalibrationFault:
    """Recalibrates the model differently on rank 1."""

    change: Callable[[nn.Module], object]
    rank: int
    samples: int = 8
    batch_size: int = 4

    def check(self, model: nn.Module) -> None: ...

    def apply(self, model: nn.Module, batches: Iterable[Tensor]) -> None:
        if self.rank == 1:
            self.change(model)


@dataclass(frozen=True)
class OddPenalty(L1):
    """Holds a strength per weight that differs on rank 1, and adds nothing yet."""

    rank: int = 0
    hooks: bool = False
    needs_pending_masks: ClassVar[bool] = False

    def make_gradient_hook(
        self, model: nn.Module, units: Any, to_prune: Tensors
    ) -> Callable[[int], None]:
        if self.hooks:
            return lambda step: hook(model) if self.rank == 1 and step == 0 else None
        strengths = {"fc1.weight": torch.full((2,), float(self.rank))}
        return lambda step: strengths.clear() if step < 0 else None


def network(change: Callable[[nn.Module], object], rank: int) -> nn.Module:
    model = nn.Sequential(nn.BatchNorm2d(2), Small())
    model.register_buffer("scale", torch.ones(2), persistent=False)
    holding(model)
    if rank == 1:
        change(model)
    return model


def nudged(model: nn.Module) -> None:
    model[1].fc1.weight.data[3, 1] += 1e-6


def nudged_first(model: nn.Module) -> None:
    next(model.parameters()).data.view(-1)[0] += 1e-6


def evaluated(ranks: Ranks, change: Callable[[nn.Module], object]) -> None:
    evaluate(network(change, ranks.rank), SPLIT, Classification(), ranks)


def wrapped(ranks: Ranks) -> None:
    ranks.wrap(network(nudged, ranks.rank), lambda new: new(SPLIT.inputs[:2]).sum(), DENSE)


def sent(ranks: Ranks) -> None:
    """Sends statistics; each rank's own ones are no difference, rank 0's hold everywhere."""
    model = network(lambda m: m[0].running_mean.fill_(3), ranks.rank)
    evaluate(model, SPLIT, Classification(), ranks)
    assert model[0].running_mean.tolist() == [0, 0]


def pruned(ranks: Ranks, call: str) -> None:
    model = Small()
    pruner = Pruner(RankFault(ranks.rank, call), Element(), Uniform())
    units = pruner.structure.units(model, SPLIT.inputs[:2])
    store = MaskStore({name: model.get_parameter(name) for name in units})
    batches = small_batches()[ranks.rank :: 2]
    data = Calibration(batches, cross_entropy, ranks.mean, ranks.check_digests)
    decision = pruner.propose(model, store, units, RequestedSize(98, "parameters"), data)
    decision.updated_weights(decision.masks)


def run(ranks: Ranks, out: Path, overrides: tuple[str, ...] = (), **parts: Any) -> None:
    what = replace(build(compose_config([*TINY, "training.epochs=1", *overrides])), **parts)
    runner.run(Recorder(*runner.prepare(what, ranks, out / "dense"), ME, Silent()))


def error_of(work: Callable[[], object]) -> str:
    try:
        work()
    except RanksDisagree as error:
        return str(error)
    return ""


def asked_for(ranks: Ranks, here: Callable[[], object], there: Callable[[], object]) -> str:
    return error_of(here if ranks.rank == 0 else there)


def apart(ranks: Ranks) -> dict[str, str]:
    """Lets ranks call different collectives."""
    pair = {"a": torch.ones(2, 3), "b": torch.ones(2)}

    def mean(sums: Tensors) -> Tensors:
        return ranks.mean(sums, 1)

    return {
        "other keys": asked_for(ranks, lambda: mean(pair), lambda: mean({"a": pair["a"]})),
        "other shapes": asked_for(
            ranks, lambda: mean(pair), lambda: mean({**pair, "a": torch.ones(3, 2)})
        ),
        "other dtypes": asked_for(
            ranks, lambda: mean(pair), lambda: mean({**pair, "b": torch.ones(2).double()})
        ),
        "a mean is skipped": asked_for(
            ranks, lambda: mean(pair), lambda: ranks.check_equal(pair, "masks in force")
        ),
        "another sum": asked_for(
            ranks, lambda: ranks.sum(torch.ones(3)), lambda: ranks.sum(torch.ones(1, 3))
        ),
        "fewer tensors": asked_for(
            ranks, lambda: ranks.broadcast([*pair.values()]), lambda: ranks.broadcast([pair["b"]])
        ),
        "other masks": asked_for(
            ranks,
            lambda: ranks.broadcast_masks({"w": torch.ones(16, dtype=torch.bool)}),
            lambda: ranks.broadcast_masks({"v": torch.ones(16, dtype=torch.bool)}),
        ),
        "own of a part": asked_for(
            ranks, lambda: dist.all_reduce(torch.ones(7)), lambda: dist.all_reduce(torch.ones(5))
        ),
        "own beside ours": asked_for(ranks, ranks.barrier, lambda: dist.broadcast(pair["b"], 1)),
        "one left": asked_for(ranks, ranks.barrier, lambda: ranks.all_gather_object(1)),
    }


def own_collectives() -> str:
    """Returns own collectives of all ranks, and one of a part of the ranks."""
    ones, alone = torch.ones(2), dist.new_group([0])
    dist.all_reduce(ones)
    if dist.get_rank() == 0:
        dist.all_reduce(ones, group=alone)
    return str(ones.tolist())


def all_cases(ranks: Ranks, out: Path) -> dict[str, str]:
    """Returns this rank's errors by case."""
    torch.manual_seed(0)
    none = ("finetune=none",)
    found = {
        "measured": error_of(lambda: evaluated(ranks, nudged)),
        "constant": error_of(lambda: evaluated(ranks, lambda m: m.scale.add_(1))),
        "wrapped": error_of(lambda: wrapped(ranks)),
        "statistics of a norm": error_of(lambda: sent(ranks)),
        **{call: error_of(lambda call=call: pruned(ranks, call)) for call in CALLS},
        "run": error_of(
            lambda: run(ranks, out, none, saliency=RankFault(ranks.rank, "statistics"))
        ),
        "recalibration": error_of(
            lambda: run(
                ranks, out, none, recalibration=RecalibrationFault(nudged_first, ranks.rank)
            )
        ),
        "recalibration hooks": error_of(
            lambda: run(ranks, out, none, recalibration=RecalibrationFault(hook, ranks.rank))
        ),
        "penalty hooks": error_of(
            lambda: run(ranks, out, none, penalty=OddPenalty(rank=ranks.rank, hooks=True))
        ),
        **{
            f"manner: {name}": error_of(lambda change=change: evaluated(ranks, change))
            for name, change in MANNERS.items()
        },
        "penalty": error_of(lambda: run(ranks, out, penalty=OddPenalty(rank=ranks.rank))),
        "nothing": error_of(lambda: run(ranks, out, none)),
    }
    return {**found, **apart(ranks), "alike": own_collectives()}
