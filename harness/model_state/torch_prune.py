"""Converts a pruned model to and from the form of torch.nn.utils.prune."""

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from harness.vocabulary.given.masks import as_bool
from harness.vocabulary.tensors import Tensors


def to_torch_prune(model: nn.Module, masks: Tensors) -> nn.Module:
    """Converts a pruned model to the form of torch.nn.utils.prune, in place.

    Every masked parameter p of a module becomes p_orig (a parameter), p_mask (a buffer) and p,
    their product, recomputed before each forward of that module. A tied parameter gets its mask
    in every module that owns it, under whichever of its names `masks` has it. `prune.remove`
    makes it permanent.

    Raises:
        ValueError: `masks` has two names of one parameter with different masks, a name or shape
            that is not in the model, or other values than 0 and 1.
    """
    masks = as_bool(masks)
    check_masks(model, masks)
    every = _owners(model)
    for name, mask in _once(model, masks).items():
        for owner in every[id(_original(model, name))]:
            path, _, parameter = owner.rpartition(".")
            module = model.get_submodule(path)
            prune.custom_from_mask(module, parameter, mask)
            # Detached until the next forward pass: copy.deepcopy refuses results of autograd.
            setattr(module, parameter, getattr(module, parameter).detach())
    return model


def from_torch_prune(model: nn.Module) -> Tensors:
    """Makes the pruning of torch.nn.utils.prune permanent, in place, and returns the masks.

    True stays. A tied parameter stays tied, and its mask has the first of its names.

    Raises:
        ValueError: no parameter is pruned in that form, or a tied parameter has different masks in
            two of its modules.
    """
    found_masks = {
        name: model.get_buffer(f"{name}_mask").bool()
        for names in _owners(model).values()
        for name in names
        if _is_masked(model, name)
    }
    if not found_masks:
        raise ValueError(
            f"{type(model).__name__} has no *_orig parameter with its *_mask buffer; "
            "prune it with torch.nn.utils.prune first"
        )
    for names in _owners(model).values():
        if any(name in found_masks for name in names):
            _check_alike(names, {name: found_masks.get(name) for name in names})
    masks = _once(model, found_masks)
    for name in found_masks:
        path, _, parameter = name.rpartition(".")
        prune.remove(model.get_submodule(path), parameter)
    return masks


def _owners(model: nn.Module) -> dict[int, list[str]]:
    """Returns the names of each parameter, one per module, by id of the unmasked parameter."""
    owners: dict[int, list[str]] = {}
    for path, module in model.named_modules():
        for key, parameter in module._parameters.items():
            if parameter is not None:
                plain = key.removesuffix("_orig")
                own = plain if f"{plain}_mask" in module._buffers else key
                owners.setdefault(id(parameter), []).append(f"{path}.{own}".removeprefix("."))
    return owners


def _original(model: nn.Module, name: str) -> nn.Parameter:
    return model.get_parameter(f"{name}_orig" if _is_masked(model, name) else name)


def check_masks(model: nn.Module, masks: Tensors) -> None:
    """Checks that the model has a parameter of the name and shape of each mask.

    Raises:
        ValueError: it has not.
    """
    for name, mask in masks.items():
        try:
            shape = tuple(_original(model, name).shape)
        except AttributeError as error:
            raise ValueError(
                f"masks has {name!r}, which is no parameter of {type(model).__name__}; give the "
                "masks of this model"
            ) from error
        if tuple(mask.shape) != shape:
            raise ValueError(
                f"the mask of {name} has shape {tuple(mask.shape)}, and the parameter {shape}; "
                "give the masks of this model"
            )


def _is_masked(model: nn.Module, name: str) -> bool:
    path, _, key = name.rpartition(".")
    module = model.get_submodule(path)
    return f"{key}_orig" in module._parameters and f"{key}_mask" in module._buffers


def _once(model: nn.Module, masks: Tensors) -> Tensors:
    """Returns each mask once, under the first name of its parameter; all names must agree."""
    named: dict[int, dict[str, Tensor]] = {}
    for name, mask in masks.items():
        own = _original(model, name)
        named.setdefault(id(own), {})[name] = mask.to(own.device)
    for alike in named.values():
        _check_alike(list(alike), alike)
    return {name: alike[name] for alike in named.values() for name in list(alike)[:1]}


def _check_alike(names: list[str], masks: Mapping[str, Tensor | None]) -> None:
    """Checks that all names have equal masks; None stands for a module without a mask."""
    for first, second in pairwise(names):
        first_mask, second_mask = masks[first], masks[second]
        alike = first_mask is second_mask or (
            first_mask is not None
            and second_mask is not None
            and torch.equal(first_mask.bool(), second_mask.bool())
        )
        if not alike:
            raise ValueError(
                f"{first} and {second} are one tied parameter and are masked differently; give "
                "both the same mask, or untie them"
            )
