"""Makes a model physically smaller by removing whole units of its groups."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from harness.groups.attributes import Attributes, adapt, changes_below, guess
from harness.groups.group import Group, KeptIndices
from harness.groups.layers.norms import rescale_factor, rescaled, rescaled_epsilon, treatment
from harness.groups.layers.sizes import OwnCut, set_sizes
from harness.groups.living import living_indices, remove_living_norms
from harness.vocabulary.undisturbed import deepcopy_model

Norms = Literal["exact", "living"]


@dataclass(frozen=True)
class Removed:
    """Holds a model without the removed units, and what a later load must repeat.

    Args:
        model: of the same class, with the same tensor names.
        kept_indices: which entries of the dense tensors are left.
        attributes: "module.attribute" -> (value in the dense model, value here).
        scales: parameter of an RMSNorm or of a layer of queries -> the factor by which its kept
            entries were multiplied.
        kept_units: group name -> (units,) bool, True stays.
        norms: as `remove` was called with.
        blocks: modules for which nn.Identity stands.
        outputs: layer -> the factor by which its outputs are multiplied.
    """

    model: nn.Module
    kept_indices: KeptIndices
    attributes: Attributes
    scales: Mapping[str, float]
    kept_units: Mapping[str, Tensor]
    norms: Norms = "exact"
    blocks: tuple[str, ...] = ()
    outputs: Mapping[str, float] = field(default_factory=dict)


def remove(
    model: nn.Module,
    cut: KeptIndices,
    groups: Sequence[Group],
    kept_units: Mapping[str, Tensor],
    norms: Norms = "exact",
) -> Removed:
    """Returns a smaller copy of the model: tensors, layers' sizes and attributes that restate them.

    Nothing shows yet that it computes the same function; `prove` does.

    Args:
        cut: name of a tensor -> for each dimension the indices that stay, or None for all.
        groups: those of the model.
        kept_units: group name -> (units,) bool, True stays; other groups stay whole.
        norms: "living" also removes units over which a LayerNorm takes its statistics.

    Raises:
        ValueError: no unit of a group is left, a norm over removed units is no longer the same
            function, or the class of a layer does not allow the sizes.
    """
    partial = [
        group for group in groups if group.name in kept_units and not kept_units[group.name].all()
    ]
    for group in partial:
        _check_group(model, group, kept_units[group.name], norms)
    living_indices(model, cut, partial, kept_units)  # refuses a norm whose indices are not known
    smaller = slice_model(model, cut)
    remove_living_norms(smaller)
    rescaled = dict(_rescaled_norms(model, cut, partial))
    scales, attributes = _rescale(smaller, rescaled)
    attributes |= guess(model, changes_below(model, cut, groups, kept_units))
    adapt(smaller, attributes)
    return Removed(smaller, cut, attributes, scales, kept_units, norms)


def multiplied(removed: Removed, scales: Mapping[str, float]) -> Removed:
    """Returns a copy with parameters of layers multiplied; the same for no scales."""

    def change(name: str, tensor: Tensor) -> Tensor:
        return rescaled(tensor, scales[name]) if name in scales else tensor.clone()

    if not scales:
        return removed
    model = copy_model(removed.model, change)
    outputs = {name.rpartition(".")[0]: factor for name, factor in scales.items()}
    return replace(removed, model=model, scales={**removed.scales, **scales}, outputs=outputs)


def slice_model(model: nn.Module, cut: KeptIndices) -> nn.Module:
    """Returns a copy in which tensors have the entries of `cut`, and torch's layers their sizes.

    Tied tensors stay tied under all their names.

    Raises:
        ValueError: the class of a layer does not allow its sizes.
    """
    tensors = {name: t for name, t in _named_tensors(model) if name in cut}
    sliced = {id(t): _like(t, slice_tensor(t.detach(), cut[n])) for n, t in tensors.items()}
    smaller = deepcopy_model(model, sliced)
    names = {id(t): name for name, t in tensors.items()}
    for path, module in model.named_modules():
        own = {leaf: cut[names[id(t)]] for leaf, t in _own_tensors(module) if id(t) in names}
        if own:
            _set_sizes(path, smaller.get_submodule(path), own)
    return smaller


def slice_tensor(tensor: Tensor, kept: Sequence[Tensor | None]) -> Tensor:
    """Returns the entries at these indices of each dimension; None stands for all."""
    for dim, indices in enumerate(kept):
        if indices is not None:
            tensor = tensor.index_select(dim, indices.to(tensor.device))
    return tensor


def copy_model(model: nn.Module, change: Callable[[str, Tensor], Tensor]) -> nn.Module:
    """Returns a copy with changed parameters and buffers; tied ones stay tied."""
    replaced = {id(t): _like(t, change(name, t.detach())) for name, t in _named_tensors(model)}
    return deepcopy_model(model, replaced)


def _check_group(model: nn.Module, group: Group, kept: Tensor, norms: Norms) -> None:
    if not kept.any():
        raise ValueError(
            f"group={group.name}: the masks leave none of its {group.units} units, so that the "
            "network's output would not depend on its input there; keep at least one"
        )
    for name in group.mixing:
        norm = model.get_submodule(name)
        kind = treatment(norm)
        if kind == "living" and norms == "exact":
            raise ValueError(
                f"group={group.name}, norm={name}: {type(norm).__name__} takes its statistics over "
                "removed units too, so that removing them changes the function; keep the group "
                "whole, or set norms=living"
            )
        if kind == "refused":
            raise ValueError(
                f"group={group.name}, norm={name}: {type(norm).__name__} mixes the group's units "
                "in a way that no smaller module repeats; keep the group whole"
            )


def _named_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


def _own_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for leaf, tensor in (*module._parameters.items(), *module._buffers.items()):
        if tensor is not None:
            yield leaf, tensor


def _like(old: Tensor, values: Tensor) -> Tensor:
    if isinstance(old, nn.Parameter):
        return nn.Parameter(values, requires_grad=old.requires_grad)
    return values


def _set_sizes(path: str, layer: nn.Module, own: OwnCut) -> None:
    try:
        set_sizes(layer, own)
    except ValueError as error:
        raise ValueError(f"layer={path}: {error}") from None


def _rescaled_norms(
    model: nn.Module, cut: KeptIndices, partial: Sequence[Group]
) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yields RMSNorms that lose units: name, (units, units left)."""
    mixing = {name for group in partial for name in group.mixing}
    for name, module in model.named_modules():
        kept = cut.get(f"{name}.weight".removeprefix("."), (None,))[0]
        known = name in mixing or isinstance(module, nn.RMSNorm)
        if kept is not None and known and treatment(module) == "rescaled":
            weight: Any = module.weight
            yield name, (len(weight), len(kept))


@torch.no_grad()
def _rescale(
    smaller: nn.Module, norms: Mapping[str, tuple[int, int]]
) -> tuple[dict[str, float], Attributes]:
    scales, attributes = {}, {}
    for name, (units, left) in norms.items():
        norm = smaller.get_submodule(name)
        weight = f"{name}.weight".removeprefix(".")
        scales[weight] = rescale_factor(units, left)
        parameter = smaller.get_parameter(weight)
        parameter.copy_(rescaled(parameter, scales[weight]))
        epsilon, old, new = rescaled_epsilon(norm, units, left)
        attributes[f"{name}.{epsilon}".removeprefix(".")] = (old, new)
    return scales, attributes
