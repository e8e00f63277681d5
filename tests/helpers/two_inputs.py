"""Defines a model of two inputs, image and vector, and the same model of one joined tensor."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from harness.data.base import Split, Splits


class TwoInputs(nn.Module):
    """Reads an image (samples, 1, 4, 4) and a vector (samples, 3)."""

    def __init__(self, classes: int):
        super().__init__()
        self.conv, self.vector = nn.Conv2d(1, 4, 3), nn.Linear(3, 6)
        self.out = nn.Linear(4 * 2 * 2 + 6, classes)

    def forward(self, image: Tensor, vector: Tensor) -> Tensor:
        seen = [self.conv(image).relu().flatten(1), self.vector(vector).relu()]
        found: Tensor = self.out(torch.cat(seen, 1))
        return found


class Joined(TwoInputs):
    """Reads both in one tensor (samples, 19)."""

    def forward(self, both: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(both[:, :16].reshape(-1, 1, 4, 4), both[:, 16:])


@dataclass(frozen=True)
class Model:
    joined: bool = False

    def build(self, shape: Any, classes: int) -> nn.Module:
        assert shape == ((19,) if self.joined else {"image": (1, 4, 4), "vector": (3,)})
        return Joined(classes) if self.joined else TwoInputs(classes)


@dataclass(frozen=True)
class Data:
    joined: bool = False

    def load(self) -> Splits:
        return Splits(*(self._split(count) for count in (48, 16, 16)), classes=3)

    def _split(self, count: int) -> Split:
        values = torch.randn(count, 19, generator=torch.Generator().manual_seed(count))
        labels = (values[:, 0] + values[:, 16] > 0).long() + (values[:, 18] > 0.5)
        named = {"image": values[:, :16].reshape(-1, 1, 4, 4), "vector": values[:, 16:]}
        return Split(values if self.joined else named, labels)
