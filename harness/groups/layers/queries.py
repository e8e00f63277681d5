"""Says which layers of a smaller network are multiplied, so that its attention has the dense scale.

Attention whose scale is 1 / sqrt(width of a query) has another one over w' of w dimensions. With
queries x sqrt(w' / w) it is that of the masked network: sqrt(w' / w) q k / sqrt(w') = q k / sqrt(w)
"""

import math
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from harness.groups.group import Group, Member


def query_scales(
    model: nn.Module, groups: Sequence[Group], kept_units: Mapping[str, Tensor]
) -> dict[str, float]:
    """Returns by the name of a tensor the factor that a scale computed from the width demands.

    Concerned are groups of dimensions over which a product of queries and keys sums, with a layer
    of their own that computes one side.

    Args:
        model: in dense shapes.
        groups: of which units are removed.
        kept_units: group name -> (units,) bool, True stays.
    """
    scales = {}
    for group in groups:
        left = int(kept_units[group.name].sum())
        for member in _one_side(model, group):
            scales[member.name] = math.sqrt(left / group.units)
    return scales


def _one_side(model: nn.Module, group: Group) -> list[Member]:
    """Returns the members in the first layer of a group that two layers make and none reads."""
    layers = [member.name.rpartition(".")[0] for member in group.members]
    read = any(member.role == "input" for member in group.members)
    if group.attention != "width" or read or len(set(layers)) < 2:
        return []
    if not isinstance(model.get_submodule(layers[0]), nn.Linear):
        return []
    own = [m for m, layer in zip(group.members, layers, strict=True) if layer == layers[0]]
    sizes = [model.get_parameter(member.name).shape[member.dim] for member in own]
    whole = all(m.indices.numel() == size for m, size in zip(own, sizes, strict=True))
    return own if whole else []
