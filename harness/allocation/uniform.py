from dataclasses import dataclass
from typing import ClassVar

from harness.allocation.base import Allocation, Layers
from harness.vocabulary.apportion import apportion
from harness.vocabulary.tensors import Counts


@dataclass(frozen=True)
class Uniform(Allocation):
    """Every layer keeps the same fraction of its units ("layerwise"), classifier included.

    The total is exact: rounding is settled by largest remainder. At density d a layer of n units
    keeps d n, rounded up or down.
    """

    equal_densities: ClassVar[bool] = True

    def distribute(self, layers: Layers, keep: int) -> Counts:
        sizes = {name: layer.units for name, layer in layers.items()}
        alive = {name: layer.alive for name, layer in layers.items()}
        return apportion(keep, sizes, alive)
