"""Proves that a network without the removed units computes what the masked one computes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from harness.groups.attributes import Attributes, Change, adapt
from harness.groups.group import Group
from harness.groups.proving.calls import OUTPUT, Call
from harness.groups.proving.differences import Difference, relative_error
from harness.groups.proving.pair import REFUSALS, Pair, open_pair, refused_input
from harness.groups.proving.search import TRIES, Outcome, search_attributes
from harness.groups.removal import Removed
from harness.vocabulary.tensors import Tensors, all_tensors

MODES = (False, True)  # eval, train
SMALL = 1e-5
FEW = 100  # trials of a search that may well be in vain


@dataclass(frozen=True)
class Proof:
    """Holds the worst relative errors max|removed - masked| / max|masked| of a proof.

    Args:
        randomised_eval, randomised_train: with random weights and statistics, in either mode.
        eval, train: with the network's own.
        tolerance: what they are below.
        dtype: in which the networks were compared.
    """

    randomised_eval: float
    randomised_train: float
    eval: float
    train: float
    tolerance: float
    dtype: str

    @property
    def worst(self) -> float:
        return max(self.randomised_eval, self.randomised_train, self.eval, self.train)


def prove(
    model: nn.Module,
    masks: Tensors,
    removed: Removed,
    groups: Sequence[Group],
    example_input: Any,
    changes: Mapping[str, Sequence[Change]] | None = None,
) -> Proof:
    """Returns the errors between the masked network and the one without the removed units.

    Compares, on copies, what each leaf module returns, the network's output, and all buffers after
    the pass: with random weights and statistics, then with the network's own; in eval mode and in
    train mode, with every random draw off. The model and its random streams stay as they are.

    Args:
        model: in dense shapes.
        masks: parameter name -> bool, True stays; they are applied to the copy.
        removed: what `remove` returned.
        example_input: one argument of the model, or a dictionary of keyword arguments. Floats get
            noise, so that an input of 0 proves as much; whole numbers beside 0 and 1 stay.
        changes: sizes for attributes. Where the smaller network fails, they are searched; those
            that help are set in `removed.model` and noted in `removed.attributes`.

    Raises:
        ValueError: the networks differ; the first module that does is named. Or the model refuses
            the example input.
    """
    pair = open_pair(model, masks, removed, groups, example_input)
    errors = [_error(pair, "random weights", training, model, changes or {}) for training in MODES]
    pair.load(all_tensors(model))
    _check_stored(pair, removed)
    errors += [_error(pair, "its own weights", training, model, {}) for training in MODES]
    dtype = str(pair.dtype).removeprefix("torch.")
    return Proof(errors[0], errors[1], errors[2], errors[3], pair.tolerance, dtype)


def first_difference(
    model: nn.Module,
    masks: Tensors,
    removed: Removed,
    groups: Sequence[Group],
    example_input: Any,
    changes: Mapping[str, Sequence[Change]],
) -> Difference | None:
    """Returns where the networks differ first, with random weights and in eval mode alone.

    The arguments, and what is raised for an example input that the model refuses, are as of
    `prove`.
    """
    pair = open_pair(model, masks, removed, groups, example_input)
    outcome = _searched(pair, False, model, changes, FEW)
    return outcome if isinstance(outcome, Difference) else None


def _error(
    pair: Pair,
    weights: str,
    training: bool,
    model: nn.Module,
    changes: Mapping[str, Sequence[Change]],
) -> float:
    """Returns the error in a mode, after a search of attributes where the networks differ."""
    outcome = _searched(pair, training, model, changes)
    if isinstance(outcome, Difference):
        mode = "train" if training else "eval"
        raise ValueError(_described(outcome, f"{weights}, {mode} mode", pair)) from outcome
    return outcome


def _searched(
    pair: Pair,
    training: bool,
    model: nn.Module,
    changes: Mapping[str, Sequence[Change]],
    most: int = TRIES,
) -> Outcome:
    """Returns the error or what differs, after a search of attributes that make it equal."""
    order = [call.module for call in _record(pair, training) if call.module != OUTPUT]
    outcome = _outcome(pair, training)
    if training and _is_small(outcome) and pair.widen():
        # Statistics over two samples that are nearly equal amplify rounding.
        _record(pair, training)
        outcome = _outcome(pair, training)
    if isinstance(outcome, Difference) and changes:
        trial = partial(_outcome, pair, training)
        found, outcome = search_attributes(
            pair.smaller, model, changes, trial, outcome, order, most
        )
        _adopt(pair.removed, found)
    return outcome


def _is_small(outcome: Outcome) -> bool:
    return isinstance(outcome, Difference) and outcome.error < SMALL


def _outcome(pair: Pair, training: bool) -> Outcome:
    try:
        return pair.compare(training)
    except Difference as difference:
        return difference


def _adopt(removed: Removed, found: Attributes) -> None:
    adapt(removed.model, found)
    removed.attributes.update(found)
    for name in [name for name, (old, new) in removed.attributes.items() if old == new]:
        del removed.attributes[name]


def _record(pair: Pair, training: bool) -> list[Call]:
    try:
        return pair.record(training)[0]
    except REFUSALS as error:
        mode = "train" if training else "eval"
        raise ValueError(refused_input(pair.masked, error, mode)) from error


def _described(difference: Difference, when: str, pair: Pair) -> str:
    where = difference.module or type(pair.masked).__name__
    if difference.problem:
        return (
            f"module={where}: the network without the removed units fails there "
            f"({difference.problem}; {when}); keep the groups around it whole"
        )
    return (
        f"module={where}: its {difference.where} without the removed units differs from the masked "
        f"one by {difference.error:.1e} (relative; {when}; at most {pair.tolerance:.0e} is "
        "rounding); keep the groups around it whole"
    )


def _check_stored(pair: Pair, removed: Removed) -> None:
    """Checks that the smaller model has the entries of the masked one, bit for bit."""
    proven = all_tensors(pair.smaller)
    for name, tensor in all_tensors(removed.model).items():
        if relative_error(tensor, proven[name].to(tensor.dtype)):
            raise ValueError(f"{name}: the smaller model has other values than the masked one")
