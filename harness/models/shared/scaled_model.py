"""Scales the channel counts of published models, and draws initial weights as He et al. 2015."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import nn

from harness.vocabulary.checks import check_declared

FACTOR = "a number in (0, 16]; 1.0 is the published width, 0.25 a quarter of its channels"


@dataclass(frozen=True)
class ScaledModel:
    """ceil(width_factor x published channels): the channels of each convolution, at least 1.

    At another width the model has no published figures.

    Raises:
        ValueError: width_factor is not in (0, 16].
    """

    name_in_literature: ClassVar[str]
    width_factor: Annotated[float, FACTOR] = 1.0

    def __post_init__(self) -> None:
        check_declared(self)

    @property
    def published_as(self) -> str | None:
        return self.name_in_literature if self.width_factor == 1 else None

    def channels(self, published: int) -> int:
        """Returns the channels in place of the published ones.

        >>> [ScaledModel(factor).channels(16) for factor in (1.0, 0.25, 0.3, 0.001)]
        [16, 4, 5, 1]
        """
        return math.ceil(self.width_factor * published)


def initialise_convolutions(model: nn.Module) -> None:
    """Draws convolutions from N(0, 2 / (filters x kernel size)), and sets their biases to 0.

    Source: He et al. 2015, Delving Deep into Rectifiers (arXiv:1502.01852), equation 14, as in
    torchvision.
    """
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
