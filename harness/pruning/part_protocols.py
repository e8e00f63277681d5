"""Checks what each part of an experiment must offer, and which parts do not go together.

A protocol's own check would not name the config key.
"""

from collections.abc import Mapping

from harness.allocation.base import Allocation, Layers, ModelInfo
from harness.groups.units import GroupUnits, RemovableUnits, Units, UnitSet
from harness.metrics.macs import describe_uncounted
from harness.pruning.sizes import NANOSECONDS
from harness.saliency.base import Saliency
from harness.structure.base import Structure
from harness.structure.shared.hint import removing_structures
from harness.vocabulary.n_of_m import NOfM
from harness.vocabulary.tensors import Counts, Tensors

OFFERS = {
    "model": ("build",),
    "data": ("load",),
    "task": ("loss", "measure"),
    "training": ("fit", "check_ranks"),
    "retraining": ("fit", "check_ranks"),
    "saliency": ("granularity", "statistics", "score"),
    "structure": ("granularity", "units"),
    "allocation": ("allocate",),
    "schedule": ("unit", "kept_fractions", "event_fractions", "varies", "may_grow"),
    "finetune": ("plan", "dense_checkpoints_needed", "initial_weights"),
}
OPTIONAL = {
    "mask_updates": ("may_grow", "unmasks_between_levels", "check"),
    "mask_updater": ("updates", "needs_dense_gradients", "accumulate", "update_masks"),
    "penalty": ("epochs", "needs_pending_masks", "check", "make_gradient_hook"),
    "recalibration": ("samples", "batch_size", "check", "apply"),
    "distillation": ("loss",),
    "pruning_order": ("parts", "first_inputs", "next_inputs"),
}


def check_offers(parts: Mapping[str, object]) -> None:
    """Checks that each part has the attributes of its protocol.

    Raises:
        ValueError: a part lacks an attribute of its protocol.
    """
    required = {key: names for key, names in OPTIONAL.items() if parts.get(key) is not None}
    for key, names in (OFFERS | required).items():
        if key not in parts:
            continue
        part = parts[key]
        missing = [name for name in names if not hasattr(part, name)]
        if missing:
            raise ValueError(
                f"{key}: {type(part).__name__} has no {missing[0]}; every {key} has "
                f"{', '.join(names)} (see base.py in its folder)"
            )


def check_fit(saliency: Saliency, structure: Structure, allocation: Allocation) -> None:
    """Checks that saliency, structure and allocation go together in one pruning.

    Raises:
        ValueError: two of the three do not fit each other.
    """
    if allocation.needs_unsigned_scores and saliency.signed:
        raise ValueError(
            f"allocation {type(allocation).__name__} needs unsigned scores, but those of saliency "
            f"{type(saliency).__name__} are signed; use another saliency"
        )
    if saliency.granularity == "unit" and structure.granularity == "weight":
        raise ValueError(
            f"saliency {type(saliency).__name__} scores whole units, but structure "
            f"{type(structure).__name__} prunes single weights; use "
            f"structure={removing_structures()}"
        )
    if structure.single_units and not allocation.nested:
        raise ValueError(
            f"allocation {type(allocation).__name__} gives each layer a number of units by itself, "
            f"but a layer of structure {type(structure).__name__} has one; use "
            "allocation=global_ranking"
        )
    if structure.n_of_m and not allocation.equal_densities:
        raise ValueError(
            f"allocation {type(allocation).__name__} gives layers densities of their own, but "
            f"structure {type(structure).__name__} keeps {describe(structure.n_of_m)} in each; use "
            "allocation=uniform"
        )


def check_counts(structure: Structure, layers: Layers, counts: Counts, less: bool) -> None:
    """Checks the units that an allocation keeps, before any training.

    less: the request is for less than all units.

    Raises:
        ValueError: the structure forbids these numbers, or rounds them to all units.
    """
    check_n_of_m(structure.n_of_m, layers, counts)
    check_some_stay(structure, counts)
    rounded = any(layer.multiple > 1 for layer in layers.values())
    if less and rounded and all(counts[n] == layer.units for n, layer in layers.items()):
        raise ValueError(
            "structure.round_to leaves nothing to prune at the requested size: the nearest one is "
            "that of all units; ask for a smaller model, or round to a smaller number"
        )


def check_n_of_m(n_of_m: NOfM | None, layers: Layers, keep: Counts) -> None:
    """Checks that the counts are those of n of m in each layer, or of no pruning.

    Raises:
        ValueError: a floor of the allocation holds more.
    """
    whole = all(keep[name] == layer.units for name, layer in layers.items())
    if n_of_m is None or whole:
        return
    for name, layer in layers.items():
        if keep[name] > layer.units // n_of_m.m * n_of_m.n:
            raise ValueError(
                f"allocation keeps {keep[name]} of {layer.units} weights of {name}, but structure "
                f"keeps {describe(n_of_m)}; leave allocation.min_units, min_density and "
                "max_share out"
            )


def check_some_stay(structure: Structure, counts: Counts) -> None:
    """Checks that not all units go where each layer may lose all of its own.

    Raises:
        ValueError: none would stay.
    """
    if structure.single_units and not any(counts.values()):
        raise ValueError(
            f"all {len(counts)} {structure.noun}s would go, of {', '.join(counts)}; ask for a "
            "larger density, or for less compression"
        )


def check_counted(subject: str, model_info: ModelInfo, remedy: str) -> None:
    """Checks that the multiply-accumulates of all weights are known.

    Raises:
        ValueError: those of a weight are not.
    """
    if model_info.uncounted:
        raise ValueError(
            f"{subject} cannot be counted in multiply-accumulates: "
            f"{describe_uncounted(model_info.uncounted)}; {remedy}"
        )


def check_countable(unit: str, counts: str, model_info: ModelInfo, removes: bool) -> None:
    """Checks that sizes of what `counts` names are known.

    removes: pruned units can be cut out.

    Raises:
        ValueError: they are not.
    """
    if counts.startswith("macs"):
        check_counted(unit, model_info, "ask for a density or compression, with budget=params")
    if counts.startswith(NANOSECONDS):
        check_timed(f"unit={unit}", model_info, removes)


def check_costs(allocation: Allocation, units: Units, model_info: ModelInfo) -> None:
    """Checks that the costs that an allocation reads are known.

    Raises:
        ValueError: they are not.
    """
    if allocation.needs_macs:
        check_counted("allocation.per=mac", model_info, "use allocation.per=parameter")
    if allocation.needs_latency:
        removes = all(isinstance(each, RemovableUnits) for each in units.values())
        check_timed("allocation.per=latency", model_info, removes)


def check_timed(subject: str, model_info: ModelInfo, removes: bool) -> None:
    """Checks that the time of the network that is left is known.

    removes: pruned units can be cut out.

    Raises:
        ValueError: there is no latency table, or units are only masked, which saves no time.
    """
    if not removes:
        raise ValueError(
            f"{subject} counts the time of layers without their pruned units, but this structure "
            f"masks entries inside weights, which saves none; use structure={removing_structures()}"
        )
    if model_info.latency_table is None:
        raise ValueError(
            f"{subject} reads a latency table; give latency_table=FILE, which pruning-harness "
            "latency writes"
        )


def check_solved(masks: Tensors, counts: Counts, n_of_m: NOfM | None) -> None:
    """Checks that a saliency's own solver has kept as many weights as it was to keep.

    Raises:
        ValueError: another number stays. In groups with fewer weights alive, fewer may stay.
    """
    for name, count in counts.items():
        kept = int(masks[name].count_nonzero())
        if kept > count or (kept < count and not n_of_m):
            raise ValueError(f"{name}: solve kept {kept} weights where {count} were requested")


def describe(n_of_m: NOfM) -> str:
    return f"{n_of_m.n} of {n_of_m.m} inputs"


def check_scored(saliency: Saliency, units: Units) -> None:
    """Refuses a saliency that does not score what the structure pools.

    Raises:
        ValueError: it scores rows of a weight and units consist of others, or weights of layers
            alone and all members are pooled.
    """
    name = type(saliency).__name__
    if any(each.scored != each.weights for each in units.values()) and not saliency.any_parameter:
        scores = "rows" if saliency.granularity == "unit" else "weights of layers"
        raise ValueError(
            "structure.pool_over=members pools scores of columns, biases and norms too, but "
            f"saliency {name} scores {scores} alone; use structure.pool_over=producers, or a "
            "saliency such as magnitude, taylor or fisher"
        )
    if saliency.granularity != "unit":
        return
    for weight, each in units.items():
        if saliency.adds_units:
            _check_added(name, weight, each)
        elif not each.has_rows:
            raise ValueError(
                f"saliency {name} scores the rows of {weight}, but its units are "
                f"not rows; use structure={removing_structures()}, or a saliency of single "
                "weights, such as magnitude"
            )


def _check_added(name: str, weight: str, units: UnitSet) -> None:
    if not isinstance(units, GroupUnits):
        raise ValueError(
            f"saliency {name} adds up entries of whole units of groups, but units of {weight} are "
            f"others; use structure={removing_structures()}, or saliency=taylor"
        )
