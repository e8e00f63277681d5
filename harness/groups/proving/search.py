"""Searches attributes that restate a size where the smaller network fails."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice, product
from typing import NamedTuple

from torch import nn

from harness.groups.attributes import Attributes, Change, Option, options, size_attributes
from harness.groups.proving.differences import Difference

TRIES = 400
MOST_PER_MODULE = 120
MOST_OPTIONS = 24
MOST_PARTS = 8

# What a comparison of the networks gives: their worst error, or what differs first.
Outcome = float | Difference
Trial = Callable[[], Outcome]


class Attempt(NamedTuple):
    """Values of a module's attributes with which more calls are equal than before."""

    module: str
    chosen: dict[str, Option]
    outcome: Outcome


def search_attributes(
    model: nn.Module,
    dense: nn.Module,
    changes: Mapping[str, Sequence[Change]],
    trial: Trial,
    outcome: Outcome,
    order: Sequence[str],
    most: int = TRIES,
) -> tuple[Attributes, Outcome]:
    """Sets attributes so that more calls are equal, until all are; returns them and the outcome.

    Looks in the module that fails, then in those that contain it, then in those called before.
    What helps in one module is set in all modules of its class.

    Args:
        model: the smaller network, which is changed.
        dense: the network before the removal.
        changes: sizes that differ, by module.
        outcome: of the trial before.
        order: names of modules in the order of their calls.
        most: trials after which the search ends.
    """
    found: Attributes = {}
    tries = iter(range(most))
    while isinstance(outcome, Difference):
        attempts = (
            attempt
            for path in _near(outcome, order, model)
            for attempt in _attempts(model, dense, path, changes, trial)
        )
        before = outcome.reached
        tried = (attempt for attempt, _ in zip(attempts, tries, strict=False))
        better = next((a for a in tried if _reached(a.outcome) > before), None)
        if better is None:
            break
        found |= _set_in_class(model, dense, better, changes)
        outcome = trial()
    return found, outcome


def _reached(outcome: Outcome) -> tuple[float, float]:
    return outcome.reached if isinstance(outcome, Difference) else (float("inf"), 0)


def _near(failure: Difference, order: Sequence[str], model: nn.Module) -> Iterator[str]:
    """Yields the failing module, what contains it, and what ran before without tensors."""
    path = failure.module if failure.module in dict(model.named_modules()) else ""
    seen = dict.fromkeys(_upwards(path))
    for name in reversed(order[: failure.reached[0] + 2]):
        seen |= dict.fromkeys(_upwards(name))
    inner = [name for name in seen if name]
    yield from [*inner, ""]


def _upwards(path: str) -> Iterator[str]:
    while path:
        yield path
        path = _parent(path)


def _attempts(
    model: nn.Module,
    dense: nn.Module,
    path: str,
    changes: Mapping[str, Sequence[Change]],
    trial: Trial,
) -> Iterator[Attempt]:
    """Yields trials with other values of the module's attributes; the values are put back."""
    module = model.get_submodule(path)
    now = dict(size_attributes(module))
    choices = _choices(dense, path, changes)
    for chosen in islice(_by_distance(choices, now), MOST_PER_MODULE):
        for name, option in chosen.items():
            setattr(module, name, option.value)
        outcome = trial()
        for name in chosen:
            setattr(module, name, now[name])
        yield Attempt(path, chosen, outcome)


def _choices(
    dense: nn.Module, path: str, changes: Mapping[str, Sequence[Change]]
) -> dict[str, list[Option]]:
    """Returns the values of each attribute: sizes in the module, their multiples, those around."""
    own = changes.get(path, ())
    around = [change for outer in _upwards(path) for change in changes.get(_parent(outer), ())]
    known = [*own, *_multiples(own), *around]
    every = size_attributes(dense.get_submodule(path))
    found = {name: options(old, name, known)[:MOST_OPTIONS] for name, old in every}
    return {name: several for name, several in found.items() if len(several) > 1}


def _multiples(changes: Sequence[Change]) -> Iterator[Change]:
    """Yields widths of several equal parts, of which the module's tensors read one each."""
    for times in range(2, MOST_PARTS + 1):
        for old, new, role in changes:
            if old > 1:
                yield Change(times * old, times * new, f"{times} x {role}")


def _parent(path: str) -> str:
    return path.rpartition(".")[0]


def _by_distance(
    choices: Mapping[str, list[Option]], now: Mapping[str, object]
) -> Iterator[dict[str, Option]]:
    """Yields combinations of other values; those that change few attributes come first."""
    every = islice(product(*choices.values()), 20 * MOST_PER_MODULE)
    combined = [dict(zip(choices, chosen, strict=True)) for chosen in every]
    changed = [
        {name: option for name, option in chosen.items() if option.value != now[name]}
        for chosen in combined
    ]
    yield from sorted((chosen for chosen in changed if chosen), key=len)


def _set_in_class(
    model: nn.Module, dense: nn.Module, better: Attempt, changes: Mapping[str, Sequence[Change]]
) -> Attributes:
    kind = type(model.get_submodule(better.module))
    found: Attributes = {}
    for path, module in model.named_modules():
        if type(module) is not kind:
            continue
        choices = _choices(dense, path, changes)
        for name, option in better.chosen.items():
            same = option if path == better.module else _same_role(option, choices.get(name, []))
            if same is not None:
                setattr(module, name, same.value)
                old = getattr(dense.get_submodule(path), name)
                found[f"{path}.{name}".removeprefix(".")] = (old, same.value)
    return found


def _same_role(option: Option, others: Sequence[Option]) -> Option | None:
    return next((other for other in others if other.role == option.role), None)
