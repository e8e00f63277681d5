import math
from dataclasses import dataclass
from fractions import Fraction

from harness.allocation.base import Allocation, Layers
from harness.vocabulary.apportion import apportion, whole_numbers
from harness.vocabulary.tensors import Counts


@dataclass(frozen=True)
class Erk(Allocation):
    """Erdos-Renyi kernel: density of a layer = eps x (sum of dimensions) / (product of them).

    Of the weight's dimensions: eps x (n_in + n_out + height + width) / (n_in n_out height width)
    for a convolution of 2 dimensions; n_in is that of one group. Wide layers are the sparsest. A
    layer that would be more than dense is dense, and eps is solved again for the others. Where
    whole rows are pruned, the density of rows follows the same formula.

    Source: Evci et al. 2020, Rigging the Lottery (arXiv:1911.11134). Their code floors the number
    of zeros of each layer; here the total is exact.
    """

    def distribute(self, layers: Layers, keep: int) -> Counts:
        ratios = {
            name: Fraction(layer.units * sum(layer.shape), math.prod(layer.shape))
            for name, layer in layers.items()
        }
        alive = {name: layer.alive for name, layer in layers.items()}
        return apportion(keep, whole_numbers(ratios), alive)
