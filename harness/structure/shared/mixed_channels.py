"""Finds what stays in a layer's channels beside its units: tables, tokens, constants."""

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

from harness.structure.shared.parameter_tensors import ParameterTensors
from harness.structure.shared.tensor_keys import storage_key
from harness.structure.shared.unit_layout import UnitLayout

ADDING = {"add", "sub", "rsub", "maximum", "minimum", "where"}  # a number may be among them
# They put one tensor beside another, or over a part of it.
WRITING = {"cat", "stack", "copy", "index_put", "index_copy", "slice_scatter", "select_scatter"}


class MixedChannels:
    """Keeps which tensors of units have a foreign value added to or concatenated with the units.

    A foreign value is a parameter other than a bias (a table of positions, a class token), a buffer
    or a number that is not 0. It stays in a unit's channel when the unit is removed, so a norm
    behind it is not the unit's alone. A factor is no foreign value: its channel is 0 where the unit
    is.
    """

    def __init__(self, parameters: ParameterTensors):
        self._parameters = parameters
        self._storages: set[int] = set()

    def contains(self, tensor: Tensor) -> bool:
        return storage_key(tensor) in self._storages

    def add(self, outs: Iterable[Tensor], mixed: bool) -> None:
        if mixed:
            self._storages |= {storage_key(out) for out in outs}

    def are_mixed(
        self,
        name: str,
        args: Sequence[Any],
        units: list[Tensor],
        free: list[Tensor],
        known: list[Tensor],
        layouts: Sequence[UnitLayout | None],
    ) -> bool:
        """True if this operator's outputs are mixed.

        units: its inputs that layers made; free: those that neither layers nor the model's input
        made, of which `known` are made of parameters. layouts: of its outputs.
        """
        before = [self.contains(tensor) for tensor in units]
        if name == "mul" and units:
            return all(before)
        if name == "div" and units and args[0] is units[0]:
            return before[0]
        if any(before) or name not in ADDING | WRITING:
            return any(before)
        sizes = {layout.units for layout in layouts if layout}
        if not all(self._is_bias(tensor, sizes) for tensor in known):
            return True
        # What is written over does not stay.
        over = args[0] if name == "copy" else None
        constants = [
            tensor for tensor in free if tensor is not over and not self._parameters.names(tensor)
        ]
        numbers = args if name in ADDING else ()
        return any(map(_is_alive, constants)) or any(map(_is_number, numbers))

    def _is_bias(self, tensor: Tensor, sizes: set[int]) -> bool:
        """True if it is made of parameters with one entry per unit, which are companions."""
        names = self._parameters.names(tensor)
        return tensor.numel() in sizes and all(self._parameters.dims[name] == 1 for name in names)


def _is_alive(constant: Tensor) -> bool:
    return constant.is_floating_point() and bool(constant.any())


def _is_number(value: Any) -> bool:
    return isinstance(value, float | int) and bool(value)
