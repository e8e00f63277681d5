"""Cuts tensors to kept indices, and expands them again to the dense shapes."""

import torch
from torch import Tensor, nn

from harness.groups.group import KeptIndices
from harness.model_state.whole_state import load_into, whole_state
from harness.vocabulary.tensors import Tensors


def slice_tensors(values: Tensors, kept_indices: KeptIndices) -> Tensors:
    """Returns the entries at the kept indices of tensors in dense shapes."""
    return {
        name: value[_index(value.shape, kept_indices.get(name, ()))]
        for name, value in values.items()
    }


def scatter_tensors(values: Tensors, kept_indices: KeptIndices, onto: Tensors) -> Tensors:
    """Returns tensors in dense shapes, with the entries of `onto` where entries were removed.

    This is the inverse of `slice_tensors`.

    >>> kept = {"w": (torch.tensor([1]), torch.tensor([0, 2]))}
    >>> small = slice_tensors({"w": torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])}, kept)
    >>> small["w"].tolist(), scatter_tensors(small, kept, {"w": torch.zeros(2, 3)})["w"].tolist()
    ([[4.0, 6.0]], [[0.0, 0.0, 0.0], [4.0, 0.0, 6.0]])
    """
    spread_values = {}
    for name, value in values.items():
        spread_values[name] = value
        if name in kept_indices:
            spread_values[name] = onto[name].clone()
            spread_values[name][_index(onto[name].shape, kept_indices[name])] = value
    return spread_values


def expand_model(dense: nn.Module, model: nn.Module, kept_indices: KeptIndices) -> nn.Module:
    """Returns the model in dense shapes, with 0 where parameters were removed.

    dense: a new model, which is filled and returned.
    """
    with torch.no_grad():
        for name, parameter in dense.named_parameters():
            if name in kept_indices:
                parameter.zero_()
    load_into(dense, scatter_tensors(whole_state(model), kept_indices, whole_state(dense)))
    return dense


def expand_masks(masks: Tensors, kept_indices: KeptIndices, dense: Tensors) -> Tensors:
    """Returns masks in dense shapes, of all masked tensors and of all tensors with removed entries.

    masks: in the shapes of the smaller model. dense: parameters in dense shapes, by name.
    """
    none = {
        name: torch.zeros_like(dense[name], dtype=torch.bool)
        for name in kept_indices
        if name in dense
    }
    ones = {
        name: none[name].new_ones(()).expand(_sizes(none[name], kept_indices[name]))
        for name in none
    }
    return scatter_tensors({**ones, **masks}, kept_indices, none)


def _sizes(tensor: Tensor, kept_indices: tuple[Tensor | None, ...]) -> list[int]:
    return [n if i is None else len(i) for n, i in zip(tensor.shape, kept_indices, strict=True)]


def _index(shape: torch.Size, kept_indices: tuple[Tensor | None, ...]) -> tuple[Tensor, ...]:
    """Returns one broadcastable index per dimension, which picks the kept entries of a tensor."""
    indices = [
        torch.arange(n) if i is None else i for n, i in zip(shape, kept_indices, strict=False)
    ]
    ends = [[1] * (len(indices) - dim - 1) for dim in range(len(indices))]
    return tuple(index.view(-1, *end) for index, end in zip(indices, ends, strict=True))
