from dataclasses import dataclass
from typing import ClassVar

from harness.allocation.base import Allocation, Layers
from harness.vocabulary.apportion import apportion
from harness.vocabulary.tensors import Counts


@dataclass(frozen=True)
class Balanced(Allocation):
    """Every layer keeps the same number of units, as far as it has so many.

    What a small layer cannot take goes to the others in equal parts; a remainder goes to the
    first ones, one unit each.
    """

    nested: ClassVar[bool] = True

    def distribute(self, layers: Layers, keep: int) -> Counts:
        alive = {name: layer.alive for name, layer in layers.items()}
        return apportion(keep, dict.fromkeys(layers, 1), alive)
