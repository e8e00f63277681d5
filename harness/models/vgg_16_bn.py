from collections import OrderedDict
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from harness.models.shared.scaled_model import ScaledModel

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels, convolutions


@dataclass(frozen=True)
class Vgg16Bn(ScaledModel):
    """Builds VGG-16 with BatchNorm for 32x32 images: 13 3x3 convolutions, a linear classifier.

    Channels are 64 (2 convolutions), 128 (2), 256 (3), 512 (3) and 512 (3), times `width_factor`,
    rounded up. A 2x2 max-pooling stands between two of these stages, a spatial mean behind the
    last. Inputs (channels, height, width) of at least 16 x 16 pixels. Below 32 x 32 the last stage
    has rows or columns of one pixel, where the outer entries of its kernels meet padding alone.

    14,715,584 prunable weights, 14,728,266 parameters and 313,201,664 multiply-accumulates for
    (3, 32, 32) and 10 classes.

    Source: Simonyan & Zisserman 2015 (arXiv:1409.1556), configuration D, in the form of OpenLTH
    and Tanaka et al. 2020 (arXiv:2006.05467): convolutions with biases, a BatchNorm before each
    ReLU, one classifier. torchvision's vgg16_bn is for 224x224 images, with five max-poolings and
    three linear layers of 4,096, 4,096 and 1,000 units. Convolutions are drawn as torchvision's;
    the classifier has torch's initial weights.

    Raises:
        ValueError: width_factor is not in (0, 16].
    """

    name_in_literature: ClassVar[str] = "vgg_16_bn"
    smallest: ClassVar[int] = 16  # 16 -> 8 -> 4 -> 2 -> 1; 15 leaves no pixel for the last stage

    def network(self, inputs: int, classes: int) -> nn.Module:
        layers = OrderedDict[str, nn.Module]()
        before, number = inputs, 0
        for stage, (published, convolutions) in enumerate(STAGES, start=1):
            width = self.channels(published)
            for _ in range(convolutions):
                number += 1
                layers[f"conv{number}"] = nn.Conv2d(before, width, 3, padding=1)
                layers[f"bn{number}"] = nn.BatchNorm2d(width)
                layers[f"relu{number}"] = nn.ReLU()
                before = width
            if stage < len(STAGES):
                layers[f"pool{stage}"] = nn.MaxPool2d(2)
        layers |= {
            "avgpool": nn.AdaptiveAvgPool2d(1),
            "flatten": nn.Flatten(),
            "fc": nn.Linear(before, classes),
        }
        return nn.Sequential(layers)
