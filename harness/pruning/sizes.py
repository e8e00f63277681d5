"""Computes the size of what is left: parameters, multiply-accumulates, nanoseconds, or units."""

from functools import partial

from torch import nn

from harness.allocation.base import Layer, Layers, ModelInfo, Size
from harness.groups.network_latency import latency_of
from harness.groups.network_size import macs_of, parameters_of
from harness.groups.units import Units
from harness.vocabulary.tensors import Counts

LEFT = " left"
NANOSECONDS = "nanoseconds"


def count_unit(unit: str, budget: str, equal_densities: bool = False, removes: bool = False) -> str:
    """Returns what a request in this unit counts under this budget.

    A speed-up counts multiply-accumulates under any budget, a latency nanoseconds.

    budget: the allocation's, or "latency", under which all but densities counts nanoseconds.
    equal_densities: the attribute of the allocation. removes: removed units take columns of other
    layers with them, so that sizes of the whole model are those of what is left.

    >>> [count_unit("density", budget) for budget in ("params", "macs")]
    ['parameters', 'macs']
    >>> count_unit("speedup", "params")
    'macs'
    >>> count_unit("density", "params", equal_densities=True)
    'units'
    >>> count_unit("compression", "params", removes=True)
    'parameters left'
    """
    counts = "macs" if budget == "macs" or unit == "speedup" else "parameters"
    if unit == "latency" or (budget == "latency" and unit != "density"):
        counts = NANOSECONDS
    if unit == "density":
        return "units" if equal_densities and counts == "parameters" else counts
    return counts + LEFT if removes else counts


def size_function(
    counts: str, layers: Layers, model: nn.Module, units: Units, model_info: ModelInfo
) -> Size:
    """Returns what computes sizes, in what `counts` names."""
    if counts == f"parameters{LEFT}":
        return parameters_of(model, units).removable
    if counts == f"macs{LEFT}":
        return macs_of(model, units, model_info.macs, model_info.other_macs).removable
    if counts == f"{NANOSECONDS}{LEFT}" and model_info.latency_table is not None:
        return latency_of(model, units, model_info.latency_table).removable
    return partial(size_of, layers, counts=counts)


def size_of(layers: Layers, units: Counts, counts: str) -> int:
    return sum(units[name] * cost(layer, counts) for name, layer in layers.items())


def total_of(model: nn.Module, counts: str, model_info: ModelInfo) -> int:
    """Returns the size of the whole dense model, prunable or not."""
    own = counts.removesuffix(LEFT)
    if own == NANOSECONDS and model_info.latency_table is not None:
        return model_info.latency_table.dense
    if own == "macs":
        return model_info.total_macs
    return sum(parameter.numel() for parameter in model.parameters())


def cost(layer: Layer, counts: str) -> int:
    """Returns the size of one unit of the layer."""
    sizes = {"parameters": layer.parameters_per_unit, "macs": layer.macs_per_unit, "units": 1}
    return sizes[counts]
