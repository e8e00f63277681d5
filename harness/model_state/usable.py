"""Checks that an object is a model whose weights can be pruned and stored."""

from collections import defaultdict
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from harness.vocabulary.finite import is_finite
from harness.vocabulary.tensors import distinct


def check_usable(model: Any, source: str = "model") -> None:
    """Checks the kind of a model and the memory of its parameters.

    Args:
        model: what should be a model.
        source: what gives it, for the message.

    Raises:
        ValueError: it is no module, a parameter has no values yet or a dtype without arithmetic,
            or entries of parameters share memory: a mask of one would prune the other.
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"{source} must be a torch.nn.Module, got {type(model).__name__}")
    for name, parameter in model.named_parameters():
        _check_parameter(name, parameter)
    _check_memory(model)


def check_finite(model: nn.Module) -> None:
    """Checks that every parameter is finite.

    Raises:
        ValueError: one is not.
    """
    for name, parameter in model.named_parameters():
        if not is_finite(parameter.detach()):
            raise ValueError(
                f"{name} holds values that are not finite, before any training; look at how the "
                "model is initialised, or at the file of weights"
            )


def _check_parameter(name: str, parameter: Tensor) -> None:
    if is_lazy(parameter):
        raise ValueError(f"{name} has no values yet; run one batch through the model first")
    if parameter.is_meta:
        raise ValueError(f"{name} has no values, as it is on the meta device; load its weights")
    if parameter.is_floating_point() and parameter.element_size() == 1:
        raise ValueError(f"{name} is {parameter.dtype}; convert the model to bfloat16 or wider")
    if distinct(parameter).shape != parameter.shape:
        raise ValueError(
            f"{name} of shape {tuple(parameter.shape)} repeats entries in memory (expand); give it "
            "values of its own: nn.Parameter(weight.clone())"
        )


def _check_memory(model: nn.Module) -> None:
    by_storage = defaultdict[int, list[tuple[str, Tensor]]](list)
    for name, parameter in model.named_parameters():
        if parameter.layout is torch.strided and parameter.numel():
            storage = parameter.untyped_storage().data_ptr()
            by_storage[storage].append((name, parameter.detach()))
    for sharing in by_storage.values():
        for (first, one), (second, other) in combinations(sharing, 2):
            if _overlap(one, other):
                raise ValueError(
                    f"{first} and {second} are two parameters in the same memory; make them one "
                    "parameter to tie them, or clone one"
                )


def _overlap(one: Tensor, other: Tensor) -> bool:
    """Returns True if an entry of one lies in the memory of an entry of the other."""
    spans = [(_first_byte(tensor), _last_byte(tensor)) for tensor in (one, other)]
    if spans[0][1] < spans[1][0] or spans[1][1] < spans[0][0]:
        return False
    if one.element_size() != other.element_size():
        return True
    size = one.untyped_storage().nbytes() // one.element_size()
    taken = torch.zeros(size, dtype=torch.uint8)
    for tensor in (one, other):
        taken.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset()).add_(1)
    return bool((taken > 1).any())


def _first_byte(tensor: Tensor) -> int:
    return int(tensor.storage_offset()) * tensor.element_size()


def _last_byte(tensor: Tensor) -> int:
    sizes = zip(tensor.shape, tensor.stride(), strict=True)
    last = tensor.storage_offset() + sum((size - 1) * stride for size, stride in sizes)
    return int(last + 1) * tensor.element_size() - 1
