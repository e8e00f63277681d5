"""What a run has from its beginning to its end, and nothing changes."""

from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from harness.allocation.base import Facts
from harness.distributed import Ranks
from harness.experiment.config import DTYPES, WIRE, ExperimentConfig
from harness.experiment.requested import Targets
from harness.experiment.validation import check_steps
from harness.experiment.workload import Subject
from harness.metrics.macs import Macs, said_uncounted
from harness.pruning.density import Scope
from harness.pruning.prunable_network import prunable_of
from harness.run_folder.stage_keys import Shared
from harness.structure.base import Units
from harness.training.checkpointing import Journal
from harness.training.dense import DenseTraining
from harness.training.recipe_presets import steps_of
from harness.vocabulary.step_index import Moment


@dataclass(frozen=True)
class RunContext:
    """Made by `context_of`, which checks all that can be checked before any training.

    units: those that are pruned. scope: what densities are of. facts: what allocations know of the
    layers. macs: of the dense network. requested: the sizes of all levels. journal: None saves
    nothing on the way. shared: stages that other runs have too; None computes all of them.
    """

    experiment: ExperimentConfig
    workload: Subject
    macs: Macs
    units: Units
    scope: Scope
    facts: Facts
    requested: Targets
    dense: DenseTraining
    journal: Journal | None = None
    shared: Shared | None = None

    @property
    def ranks(self) -> Ranks:
        return self.workload.ranks

    @property
    def shares(self) -> list[float]:
        """Kept shares of what can be removed, at level 1, 2, ..."""
        return self.requested.shares

    @property
    def samples(self) -> int:
        """Of the training data."""
        return len(self.workload.splits.train)


def context_of(
    what: ExperimentConfig,
    ranks: Ranks,
    dense: Path,
    journal: Journal | None,
    shared: Shared | None,
) -> tuple[RunContext, nn.Module]:
    """Loads the data, builds the network and checks all that can be checked before training.

    Returns the network too, as it is before any training. The arguments are those of
    `runner.prepare`.
    """
    workload = _workload(what, ranks)
    model = workload.initial()
    macs = workload.macs(model)
    found = prunable_of(what.structure, model, what.exclude, workload.sample(), macs)
    _check_lengths(what, macs)
    # Before any training: what this model cannot reach, or no part can do, fails here.
    samples = len(workload.splits.train)
    steps = steps_of(what.next_recipe(1.0, samples), samples)
    check_steps(what, steps)
    requested = Targets(what, model, found.units, found.facts, steps)
    _check_network(what, model, steps, samples)
    workload.check_sums(model, what.distillation)
    trained = _dense_training(what, workload, dense, journal)
    context = RunContext(
        experiment=what, workload=workload, macs=macs, units=found.units, scope=found.scope,
        facts=found.facts, requested=requested, dense=trained, journal=journal, shared=shared,
    )  # fmt: skip
    return context, model


def _workload(what: ExperimentConfig, ranks: Ranks) -> Subject:
    for recipe in (what.training, what.retraining):
        recipe.check_ranks(ranks)
    dtype = DTYPES[what.dtype]
    workload = Subject(
        model=what.model,
        splits=what.data.load().to(ranks.device, dtype),
        task=what.task,
        ranks=ranks,
        seed=what.seed,
        dtype=dtype,
        weights=what.weights,
        sync_batch_norm=what.sync_batch_norm,
        gradient_dtype=WIRE[what.gradient_dtype],
    )
    workload.check_labels()
    workload.chosen(what.calibration)  # refuses too few samples
    for recipe in (what.training, what.retraining):
        workload.check_smallest_batch(recipe.batch_size, recipe.accumulate)
        recipe.check_inputs(workload.sample())
    return workload


def _dense_training(
    what: ExperimentConfig, workload: Subject, folder: Path, journal: Journal | None
) -> DenseTraining:
    keep = [*map(Moment, what.keep_epochs), *what.finetune.moments(what.training.epochs)]
    # The folder's name stands for the code that decides this training.
    common = journal and replace(journal, code=folder.name)
    dense = DenseTraining(
        folder, what.training, workload.setting(0), workload.initial, keep, common
    )
    for moment in keep:
        dense.settled(moment)  # refuses one beyond it
    return dense


def _check_lengths(what: ExperimentConfig, macs: Macs) -> None:
    """
    Raises:
        ValueError: a retraining's length follows from a speed-up that is not known.
    """
    plan, epochs = what.finetune.plan, what.training.epochs
    if macs.uncounted and plan(epochs, 2.0) != plan(epochs, 1.0):
        raise ValueError(
            "finetune trains the longer the fewer multiply-accumulates are left, and "
            f"{said_uncounted(macs.uncounted)}; use finetune=scratch_e or keep"
        )


def _check_network(what: ExperimentConfig, network: nn.Module, steps: int, samples: int) -> None:
    """
    steps: of each retraining. samples: of the training data.

    Raises:
        ValueError: a part finds nothing to do in this network, or no room in this training.
    """
    if what.dynamics:
        what.dynamics.check(steps)
    if what.penalty:
        what.penalty.check(network)
    if what.recalibration:
        what.recalibration.check(network)
        size, batch = min(what.recalibration.samples, samples), what.recalibration.batch_size
        if size % batch == 1:
            raise ValueError(
                f"recalibration.batch_size={batch} leaves a last batch of one of {size} training "
                "samples, which has no variance; change it, or recalibration.samples"
            )
