import math
from dataclasses import dataclass
from fractions import Fraction

from harness.allocation.apportion import reserve
from harness.allocation.base import Allocation, Layers, check_share
from harness.tensors import Counts


@dataclass(frozen=True)
class UniformPlus(Allocation):
    """Uniform, but the first convolution is dense and the classifier keeps at least a share.

    classifier: that share of its units, in [0, 1]. The first convolution is the model's first
    prunable layer if it is one, the classifier the last one if it is linear. Nothing else is fixed.

    Where those two alone hold more than is to be kept, they share it in proportion to what they
    would hold, and the other layers are empty but for their floors.

    Source: Gale et al. 2019, The State of Sparsity in Deep Neural Networks (arXiv:1902.09574), as
    in the code of Lee et al. 2021 (arXiv:2010.07611), which refuses such small densities and
    shares what is removed: once something is pruned, it removes the same share of what is alive
    from every layer. Here all layers have the same share of their dense units, at every level.

    Raises:
        ValueError: classifier is out of range.
    """

    classifier: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share("classifier", self.classifier)

    def share(self, layers: Layers, keep: int) -> Counts:
        sizes = {name: layer.units for name, layer in layers.items()}
        alive = {name: layer.alive for name, layer in layers.items()}
        held = {
            name: layer.alive
            for name, layer in layers.items()
            if layer.position == 0 and layer.is_convolution
        }
        counts = reserve(keep, held, sizes, alive)
        for name, layer in layers.items():
            least = min(layer.alive, math.ceil(Fraction(str(self.classifier)) * layer.units))
            if layer.is_classifier and counts[name] < least:
                return reserve(keep, held | {name: least}, sizes, alive)
        return counts
