"""Removes half of the units of a model before any training, to see that it runs smaller."""

import torch
from torch import nn

from harness.experiment.rehearsals.few_samples import (
    ANYWAY,
    Rehearsal,
    RehearsalFailed,
    line_of,
    new_state,
)
from harness.experiment.state import without_pruned_units
from harness.groups.proving.differences import Difference
from harness.groups.units import Units, UnitSet, equal_scores, masks_of
from harness.vocabulary.tensors import Tensors


def remove_half(rehearsal: Rehearsal) -> None:
    """Removes every other unit of each group from the untrained model, with the proof.

    Raises:
        RehearsalFailed: the smaller model fails or computes another function; names a group of
            which this is true by itself, if there is one around the module that differs.
    """
    experiment, units = rehearsal.context.experiment, rehearsal.context.units
    problem = _problem(rehearsal, units) if experiment.compact != "never" else None
    if problem is None:
        return
    near = {name: each for name, each in units.items() if _is_near(each, problem)}
    alone = [name for name, each in near.items() if _problem(rehearsal, {name: each})]
    layers = [name.rpartition(".")[0] for name in alone[:1]]
    remedy = f"leave its layers whole with exclude=[{layers[0]}], or " if layers else ""
    raise RehearsalFailed(
        f"compact={experiment.compact} cannot remove half of the units"
        f"{f' of group={layers[0]}' if layers else ''}: {line_of(problem)}; {remedy}use "
        f"compact=never{ANYWAY}"
    )


def every_other_unit(units: Units, model: nn.Module) -> Tensors:
    """Returns masks without scores: of each weight, every other unit stays."""
    kept = {
        name: (torch.arange(each.numel(), device=each.device) % 2 == 0).view(each.shape)
        for name, each in equal_scores(units, model).items()
    }
    return masks_of(units, kept, {})


def _problem(rehearsal: Rehearsal, units: Units) -> ValueError | None:
    state = new_state(rehearsal.context, rehearsal.original)
    state.masks.shrink_to(every_other_unit(units, state.model))
    try:
        without_pruned_units(rehearsal.context, state)
    except ValueError as error:
        return error
    return None


def _is_near(units: UnitSet, problem: ValueError) -> bool:
    """Returns True if the units have a part in the module that differs, or beside it."""
    module = problem.__cause__.module if isinstance(problem.__cause__, Difference) else ""
    around = f"{module.rpartition('.')[0]}.".removeprefix(".")
    return any(name.startswith(around) for name in units.masked)
