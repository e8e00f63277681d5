"""Makes norms of a masked network take their statistics over the units that are left."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from harness.groups.group import Group, KeptIndices
from harness.groups.layers.norms import treatment
from harness.groups.layers.sizes import set_sizes


class LivingNorm:
    """y[kept] = norm(x[kept]), and 0 elsewhere: a forward hook of a norm.

    The norm keeps its class and its parameters, which get their gradients at the kept indices.

    Args:
        kept: indices of the normalised dimension that are left; None for all.
        dim: the dimension of the input that is normalised, or whose channels are.
    """

    in_checkpoints = True  # the masks say what it holds

    def __init__(self, kept: Tensor | None, dim: int):
        self.kept, self.dim = kept, dim

    def __call__(self, norm: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if self.kept is None:
            return output
        if not len(self.kept):
            return torch.zeros_like(output)
        kept = self.kept.to(args[0].device)
        part = _smaller(norm, kept).forward(args[0].index_select(self.dim, kept))
        return torch.zeros_like(output).index_copy(self.dim, kept, part.to(output.dtype))


def add_living_norms(model: nn.Module, kept: Mapping[str, Tensor | None]) -> list[RemovableHandle]:
    """Adds a `LivingNorm` to each norm, by module name; the handles remove them.

    kept: module name -> indices of the normalised dimension that are left; None for all.
    """
    norms = {name: model.get_submodule(name) for name in kept}
    return [
        norm.register_forward_hook(LivingNorm(kept[name], _normalised_dim(norm)))
        for name, norm in norms.items()
    ]


@contextmanager
def living_norms(model: nn.Module, kept: Mapping[str, Tensor]) -> Iterator[None]:
    """Takes the statistics of these norms over kept indices inside the context."""
    handles = add_living_norms(model, kept)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def remove_living_norms(model: nn.Module) -> None:
    """Removes every `LivingNorm` from the model, also from a copy of a model that has them."""
    for module in model.modules():
        hooks = module._forward_hooks
        for key in [key for key, hook in hooks.items() if isinstance(hook, LivingNorm)]:
            del hooks[key]


@contextmanager
def whole_norms(model: nn.Module) -> Iterator[None]:
    """Takes the statistics of all norms over all units inside the context."""
    hooks = [hook for module in model.modules() for hook in _hooks_of(module)]
    kept = [hook.kept for hook in hooks]
    try:
        for hook in hooks:
            hook.kept = None
        yield
    finally:
        for hook, before in zip(hooks, kept, strict=True):
            hook.kept = before


def _hooks_of(module: nn.Module) -> Iterator[LivingNorm]:
    return (hook for hook in module._forward_hooks.values() if isinstance(hook, LivingNorm))


def set_living_norms(model: nn.Module, kept: Mapping[str, Tensor]) -> None:
    """Sets what is left of each norm that has a `LivingNorm`; one that is not named is whole."""
    for name, module in model.named_modules():
        for hook in _hooks_of(module):
            hook.kept = kept.get(name)


def living_indices(
    model: nn.Module, cut: KeptIndices, groups: Sequence[Group], kept_units: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Returns for each LayerNorm or GroupNorm over removed units the indices that are left.

    Raises:
        ValueError: the norm has no weight, and no tensor of the group has its width.
    """
    found: dict[str, Tensor] = {}
    for group in groups:
        kept = kept_units.get(group.name)
        for name in group.mixing if kept is not None and not kept.all() else ():
            norm = model.get_submodule(name)
            if treatment(norm) == "living":
                found[name] = _indices(name, norm, cut, group, model)
    return found


def has_known_width(norm: Any, group: Group) -> bool:
    """True if a tensor tells which indices of the norm are left with the group's units."""
    width = _width(norm)
    return norm.weight is not None or any(m.indices.numel() == width for m in group.members)


def _width(norm: Any) -> int:
    width: int = norm.num_channels if isinstance(norm, nn.GroupNorm) else norm.normalized_shape[-1]
    return width


def _indices(name: str, norm: Any, cut: KeptIndices, group: Group, model: nn.Module) -> Tensor:
    first = {id(t): known for known, t in model.named_parameters()}
    if norm.weight is not None:
        kept = cut[first[id(norm.weight)]][0]
        assert kept is not None
        return kept
    width = _width(norm)
    for member in group.members:
        if member.name in cut and member.indices.numel() == width:
            kept = cut[member.name][member.dim]
            assert kept is not None
            return kept
    raise ValueError(
        f"group={group.name}, norm={name}: it has no weight, and no tensor of the group has its "
        f"width={width}; keep the group whole"
    )


def _smaller(norm: nn.Module, kept: Tensor) -> Any:
    """Returns a view of the norm that has the kept entries of its parameters."""
    small: Any = copy.copy(norm)
    small._parameters = {
        leaf: None if p is None else p.index_select(0, kept) for leaf, p in norm._parameters.items()
    }
    if norm._parameters.get("weight") is not None:
        set_sizes(small, {"weight": (kept,)})
    elif isinstance(norm, nn.GroupNorm):
        small.num_channels = len(kept)
    else:
        small.normalized_shape = (len(kept),)
    return small


@torch.no_grad()
def _normalised_dim(norm: Any) -> int:
    """Returns -1, or 1 for norms of channels: subclasses of LayerNorm may be either."""
    if isinstance(norm, nn.GroupNorm):
        return 1
    if type(norm).forward is nn.LayerNorm.forward:
        return -1
    width = norm.normalized_shape[-1]
    like = next(norm.parameters(), torch.zeros(()))
    try:
        norm.forward(torch.zeros(2, 3, 5, width).to(like))
    except (RuntimeError, ValueError):
        return 1
    return -1
