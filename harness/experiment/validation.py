"""Checks before any training that the parts of an experiment fit each other."""

from collections.abc import Iterator

from harness.experiment.checks.removal import compact_rule, latency_rule
from harness.experiment.checks.retraining import name_of, retrains, starts_anew, trains
from harness.experiment.config import ExperimentConfig
from harness.schedule.shared.gradual import Gradual

# Per value of prune_at: what gives the run a trained dense model.
_TRAINED = {"init": "prune_at=after_training", "during_training": "gradual.start_from=trained"}


def check_parts(experiment: ExperimentConfig) -> None:
    """Raises ValueError for the first two parts that do not fit each other."""
    first = (_mask_updates, _penalty, _during_training, _batch_norm, _retraining)
    for rule in (*first, _initial, _order, compact_rule, latency_rule):
        for problem in rule(experiment):
            raise ValueError(problem)


def check_steps(experiment: ExperimentConfig, steps: int) -> None:
    """Raises ValueError if a part acts in retraining, and a retraining has no `steps`."""
    if steps or not retrains(experiment):
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
                f"{name} acts while the model retrains, but retraining has 0 steps. Raise "
                "retraining.epochs, or training.epochs if finetune uses that recipe."
            )


def _mask_updates(experiment: ExperimentConfig) -> Iterator[str]:
    if experiment.mask_updates is None:
        return
    name = f"mask_updates={name_of(experiment.mask_updates)}"
    schedule, structure = name_of(experiment.schedule), f"structure={name_of(experiment.structure)}"
    if experiment.schedule.may_grow:
        yield f"schedule={schedule} grows masks too. Leave {name} out."
    if not retrains(experiment):
        yield f"{name} acts while the model retrains, but finetune=none does not retrain."
    if experiment.unmasks_between_levels:
        return
    if experiment.prune_at == "during_training":
        yield (
            f"prune_at=during_training changes masks by schedule={schedule}, but {name} changes "
            "them at constant density. Use prune_at=init or after_training with schedule=one_shot "
            "or constant."
        )
    if experiment.schedule.varies:
        yield (
            f"{name} grows as many weights as it drops, but schedule={schedule} only shrinks masks "
            "from level to level. Use schedule=one_shot or constant."
        )
    in_units = experiment.structure.granularity != "weight"
    if in_units or experiment.pruner.structure.n_of_m:
        does = "prunes whole units" if in_units else "keeps n of m inputs"
        yield f"{name} exchanges single weights, but {structure} {does}. Use structure=element."
    if "float16" in (experiment.training.autocast, experiment.retraining.autocast):
        yield (
            f"{name} needs finite gradients, but autocast=float16 may make them infinite. Use "
            "autocast=bfloat16 or null."
        )


def _penalty(experiment: ExperimentConfig) -> Iterator[str]:
    penalty, saliency = experiment.penalty, experiment.pruner.saliency
    if penalty and penalty.needs_pending_masks and saliency.update_weights:
        yield (
            f"penalty={name_of(penalty)} must know the pruned weights before its training, but "
            f"saliency={name_of(experiment.saliency)} changes weights while pruning. Set "
            "saliency.update_weights=false, or use another penalty."
        )


def _during_training(experiment: ExperimentConfig) -> Iterator[str]:
    if experiment.prune_at != "during_training":
        if experiment.gradual != Gradual():
            yield (
                f"gradual.* needs prune_at=during_training, got prune_at={experiment.prune_at}. "
                "Use prune_at=during_training, or leave gradual.* out."
            )
        return
    during, finetune = "prune_at=during_training", name_of(experiment.finetune)
    if not retrains(experiment):
        yield f"{during} prunes inside a training, but finetune=none has none. Use finetune=keep."
    if experiment.penalty:
        yield (
            f"penalty={name_of(experiment.penalty)} trains before a pruning, but {during} prunes "
            "inside a training. Use prune_at=after_training or init."
        )
    plan, epochs = experiment.finetune.plan, experiment.training.epochs
    if plan(epochs, 2.0) != plan(epochs, 1.0):
        yield (
            f"finetune={finetune} has a length that depends on the speed-up, but {during} prunes "
            "only while it trains. Use finetune=scratch_e or keep."
        )
    if experiment.gradual.start_from == "trained" and starts_anew(experiment):
        yield (
            f"gradual.start_from=trained trains a dense model, but finetune={finetune} does not "
            "start from it. Use gradual.start_from=init, or finetune=keep."
        )
    if experiment.control == "reinitialised":
        yield (
            f"control=reinitialised trains new weights under the method's mask, but {during} finds "
            "the mask while it trains. Use finetune=reinit, or leave this control out."
        )
    if experiment.recalibration:
        yield (
            "recalibration measures statistics after a pruning, but training follows and changes "
            f"them with {during}. Leave recalibration out."
        )


def _batch_norm(experiment: ExperimentConfig) -> Iterator[str]:
    if experiment.sync_batch_norm and experiment.pruner.saliency.batch_norm == "train":
        yield (
            "saliency.batch_norm=train takes statistics of each rank's own batches, but "
            "sync_batch_norm=true takes them over all ranks. Use saliency.batch_norm=eval."
        )


def _order(experiment: ExperimentConfig) -> Iterator[str]:
    if experiment.pruning_order is None:
        return
    order, pruner = f"pruning_order={name_of(experiment.pruning_order)}", experiment.pruner
    if pruner.saliency.needs_loss:
        yield (
            f"saliency={name_of(experiment.saliency)} takes gradients of the loss, but the parts "
            f"of {order} have no loss. Use saliency=sparsegpt, wanda or obs."
        )
    if pruner.allocation.needs_curves or experiment.prune_at == "during_training":
        yield (
            f"{order} prunes part by part after a training. Use prune_at=after_training or init, "
            "and an allocation without curves of the whole model."
        )


def _retraining(experiment: ExperimentConfig) -> Iterator[str]:
    prune_at, any_retraining = experiment.prune_at, retrains(experiment)
    if experiment.distillation:
        name = f"distillation={name_of(experiment.distillation)}"
        if not experiment.starts_trained:
            yield (
                f"{name} needs a dense model, but prune_at={prune_at} prunes "
                f"before any training. Use {_TRAINED[prune_at]}."
            )
        if experiment.training.epochs == 0 and experiment.weights is None:
            yield (
                f"{name} needs a trained dense model, but training.epochs=0 leaves it untrained. "
                "Raise training.epochs, or give weights."
            )
        if not any_retraining:
            yield f"{name} acts while the model retrains, but finetune=none trains nothing."
    if experiment.control == "reinitialised" and not any_retraining:
        yield (
            "control=reinitialised trains new weights under the mask, but this finetune mode does "
            "not retrain. Use another finetune, or leave this control out."
        )
    needed = experiment.finetune.dense_checkpoints_needed(experiment.training.epochs)
    rewinds = [index for index in needed if any(index)]
    if rewinds and not experiment.starts_trained:
        yield (
            f"prune_at={prune_at} prunes before any training, so finetune cannot rewind to epoch "
            f"{max(rewinds).epoch}. Use finetune=keep, or {_TRAINED[prune_at]}."
        )


def _initial(experiment: ExperimentConfig) -> Iterator[str]:
    """Checks that prune_at=init scores untrained weights; given weights count as trained."""
    if experiment.prune_at != "init":
        return
    several = experiment.schedule.varies or experiment.unmasks_between_levels
    given = experiment.penalty is not None or experiment.weights is not None
    rescored = given or (several and trains(experiment))
    if rescored and not experiment.rescore_trained:
        yield (
            f"prune_at=init scores the initial model, but {_trained_before(experiment)}, or "
            "rescore_trained=true, which the method's label then mentions."
        )
    if experiment.rescore_trained and not rescored:
        yield (
            "rescore_trained=true, but nothing is scored after a training. Leave it out, or give "
            "prune_at=init weights, a penalty, or a schedule of several levels and a finetune "
            "that trains."
        )


def _trained_before(experiment: ExperimentConfig) -> str:
    """Says what trains a model at initialisation before it is scored, and what to do."""
    if experiment.weights is not None:
        return (
            f"weights={experiment.weights} replaces it by one that may be trained. Leave the "
            "weights out, use prune_at=after_training"
        )
    if experiment.penalty:
        return (
            f"penalty={name_of(experiment.penalty)} trains it before the first pruning. Leave the "
            "penalty out, use prune_at=after_training"
        )
    levels = getattr(experiment.schedule, "levels", None)
    more = f" schedule.levels={levels}" if levels else ""
    finetune = name_of(experiment.finetune)
    return (
        f"schedule={name_of(experiment.schedule)}{more} with finetune={finetune} scores "
        "trained weights from level 2 on. Use schedule=one_shot (schedule.rounds=N: new "
        "scores N times before any training)"
    )
