"""Builds the components of a call from Python, given as objects or by names of conf files."""

from dataclasses import dataclass
from typing import Any

from harness.allocation.base import Allocation
from harness.launch.instantiate import build_named
from harness.launch.method_name import EXTRAS, check_method_kept, shipped_method
from harness.pruning.part_protocols import check_offers
from harness.saliency.base import Saliency, default_allocation
from harness.structure.base import Structure
from harness.vocabulary.defaults import with_defaults

Part = str | Saliency | Structure | Allocation | None


@dataclass(frozen=True)
class Components:
    """Holds the components that decide the masks of one call.

    `rounds` is the number of prunings, each with new scores, by which the target is reached.
    """

    saliency: Saliency
    structure: Structure
    allocation: Allocation
    rounds: int


def build_components(
    method: str | None,
    saliency: str | Saliency | None,
    structure: str | Structure | None,
    allocation: str | Allocation | None,
    seed: int,
) -> Components:
    """Builds the components of a call.

    Of each component the given one is taken, else that of the method, else the default:
    magnitude, element, and the saliency's default allocation.

    Raises:
        ValueError: there is no such method or component, a given component is not that of the
            method, or the method does more than prune a given model.
    """
    given: dict[str, Part] = {
        "saliency": saliency, "structure": structure, "allocation": allocation,
    }  # fmt: skip
    fixed = _fixed(method, given) if method is not None else {}
    built = {
        group: _build(group, given[group], fixed, default, seed)
        for group, default in (("saliency", "magnitude"), ("structure", "element"))
    }
    scores = with_defaults(Saliency, built["saliency"])
    n_of_m = with_defaults(Structure, built["structure"]).n_of_m
    default = "uniform" if n_of_m else default_allocation(scores)
    built["allocation"] = _build("allocation", given["allocation"], fixed, default, seed)
    check_offers(built)
    return Components(**built, rounds=int(fixed.get("schedule.rounds") or scores.rounds))


def _fixed(name: str, given: dict[str, Part]) -> dict[str, Any]:
    method = shipped_method(name)
    fixed = method.fixed
    requested = {group: _name(part) for group, part in given.items() if part is not None}
    check_method_kept(method, {**fixed, **requested})
    trains = {key: fixed.get(key) for key in EXTRAS if fixed.get(key) not in (None, EXTRAS[key])}
    if fixed["prune_at"] == "during_training":
        trains["prune_at"] = "during_training"
    for key, value in trains.items():
        raise ValueError(
            f"method={name} has {key}={value}, which needs a training; "
            f"run it: pruning-harness method={name}"
        )
    return fixed


def _name(part: Part) -> str:
    return part if isinstance(part, str) else type(part).__name__


def _build(group: str, given: Part, fixed: dict[str, Any], default: str, seed: int) -> Any:
    if given is not None and not isinstance(given, str):
        return given
    own = f"{group}."
    changes = {k.removeprefix(own): value for k, value in fixed.items() if k.startswith(own)}
    return build_named(group, given or fixed.get(group, default), seed, changes)
