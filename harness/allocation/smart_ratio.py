from dataclasses import dataclass
from typing import Annotated, ClassVar

from harness.allocation.base import FRACTION, Allocation, Layers
from harness.vocabulary.apportion import reserve
from harness.vocabulary.tensors import Counts


@dataclass(frozen=True)
class SmartRatio(Allocation):
    """Density of layer l of L = eps x ((L - l + 1)^2 + (L - l + 1)); the classifier's is given.

    l counts the model's prunable layers from 1, the classifier (the last one, if it is linear) and
    those that are not pruned among them. eps makes the total exact; a layer that would be more
    than dense is dense, and eps is solved again for the others.

    linear: density of the classifier, in [0, 1]. Where it alone holds more than is to be kept, it
    keeps just that, and the other layers are empty but for their floors; where more is to be kept
    than it and all others hold, it grows.

    Source: Su et al. 2020, Sanity-Checking Pruning Methods (arXiv:2009.11094). We differ:
    - Hidden linear layers follow the formula. Their models have none; their code gives every
      linear layer the classifier's density.
    - Their code divides the ratios by l^2 for all but ResNets. Here the formula is the paper's.
    - What full layers cannot take goes to the others in proportion; in their code to the first
      layers that have room.

    Raises:
        ValueError: linear is out of range.
    """

    linear: Annotated[float, FRACTION] = 0.3

    needs_layer_order: ClassVar[bool] = True

    def distribute(self, layers: Layers, keep: int) -> Counts:
        layer_count = max(
            (max(layer.layer_count, layer.position + 1) for layer in layers.values()), default=0
        )
        left = {name: layer_count - layer.position for name, layer in layers.items()}  # L - l + 1
        sizes = {
            name: layer.units * (left[name] ** 2 + left[name]) for name, layer in layers.items()
        }
        alive = {name: layer.alive for name, layer in layers.items()}
        reserved = {
            name: min(layer.alive, round(self.linear * layer.units))
            for name, layer in layers.items()
            if layer.is_classifier
        }
        return reserve(keep, reserved, sizes, alive)
