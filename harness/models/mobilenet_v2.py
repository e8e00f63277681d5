from collections import OrderedDict
from dataclasses import dataclass

from torch import Tensor, nn

from harness.models.shared.scaled_model import ScaledModel

# Expansion, channels, blocks and first stride of each stage.
STAGES = (
    (1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
    (6, 320, 1, 1),
)  # fmt: skip


@dataclass(frozen=True)
class MobileNetV2(ScaledModel):
    """Builds MobileNetV2 for 32x32 images: depthwise convolutions in inverted residual blocks.

    A 3x3 convolution of 32 channels; 17 blocks in 7 stages of 16, 24, 32, 64, 96, 160 and 320
    channels; a 1x1 convolution of 1,280; all times `width_factor`, rounded up; a spatial mean and
    a classifier. ReLU6 throughout. Inputs (channels, height, width) have any size.

    2,202,560 prunable weights, 2,236,682 parameters and 87,976,448 multiply-accumulates for
    (3, 32, 32) and 10 classes.

    Source: Sandler et al. 2018, MobileNetV2 (arXiv:1801.04381), table 2. For 32x32 images its first
    convolution and its third stage of blocks have stride 1 in place of 2, as in
    github.com/chenyaofo/pytorch-cifar-models; github.com/kuangliu/pytorch-cifar does so too, and
    has shortcuts with weights besides. Without their dropout before the classifier. Theirs rounds
    scaled channels to multiples of 8, and never has fewer than 1,280 at the end. Convolutions are
    drawn as torchvision's; the classifier has torch's initial weights.

    Raises:
        ValueError: width_factor is not in (0, 16].
    """

    @property
    def name_in_literature(self) -> str:
        return "mobilenet_v2"

    def network(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        before, last = self.channels(32), self.channels(1280)
        layers = OrderedDict[str, nn.Module](stem=_convolution(shape[0], before, 3))
        for stage, (expansion, published, blocks, first) in enumerate(STAGES, start=1):
            width, parts = self.channels(published), []
            for block in range(blocks):
                parts.append(InvertedResidual(before, width, expansion, 1 if block else first))
                before = width
            layers[f"stage{stage}"] = nn.Sequential(*parts)
        layers |= {
            "last": _convolution(before, last, 1),
            "avgpool": nn.AdaptiveAvgPool2d(1),
            "flatten": nn.Flatten(),
            "fc": nn.Linear(last, classes),
        }
        return nn.Sequential(layers)


class InvertedResidual(nn.Module):
    """project(depthwise(expand(x))), plus x where shapes are equal.

    expand is a 1x1 convolution to `expansion` times the channels, and missing where that is 1.
    depthwise is 3x3 and has the stride. Both have BatchNorm and ReLU6, project has BatchNorm alone.
    """

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int):
        super().__init__()
        hidden = inputs * expansion
        self.expand = _convolution(inputs, hidden, 1) if expansion > 1 else nn.Identity()
        self.depthwise = _convolution(hidden, hidden, 3, stride, hidden)
        self.project = nn.Conv2d(hidden, outputs, 1, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.bn(self.project(self.depthwise(self.expand(x))))
        return x + outputs if self.adds else outputs


def _convolution(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Module:
    padding = kernel // 2
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
    layers = OrderedDict[str, nn.Module](conv=convolution, bn=nn.BatchNorm2d(outputs))
    return nn.Sequential(layers | {"relu": nn.ReLU6()})
