import math
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class ResidualMlp:
    """Linear stem, `blocks` residual blocks of two linear layers each, linear head; any shape.

    Raises:
        ValueError: width or blocks is below 1.
    """

    width: int = 32
    blocks: int = 2

    def __post_init__(self) -> None:
        for name in ("width", "blocks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(math.prod(shape), self.width),
            *(Block(self.width) for _ in range(self.blocks)),
            nn.Linear(self.width, classes),
        )


class Block(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.fc1 = nn.Linear(width, width)
        self.fc2 = nn.Linear(width, width)

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + self.fc2(self.fc1(inputs).relu()).relu()
