"""Tries whether code runs without some heads of its attention, and what it then computes."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from harness.groups.attributes import changes_below
from harness.groups.group import Group, group_masks, kept_indices
from harness.groups.proof import first_difference
from harness.groups.proving.differences import Difference
from harness.groups.proving.pair import REFUSALS
from harness.groups.removal import remove
from harness.groups.tracing.traceable import traceable, writable
from harness.vocabulary.given.inputs import call_model
from harness.vocabulary.nested import map_tensors
from harness.vocabulary.tensors import all_tensors, fixed_mode

Kept = Mapping[str, Tensor]  # group -> (units,) bool, True stays


def inputs_of(
    model: nn.Module, paths: Sequence[str], example_input: Any
) -> dict[str, dict[str, Any]]:
    """Returns the keyword arguments of the first call of each of these modules, in eval mode.

    Modules that are not called, or with arguments that have no names, are left out. Arguments of
    other classes than tensors and plain values are None: a cache would change at each call.
    """
    found: dict[str, dict[str, Any]] = {}
    handles = [
        model.get_submodule(path).register_forward_pre_hook(_noting(found, path), with_kwargs=True)
        for path in paths
    ]
    try:
        _run(model, example_input)
    finally:
        for handle in handles:
            handle.remove()
    return found


def difference_without(
    model: nn.Module, groups: Sequence[Group], kept: Kept, example_input: Any
) -> Difference | None:
    """Returns where the model without these units differs first from the masked one.

    Both have random weights and run in eval mode, on copies.

    Raises:
        ValueError: a layer's class does not allow the sizes, or the example input is refused.
    """
    cut = kept_indices(groups, kept, all_tensors(model))
    masks = group_masks(groups, kept, dict(model.named_parameters()))
    removed = remove(model, cut, groups, kept, "living")
    changes = changes_below(model, cut, groups, kept)
    return first_difference(model, masks, removed, groups, example_input, changes)


def runs_without_heads(
    module: nn.Module, heads: Sequence[Group], call: Mapping[str, Any]
) -> bool | None:
    """Returns True if the module computes the same with masked as without heads, width whole.

    None if the module does not run by itself, which says nothing.

    heads: groups of the heads, whose members are named as in the module.
    call: keyword arguments of the module.
    """
    kept = {group.name: _few(group, len(heads)) for group in heads}
    try:
        _run(module, call)
    except REFUSALS:
        return None
    try:
        return difference_without(module, heads, kept, call) is None
    except REFUSALS:
        return False


def _run(model: nn.Module, inputs: Any) -> None:
    with traceable(model), fixed_mode(model, False):
        call_model(model, map_tensors(inputs, writable))


def in_module(model: nn.Module, path: str, group: Group) -> Group:
    """Returns the group with the members that lie in a module, as they are named there."""
    module = model.get_submodule(path)
    every = {id(t): name for name, t in _named(module)}
    names = {name: every[id(t)] for name, t in _named(model) if id(t) in every}
    members = tuple(replace(m, name=names[m.name]) for m in group.members if m.name in names)
    start = f"{path}." if path else ""
    mixing = tuple(n.removeprefix(start) for n in group.mixing if n.startswith(start))
    return replace(group, members=members, mixing=mixing)


def _named(module: nn.Module) -> list[tuple[str, Tensor]]:
    return [*module.named_parameters(), *module.named_buffers()]


def _few(group: Group, parts: int) -> Tensor:
    """Returns flags of so few heads that width // heads is no longer the heads' own width."""
    return torch.arange(group.units) < (2 if parts == 1 and group.units > 4 else 1)


def _noting(found: dict[str, dict[str, Any]], path: str) -> Any:
    def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if path not in found and (named := _named_arguments(module, args, kwargs)) is not None:
            plain = {name: value if _is_plain(value) else None for name, value in named.items()}
            found[path] = map_tensors(plain, lambda t: t.detach().clone())

    return note


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, Tensor | int | float | str | torch.dtype)


def _named_arguments(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any] | None:
    parameters = list(inspect.signature(module.forward).parameters.values())[: len(args)]
    kinds = {parameter.kind for parameter in parameters}
    if len(parameters) < len(args) or not kinds <= {inspect.Parameter.POSITIONAL_OR_KEYWORD}:
        return None
    return {p.name: value for p, value in zip(parameters, args, strict=True)} | kwargs
