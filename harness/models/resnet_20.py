from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from harness.models.shared.residual import Shortcut, residual_network
from harness.models.shared.scaled_model import ScaledModel


@dataclass(frozen=True)
class ResNet20(ScaledModel):
    """Builds ResNet-20 for small images: a convolution, 3 stages of 3 basic blocks, a classifier.

    Stages have 16, 32 and 64 channels, times `width_factor`, rounded up. The second and third
    halve the sides of the image. All convolutions are 3x3. Inputs (channels, height, width) have
    any size.

    For (3, 32, 32) and 10 classes:

    - shortcut=padding: 268,336 prunable weights, 269,722 parameters, 40,551,040
      multiply-accumulates.
    - shortcut=projection: 270,896, 272,474 and 40,813,184.
    - A quarter of the width, with padding: 16,972, 17,326 and 2,617,504.

    Source: He et al. 2016, Deep Residual Learning (arXiv:1512.03385), section 4.2. Their CIFAR
    networks have option A, shortcuts without weights (padding), whose zero channels come last as
    in fb.resnet.torch. OpenLTH and distiller have option B (projection). Convolutions are drawn
    as He et al. 2015; the classifier has torch's initial weights. torchvision has no ResNet-20.

    Raises:
        ValueError: width_factor is not in (0, 16], or shortcut is no such kind.
    """

    name_in_literature: ClassVar[str] = "resnet_20"
    shortcut: Shortcut = "padding"

    def network(self, inputs: int, classes: int) -> nn.Module:
        channels = [self.channels(published) for published in (16, 32, 64)]
        return residual_network(inputs, channels, 3, classes, self.shortcut)
