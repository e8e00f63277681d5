from dataclasses import dataclass

from harness.allocation.apportion import apportion
from harness.allocation.base import Layers
from harness.tensors import Counts


@dataclass(frozen=True)
class Uniform:
    """Every layer keeps the same share of its units ("layerwise"), classifier included.

    The total is exact: rounding is settled by largest remainder. No layer has a floor.
    """

    def allocate(self, layers: Layers, keep: int) -> Counts:
        sizes = {name: layer.units for name, layer in layers.items()}
        alive = {name: layer.alive for name, layer in layers.items()}
        return apportion(keep, sizes, alive)
