from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from harness.groups.units import Units
from harness.penalty.base import Lasso


@dataclass(frozen=True)
class BnL1(Lasso):
    """strength x sum |gamma| over the scales of all BatchNorm layers: adds strength x sign(gamma).

    The gradient is 0 at gamma = 0; shifts and weights are spared. Goes with saliency=bn_scale,
    which prunes the units of the smallest |gamma|.

    Source: Liu et al. 2017, Network Slimming (arXiv:1708.06519), whose code adds the same
    subgradient, with strength 1e-4 (VGG) or 1e-5 (ResNet). They train so from the initial
    model on, through all epochs; here it is a phase of `epochs` before each pruning. As there,
    the scales of norms whose units cannot be pruned count too.

    Raises:
        ValueError: epochs is not a whole number of at least 1, or strength not a finite number
            above 0.
    """

    def check(self, model: nn.Module, units: Units) -> None:
        """Checks the model before any training.

        Raises:
            ValueError: the model has no BatchNorm with a scale.
        """
        if not self.penalised(model):
            raise ValueError(
                "penalty=bn_l1 needs a BatchNorm with a scale (affine), but "
                f"{type(model).__name__} has none; use a model with one, e.g. model=lenet_5_bn, or "
                "penalty=l1"
            )

    def penalised(self, model: nn.Module) -> list[nn.Parameter]:
        norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
        # Each scale once, also where norms share one. torch's types hide that it may be None.
        scales: list[nn.Parameter | None] = [norm.weight for norm in norms]
        return [scale for scale in dict.fromkeys(scales) if scale is not None]
