"""Holds everything of a run that does not change from its beginning to its end."""

from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from harness.allocation.base import ModelInfo
from harness.data.shared.splits import check_splits
from harness.distributed import Ranks
from harness.experiment.checks.given_data import (
    check_data,
    check_outputs,
    check_smallest_batch,
    check_task_sums,
    check_trainable,
)
from harness.experiment.checks.given_table import table_of
from harness.experiment.config import DTYPES, WIRE, ExperimentConfig
from harness.experiment.requested import RequestedLevels
from harness.experiment.validation import check_steps
from harness.experiment.workload import Workload
from harness.groups.removal import Norms
from harness.groups.units import Units
from harness.metrics.macs import Macs, describe_uncounted
from harness.model_state.usable import check_finite
from harness.pruning.density import Scope
from harness.pruning.prunable_model import find_prunable
from harness.pruning.removal.living import norms_of
from harness.run_folder.stage_keys import SharedStages
from harness.training.checkpointing import Checkpointer
from harness.training.dense import DenseTraining
from harness.training.recipe_presets import steps_of
from harness.vocabulary.step_index import StepIndex


@dataclass(frozen=True)
class RunContext:
    """Holds a run's constants. `context_of` builds it, and makes all checks before any training.

    Args:
        experiment: the parts of the experiment.
        workload: model, data, task and seed on one device.
        macs: multiply-accumulates of the dense model.
        units: the units that are pruned.
        scope: what densities refer to.
        model_info: what allocations may read.
        requested: the requested sizes of all levels.
        norms: "living" if norms over pruned units take statistics over the units left.
        dense: the cached dense training.
        checkpointer: saves the run while it runs; None saves nothing.
        shared: stages in common with other runs; None computes all stages.
    """

    experiment: ExperimentConfig
    workload: Workload
    macs: Macs
    units: Units
    scope: Scope
    model_info: ModelInfo
    requested: RequestedLevels
    norms: Norms
    dense: DenseTraining
    checkpointer: Checkpointer | None = None
    shared: SharedStages | None = None

    @property
    def ranks(self) -> Ranks:
        return self.workload.ranks

    @property
    def kept_fractions(self) -> list[float]:
        """Returns the kept fraction of what can be removed, at level 1, 2, ..."""
        return self.requested.kept_fractions

    @property
    def samples(self) -> int:
        """Returns the number of training samples."""
        return len(self.workload.splits.train)


def context_of(
    experiment: ExperimentConfig,
    ranks: Ranks,
    dense: Path,
    checkpointer: Checkpointer | None,
    shared: SharedStages | None,
) -> tuple[RunContext, nn.Module]:
    """Loads the data, builds the model and makes all checks that are possible before training.

    Returns the context and the model before any training. The arguments are those of
    `runner.prepare`.
    """
    workload = _workload(experiment, ranks)
    model = workload.initial_model()
    check_finite(model)
    check_outputs(workload, model)
    for recipe in (experiment.training, experiment.retraining):
        check_smallest_batch(workload, model, recipe.batch_size, recipe.accumulate)
    macs = workload.macs(model)
    prunable = find_prunable(
        experiment.pruner.structure, model, experiment.exclude, workload.sample(), macs
    )
    table = table_of(experiment, model, macs)
    model_info = replace(prunable.model_info, latency_table=table)
    _check_lengths(experiment, macs)
    # Before any training: an unreachable size, or a part that does not fit the model, fails here.
    samples = len(workload.splits.train)
    steps = steps_of(experiment.next_recipe(1.0, samples), samples)
    check_steps(experiment, steps)
    requested = RequestedLevels(experiment, model, prunable.units, model_info, steps)
    _check_model(experiment, model, prunable.units, steps, samples)
    check_task_sums(workload, model, experiment.distillation)
    trained = _dense_training(experiment, workload, dense, checkpointer)
    context = RunContext(
        experiment=experiment, workload=workload, macs=macs, units=prunable.units,
        scope=prunable.scope, model_info=model_info, requested=requested,
        norms=norms_of(model, prunable.units), dense=trained, checkpointer=checkpointer,
        shared=shared,
    )  # fmt: skip
    return context, model


def _workload(experiment: ExperimentConfig, ranks: Ranks) -> Workload:
    for recipe in (experiment.training, experiment.retraining):
        recipe.check_ranks(ranks)
    dtype = DTYPES[experiment.dtype]
    workload = Workload(
        model=experiment.model,
        splits=check_splits(experiment.data.load()).to(ranks.device, dtype),
        task=experiment.task,
        ranks=ranks,
        seed=experiment.seed,
        dtype=dtype,
        weights=experiment.weights,
        weights_skip=experiment.weights_skip,
        sync_batch_norm=experiment.sync_batch_norm,
        gradient_dtype=WIRE[experiment.gradient_dtype],
    )
    check_data(workload)
    if experiment.calibration_samples is not None:
        workload.calibration_indices(experiment.calibration_samples)  # refuses too few samples
    for recipe in (experiment.training, experiment.retraining):
        recipe.check_inputs(workload.sample(), workload.splits.train)
    return workload


def _dense_training(
    experiment: ExperimentConfig,
    workload: Workload,
    folder: Path,
    checkpointer: Checkpointer | None,
) -> DenseTraining:
    keep = [
        *map(StepIndex, experiment.dense_checkpoints),
        *experiment.finetune.dense_checkpoints_needed(experiment.training.epochs),
    ]
    # The folder's name identifies the code that decides this training.
    common = checkpointer and replace(checkpointer, code=folder.name)
    dense = DenseTraining(
        folder,
        experiment.training,
        workload.training_context(0),
        workload.initial_model,
        keep,
        common,
    )
    for index in keep:
        dense.normalized(index)  # refuses a position beyond the training
    return dense


def _check_lengths(experiment: ExperimentConfig, macs: Macs) -> None:
    """Checks that the length of every retraining is known.

    Raises:
        ValueError: the length depends on a speed-up that is not known.
    """
    plan, epochs = experiment.finetune.plan, experiment.training.epochs
    if macs.uncounted and plan(epochs, 2.0) != plan(epochs, 1.0):
        raise ValueError(
            "finetune has a length that depends on the multiply-accumulates, but "
            f"{describe_uncounted(macs.uncounted)}; use finetune=scratch_e or keep"
        )


def _check_model(
    experiment: ExperimentConfig, model: nn.Module, units: Units, steps: int, samples: int
) -> None:
    """Checks parts against the model.

    Args:
        experiment: the parts of the experiment.
        model: the model before any training.
        units: what is pruned of it.
        steps: the number of steps of each retraining.
        samples: the number of training samples.

    Raises:
        ValueError: a part has nothing to do in this model, or no step in this training.
    """
    check_trainable(
        model,
        {
            "training.epochs=0": experiment.starts_trained and experiment.training.epochs > 0,
            "finetune=none": steps > 0,
            "penalty=null": experiment.penalty is not None,
        },
    )
    if experiment.mask_updates:
        experiment.mask_updates.check(steps)
    if experiment.penalty:
        experiment.penalty.check(model, units)
    if experiment.recalibration:
        experiment.recalibration.check(model)
        size, batch = (
            min(experiment.recalibration.samples, samples),
            experiment.recalibration.batch_size,
        )
        if size % batch == 1:
            raise ValueError(
                f"recalibration.batch_size={batch} leaves a last batch of one of {size} training "
                "samples, which has no variance; change recalibration.batch_size or "
                "recalibration.samples"
            )
