"""Defines sets of units: what of a model is scored, kept and removed together."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod

import torch
from torch import Tensor, nn

from harness.groups.group import (
    Factor,
    Group,
    Member,
    alive_in,
    member_masks,
    topology,
    units_at_once,
)
from harness.groups.pooling import Normalize, Pooling, PoolOver, normalized, pooled
from harness.vocabulary.tensors import Companions, Tensors


class UnitSet(ABC):
    """Holds units of which each is kept or removed whole.

    weights: names of the weights that compute the units; several where their outputs are added.
    scored: names of the parameters whose scores decide: `weights`, or all in `masked`.
    size: parameters of one unit in these weights, with its biases and norm parameters.
    masked: names of all parameters of which a removed unit owns entries.
    has_rows: a unit consists of rows of the weights, so that scores of rows can be pooled.
    multiple: how many units stay is a multiple of it, or all.
    """

    weights: tuple[str, ...]
    scored: tuple[str, ...]
    size: int
    masked: tuple[str, ...]
    has_rows: bool
    multiple: int = 1

    @abstractmethod
    def pool(self, scores: Tensors) -> Tensor:
        """Returns one score per unit from those of the elements in `scored`, or of their rows."""

    def add(self, values: Tensors) -> Tensor:
        """Returns the sum over each unit's entries in `scored`; units of groups alone have it."""
        raise NotImplementedError

    def normalized(self, scores: Tensor) -> Tensor:
        """Returns what scores of several sets are compared by; pruned units have -inf."""
        return scores

    @abstractmethod
    def masks(self, kept: Tensor) -> Tensors:
        """Returns the masks of parameters, True stays, when only these units stay.

        kept: bools, one per unit.
        """

    @abstractmethod
    def alive(self, kept: Tensors) -> Tensor:
        """Returns for each unit whether anything that computes it is not 0.

        kept: masks, or the parameters themselves, by name; may contain more.
        """

    @abstractmethod
    def topology(self, model: nn.Module) -> tuple[object, ...]:
        """Returns what is equal for sets whose units lie in equal kinds of modules."""

    @property
    @abstractmethod
    def companions(self) -> Companions:
        """Returns for each of `weights` the biases and norm parameters that go with its rows."""


class RemovableUnits(UnitSet):
    """Holds units without which the network is smaller.

    count: how many there are.
    """

    count: int

    @property
    @abstractmethod
    def cuts(self) -> Mapping[tuple[str, int], float]:
        """Returns (parameter or product, dimension) -> the indices that each removed unit takes."""

    @property
    @abstractmethod
    def factors(self) -> tuple[Factor, ...]:
        """Returns the products of two activations that shrink with the units."""


Units = dict[str, UnitSet]  # name, that of the first of its weights -> units that are pruned


@dataclass(frozen=True, eq=False)
class GroupUnits(RemovableUnits):
    """Holds the units of a group. Their masks cover all members, columns of consumers too.

    Args:
        group: what a unit consists of.
        weights: of the convolutions and linear layers that compute a unit.
        pool_by: how the scores of all elements of a unit are pooled.
        shapes: of all parameters of the model, by name.
        pool_over: the rows of `weights`, or what a unit owns in all parameters.
        normalize: what a group's scores are divided by before groups are compared.
        round_to: divides the rows that stay of each weight, unless all stay; None divides any.
    """

    group: Group
    weights: tuple[str, ...]
    pool_by: Pooling
    shapes: Mapping[str, tuple[int, ...]]
    pool_over: PoolOver = "producers"
    normalize: Normalize = "none"
    round_to: int | None = None

    @property
    def count(self) -> int:  # type: ignore[override]
        return self.group.units

    @property
    def scored(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.weights if self.pool_over == "producers" else self.masked

    @cached_property
    def has_rows(self) -> bool:  # type: ignore[override]
        # The units of a transposed convolution are its columns.
        return all(member.dim == 0 for member in self._rows)

    @cached_property
    def multiple(self) -> int:  # type: ignore[override]
        return units_at_once(self._rows, self.round_to or 1)

    @cached_property
    def size(self) -> int:  # type: ignore[override]
        return sum(self._size_in(member) for member in self._parameters if member.role == "output")

    @cached_property
    def masked(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(dict.fromkeys(member.name for member in self._parameters))

    @cached_property
    def companions(self) -> Companions:
        """Returns for each weight the vectors that follow it in the model's order."""
        found: dict[str, list[str]] = {name: [] for name in self.weights}
        last = self.weights[0]
        for member in self._parameters:
            if member.name in found:
                last = member.name
            elif member.role == "output" and len(self.shapes[member.name]) == 1:
                found[last].append(member.name)
        # The norm nearest to the output first.
        return {name: tuple(reversed(vectors)) for name, vectors in found.items()}

    @cached_property
    def cuts(self) -> Mapping[tuple[str, int], float]:
        taken: dict[tuple[str, int], float] = {}
        parts = [((m.name, m.dim), float(m.indices.shape[1])) for m in self._parameters]
        parts += [((f.name, f.dim), f.per_unit) for f in self.factors]
        for place, each in parts:
            taken[place] = taken.get(place, 0) + each
        return taken

    @property
    def factors(self) -> tuple[Factor, ...]:
        return self.group.factors

    @property
    def _parameters(self) -> Iterable[Member]:
        return (member for member in self.group.members if member.name in self.shapes)

    @property
    def _rows(self) -> Iterable[Member]:
        return (m for m in self.group.members if m.name in self.weights and m.role == "output")

    def _size_in(self, member: Member) -> int:
        shape, slices = self.shapes[member.name], member.indices.shape[1]
        return prod(slices if dim == member.dim else size for dim, size in enumerate(shape))

    def pool(self, scores: Tensors) -> Tensor:
        return pooled(self._entries(scores), (1,), self.pool_by)

    def add(self, values: Tensors) -> Tensor:
        return self._entries(values).sum(1)

    def _entries(self, scores: Tensors) -> Tensor:
        parts = []
        for member in self._rows if self.pool_over == "producers" else self._parameters:
            rows = scores[member.name].movedim(member.dim, 0)
            indices = member.indices.to(rows.device)
            parts.append(rows.flatten(1)[indices] if rows.dim() > 1 else rows[indices])
        return torch.cat([part.flatten(1) for part in parts], 1)  # (units, entries)

    def normalized(self, scores: Tensor) -> Tensor:
        return normalized(scores, self.normalize)

    def masks(self, kept: Tensor) -> Tensors:
        return member_masks(self._parameters, kept, self.shapes)

    def topology(self, model: nn.Module) -> tuple[object, ...]:
        return topology(self.group, model)

    def row_masks(self, kept: Tensor) -> Tensors:
        """Returns the masks of the weights' rows alone, columns of consumers left out."""
        return member_masks(self._rows, kept, self.shapes)

    def alive(self, kept: Tensors) -> Tensor:
        return alive_in(self.group, kept)


def weights_of(units: Units) -> tuple[str, ...]:
    """Returns the names of the weights that compute these units."""
    return tuple(dict.fromkeys(name for each in units.values() for name in each.weights))


def scored_parameters(units: Units, model: nn.Module) -> Tensors:
    """Returns the parameters whose scores decide (detached, not copied), by name."""
    names = dict.fromkeys(name for each in units.values() for name in each.scored)
    return {name: model.get_parameter(name).detach() for name in names}


def pooled_scores(units: Units, scores: Tensors) -> Tensors:
    """Returns one score per unit, by name in `units`, from those of parameters."""
    return {name: each.pool(scores) for name, each in units.items()}


def equal_scores(units: Units, model: nn.Module) -> Tensors:
    """Returns equal scores, one per unit, by name in `units`."""
    parameters = scored_parameters(units, model)
    return pooled_scores(units, {name: torch.ones_like(p) for name, p in parameters.items()})


def masks_of(units: Units, kept: Tensors, in_force: Tensors) -> Tensors:
    """Returns the masks of parameters when only these units stay.

    kept: name in `units` -> bools, one per unit. in_force: masks by parameter, which stay.
    """
    masks: Tensors = {}
    for name, flags in kept.items():
        for parameter, mask in units[name].masks(flags).items():
            before = masks.get(parameter, in_force.get(parameter))
            masks[parameter] = mask if before is None else mask & before
    return masks
