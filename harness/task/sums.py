"""A loss is a sum over the samples: given every sample twice it doubles, where a mean stays."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.tensors import Loss

# Outputs and labels of some samples -> what has to be a sum over them, by the name to call it.
Totals = Callable[[Any, Any], Mapping[str, Tensor]]

FEW = 2
# How far rounding in bfloat16 may move a mean.
TOLERANCE = 0.02


@dataclass
class Summed:
    """The loss itself; its first call also asks whether it is a sum.

    Raises:
        ValueError: it is a mean, or no single number.
    """

    loss: Loss
    asked: bool = False

    def __call__(self, outputs: Tensor, labels: Tensor) -> Tensor:
        if not self.asked:
            self.asked = True
            check_sums(lambda o, y: {"loss": self.loss(o, y)}, outputs, labels)
        return self.loss(outputs, labels)


def check_sums(totals: Totals, outputs: Any, labels: Any) -> None:
    """Compares the totals of the first samples with those of the same samples twice.

    outputs, labels: tensors with the samples in dimension 0, or tuples, lists or dicts of such.
    Where a total is 0, which is the same twice, random outputs are tried too. What cannot be told
    passes: outputs of another kind, or a total that neither doubles nor stays.

    Raises:
        ValueError: a total is a mean, or is no single number.
    """
    try:
        problem = _problem(totals, _each(outputs, _first), _each(labels, _first))
    except Exception:  # whatever a loss makes of inputs that nobody promised it
        return
    if problem:
        raise ValueError(problem)


def _problem(totals: Totals, outputs: Any, labels: Any) -> str:
    stream = torch.Generator().manual_seed(0)

    def drawn(part: Tensor) -> Tensor:
        return torch.randn(part.shape, generator=stream).to(part)

    for these in (outputs, _each(outputs, drawn)):
        with torch.no_grad():
            once = totals(these, labels)
            twice = totals(_each(these, _doubled), _each(labels, _doubled))
        problems = [_as_of_a_mean(name, value, twice[name]) for name, value in once.items()]
        if any(problems) or all(once.values()):
            return next(filter(None, problems), "")
    return ""


def _as_of_a_mean(name: str, once: Tensor, twice: Tensor) -> str:
    if once.numel() != 1:
        return (
            f"{name} has shape {tuple(once.shape)} and must be one number, the sum over the "
            "samples; use reduction='sum'"
        )
    one, two = float(once), float(twice)
    if one and abs(two - one) <= TOLERANCE * abs(one):
        return (
            f"{name} is {one:.6g} for some samples and {two:.6g} for the same samples twice, as of "
            "a mean; it must be the sum over the samples: use reduction='sum'"
        )
    return ""


def _each(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, tuple | list):
        return type(value)(_each(part, change) for part in value)
    if isinstance(value, dict):
        return {key: _each(part, change) for key, part in value.items()}
    raise TypeError(f"no samples in a {type(value).__name__}")


def _first(value: Tensor) -> Tensor:
    return value[:FEW]


def _doubled(value: Tensor) -> Tensor:
    return torch.cat([value, value])
