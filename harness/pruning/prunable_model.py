"""What a run prunes of its network, and what it knows of the network before any training."""

from dataclasses import dataclass

from torch import Tensor, nn

from harness.allocation.base import ModelInfo
from harness.metrics.macs import Macs
from harness.pruning.coverage import check_alive_nowhere, tell_untied_head
from harness.pruning.density import Scope
from harness.pruning.prunable import exclude_layers, known_to, layer_order_of, units_of
from harness.structure.base import Structure, Units
from harness.structure.shared.graph import graph_of


@dataclass(frozen=True)
class Prunable:
    """units: those that are pruned. scope: what densities are of. model_info: for allocations."""

    units: Units
    scope: Scope
    model_info: ModelInfo


def find_prunable(
    structure: Structure, network: nn.Module, exclude: list[str], sample: Tensor, macs: Macs
) -> Prunable:
    """Reads the network's graph on `sample` (samples, ...), and names what no rule covers.

    Raises:
        ValueError: there is nothing to prune, or a pruned weight would be alive in use.
    """
    graph = graph_of(network, sample)
    layer_order = layer_order_of(network, graph)
    every = units_of(structure, network, sample, graph)
    units = exclude_layers(every, exclude, layer_order, known_to(structure, network))
    check_alive_nowhere(units, graph)
    tell_untied_head(units, network, graph)
    model_info = ModelInfo(macs.weights, macs.activations, macs.uncounted, layer_order=layer_order)
    return Prunable(units, Scope(structure, units, every=every), model_info)
