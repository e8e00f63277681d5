"""Reads what a run prunes of its model, and what is known of the model before training."""

from dataclasses import dataclass

from torch import nn

from harness.allocation.base import ModelInfo
from harness.groups.units import Units
from harness.metrics.macs import Macs
from harness.pruning.coverage import check_not_recomputed, warn_untied_head
from harness.pruning.density import Scope
from harness.pruning.graph.graph import graph_of
from harness.pruning.prunable import exclude_layers, layer_order_of, layers_known_to, units_of
from harness.structure.base import Structure
from harness.vocabulary.given.inputs import Inputs


@dataclass(frozen=True)
class Prunable:
    """Holds what can be pruned of one model.

    Args:
        units: the units that are pruned.
        scope: what densities refer to.
        model_info: what allocations may read.
    """

    units: Units
    scope: Scope
    model_info: ModelInfo


def find_prunable(
    structure: Structure, model: nn.Module, exclude: list[str], sample: Inputs, macs: Macs
) -> Prunable:
    """Reads the model's graph on `sample` (samples, ...), and logs parameters that no rule covers.

    Raises:
        ValueError: there is nothing to prune, the structure cannot divide a weight, or the forward
            pass would use another value than 0 for a pruned weight.
    """
    graph = graph_of(model, sample)
    layer_order = layer_order_of(model, graph)
    all_units = units_of(structure, model, sample, graph)
    units = exclude_layers(all_units, exclude, layer_order, layers_known_to(structure, model))
    structure.check(model, units)
    check_not_recomputed(units, graph)
    warn_untied_head(units, model, graph)
    model_info = ModelInfo(macs.weights, macs.activations, macs.uncounted, layer_order=layer_order)
    output_layers = layer_order.last if layer_order else frozenset()
    return Prunable(units, Scope(structure, units, all_units, output_layers), model_info)
