"""A network that is physically smaller: which indices of its tensors are left, and the way back.

Prunings, schedules and records go on in the names and shapes of the dense network: what was removed
counts as pruned there, and is 0.
"""

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from harness.model_state.whole_state import load_into, whole_state
from harness.vocabulary.tensors import Tensors

# Parameter or buffer -> by dimension the indices that are left; None: all of them. A tensor that
# is whole has no entry.
KeptIndices = Mapping[str, tuple[Tensor | None, ...]]


class Compaction(Protocol):
    """Makes a network smaller after each pruning; retraining goes on in the smaller one."""

    def kept_indices(self, model: nn.Module, masks: Tensors) -> KeptIndices:
        """What can be removed while the network computes the same: the rest of each tensor.

        model: of the dense shapes, pruned. masks: in force, True stays.
        """
        ...

    def compact(self, model: nn.Module, kept_indices: KeptIndices) -> nn.Module:
        """A network of the same parameter and buffer names, of the shapes that `kept` leaves.

        model: of the dense shapes; it may be changed and returned. Values are put in later.
        """
        ...


def slice_tensors(values: Tensors, kept_indices: KeptIndices) -> Tensors:
    """What is left of tensors of dense shapes."""
    return {
        name: value[_index(value.shape, kept_indices.get(name, ()))]
        for name, value in values.items()
    }


def scatter_tensors(values: Tensors, kept_indices: KeptIndices, onto: Tensors) -> Tensors:
    """The inverse of `slice_tensors`: tensors of dense shapes, as `onto` where some were removed.

    >>> kept = {"w": (torch.tensor([1]), torch.tensor([0, 2]))}
    >>> small = slice_tensors({"w": torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])}, kept)
    >>> small["w"].tolist(), spread(small, kept, {"w": torch.zeros(2, 3)})["w"].tolist()
    ([[4.0, 6.0]], [[0.0, 0.0, 0.0], [4.0, 0.0, 6.0]])
    """
    spread_values = {}
    for name, value in values.items():
        spread_values[name] = value
        if name in kept_indices:
            spread_values[name] = onto[name].clone()
            spread_values[name][_index(onto[name].shape, kept_indices[name])] = value
    return spread_values


def compact_model(part: Compaction, model: nn.Module, kept_indices: KeptIndices) -> nn.Module:
    """The smaller network, with the values that the model has.

    Raises:
        ValueError: a tensor of it has another shape than what is left.
    """
    values = slice_tensors(whole_state(model), kept_indices)
    smaller = part.compact(model, kept_indices)
    load_into(smaller, values)  # refuses other names and shapes
    return smaller


def expand_model(dense: nn.Module, model: nn.Module, kept_indices: KeptIndices) -> nn.Module:
    """The network in dense shapes, 0 where parameters were removed. dense: a fresh one."""
    with torch.no_grad():
        for name, parameter in dense.named_parameters():
            if name in kept_indices:
                parameter.zero_()
    load_into(dense, scatter_tensors(whole_state(model), kept_indices, whole_state(dense)))
    return dense


def expand_masks(masks: Tensors, kept_indices: KeptIndices, dense: Tensors) -> Tensors:
    """Masks of dense shapes: of what masks are of and of what something was removed from.

    masks: of the network as it is. dense: tensors of the dense shapes, by name.
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
    """Picks out what is left of a tensor of this shape: an index that is broadcast for each dim."""
    indices = [
        torch.arange(n) if i is None else i for n, i in zip(shape, kept_indices, strict=False)
    ]
    ends = [[1] * (len(indices) - dim - 1) for dim in range(len(indices))]
    return tuple(index.view(-1, *end) for index, end in zip(indices, ends, strict=True))
