"""Reads the requested size of a call, and the seed, as people write them."""

from collections.abc import Mapping
from operator import index
from typing import Any

from torch import nn

from harness.allocation.base import ModelInfo
from harness.groups.units import RemovableUnits, Units, UnitSet
from harness.pruning.budget import RequestedSize
from harness.pruning.masks import MaskStore
from harness.pruning.pruner import Pruner
from harness.schedule.base import check_size
from harness.vocabulary.checks import check
from harness.vocabulary.given.numbers import plain_number
from harness.vocabulary.n_of_m import NOfM
from harness.vocabulary.tensors import Counts


def requested_size(
    pruner: Pruner,
    model: nn.Module,
    store: MaskStore,
    units: Units,
    model_info: ModelInfo,
    density: float | None,
    keep: int | Mapping[str, int] | None,
) -> tuple[int, float, str]:
    """Returns the live amount, the amount to keep, and the unit in which both are counted."""
    if pruner.structure.n_of_m:
        density = _density_of(pruner.structure.n_of_m, density, keep)
    if (density is None) == (keep is None):
        raise ValueError(f"give one of density and keep, got density={density} and keep={keep}")
    if density is None:
        alive = pruner.alive_sizes(model, store, units, model_info, "units")
        return sum(alive.values()), _total(keep, alive, units), "units"
    check_size("density", density, "density")
    size_model = pruner.size_model("density", model, units, model_info)
    end, counts = size_model.to_kept_fraction(density) * size_model.removable, size_model.counts
    pruner.check(RequestedSize(round(end), counts), model, units, model_info)
    return sum(pruner.alive_sizes(model, store, units, model_info, counts).values()), end, counts


def _density_of(n_of_m: NOfM, density: float | None, keep: int | Mapping[str, int] | None) -> float:
    """Returns n / m, which may be given too, or 1."""
    for key, value in (("keep", keep), ("density", density)):
        if value is not None and not (key == "density" and n_of_m.is_density(density or 0)):
            raise ValueError(
                f"{key}={value}: n={n_of_m.n} of m={n_of_m.m} keep a density of "
                f"{n_of_m.density:.6g} in each layer; leave {key} out, and exclude layers"
            )
    return 1.0 if density == 1 else n_of_m.density


def _total(keep: int | Mapping[str, int] | None, alive: Counts, units: Units) -> int:
    if isinstance(keep, Mapping):
        unknown = sorted(set(keep) - set(alive))
        if unknown:
            raise ValueError(f"keep names {unknown[0]!r}; there are: {', '.join(alive)}")
        for name, count in keep.items():
            _check_count(f"keep[{name!r}]", count, alive[name])
            _check_multiple(f"keep[{name!r}]", count, units[name])
        keep = sum({**alive, **keep}.values())
    keep = whole_counts({"keep": keep})["keep"]
    _check_count("keep", keep, sum(alive.values()))
    return keep


def whole_seed(seed: int) -> int:
    seed = plain_number(seed)
    check("seed", seed, "a whole number")
    return seed


def whole_counts(counts: Mapping[str, Any]) -> Counts:
    """Converts whole numbers of any kind, also numpy's, to int."""
    for name, count in counts.items():
        if isinstance(count, bool) or not hasattr(count, "__index__"):
            raise ValueError(f"keep must be a whole number of units, got {count!r} ({name})")
    return {name: index(count) for name, count in counts.items()}


def _check_count(key: str, count: int, alive: int) -> None:
    if not 0 <= count <= alive:
        raise ValueError(
            f"{key} must be a whole number in [0, {alive}], the number of live units, got {count}"
        )


def _check_multiple(key: str, count: int, units: UnitSet) -> None:
    if not isinstance(units, RemovableUnits) or count in (0, units.count):
        return
    if count % units.multiple:
        below = count // units.multiple * units.multiple
        raise ValueError(
            f"{key}={count} is no multiple of {units.multiple} units, as structure.round_to asks; "
            f"choose {below} or {min(below + units.multiple, units.count)}"
        )
