"""Own parts that tests name by their _target_: parts.NAME."""

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Dropping:
    """All that a resumed training could lose: batch statistics and dropout, beside weights."""

    hidden: list[int]
    batch_norm: bool = True

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        (width,) = self.hidden
        return nn.Sequential(
            nn.Linear(shape[0], width),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Linear(width, classes),
        )


@dataclass(frozen=True)
class Shifting:
    """Shifts each sample by its own amount."""

    draws: int = 1

    def apply(self, inputs: Tensor, draws: Tensor) -> Tensor:
        return inputs + draws.to(inputs.dtype) - 0.5
