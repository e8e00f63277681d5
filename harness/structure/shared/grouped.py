"""Implements filters, neurons and rows: the units of groups that layers of some kinds compute."""

import logging
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from harness.groups.dispatch import OUTPUT
from harness.groups.find import groups_of
from harness.groups.group import Group
from harness.groups.units import GroupUnits, Pooling, Units
from harness.structure.base import Structure
from harness.vocabulary.checks import check_declared
from harness.vocabulary.tensors import prunable_layers

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rows(Structure):
    """Prunes the output units of some kinds of layers, each with all that belongs to it.

    A unit is a unit of a group (harness.groups): the rows of all layers whose outputs are added,
    their biases, the scale and shift of the norms behind them, and the columns of the layers that
    read it. Pooling of element scores s over the rows of a unit: "mean" sum(s) / n, "sum" sum(s),
    "l2" sqrt(sum(s^2)).

    Left whole, and logged with the reason, are groups that the forward pass does not let lose
    units, groups with rows in layers of other kinds, and groups over which a norm takes statistics
    that would change with their number (a LayerNorm; an RMSNorm is rescaled at removal).

    Raises:
        ValueError: pool_by is unknown.
    """

    pool_by: Pooling = "mean"

    granularity: ClassVar[str] = "unit"
    kinds: ClassVar[tuple[type[nn.Module], ...]]
    noun: ClassVar[str]

    def __post_init__(self) -> None:
        check_declared(self)

    def units(self, model: nn.Module, sample: Tensor) -> Units:
        layers = prunable_layers(model)
        shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
        units: Units = {}
        left_whole: dict[str, list[str]] = {}
        for group in groups_of(model, sample):
            weights = _weights(group, layers)
            if not any(isinstance(layers[name], self.kinds) for name in weights):
                continue
            if why := self._why_whole(model, group, weights, layers):
                left_whole.setdefault(why, []).append(group.name)
            else:
                key = _unused(weights[0], units)
                units[key] = GroupUnits(group, weights, self.pool_by, shapes)
        for why, names in left_whole.items():
            if why == OUTPUT and len(names) == 1:
                continue  # every model has a last layer
            LOG.info("structure=%s leaves %s whole: %s", self.noun, ", ".join(names), why)
        if not units:
            raise ValueError(self._nothing_to_prune(layers, left_whole))
        return units

    def _why_whole(
        self,
        model: nn.Module,
        group: Group,
        weights: tuple[str, ...],
        layers: dict[str, nn.Module],
    ) -> str:
        if group.pinned:
            return group.pinned
        others = [name for name in weights if not isinstance(layers[name], self.kinds)]
        if others:
            return f"{others[0].removesuffix('.weight')} computes a part of each unit"
        mixing = [n for n in group.mixing if type(model.get_submodule(n)).__name__ != "RMSNorm"]
        return f"{mixing[0] or 'the model'} takes statistics over the units" if mixing else ""

    def _nothing_to_prune(self, layers: dict[str, nn.Module], whole: dict[str, list[str]]) -> str:
        if whole:
            why, names = next(iter(whole.items()))
            return (
                f"structure={self.noun} has nothing to prune; of {names[0]}: {why}; use "
                "structure=element"
            )
        kinds = sorted({type(layer).__name__ for layer in layers.values()})
        return (
            f"structure={self.noun} has nothing to prune: the model's layers are "
            f"{', '.join(kinds)}, and outputs are never removed; use structure=element"
        )


def _weights(group: Group, layers: dict[str, nn.Module]) -> tuple[str, ...]:
    """Returns the weights of convolutions and linear layers whose rows are in the group."""
    found = [m.name for m in group.members if m.role == "output" and m.name in layers]
    return tuple(dict.fromkeys(found))


def _unused(name: str, units: Units) -> str:
    """Returns the name, with a number behind it where another group has rows of this weight."""
    number, free = 1, name
    while free in units:
        number += 1
        free = f"{name}#{number}"
    return free
