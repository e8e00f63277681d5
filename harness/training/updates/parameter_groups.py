"""Divides a model's parameters into groups with optimizer options of their own."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

Group = dict[str, Any]  # "params": parameters; and options of a torch optimizer
Options = Mapping[str, Any]


def parameter_groups(
    model: nn.Module, by_pattern: Mapping[str, Options] | None, decays_vectors: bool
) -> list[nn.Parameter] | list[Group]:
    """Returns what a torch optimizer is made of: parameters, or groups of them with options.

    A parameter belongs to the first pattern that fits its name ("fc.weight"), or that of the module
    which holds it ("fc"). Without decay of vectors, those with at most one dimension, that is
    biases and the weights of norms, get weight_decay=0 beside the options of their pattern. The
    groups are in the order of patterns, decayed ones first; within each the order is the model's.

    by_pattern: options by name or pattern, as "conv*". None: there are none.

    Raises:
        ValueError: a pattern fits no parameter.
    """
    if not by_pattern and decays_vectors:
        return list(model.parameters())
    patterns = by_pattern or {}
    keys = [(pattern, decayed) for pattern in (*patterns, None) for decayed in (True, False)]
    groups: dict[tuple[str | None, bool], list[nn.Parameter]] = {key: [] for key in keys}
    for name, parameter in model.named_parameters():
        fits = next((pattern for pattern in patterns if _fits(pattern, name)), None)
        groups[fits, decays_vectors or parameter.ndim > 1].append(parameter)
    for pattern in patterns:
        _check_used(pattern, model)
    return [
        {"params": members, **_options(patterns.get(pattern or "", {}), decayed)}
        for (pattern, decayed), members in groups.items()
        if members
    ]


def _options(given: Options, decayed: bool) -> Group:
    return dict(given) if decayed else {**given, "weight_decay": 0.0}


def _fits(pattern: str, name: str) -> bool:
    names = (name, name.rpartition(".")[0])
    return pattern in names or any(fnmatchcase(each, pattern) for each in names)


def _check_used(pattern: str, model: nn.Module) -> None:
    names = [name for name, _ in model.named_parameters()]
    if not any(_fits(pattern, name) for name in names):
        shown = ", ".join(names[:6]) + (" ..." if len(names) > 6 else "")
        raise ValueError(
            f"parameter_groups names {pattern!r}, which fits no parameter; there are: {shown}"
        )
