"""What an allocation is: a rule that shares a total between layers, with a floor for each."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from harness.tensors import Counts

BUDGETS = {"params": "weights or parameters", "macs": "multiply-accumulates"}

# (density, mean loss) of a network in which this layer alone is pruned, by falling density.
Curve = tuple[tuple[float, float], ...]


@dataclass(frozen=True, eq=False)
class Layer:
    """What an allocation may look at: one prunable tensor and its units."""

    shape: tuple[int, ...]  # of the weight
    kind: str  # class of the layer: "Linear", "Conv2d"
    position: int  # 0 is the first prunable layer of the model
    alive: int  # units not yet pruned
    scores: Tensor  # one per unit, higher stays; pruned units are -inf
    weights_per_unit: int
    parameters_per_unit: int  # with the bias and norm parameters that go with the unit
    macs_per_unit: int = 0  # multiply-accumulates of one sample
    depth: int = 0  # prunable layers of the model; position + 1 == depth is the classifier
    weight: Tensor | None = None  # the weight itself, 0 where pruned
    curve: Curve | None = None  # where the allocation asks for one

    @property
    def units(self) -> int:
        return self.scores.numel()

    @property
    def is_classifier(self) -> bool:
        return self.kind == "Linear" and self.position + 1 == self.depth


Layers = dict[str, Layer]


@dataclass(frozen=True)
class Facts:
    """What the experiment knows of the prunable weights beside their scores, by name."""

    macs: Counts = field(default_factory=dict)  # dense multiply-accumulates of one sample
    curves: Mapping[str, Curve] = field(default_factory=dict)


class Unreachable(ValueError):
    """The floors alone hold more than what shall be kept."""

    def __init__(self, keep: int, least: int, units: int):
        super().__init__(
            f"cannot keep {keep} of {units} units: the floors of min_units and min_density hold "
            f"{least}; the smallest reachable density of what is pruned is {least / units:.6g}"
        )


@dataclass(frozen=True)
class Allocation(ABC):
    """Shares a total between layers; a rule implements `share`.

    min_units, min_density: no layer falls below so many of its units, or below that share of
    them (rounded up), as far as they are alive. A layer that a rule would leave below gets its
    floor, and the others share the rest by the same rule.
    budget: what the schedule's target counts. "params": weights, or parameters when the target is
    a compression. "macs": multiply-accumulates, so that a density of 0.1 keeps a tenth of them
    and a compression of 10 is a theoretical speed-up of 10.

    Raises:
        ValueError: a field is out of range.
    """

    min_units: int = 0
    min_density: float = 0.0
    budget: str = "params"

    def __post_init__(self) -> None:
        if type(self.min_units) is not int or self.min_units < 0:
            raise ValueError(f"min_units must be a whole number >= 0, got {self.min_units!r}")
        density = self.min_density
        if (
            isinstance(density, bool)
            or not isinstance(density, int | float)
            or not (0 <= density <= 1)
        ):
            raise ValueError(f"min_density must be in [0, 1], got {density!r}")
        if self.budget not in BUDGETS:
            raise ValueError(f"budget must be {' or '.join(BUDGETS)}, got {self.budget!r}")

    def allocate(self, layers: Layers, keep: int) -> Counts:
        """Units to keep per tensor: they sum to exactly `keep`, none exceeds what is alive.

        Raises:
            Unreachable: the floors alone hold more.
            ValueError: keep is negative or more than is alive.
        """
        floors, fixed = self.floors(layers), dict[str, int]()
        if keep < sum(floors.values()):
            units = sum(layer.units for layer in layers.values())
            raise Unreachable(keep, sum(floors.values()), units)
        while True:
            free = {name: layer for name, layer in layers.items() if name not in fixed}
            counts = self.share(free, keep - sum(fixed.values()))
            low = {name: floors[name] for name in free if counts[name] < floors[name]}
            if not low:
                return {name: fixed.get(name, counts.get(name, 0)) for name in layers}
            fixed |= low

    def floors(self, layers: Layers) -> Counts:
        """Units that a layer keeps in any case."""
        return {
            name: min(layer.alive, max(self.min_units, math.ceil(self.min_density * layer.units)))
            for name, layer in layers.items()
        }

    @abstractmethod
    def share(self, layers: Layers, keep: int) -> Counts:
        """As `allocate`, without floors. `layers` may be a part of the model's."""
