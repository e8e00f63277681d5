"""Checks the arguments of an optimizer before a training begins."""

from collections.abc import Callable, Iterable
from functools import partial
from inspect import signature

import torch
from torch import nn
from torch.optim import Optimizer

from harness.vocabulary.checks import check, follows

MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]


def check_optimizer(make: MakeOptimizer) -> None:
    """Checks what a config gives to an optimizer, by the types of its defaults and by a trial.

    Raises:
        ValueError: the optimizer refuses its arguments; the message names the argument.
    """
    given = dict(make.keywords) if isinstance(make, partial) else {}
    for key, value in given.items():
        _check_like_default(f"optimizer.{key}", value, _default(make, key))
    if (error := _refusal(make)) is None:
        return
    text = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    for key, value in given.items():
        others = {name: other for name, other in given.items() if name != key}
        if isinstance(make, partial) and _refusal(partial(make.func, *make.args, **others)) is None:
            raise ValueError(f"optimizer.{key}={value}: {text}") from error
    raise ValueError(f"optimizer: {text}") from error


def _default(make: MakeOptimizer, key: str) -> object:
    parameters = signature(make.func).parameters if isinstance(make, partial) else {}
    return parameters[key].default if key in parameters else None


def _check_like_default(key: str, value: object, default: object) -> None:
    if isinstance(default, bool):
        check(key, value, "true or false")
    elif isinstance(default, int | float):
        check(key, value, "a number")
    elif isinstance(default, tuple):
        several = isinstance(value, list | tuple) and len(value) == len(default)
        if not several or not all(follows(each, "a number") for each in value):  # type: ignore
            raise ValueError(
                f"{key} must be a list of {len(default)} numbers, got {value!r}; e.g. "
                f"{list(default)}"
            )


def _refusal(make: MakeOptimizer) -> Exception | None:
    """Returns why an optimizer can be made neither of a matrix (as Muon needs) nor of a vector."""
    errors = []
    for shape in ((1, 1), (1,)):
        try:
            make([nn.Parameter(torch.zeros(shape))])
        except Exception as error:
            errors.append(error)
        else:
            return None
    return errors[0]
