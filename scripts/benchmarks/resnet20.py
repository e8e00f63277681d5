"""Builds ResNet-20 for CIFAR (He et al. 2016) with 1x1 shortcuts: 270,896 prunable weights."""

from torch import Tensor, nn


class Block(nn.Module):
    def __init__(self, before: int, after: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.shortcut: nn.Module = nn.Identity()
        if before != after:
            conv = nn.Conv2d(before, after, 1, stride, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(after))

    def forward(self, inputs: Tensor) -> Tensor:
        inner = self.bn1(self.conv1(inputs)).relu()
        outputs: Tensor = (self.bn2(self.conv2(inner)) + self.shortcut(inputs)).relu()
        return outputs


def resnet20(classes: int = 10) -> nn.Module:
    blocks: list[nn.Module] = []
    before = 16
    for width, stride in ((16, 1), (32, 2), (64, 2)):
        for number in range(3):
            blocks.append(Block(before, width, stride if number == 0 else 1))
            before = width
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), *blocks,
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes),
    )  # fmt: skip
