"""Checks the optimizer of a recipe and the options of its parameter groups."""

import math
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import partial
from inspect import Parameter, signature
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from harness.system.processes import without_collection
from harness.vocabulary.checks import check, follows, problem_of

# Parameters, or groups of them with options, -> their optimizer.
MakeOptimizer = Callable[[Any], Optimizer]


def check_groups(
    make: MakeOptimizer, by_pattern: Mapping[str, Mapping[str, Any]] | None, no_decay: str | None
) -> None:
    """Checks the options of parameter groups, as if the optimizer were made with them.

    Raises:
        ValueError: the optimizer has no such option, or refuses its value; or it has no weight
            decay that could be left out.
    """
    known = [*signature(make).parameters][1:]
    if no_decay and "weight_decay" not in known:
        raise ValueError(
            f"no_decay={no_decay} needs an optimizer with weight_decay, and this one has "
            f"{', '.join(known)}; write no_decay=null"
        )
    for pattern, options in (by_pattern or {}).items():
        for key in options:
            if key not in known:
                near = get_close_matches(key, known, n=1)
                advice = f"did you mean {near[0]}?" if near else f"it has {', '.join(known)}"
                raise ValueError(
                    f"parameter_groups.{pattern}.{key}: the optimizer has no such option; {advice}"
                )
        try:
            check_optimizer(partial(make, **options))
        except ValueError as error:
            text = str(error).removeprefix("optimizer.")
            raise ValueError(f"parameter_groups.{pattern}.{text}") from error


def check_optimizer(make: MakeOptimizer) -> None:
    """Checks what a config gives to an optimizer, by the types of its defaults and by a trial.

    Raises:
        ValueError: the optimizer refuses its arguments; the message names the argument.
    """
    given = dict(make.keywords) if isinstance(make, partial) else {}
    for key, value in given.items():
        if parameter := _parameter(make, key):
            _check_like_default(f"optimizer.{key}", value, parameter)
    if (error := _refusal(make)) is None:
        return
    text = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    for key, value in given.items():
        others = {name: other for name, other in given.items() if name != key}
        if isinstance(make, partial) and _refusal(partial(make.func, *make.args, **others)) is None:
            raise ValueError(f"optimizer.{key}={value}: {text}") from error
    raise ValueError(f"optimizer: {text}") from error


def _parameter(make: MakeOptimizer, key: str) -> Parameter | None:
    return signature(make.func).parameters.get(key) if isinstance(make, partial) else None


def _check_like_default(key: str, value: object, parameter: Parameter) -> None:
    default = parameter.default
    if default is None and (problem := problem_of(value, parameter.annotation)):
        raise ValueError(f"{key} {problem}")
    if isinstance(default, bool):
        check(key, value, "true or false")
    elif isinstance(default, int | float):
        check(key, value, "a number" if math.isfinite(default) else "a number or inf")
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
            with without_collection():  # the first optimizer imports torch._dynamo
                make([nn.Parameter(torch.zeros(shape))])
        except Exception as error:
            errors.append(error)
        else:
            return None
    return errors[0]
