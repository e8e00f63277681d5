"""Checks keys that count on pruned units being cut out of the model."""

from collections.abc import Iterator

from harness.experiment.checks.retraining import name_of
from harness.experiment.config import ExperimentConfig
from harness.structure.shared.hint import removing_structures


def compact_rule(experiment: ExperimentConfig) -> Iterator[str]:
    if experiment.compact != "never" and not experiment.pruner.structure.removes:
        yield (
            f"compact={experiment.compact} removes whole units, but structure="
            f"{name_of(experiment.structure)} masks entries inside weights. Use structure="
            f"{removing_structures()}, or compact=never."
        )
    single = experiment.pruner.structure.single_units
    least = 1 if single else getattr(experiment.allocation, "min_units", 1)
    if experiment.compact != "never" and least < 1:
        yield (
            f"compact={experiment.compact} keeps a unit in each group, as a layer without units "
            "computes nothing, but allocation.min_units=0 lets a layer lose all. Use "
            "allocation.min_units=1, or compact=never."
        )
    if single and experiment.may_grow:
        yield (
            f"structure={name_of(experiment.structure)} removes blocks, of which none comes back. "
            "Leave out mask_updates and schedules that unmask."
        )
    pending = experiment.penalty is not None and experiment.penalty.needs_pending_masks
    during = experiment.prune_at == "during_training"
    if experiment.compact == "levels" and (experiment.may_grow or during or pending):
        yield (
            "compact=levels removes pruned units after a level's pruning. Leave out mask_updates, "
            "prune_at=during_training, and penalties that must know the pruned weights, or use "
            "compact=end."
        )


def latency_rule(experiment: ExperimentConfig) -> Iterator[str]:
    needs = [f"schedule.unit={experiment.schedule.unit}"] * (experiment.schedule.unit == "latency")
    needs += ["allocation.per=latency"] * experiment.pruner.allocation.needs_latency
    given = experiment.latency_table is not None
    if needs and not given:
        yield (
            f"{needs[0]} reads milliseconds of layers from a file. Give latency_table=FILE, which "
            "pruning-harness latency writes."
        )
    removes = experiment.pruner.structure.removes
    if (needs or given) and not removes:
        subject = needs[0] if needs else f"latency_table={experiment.latency_table}"
        yield (
            f"{subject} says how fast layers are without their pruned units, but structure="
            f"{name_of(experiment.structure)} masks entries inside weights, which saves no time. "
            f"Use structure={removing_structures()}, or leave it out."
        )
