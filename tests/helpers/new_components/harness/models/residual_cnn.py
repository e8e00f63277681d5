from dataclasses import dataclass
from typing import Annotated

from torch import Tensor, nn

from harness.models.base import check_task
from harness.vocabulary.checks import check_declared


@dataclass(frozen=True)
class ResidualCnn:
    """Classifies images: stem, residual block with BatchNorm, global pooling, linear layer.

    Raises:
        ValueError: width is out of range.
    """

    width: Annotated[int, "a whole number in [1, 1000]"] = 6

    def __post_init__(self) -> None:
        check_declared(self)

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        check_task("residual_cnn", shape, classes)
        if len(shape) != 3:
            raise ValueError(f"residual_cnn needs images, (channels, height, width), got {shape}")
        return Network(shape[0], self.width, classes)


class Network(nn.Module):
    def __init__(self, channels: int, width: int, classes: int):
        super().__init__()
        self.stem = nn.Conv2d(channels, width, 3, padding=1)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images).relu()
        inner = self.norm1(self.conv1(x)).relu()
        x = (x + self.norm2(self.conv2(inner))).relu()
        answers: Tensor = self.classifier(self.pool(x).flatten(1))
        return answers
