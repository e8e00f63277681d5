"""Units and layers by number and cost; what a density is of, and the rule by which it counts."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from harness.allocation.base import Layer, LayerOrder, Layers, ModelInfo
from harness.structure.base import Structure, Units
from harness.vocabulary.tensors import Tensors, prunable_layers


def alive_units(structure: Structure, kept: Tensor) -> Tensor:
    """Says of each unit of a weight whether it stays: whether any of its elements is not 0.

    kept: a mask, or the weight itself.
    """
    nonzero = kept != 0
    # Pooling the mask says so for any structure.
    return nonzero if structure.granularity == "weight" else structure.pool(nonzero.float()) > 0


def parameters_per_unit(weight: Tensor, units: int, companions: Sequence[str]) -> int:
    """Counts what one unit owns in the layer that produces it: weights, bias, norm parameters.

    units: of the weight. along: the parameters of one entry per unit that go with them.
    """
    return weight.numel() // units + len(companions)


def layers_of(
    structure: Structure,
    scores: Tensors,
    model: nn.Module,
    units: Units,
    model_info: ModelInfo,
    masks: Tensors | None = None,
) -> Layers:
    """What an allocation may look at, of each weight that is pruned.

    scores: one per unit. masks: in force; pruned units get -inf. None: all are alive.
    """
    modules = prunable_layers(model)
    layer_order = model_info.layer_order or LayerOrder(tuple(modules), frozenset(), frozenset())
    ordered = [name for name in layer_order.order if name in modules]
    positions = {name: number for number, name in enumerate(ordered)}
    layers = {}
    for name, companions in units.items():
        weight, pooled = model.get_parameter(name).detach(), scores[name]
        count = pooled.numel()
        if masks is not None:
            alive = alive_units(structure, masks[name])
            count = int(alive.count_nonzero())
            if count < pooled.numel():
                pooled = torch.where(alive, pooled, -torch.inf)
        layers[name] = Layer(
            shape=tuple(weight.shape),
            kind=type(modules[name]).__name__,
            position=positions.get(name, len(ordered)),
            alive=count,
            scores=pooled,
            parameters_per_unit=parameters_per_unit(weight, pooled.numel(), companions),
            macs_per_unit=model_info.macs.get(name, 0) // pooled.numel(),
            layer_count=len(ordered),
            first=name in layer_order.first,
            last=name in layer_order.last,
            weight=weight,
            curve=model_info.curves.get(name),
        )
    return layers


@dataclass(frozen=True)
class Scope:
    """What a structure may prune of a network after `exclude`; a density is a kept share of it.

    units: less those of excluded layers. every: theirs too; without, none is excluded.
    """

    structure: Structure
    units: Units
    all_units: Units = field(default_factory=dict)

    def density(self, kept: Tensors) -> float:
        """Returns sum of (cost x units that stay) / sum of (cost x units), in [0, 1].

        Both sums are over the layers in scope, and a layer's cost is `parameters_per_unit`, 1 for
        single weights. If every layer keeps the share d of its units, the density is d.

        kept: by name at least the weights in scope, as masks or as the weights themselves.
        """
        remaining = total = 0
        for name, companions in self.units.items():
            alive = alive_units(self.structure, kept[name].detach())
            cost = parameters_per_unit(kept[name], alive.numel(), companions)
            remaining += cost * int(alive.count_nonzero())
            total += cost * alive.numel()
        return remaining / total

    def describe(self) -> str:
        """Returns what the density is of in words, as in "weights, without fc3"."""
        noun = self.structure.noun or type(self.structure).__name__.lower()
        whole = self.structure.granularity == "unit"
        kinds = f"{noun}s by their parameters" if whole else f"{noun}s"
        names = (name.removesuffix(".weight") for name in self.all_units if name not in self.units)
        excluded = ", ".join(names)
        return f"{kinds}, without {excluded}" if excluded else kinds
