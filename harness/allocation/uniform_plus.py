import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, ClassVar

from harness.allocation.base import FRACTION, Allocation, Layers
from harness.vocabulary.apportion import reserve
from harness.vocabulary.tensors import Counts


@dataclass(frozen=True)
class UniformPlus(Allocation):
    """Layers are uniform, but the first convolution is dense and the classifier has a floor.

    classifier: least fraction of its units, in [0, 1]. The first convolution is a layer that reads
    nothing but the model's input, if it is one; the classifier one that makes its outputs, if it
    is linear. There may be several of both. Nothing else is fixed.

    Where those two alone hold more than is to be kept, the number to keep is distributed over them
    in proportion to what they would hold. The other layers are then empty but for their floors.

    Source: Gale et al. 2019, The State of Sparsity in Deep Neural Networks (arXiv:1902.09574), as
    in the code of Lee et al. 2021 (arXiv:2010.07611), which refuses such small densities and
    distributes what is removed: once something is pruned, it removes the same fraction of what is
    alive from every layer. Here all layers have the same fraction of their dense units, at every
    level.

    Raises:
        ValueError: classifier is out of range.
    """

    classifier: Annotated[float, FRACTION] = 0.2

    needs_layer_order: ClassVar[bool] = True

    def distribute(self, layers: Layers, keep: int) -> Counts:
        sizes = {name: layer.units for name, layer in layers.items()}
        alive = {name: layer.alive for name, layer in layers.items()}
        reserved = {
            name: layer.alive
            for name, layer in layers.items()
            if layer.first and layer.is_convolution
        }
        counts = reserve(keep, reserved, sizes, alive)
        fraction = Fraction(str(self.classifier))
        least = {
            name: min(layer.alive, math.ceil(fraction * layer.units))
            for name, layer in layers.items()
            if layer.is_classifier
        }
        low = {name: count for name, count in least.items() if counts[name] < count}
        return reserve(keep, reserved | low, sizes, alive) if low else counts
