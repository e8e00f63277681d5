"""Implements structures whose units are those of groups: which groups differs between them."""

import logging
from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import nn

from harness.groups.find import groups_of
from harness.groups.group import Group
from harness.groups.layers.norms import treatment
from harness.groups.living import has_known_width
from harness.groups.pooling import Normalize, Pooling, PoolOver
from harness.groups.removal import Norms
from harness.groups.tracing.dispatch import OUTPUT
from harness.groups.tracing.traceable import check_followable
from harness.groups.units import GroupUnits, Units, UnitSet
from harness.structure.base import Structure
from harness.vocabulary.checks import check_declared
from harness.vocabulary.given.inputs import Inputs
from harness.vocabulary.tensors import prunable_layers

LOG = logging.getLogger(__name__)
Layers = dict[str, nn.Module]  # name of a weight -> its convolution or linear layer


@dataclass(frozen=True)
class Grouped(Structure):
    """Prunes units of groups (harness.groups), each with all that belongs to it.

    A unit is the rows of all layers whose outputs are added, their biases, the scale and shift of
    the norms behind them, and the columns of the layers that read it.

    pool_by: a unit's score, from those s of its n entries: "mean" sum(s) / n, "sum" sum(s), "l2"
    sqrt(sum(s^2)), "max" max(s). A saliency that scores rows has one s per row.
    pool_over: which entries: "producers", the rows of the convolutions and linear layers that
    compute it; "members", all of its parameters: rows, columns, biases, scales and shifts. An entry
    that is in a row and in a column of the unit counts twice.
    normalize: what the scores of a group are divided by, so that groups compare in a global
    ranking: "mean" s / mean |s|, "max" s / max |s|, over the units that are left; "none".

    Source of the last two: Fang et al. 2023, DepGraph (arXiv:2301.12900). The paper sums over all
    members, and divides by the mean of the N best units of a group; their code takes the mean over
    members and divides by the mean of the group. Theirs is `saliency=magnitude saliency.norm=l2`
    with pool_by=sum, pool_over=members, normalize=mean, but leaves biases and shifts out.

    Left whole, and logged with the reason, are groups that the forward pass does not let lose
    units, those that no convolution or linear layer computes, and groups over which a norm takes
    statistics that would change with their number (a LayerNorm; an RMSNorm is rescaled at removal).

    norms: "living" lets groups under a LayerNorm, or a GroupNorm of one group, lose units too: from
    the pruning on the norm takes its statistics over the units left. "exact" keeps them whole.
    round_to: the channels that stay of a group are a multiple of it, or all of them. Channels are
    the rows that its units own in a layer that computes them: those of all heads, of queries, keys
    and values apart or fused, and of all groups of a convolution together. Heads of 24 rows stay in
    twos for 16. A layer that reads several groups behind each other reads a multiple too. A group
    of which the allocation leaves anything keeps some. None rounds nothing.
    key: `structure=` of this structure; "" is the noun.

    Raises:
        ValueError: a field is out of range; when used, round_to leaves nothing to prune.
    """

    pool_by: Pooling = "mean"
    pool_over: PoolOver = "producers"
    normalize: Normalize = "none"
    norms: Norms = "exact"
    round_to: Annotated[int, "a whole number >= 1; write e.g. 16"] | None = None

    granularity: ClassVar[str] = "unit"
    removes: ClassVar[bool] = True
    noun: ClassVar[str]
    key: ClassVar[str] = ""

    def __post_init__(self) -> None:
        check_declared(self)

    @abstractmethod
    def is_concerned(self, group: Group, weights: tuple[str, ...], layers: Layers) -> bool:
        """Returns True if units of the group are of this structure, removable or not.

        weights: those of convolutions and linear layers whose rows are in the group.
        """

    @abstractmethod
    def missing(self, layers: Layers) -> str:
        """Returns what it says of a model without such groups."""

    def units(self, model: nn.Module, sample: Inputs) -> Units:
        check_followable(model)
        layers = prunable_layers(model)
        shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
        units: Units = {}
        left_whole: dict[str, list[str]] = {}
        for group in groups_of(model, sample):
            weights = _weights(group, layers)
            if not self.is_concerned(group, weights, layers):
                continue
            if why := self.why_whole(model, group, weights, layers):
                left_whole.setdefault(why, []).append(self._shown(group, weights, layers))
            else:
                key = _unused(weights[0], units)
                pooling = self.pool_by, shapes, self.pool_over, self.normalize
                units[key] = GroupUnits(group, weights, *pooling, self.round_to)
        for why, names in left_whole.items():
            if why == OUTPUT and len(names) == 1:
                continue  # every model has a last layer
            LOG.info("%s leaves %s whole: %s", self._chosen, ", ".join(names), why)
        if not units:
            raise ValueError(self._nothing_to_prune(layers, left_whole))
        return units

    def check(self, model: nn.Module, units: Units) -> None:
        whole = [name for name, each in units.items() if is_all_or_none(each)]
        if len(whole) == len(units):
            raise ValueError(
                f"structure.round_to={self.round_to} leaves nothing to prune: all or none of the "
                f"units of {whole[0].removesuffix('.weight')} would stay, as of every other group; "
                "choose a smaller number"
            )
        if whole:
            names = ", ".join(name.removesuffix(".weight") for name in whole)
            LOG.info(
                "%s: with round_to=%s all or none stay of %s", self._chosen, self.round_to, names
            )

    def _shown(self, group: Group, weights: tuple[str, ...], layers: Layers) -> str:
        """Returns the group's name, or that of its first layer of the structure's kinds."""
        own = next((name for name in weights if isinstance(layers[name], self.kinds)), group.name)
        layer = own.removesuffix(".weight")
        return group.name if group.name.partition("#")[0] == layer else layer

    def why_whole(
        self, model: nn.Module, group: Group, weights: tuple[str, ...], layers: Layers
    ) -> str:
        """Returns why no unit of the group can be removed, or ""."""
        if group.pinned:
            return group.pinned
        if not weights:
            return "no convolution or linear layer computes it"
        reasons = (self._why_counted(model.get_submodule(n), n, group) for n in group.mixing)
        return next(filter(None, reasons), "")

    def _why_counted(self, norm: nn.Module, name: str, group: Group) -> str:
        """Returns why a norm over the units does not let them go, or ""."""
        kind, why = treatment(norm), f"{name or 'the model'} takes statistics over the units"
        if kind == "rescaled":
            return ""
        if kind == "living" and self.norms == "exact":
            return f"{why} (structure.norms=living lets them go)"
        if kind == "living" and has_known_width(norm, group):
            return ""
        return why

    @property
    def _chosen(self) -> str:
        return f"structure={self.key or self.noun}"

    def _nothing_to_prune(self, layers: Layers, whole: dict[str, list[str]]) -> str:
        if not whole:
            why = self.missing(layers)
            return f"{self._chosen} has nothing to prune: {why}; use structure=element"
        why, names = next(iter(whole.items()))
        return f"{self._chosen} has nothing to prune; of {names[0]}: {why}; use structure=element"


def is_all_or_none(units: UnitSet) -> bool:
    """Returns True where rounding leaves no number of units but all and none."""
    return isinstance(units, GroupUnits) and 1 < units.multiple >= units.count


def _weights(group: Group, layers: Layers) -> tuple[str, ...]:
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
