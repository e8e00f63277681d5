from dataclasses import dataclass

from torch import nn

from harness.groups.units import Units
from harness.penalty.base import Lasso
from harness.vocabulary.tensors import prunable_layers


@dataclass(frozen=True)
class L1(Lasso):
    """strength x sum |w| over all prunable weights: adds strength x sign(w), 0 at w = 0.

    The term is added beside the mean loss per sample, so strength means the same at every batch
    size. Biases and norms are spared; layers that are excluded from pruning are not.

    Source: Tibshirani 1996, the lasso; before pruning as in Han et al. 2015 (arXiv:1506.02626),
    who compare L1 and L2. We differ: the plain subgradient by the recipe's optimizer, so a weight
    gets close to 0 and seldom to exactly 0 (no proximal step); pruning then cuts it.

    Raises:
        ValueError: epochs is not a whole number of at least 1, or strength not a finite number
            above 0.
    """

    def check(self, model: nn.Module, units: Units) -> None:
        prunable_layers(model)

    def penalised(self, model: nn.Module) -> list[nn.Parameter]:
        return [model.get_parameter(name) for name in prunable_layers(model)]
