"""What can be refused before any training: parts of an experiment that do not fit each other."""

from collections.abc import Iterator

from harness.experiment.config import ExperimentConfig
from harness.schedule.shared.steps import Steps
from harness.training.recipe_presets import applied
from harness.vocabulary.step_index import Moment

_TRAINED = {"init": "when=trained", "steps": "steps.start=trained"}  # asks for a dense network


def check_parts(what: ExperimentConfig) -> None:
    """
    Raises:
        ValueError: two parts do not fit.
    """
    first = (_of_dynamics, _of_penalty, _of_steps, _of_batch_norm, _of_retraining)
    for rule in (*first, _of_initial, _of_order, _of_compaction):
        for problem in rule(what):
            raise ValueError(problem)


def check_steps(what: ExperimentConfig, steps: int) -> None:
    """
    steps: of each retraining.

    Raises:
        ValueError: a part acts in a retraining that has no steps.
    """
    if steps or not _retrains(what):
        return
    acting = {
        "dynamics": what.dynamics,
        "distillation": what.distillation,
        "when=steps": what.when == "steps",
        "control=reinitialised": what.control == "reinitialised",
    }
    for name, part in acting.items():
        if part:
            raise ValueError(
                f"{name} acts while the network retrains, and that is for 0 steps here; raise "
                "retraining.epochs, or training.epochs where finetune goes back to that recipe"
            )


def _of_dynamics(what: ExperimentConfig) -> Iterator[str]:
    if what.dynamics is None:
        return
    name, schedule = _name(what.dynamics), _name(what.schedule)
    if what.schedule.may_grow:
        yield f"schedule={schedule} changes masks both ways itself; leave out dynamics={name}"
    if not _retrains(what):
        yield f"dynamics={name} acts while the network trains, and finetune=none trains nothing"
    if what.releases:
        return
    if what.when == "steps":
        yield (
            f"when=steps changes masks by schedule={schedule}, and dynamics={name} by itself, at "
            "constant density; use when=init or trained with schedule=one_shot or constant"
        )
    if what.schedule.varies:
        yield (
            f"dynamics={name} grows as many weights as it drops, and schedule={schedule} only "
            "shrinks, from level to level; use schedule=one_shot or constant"
        )
    if what.structure.granularity != "weight":
        yield (
            f"dynamics={name} exchanges single weights, and structure={_name(what.structure)} "
            "prunes whole units; use structure=element"
        )
    if "float16" in (what.training.autocast, what.retraining.autocast):
        yield (
            f"dynamics={name} looks at gradients that float16 may have made infinite; use "
            "autocast=bfloat16 or null"
        )


def _of_penalty(what: ExperimentConfig) -> Iterator[str]:
    if what.penalty and what.penalty.names_units and what.pruner.saliency.update:
        yield (
            f"penalty={_name(what.penalty)} settles what goes before its training, and "
            f"saliency={_name(what.saliency)} moves weights when they go; use "
            "saliency.update=false, or another penalty"
        )


def _of_steps(what: ExperimentConfig) -> Iterator[str]:
    if what.when != "steps":
        if what.steps != Steps():
            yield f"steps acts with when=steps only, and when is {what.when}; use when=steps"
        return
    if not _retrains(what):
        yield "when=steps prunes inside a training, and finetune=none has none; use finetune=keep"
    if what.penalty:
        yield (
            f"penalty={_name(what.penalty)} trains before a pruning, and when=steps prunes inside "
            "a training; use when=trained or init"
        )
    epochs = what.training.epochs
    if what.finetune.plan(epochs, 2.0) != what.finetune.plan(epochs, 1.0):
        yield (
            f"finetune={_name(what.finetune)} trains the longer the more was pruned, and "
            "when=steps prunes only while it trains; use finetune=scratch_e or keep"
        )
    if what.steps.start == "trained" and _starts_anew(what):
        yield (
            f"steps.start=trained trains a dense network that finetune={_name(what.finetune)} does "
            "not start from; use steps.start=init, or finetune=keep"
        )
    if what.control == "reinitialised":
        yield (
            "control=reinitialised puts new weights under the method's mask, and when=steps finds "
            "the mask while it trains them; use finetune=reinit, or leave this control out"
        )
    if what.recalibration:
        yield (
            "recalibration measures statistics that training follows after when=steps; leave it out"
        )


def _of_batch_norm(what: ExperimentConfig) -> Iterator[str]:
    if what.sync_batch_norm and what.pruner.saliency.batch_norm == "train":
        yield (
            "saliency.batch_norm=train takes statistics of each rank's own batches; with "
            "sync_batch_norm=true use saliency.batch_norm=eval"
        )


def _of_order(what: ExperimentConfig) -> Iterator[str]:
    if what.pruning_order is None:
        return
    name, pruner = _name(what.pruning_order), what.pruner
    if pruner.saliency.needs_loss:
        yield (
            f"saliency={_name(what.saliency)} takes gradients of the loss, and the parts that "
            f"pruning_order={name} goes through have none; use saliency=sparsegpt, wanda or obs"
        )
    if pruner.allocation.needs_curves or what.when == "steps":
        yield (
            f"pruning_order={name} prunes part by part after a training; use when=trained or init, "
            "and an allocation without curves of the whole network"
        )


def _of_compaction(what: ExperimentConfig) -> Iterator[str]:
    named = what.penalty is not None and what.penalty.names_units
    if what.compaction and (what.may_grow or what.when == "steps" or named):
        yield (
            f"compaction={_name(what.compaction)} removes what is pruned after a level's pruning: "
            "leave out dynamics, when=steps, and penalties that name what will be pruned"
        )


def _of_retraining(what: ExperimentConfig) -> Iterator[str]:
    if what.distillation and not what.starts_trained:
        yield (
            f"distillation={_name(what.distillation)} learns from the dense network, and here is "
            f"none: nothing is trained before pruning; use {_TRAINED[what.when]}"
        )
    if what.distillation and what.training.epochs == 0 and what.weights is None:
        yield (
            f"distillation={_name(what.distillation)} learns from the dense network, and "
            "training.epochs=0 leaves it untrained; raise training.epochs, or give weights"
        )
    if what.distillation and not _retrains(what):
        yield (
            f"distillation={_name(what.distillation)} acts while the network retrains, and "
            "finetune=none trains nothing"
        )
    if what.control == "reinitialised" and not _retrains(what):
        yield (
            "control=reinitialised puts new weights under the mask before retraining, and this "
            "finetune mode has none; use another finetune, or leave this control out"
        )
    epochs = what.training.epochs
    rewinds = [moment for moment in what.finetune.moments(epochs) if any(moment)]
    if rewinds and not what.starts_trained:
        yield (
            f"when={what.when} prunes before any training, so finetune cannot rewind to epoch "
            f"{max(rewinds).epoch}; use finetune=keep, or {_TRAINED[what.when]}"
        )


def _of_initial(what: ExperimentConfig) -> Iterator[str]:
    """A method at initialisation scores what nobody has trained, or is called otherwise.

    Nobody can see whether given weights are trained, so they count as trained.
    """
    if what.when != "init":
        return
    rounds = _trains(what) and (what.schedule.varies or what.releases)
    rescored = what.penalty is not None or rounds or what.weights is not None
    if rescored and not what.rescore_trained:
        yield (
            f"when=init scores the initial network, but {_trained_before(what)}, or "
            "rescore_trained=true, which the method's label then says"
        )
    if what.rescore_trained and not rescored:
        yield (
            "rescore_trained=true, but nothing is scored after a training here; leave it out, or "
            "give when=init weights, a penalty, or a schedule of several levels and a finetune "
            "that trains"
        )


def _trained_before(what: ExperimentConfig) -> str:
    """What trains a network at initialisation before it is scored, and the way out."""
    if what.weights is not None:
        return (
            f"weights={what.weights} gives another one, which may be trained; leave the weights "
            "out, use when=trained"
        )
    if what.penalty:
        return (
            f"penalty={_name(what.penalty)} trains it before the first pruning; leave the penalty "
            "out, use when=trained"
        )
    levels = getattr(what.schedule, "levels", None)
    schedule = f"schedule={_name(what.schedule)}" + f" schedule.levels={levels}" * bool(levels)
    return (
        f"{schedule} with finetune={_name(what.finetune)} scores trained weights from level 2 on; "
        "use schedule=one_shot (schedule.rounds=N: new scores N times before any training)"
    )


def _starts_anew(what: ExperimentConfig) -> bool:
    """Whether retraining takes no weights that training has made."""
    epochs = what.training.epochs
    replaced = what.finetune.weights(epochs, lambda moment: {}, dict) is not None
    return replaced and not any(any(moment) for moment in what.finetune.moments(epochs))


def _trains(what: ExperimentConfig) -> bool:
    """Whether its retrainings have an epoch at all."""
    plan = what.finetune.plan(what.training.epochs, 1.0)
    return plan is not None and (
        plan.begin < Moment(applied(plan, what.training, what.retraining).epochs)
    )


def _retrains(what: ExperimentConfig) -> bool:
    return what.finetune.plan(what.training.epochs, 1.0) is not None


def _name(part: object) -> str:
    """As one writes it on the command line: a part's module has the name of its file in conf/."""
    kind = type(part)
    ours = kind.__module__.startswith("harness.")
    return kind.__module__.rpartition(".")[2] if ours else kind.__name__
