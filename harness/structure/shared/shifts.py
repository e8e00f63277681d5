"""What is added to units channel by channel: biases, shifts of norms, constants like them."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from harness.structure.shared.call import OTHER, Call
from harness.structure.shared.positions import Track

SHIFTING = {"add", "sub", "rsub"}  # what they add to units stays when the units are gone


def wide(tensor: Tensor) -> list[int]:
    """Its dimensions of different entries, counted from the right: -1 is the last."""
    # A dimension that is expanded repeats one entry.
    steps = tensor.stride() if tensor.layout == torch.strided else [1] * tensor.dim()
    sizes = enumerate(zip(tensor.shape, steps, strict=True))
    return [dim - tensor.dim() for dim, (size, step) in sizes if size > 1 and step]


def counted(known: Iterable[Tensor], out: Tensor) -> int:
    """The dimension of `out` that tensors of one dimension count; else the last one."""
    found = {dim for tensor in known for dim in wide(tensor)}
    return out.dim() + (found.pop() if len(found) == 1 else -1)


def per_unit(constant: Tensor, out: Tensor, track: Track | None) -> bool:
    """Whether it has one number for each of the units in `out`, where that is."""
    dims = wide(constant)
    if not constant.is_floating_point() or len(dims) != 1 or constant.dim() > out.dim():
        return False
    return track is None or track == Track.along(out.shape, out.dim() + dims[0])


def sends(call: Call, units: list[Tensor], parameters: Sequence[Tensor] = ()) -> bool:
    """Whether the operator makes something else of units that are 0, whatever the parameters."""

    def value(each: Tensor) -> Tensor:
        if any(each is unit for unit in units):
            return torch.zeros_like(each)
        return torch.full_like(each, OTHER) if any(each is p for p in parameters) else each.clone()

    return not call.gives_zero(value)
