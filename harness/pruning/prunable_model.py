"""What a run prunes of its network, and what it knows of the network before any training."""

from dataclasses import dataclass

from torch import Tensor, nn

from harness.allocation.base import ModelInfo
from harness.metrics.macs import Macs
from harness.pruning.coverage import check_not_recomputed, warn_untied_head
from harness.pruning.density import Scope
from harness.pruning.prunable import exclude_layers, layer_order_of, layers_known_to, units_of
from harness.structure.base import Structure, Units
from harness.structure.shared.graph import graph_of


@dataclass(frozen=True)
class Prunable:
    """units: those that are pruned. scope: what densities are of. model_info: for allocations."""

    units: Units
    scope: Scope
    model_info: ModelInfo


def find_prunable(
    structure: Structure, model: nn.Module, exclude: list[str], sample: Tensor, macs: Macs
) -> Prunable:
    """Reads the network's graph on `sample` (samples, ...), and names what no rule covers.

    Raises:
        ValueError: there is nothing to prune, or a pruned weight would be alive in use.
    """
    graph = graph_of(model, sample)
    layer_order = layer_order_of(model, graph)
    all_units = units_of(structure, model, sample, graph)
    units = exclude_layers(all_units, exclude, layer_order, layers_known_to(structure, model))
    check_not_recomputed(units, graph)
    warn_untied_head(units, model, graph)
    model_info = ModelInfo(macs.weights, macs.activations, macs.uncounted, layer_order=layer_order)
    return Prunable(units, Scope(structure, units, all_units=all_units), model_info)
