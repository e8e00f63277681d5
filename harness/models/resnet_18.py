from dataclasses import dataclass

from torch import nn

from harness.models.shared.residual import residual_network
from harness.models.shared.scaled_model import ScaledModel


@dataclass(frozen=True)
class ResNet18(ScaledModel):
    """Builds ResNet-18 for 32x32 images: a convolution, 4 stages of 2 basic blocks, a classifier.

    Stages have 64, 128, 256 and 512 channels, times `width_factor`, rounded up. All but the first
    halve the sides of the image; their shortcuts are 1x1 convolutions. Inputs (channels, height,
    width) of any size.

    11,164,352 prunable weights, 11,173,962 parameters and 555,422,720 multiply-accumulates for
    (3, 32, 32) and 10 classes.

    Source: He et al. 2016, Deep Residual Learning (arXiv:1512.03385), table 1. torchvision's
    resnet18 is for 224x224 images: its conv1 is 7x7 with stride 2, and a max-pooling follows
    (11,678,912 weights and 1,814,073,344 multiply-accumulates there, for 1,000 classes). Here
    conv1 is 3x3 with stride 1 and nothing is pooled, as the pruning literature has it on CIFAR
    (e.g. Tanaka et al. 2020, arXiv:2006.05467). Initial weights are drawn as torchvision's.

    Raises:
        ValueError: width_factor is not in (0, 16].
    """

    @property
    def name_in_literature(self) -> str:
        return "resnet_18"

    def network(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        channels = [self.channels(published) for published in (64, 128, 256, 512)]
        return residual_network(shape[0], channels, 2, classes, "projection")
