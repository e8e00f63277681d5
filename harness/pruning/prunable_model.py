"""What a run prunes of its network, and what it knows of the network before any training."""

from dataclasses import dataclass

from torch import Tensor, nn

from harness.allocation.base import Facts
from harness.metrics.macs import Macs
from harness.pruning.coverage import check_alive_nowhere, tell_untied_head
from harness.pruning.density import Scope
from harness.pruning.prunable import exclude_layers, known_to, places_in, units_of
from harness.structure.base import Structure, Units
from harness.structure.shared.graph import graph_of


@dataclass(frozen=True)
class Prunable:
    """units: those that are pruned. scope: what densities are of. facts: what allocations know."""

    units: Units
    scope: Scope
    facts: Facts


def find_prunable(
    structure: Structure, network: nn.Module, exclude: list[str], sample: Tensor, macs: Macs
) -> Prunable:
    """Reads the network's graph on `sample` (samples, ...), and names what no rule covers.

    Raises:
        ValueError: there is nothing to prune, or a pruned weight would be alive in use.
    """
    graph = graph_of(network, sample)
    places = places_in(network, graph)
    every = units_of(structure, network, sample, graph)
    units = exclude_layers(every, exclude, places, known_to(structure, network))
    check_alive_nowhere(units, graph)
    tell_untied_head(units, network, graph)
    facts = Facts(macs.weights, macs.activations, macs.uncounted, places=places)
    return Prunable(units, Scope(structure, units, every=every), facts)
