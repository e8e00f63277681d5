"""Builds published models at any width, with initial weights as He et al. 2015."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import nn

from harness.models.base import check_images, check_weights
from harness.vocabulary.checks import check_declared

FACTOR = "a number in (0, 16]; 1.0 is the published width, 0.25 a quarter of its channels"


@dataclass(frozen=True)
class ScaledModel(ABC):
    """ceil(width_factor x published channels): the channels of each convolution, at least 1.

    At another width the model has no published figures.

    Raises:
        ValueError: width_factor is not in (0, 16].
    """

    width_factor: Annotated[float, FACTOR] = 1.0

    def __post_init__(self) -> None:
        check_declared(self)

    @property
    @abstractmethod
    def name_in_literature(self) -> str:
        """Returns the name of the model at its published width."""

    @property
    def published_as(self) -> str | None:
        return self.name_in_literature if self.width_factor == 1 else None

    @property
    def smallest(self) -> int:
        """Returns the rows and columns that an image must have at least."""
        return 1

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        check_images(self.name_in_literature, shape, classes, self.smallest)
        with torch.device("meta"):
            planned = self.network(shape, classes)
        weights = sum(parameter.numel() for parameter in planned.parameters())
        check_weights(self.name_in_literature, weights)
        model = self.network(shape, classes)
        self.initialise(model)
        return model

    @abstractmethod
    def network(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """Returns the model for images of this shape, with torch's initial weights."""

    def initialise(self, model: nn.Module) -> None:
        """Draws convolutions from N(0, 2 / (filters x kernel size)), and sets their biases to 0.

        Source: He et al. 2015, Delving Deep into Rectifiers (arXiv:1502.01852), equation 14, as in
        torchvision.
        """
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def channels(self, published: int) -> int:
        """Returns the channels in place of the published ones."""
        return math.ceil(self.width_factor * published)
