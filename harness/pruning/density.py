"""Counts units and layers by number and cost, and defines densities."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from harness.allocation.base import Layer, LayerOrder, Layers, ModelInfo
from harness.groups.network_latency import latency_of
from harness.groups.network_size import macs_of, parameters_of
from harness.groups.units import RemovableUnits, Units, weights_of
from harness.structure.base import Structure
from harness.vocabulary.tensors import Tensors, prunable_layers


def _alive_scores(scores: Tensor, alive: Tensor) -> tuple[Tensor, int]:
    """Returns the scores with -inf at pruned units, and the number of the others."""
    count = int(alive.count_nonzero())
    return scores if count == alive.numel() else torch.where(alive, scores, -torch.inf), count


def layers_of(
    scores: Tensors,
    model: nn.Module,
    units: Units,
    model_info: ModelInfo,
    masks: Tensors | None = None,
) -> Layers:
    """Returns what an allocation may read of each set of units.

    Args:
        scores: one per unit, by name in `units`.
        model: holds the weights.
        units: the units that are pruned.
        model_info: multiply-accumulates, layer order and curves, as far as they are known.
        masks: the masks in force, whose pruned units get the score -inf; None if all are alive.
    """
    modules = prunable_layers(model)
    layer_order = model_info.layer_order or LayerOrder(tuple(modules), frozenset(), frozenset())
    ordered = [name for name in layer_order.order if name in modules]
    positions = {name: number for number, name in enumerate(ordered)}
    layers = {}
    for name, each in units.items():
        first, pooled, count = each.weights[0], scores[name], None
        if masks is not None:
            pooled, count = _alive_scores(pooled, each.alive(masks))
        pooled = each.normalized(pooled)
        weight = model.get_parameter(first).detach()
        macs = sum(model_info.macs.get(name, 0) for name in each.weights)
        layers[name] = Layer(
            shape=tuple(weight.shape),
            kind=type(modules[first]).__name__,
            position=min(positions.get(name, len(ordered)) for name in each.weights),
            alive=pooled.numel() if count is None else count,
            scores=pooled,
            parameters_per_unit=each.size,
            macs_per_unit=macs // pooled.numel(),
            layer_count=len(ordered),
            first=not layer_order.first.isdisjoint(each.weights),
            last=not layer_order.last.isdisjoint(each.weights),
            weight=weight,
            curve=model_info.curves.get(name),
            topology=each.topology(model),
            multiple=each.multiple,
        )
    return _with_costs(layers, model, units, model_info)


def _with_costs(layers: Layers, model: nn.Module, units: Units, model_info: ModelInfo) -> Layers:
    """Returns the layers with what the network that is left loses by one more unit of each."""
    if not all(isinstance(each, RemovableUnits) for each in units.values()):
        return {
            name: replace(
                layer,
                parameters_removed=layer.parameters_per_unit,
                macs_removed=layer.macs_per_unit,
            )
            for name, layer in layers.items()
        }
    alive = {name: layer.alive for name, layer in layers.items()}
    parameters = parameters_of(model, units)
    macs = macs_of(model, units, model_info.macs, model_info.other_macs)
    table = model_info.latency_table
    latency = None if table is None else latency_of(model, units, table)
    return {
        name: replace(
            layer,
            parameters_removed=parameters.removed_by_one(name, alive),
            macs_removed=macs.removed_by_one(name, alive),
            nanoseconds_removed=0 if latency is None else latency.removed_by_one(name, alive),
        )
        for name, layer in layers.items()
    }


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

        Both sums are over the sets of units in scope. A unit's cost is the number of parameters
        that compute it, without those that read it; 1 for single weights. If every set keeps a
        fraction d of its units, the density is d.

        kept: the weights in scope by name, as masks or as the weights themselves; may contain more.
        """
        remaining = total = 0
        for each in self.units.values():
            alive = each.alive(kept)
            remaining += each.size * int(alive.count_nonzero())
            total += each.size * alive.numel()
        return remaining / total

    def describe(self) -> str:
        """Returns what the density refers to in words.

        As in "weights, without fc3", or "weights, with output layer fc3".
        """
        noun = self.structure.noun or type(self.structure).__name__.lower()
        whole = self.structure.granularity == "unit"
        inside = weights_of(self.units)
        kinds = f"{noun}s by their parameters" if whole else f"{noun}s"
        excluded = _layers(name for name in weights_of(self.all_units) if name not in inside)
        outputs = _layers(name for name in inside if name in self.output_layers)
        parts = [f"without {excluded}"] if excluded else []
        parts += [f"with output layer {outputs}"] if outputs else []
        return ", ".join([kinds, *parts])


def _layers(names: Iterable[str]) -> str:
    return ", ".join(name.removesuffix(".weight") for name in names)
