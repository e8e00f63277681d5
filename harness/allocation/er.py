from dataclasses import dataclass
from fractions import Fraction

from harness.allocation.base import Allocation, Layers
from harness.vocabulary.apportion import apportion, whole_numbers
from harness.vocabulary.tensors import Counts


@dataclass(frozen=True)
class Er(Allocation):
    """Erdos-Renyi: density of a layer = eps x (n_in + n_out) / (n_in n_out), its kernel ignored.

    n_in and n_out are the weight's first two dimensions, so n_in is that of one group. A layer
    that would be more than dense is dense, and eps is solved again for the others. For linear
    layers it is what ERK is.

    Source: Mocanu et al. 2018, Scalable training of artificial neural networks with adaptive
    sparse connectivity (arXiv:1707.04780), who draw linear layers at random with this density;
    for convolutions as in Evci et al. 2020 (arXiv:1911.11134).
    """

    def distribute(self, layers: Layers, keep: int) -> Counts:
        ratios = {
            name: Fraction(layer.units * sum(layer.shape[:2]), layer.shape[0] * layer.shape[1])
            for name, layer in layers.items()
        }
        alive = {name: layer.alive for name, layer in layers.items()}
        return apportion(keep, whole_numbers(ratios), alive)
