from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

from torch import nn

from harness.models.shared.plain_stage import plain_stage
from harness.models.shared.scaled_model import ScaledModel

CHANNELS = (64, 128, 256, 512, 512)  # of each stage
CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


@dataclass(frozen=True)
class VggBn(ScaledModel):
    """Builds VGG-11, 16 or 19 with BatchNorm for 32x32 images: 3x3 convolutions, one linear layer.

    Five stages of 64, 128, 256, 512 and 512 channels, times `width_factor`, rounded up, have
    1, 1, 2, 2, 2 convolutions (VGG-11), 2, 2, 3, 3, 3 (VGG-16) or 2, 2, 4, 4, 4 (VGG-19). A 2x2
    max-pooling stands between two of these stages, a spatial mean behind the last. Inputs
    (channels, height, width) of at least 16 x 16 pixels. Below 32 x 32 the last stage has rows or
    columns of one pixel, where the outer entries of its kernels meet padding alone.

    Prunable weights, parameters and multiply-accumulates for (3, 32, 32) and 10 classes:

    | depth | weights | parameters | multiply-accumulates |
    | --- | --- | --- | --- |
    | 11 | 9,222,848 | 9,231,114 | 152,769,536 |
    | 16 | 14,715,584 | 14,728,266 | 313,201,664 |
    | 19 | 20,024,000 | 20,040,522 | 398,136,320 |

    Source: Simonyan & Zisserman 2015 (arXiv:1409.1556), configurations A, D and E, in the form of
    OpenLTH and Tanaka et al. 2020 (arXiv:2006.05467): convolutions with biases, a BatchNorm before
    each ReLU, one classifier. torchvision's vgg16_bn is for 224x224 images, with five max-poolings
    and three linear layers of 4,096, 4,096 and 1,000 units. Convolutions are drawn as
    torchvision's; the classifier has torch's initial weights.

    Raises:
        ValueError: depth is not 11, 16 or 19, or width_factor not in (0, 16].
    """

    depth: Literal[11, 16, 19] = 16

    @property
    def name_in_literature(self) -> str:
        return f"vgg_{self.depth}_bn"

    @property
    def smallest(self) -> int:
        return 16  # 16 -> 8 -> 4 -> 2 -> 1; 15 leaves no pixel for the last stage

    def network(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        layers = OrderedDict[str, nn.Module]()
        before, first = shape[0], 1
        stages = list(zip(CHANNELS, CONVOLUTIONS[self.depth], strict=True))
        for stage, (published, convolutions) in enumerate(stages, start=1):
            width = self.channels(published)
            numbers = range(first, first + convolutions)
            layers |= plain_stage(before, width, numbers, batch_norm=True)
            before, first = width, numbers.stop
            if stage < len(stages):
                layers[f"pool{stage}"] = nn.MaxPool2d(2)
        layers |= {
            "avgpool": nn.AdaptiveAvgPool2d(1),
            "flatten": nn.Flatten(),
            "fc": nn.Linear(before, classes),
        }
        return nn.Sequential(layers)
