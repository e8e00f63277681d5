"""Checks before any training that the parts of an experiment fit each other."""

from collections.abc import Iterator

from harness.experiment.config import ExperimentConfig
from harness.schedule.shared.gradual import Gradual
from harness.training.recipe_presets import resolve_recipe
from harness.vocabulary.step_index import StepIndex

_TRAINED = {
    "init": "prune_at=after_training",
    "during_training": "gradual.start_from=trained",
}  # asks for a dense network


def check_parts(experiment: ExperimentConfig) -> None:
    """Raises ValueError for the first two parts that do not fit each other."""
    first = (_of_mask_updates, _of_penalty, _of_steps, _of_batch_norm, _of_retraining)
    for rule in (*first, _of_initial, _of_order, _of_compaction):
        for problem in rule(experiment):
            raise ValueError(problem)


def check_steps(experiment: ExperimentConfig, steps: int) -> None:
    """Raises ValueError if a part acts in retraining, and a retraining has no `steps`."""
    if steps or not _retrains(experiment):
        return
    acting = {
        "mask_updates": experiment.mask_updates,
        "distillation": experiment.distillation,
        "prune_at=during_training": experiment.prune_at == "during_training",
        "control=reinitialised": experiment.control == "reinitialised",
    }
    for name, part in acting.items():
        if part:
            raise ValueError(
                f"{name} acts while the network retrains, and that is for 0 steps here; raise "
                "retraining.epochs, or training.epochs where finetune goes back to that recipe"
            )


def _of_mask_updates(experiment: ExperimentConfig) -> Iterator[str]:
    if experiment.mask_updates is None:
        return
    name, schedule = _name(experiment.mask_updates), _name(experiment.schedule)
    if experiment.schedule.may_grow:
        yield f"schedule={schedule} changes masks both ways itself; leave out mask_updates={name}"
    if not _retrains(experiment):
        yield f"mask_updates={name} acts while the network trains, and finetune=none trains nothing"
    if experiment.unmasks_between_levels:
        return
    if experiment.prune_at == "during_training":
        yield (
            f"prune_at=during_training changes masks by schedule={schedule}, and "
            f"mask_updates={name} by itself, at "
            "constant density; use prune_at=init or trained with schedule=one_shot or constant"
        )
    if experiment.schedule.varies:
        yield (
            f"mask_updates={name} grows as many weights as it drops, and schedule={schedule} only "
            "shrinks, from level to level; use schedule=one_shot or constant"
        )
    if experiment.structure.granularity != "weight":
        yield (
            f"mask_updates={name} exchanges single weights, and "
            f"structure={_name(experiment.structure)} prunes whole units; use structure=element"
        )
    if "float16" in (experiment.training.autocast, experiment.retraining.autocast):
        yield (
            f"mask_updates={name} looks at gradients that float16 may have made infinite; use "
            "autocast=bfloat16 or null"
        )


def _of_penalty(experiment: ExperimentConfig) -> Iterator[str]:
    if (
        experiment.penalty
        and experiment.penalty.needs_pending_masks
        and experiment.pruner.saliency.update_weights
    ):
        yield (
            f"penalty={_name(experiment.penalty)} settles what goes before its training, and "
            f"saliency={_name(experiment.saliency)} moves weights when they go; use "
            "saliency.update_weights=false, or another penalty"
        )


def _of_steps(experiment: ExperimentConfig) -> Iterator[str]:
    if experiment.prune_at != "during_training":
        if experiment.gradual != Gradual():
            yield (
                f"gradual.* needs prune_at=during_training, got prune_at={experiment.prune_at}; "
                "use prune_at=during_training, or leave gradual.* out"
            )
        return
    if not _retrains(experiment):
        yield (
            "prune_at=during_training prunes inside a training, and finetune=none has none; "
            "use finetune=keep"
        )
    if experiment.penalty:
        yield (
            f"penalty={_name(experiment.penalty)} trains before a pruning, and "
            "prune_at=during_training prunes "
            "inside a training; use prune_at=after_training or init"
        )
    epochs = experiment.training.epochs
    if experiment.finetune.plan(epochs, 2.0) != experiment.finetune.plan(epochs, 1.0):
        yield (
            f"finetune={_name(experiment.finetune)} trains the longer the more was pruned, and "
            "prune_at=during_training prunes only while it trains; use finetune=scratch_e or keep"
        )
    if experiment.gradual.start_from == "trained" and _starts_anew(experiment):
        yield (
            "gradual.start_from=trained trains a dense network that "
            f"finetune={_name(experiment.finetune)} does not start from; use "
            "gradual.start_from=init, or finetune=keep"
        )
    if experiment.control == "reinitialised":
        yield (
            "control=reinitialised puts new weights under the method's mask, and "
            "prune_at=during_training finds "
            "the mask while it trains them; use finetune=reinit, or leave this control out"
        )
    if experiment.recalibration:
        yield (
            "recalibration measures statistics that training follows after "
            "prune_at=during_training; leave it out"
        )


def _of_batch_norm(experiment: ExperimentConfig) -> Iterator[str]:
    if experiment.sync_batch_norm and experiment.pruner.saliency.batch_norm == "train":
        yield (
            "saliency.batch_norm=train takes statistics of each rank's own batches; with "
            "sync_batch_norm=true use saliency.batch_norm=eval"
        )


def _of_order(experiment: ExperimentConfig) -> Iterator[str]:
    if experiment.pruning_order is None:
        return
    name, pruner = _name(experiment.pruning_order), experiment.pruner
    if pruner.saliency.needs_loss:
        yield (
            f"saliency={_name(experiment.saliency)} takes gradients of the loss, and the parts "
            f"that pruning_order={name} goes through have none; use saliency=sparsegpt, wanda or "
            "obs"
        )
    if pruner.allocation.needs_curves or experiment.prune_at == "during_training":
        yield (
            f"pruning_order={name} prunes part by part after a training; use "
            "prune_at=after_training or init, "
            "and an allocation without curves of the whole network"
        )


def _of_compaction(experiment: ExperimentConfig) -> Iterator[str]:
    named = experiment.penalty is not None and experiment.penalty.needs_pending_masks
    if experiment.compaction and (
        experiment.may_grow or experiment.prune_at == "during_training" or named
    ):
        yield (
            f"compaction={_name(experiment.compaction)} removes what is pruned after a level's "
            "pruning: leave out mask_updates, prune_at=during_training, and penalties that name "
            "what will be pruned"
        )


def _of_retraining(experiment: ExperimentConfig) -> Iterator[str]:
    if experiment.distillation and not experiment.starts_trained:
        yield (
            f"distillation={_name(experiment.distillation)} learns from the dense network, and "
            f"here is none: nothing is trained before pruning; use {_TRAINED[experiment.prune_at]}"
        )
    if experiment.distillation and experiment.training.epochs == 0 and experiment.weights is None:
        yield (
            f"distillation={_name(experiment.distillation)} learns from the dense network, and "
            "training.epochs=0 leaves it untrained; raise training.epochs, or give weights"
        )
    if experiment.distillation and not _retrains(experiment):
        yield (
            f"distillation={_name(experiment.distillation)} acts while the network retrains, and "
            "finetune=none trains nothing"
        )
    if experiment.control == "reinitialised" and not _retrains(experiment):
        yield (
            "control=reinitialised puts new weights under the mask before retraining, and this "
            "finetune mode has none; use another finetune, or leave this control out"
        )
    needed = experiment.finetune.dense_checkpoints_needed(experiment.training.epochs)
    rewinds = [index for index in needed if any(index)]
    if rewinds and not experiment.starts_trained:
        yield (
            f"prune_at={experiment.prune_at} prunes before any training, so finetune cannot rewind "
            f"to epoch {max(rewinds).epoch}; use finetune=keep, or {_TRAINED[experiment.prune_at]}"
        )


def _of_initial(experiment: ExperimentConfig) -> Iterator[str]:
    """Checks that a method at initialisation scores untrained weights, or is labelled.

    Given weights count as trained, because nothing shows whether they are.
    """
    if experiment.prune_at != "init":
        return
    several = experiment.schedule.varies or experiment.unmasks_between_levels
    rounds = several and _trains(experiment)
    rescored = experiment.penalty is not None or rounds or experiment.weights is not None
    if rescored and not experiment.rescore_trained:
        yield (
            f"prune_at=init scores the initial network, but {_trained_before(experiment)}, or "
            "rescore_trained=true, which the method's label then says"
        )
    if experiment.rescore_trained and not rescored:
        yield (
            "rescore_trained=true, but nothing is scored after a training here; leave it out, or "
            "give prune_at=init weights, a penalty, or a schedule of several levels and a finetune "
            "that trains"
        )


def _trained_before(experiment: ExperimentConfig) -> str:
    """Says what trains a model at initialisation before it is scored, and what to do."""
    if experiment.weights is not None:
        return (
            f"weights={experiment.weights} gives another one, which may be trained; leave the "
            "weights out, use prune_at=after_training"
        )
    if experiment.penalty:
        return (
            f"penalty={_name(experiment.penalty)} trains it before the first pruning; leave the "
            "penalty out, use prune_at=after_training"
        )
    levels = getattr(experiment.schedule, "levels", None)
    schedule = f"schedule={_name(experiment.schedule)}"
    schedule += f" schedule.levels={levels}" if levels else ""
    return (
        f"{schedule} with finetune={_name(experiment.finetune)} scores trained weights from level "
        "2 on; use schedule=one_shot (schedule.rounds=N: new scores N times before any training)"
    )


def _starts_anew(experiment: ExperimentConfig) -> bool:
    """True if retraining takes no weights that training has made."""
    epochs, finetune = experiment.training.epochs, experiment.finetune
    replaced = finetune.initial_weights(epochs, lambda index: {}, dict) is not None
    return replaced and not any(map(any, finetune.dense_checkpoints_needed(epochs)))


def _trains(experiment: ExperimentConfig) -> bool:
    """True if retraining has at least one epoch."""
    plan = experiment.finetune.plan(experiment.training.epochs, 1.0)
    recipe = plan and resolve_recipe(plan, experiment.training, experiment.retraining)
    return bool(plan and recipe and plan.begin < StepIndex(recipe.epochs))


def _retrains(experiment: ExperimentConfig) -> bool:
    return experiment.finetune.plan(experiment.training.epochs, 1.0) is not None


def _name(part: object) -> str:
    """Returns a part's name on the command line: that of its module, and of its file in conf/."""
    kind = type(part)
    ours = kind.__module__.startswith("harness.")
    return kind.__module__.rpartition(".")[2] if ours else kind.__name__
