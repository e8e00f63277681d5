"""Defines what an allocation is: a rule that divides a total between layers, with floors."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import ROUND_CEILING, Context, Decimal
from fractions import Fraction
from functools import partial
from typing import Annotated, ClassVar, Literal, NamedTuple

from torch import Tensor

from harness.vocabulary.checks import check_declared
from harness.vocabulary.given.latency_table import LatencyTable
from harness.vocabulary.tensors import Counts
from harness.vocabulary.topk import check_keep

FRACTION = "a number in [0, 1]; is it a percentage?"

# (density, mean loss) of the model with this layer alone pruned, by falling density.
SensitivityCurve = tuple[tuple[float, float], ...]


@dataclass(frozen=True, eq=False)
class Layer:
    """Holds what an allocation may read of one prunable tensor and its units."""

    shape: tuple[int, ...]  # of the weight
    kind: str  # class of the layer: "Linear", "Conv2d"
    position: int  # in the order of a forward pass; 0 is the first prunable layer
    alive: int  # units not yet pruned
    scores: Tensor  # one per unit, higher stays; pruned units are -inf
    parameters_per_unit: int  # its weights, and the bias and norm parameters that go with them
    macs_per_unit: int = 0  # multiply-accumulates of one sample
    # What the network that is left loses with one more unit, in the layers that read it too.
    parameters_removed: int = 0
    macs_removed: int = 0
    nanoseconds_removed: int = 0  # by the run's latency table
    multiple: int = 1  # the number of units that stay is a multiple of it, or all
    topology: tuple[object, ...] = ()  # equal for sets whose units lie in equal kinds of layers
    layer_count: int = 0  # prunable layers of the model
    first: bool = False  # it reads nothing but the model's input; there may be several
    last: bool = False  # its units are model outputs, or are added into them; also several
    weight: Tensor | None = None  # the weight itself, 0 where pruned
    curve: SensitivityCurve | None = None  # only if the allocation needs curves

    @property
    def units(self) -> int:
        return self.scores.numel()

    @property
    def is_convolution(self) -> bool:
        # By the weight, not by `kind`: a subclass of Conv2d may have any name.
        return len(self.shape) > 2

    @property
    def is_classifier(self) -> bool:
        return self.last and not self.is_convolution


Layers = dict[str, Layer]
Size = Callable[[Counts], int]  # units per set -> the size of the removable part


def all_alive(layers: Layers) -> Layers:
    """Returns the layers as if nothing was pruned: n of m leave each layer the same density."""
    return {name: replace(layer, alive=layer.units) for name, layer in layers.items()}


@dataclass(frozen=True)
class LayerOrder:
    """Holds the order of a model's layers in a forward pass, not in registration.

    order: names of weights. first, last: as Layer.first and last, by name.
    """

    order: tuple[str, ...]
    first: frozenset[str]
    last: frozenset[str]


@dataclass(frozen=True)
class ModelInfo:
    """Holds what an allocation may read of the model beside its scores, by name of weight."""

    macs: Counts = field(default_factory=dict)  # dense multiply-accumulates of one sample
    other_macs: int = 0  # of no weight: products of two activations
    uncounted: Mapping[str, Sequence[str]] = field(default_factory=dict)  # as in metrics.Macs
    curves: Mapping[str, SensitivityCurve] = field(default_factory=dict)
    layer_order: LayerOrder | None = None  # None: no part needs it
    latency_table: LatencyTable | None = None  # None: none is given

    @property
    def total_macs(self) -> int:
        return sum(self.macs.values()) + self.other_macs


class Proposals(NamedTuple):
    """Holds what a rule proposes, by a number: the larger it is, the more stays.

    least, most: the numbers with a proposal. at: number -> units to keep per tensor.
    """

    least: int
    most: int
    at: Callable[[int], Counts]


class Unreachable(ValueError):
    """Says that the floors alone hold more than the number to keep.

    keep, least, whole: numbers of what `counts` names: requested, held by the floors, and of the
    dense layers.
    """

    def __init__(self, keep: int, least: int, whole: int, floors: str, counts: str = "units"):
        super().__init__(
            f"cannot keep {keep} of {whole} {counts}: the floors of {floors} hold {least}; the "
            f"smallest reachable density of what is pruned is {smallest_density(least, whole)}"
        )
        self.density = least / whole


def smallest_density(least: int, whole: int) -> str:
    """Returns least / whole in six digits, rounded up, so that it keeps at least `least`.

    >>> smallest_density(1, 3)
    '0.333334'
    """
    fraction = Context(prec=6, rounding=ROUND_CEILING).divide(Decimal(least), Decimal(whole))
    return f"{fraction:f}"


@dataclass(frozen=True)
class Allocation(ABC):
    """Divides a total between layers; a rule implements `distribute`.

    min_units, min_density, max_share: floors. A layer of n units keeps at least the largest of
    min_units, min_density x n and (1 - max_share) x n, rounded up, as far as they are alive. So
    max_share is the largest share that a layer loses, over all levels. A layer that a rule would
    leave below its floor gets it, and the rest is distributed over the others by the same rule.
    budget: what the schedule's target counts. "params": parameters. "macs": multiply-accumulates,
    so that a density of 0.1 keeps a tenth of those that may be pruned, and a compression of 10 is
    a theoretical speed-up of 10.

    needs_unsigned_scores: scores must measure size; those that may be negative are refused.
    needs_macs: the rule reads Layer.macs_removed.
    needs_latency: the rule reads Layer.nanoseconds_removed.
    nested: the next proposal never takes a unit from any layer. A rule that ranks units is nested;
    one that rounds proportions is not (the Alabama paradox of largest remainders).
    needs_curves: the rule reads Layer.curve.
    needs_layer_order: the rule reads Layer.position, first or last.
    equal_densities: every layer keeps the same fraction of its units, whatever they cost. A density
    is then a number of units, and one unit's cost never moves the other layers.

    Raises:
        ValueError: a field is out of range.
    """

    min_units: Annotated[int, "a whole number >= 0"] = 0
    min_density: Annotated[float, FRACTION] = 0.0
    max_share: Annotated[float, FRACTION] = 1.0
    budget: Literal["params", "macs"] = "params"

    nested: ClassVar[bool] = False
    needs_curves: ClassVar[bool] = False
    needs_layer_order: ClassVar[bool] = False
    equal_densities: ClassVar[bool] = False
    floor_keys: ClassVar[str] = "min_units, min_density and max_share"

    @property
    def needs_unsigned_scores(self) -> bool:
        return False

    @property
    def needs_macs(self) -> bool:
        return False

    @property
    def needs_latency(self) -> bool:
        return False

    def __post_init__(self) -> None:
        check_declared(self)

    def allocate(self, layers: Layers, keep: int) -> Counts:
        """Returns units to keep per tensor: they sum to `keep`, none exceeds what is alive.

        Raises:
            Unreachable: the floors alone hold more.
            ValueError: keep is negative or more than is alive.
        """
        check_keep(keep, sum(layer.alive for layer in layers.values()))
        floors, fixed = self.floors(layers), dict[str, int]()
        if keep < sum(floors.values()):
            units = sum(layer.units for layer in layers.values())
            raise Unreachable(keep, sum(floors.values()), units, self.floor_keys)
        while True:
            free = {name: layer for name, layer in layers.items() if name not in fixed}
            counts = self.distribute(free, keep - sum(fixed.values()))
            low = {name: floors[name] for name in free if counts[name] < floors[name]}
            if not low:
                return {name: fixed.get(name, counts.get(name, 0)) for name in layers}
            fixed |= low

    def proposals(self, layers: Layers, size: Size) -> Proposals:
        """Returns the proposals of which one has the requested size: those of numbers of units.

        size: of numbers of units per set, in what the request counts.
        """
        least, alive = sum(self.floors(layers).values()), sum(x.alive for x in layers.values())
        return Proposals(least, alive, partial(self.allocate, layers))

    def floors(self, layers: Layers) -> Counts:
        """Returns the units that a layer keeps in any case.

        layers: all that are pruned.

        Raises:
            ValueError: the rule does not fit these layers.
        """
        # The decimal that was written: 0.07 * 100 is above 7 in floating point.
        density = max(Fraction(str(self.min_density)), 1 - Fraction(str(self.max_share)))
        return {
            name: min(layer.alive, max(self.min_units, math.ceil(density * layer.units)))
            for name, layer in layers.items()
        }

    @abstractmethod
    def distribute(self, layers: Layers, keep: int) -> Counts:
        """Returns the same as `allocate`, without floors.

        layers: may be a part of the model's, those that are not fixed at their floor. A layer's
        `position` is its position in the model, not among them.
        """
