"""Counts units and layers by number and cost, and defines densities."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from harness.allocation.base import Layer, LayerOrder, Layers, ModelInfo
from harness.structure.base import Structure
from harness.vocabulary.tensors import Tensors, Units, prunable_layers


def alive_units(structure: Structure, kept: Tensor) -> Tensor:
    """Returns for each unit of a weight whether any of its elements is not 0.

    kept: a mask, or the weight itself.
    """
    nonzero = kept != 0
    # Pooling the mask works for any structure.
    return nonzero if structure.granularity == "weight" else structure.pool(nonzero.float()) > 0


def parameters_per_unit(weight: Tensor, units: int, companions: Sequence[str]) -> int:
    """Counts the parameters of one unit in its own layer: weights, bias, norm parameters.

    units: the number of units of the weight. companions: names of parameters with one entry per
    unit, which are pruned with the unit.
    """
    return weight.numel() // units + len(companions)


def _alive_scores(scores: Tensor, alive: Tensor) -> tuple[Tensor, int]:
    """Returns the scores with -inf at pruned units, and the number of the others."""
    count = int(alive.count_nonzero())
    return scores if count == alive.numel() else torch.where(alive, scores, -torch.inf), count


def layers_of(
    structure: Structure,
    scores: Tensors,
    model: nn.Module,
    units: Units,
    model_info: ModelInfo,
    masks: Tensors | None = None,
) -> Layers:
    """Returns what an allocation may read of each weight that is pruned.

    Args:
        structure: defines the units of a weight.
        scores: one per unit, by weight.
        model: holds the weights.
        units: the prunable weights, with the companions of their units.
        model_info: multiply-accumulates, layer order and curves, as far as they are known.
        masks: the masks in force, whose pruned units get the score -inf; None if all are alive.
    """
    modules = prunable_layers(model)
    layer_order = model_info.layer_order or LayerOrder(tuple(modules), frozenset(), frozenset())
    ordered = [name for name in layer_order.order if name in modules]
    positions = {name: number for number, name in enumerate(ordered)}
    layers = {}
    for name, companions in units.items():
        weight, pooled, count = model.get_parameter(name).detach(), scores[name], None
        if masks is not None:
            pooled, count = _alive_scores(pooled, alive_units(structure, masks[name]))
        layers[name] = Layer(
            shape=tuple(weight.shape),
            kind=type(modules[name]).__name__,
            position=positions.get(name, len(ordered)),
            alive=pooled.numel() if count is None else count,
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
    """Defines what a structure may prune after `exclude`; a density is a kept fraction of it.

    Args:
        structure: defines the units.
        units: the units of the layers that are not excluded.
        all_units: the units including those of excluded layers; empty if no layer is excluded.
        output_layers: weights of layers whose outputs are the model's, as far as they are known.
    """

    structure: Structure
    units: Units
    all_units: Units = field(default_factory=dict)
    output_layers: frozenset[str] = frozenset()

    def density(self, kept: Tensors) -> float:
        """Returns sum of (cost x units that stay) / sum of (cost x units), in [0, 1].

        Both sums are over the layers in scope. A layer's cost is `parameters_per_unit`, and 1 for
        single weights. If every layer keeps a fraction d of its units, the density is d.

        kept: the weights in scope by name, as masks or as the weights themselves; may contain more.
        """
        remaining = total = 0
        for name, companions in self.units.items():
            alive = alive_units(self.structure, kept[name].detach())
            cost = parameters_per_unit(kept[name], alive.numel(), companions)
            remaining += cost * int(alive.count_nonzero())
            total += cost * alive.numel()
        return remaining / total

    def describe(self) -> str:
        """Returns what the density refers to in words.

        As in "weights, without fc3", or "weights, with output layer fc3".
        """
        noun = self.structure.noun or type(self.structure).__name__.lower()
        whole = self.structure.granularity == "unit"
        kinds = f"{noun}s by their parameters" if whole else f"{noun}s"
        excluded = _layers(name for name in self.all_units if name not in self.units)
        outputs = _layers(name for name in self.units if name in self.output_layers)
        parts = [f"without {excluded}"] if excluded else []
        parts += [f"with output layer {outputs}"] if outputs else []
        return ", ".join([kinds, *parts])


def _layers(names: Iterable[str]) -> str:
    return ", ".join(name.removesuffix(".weight") for name in names)
