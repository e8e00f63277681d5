from dataclasses import dataclass
from typing import Annotated

from torch import nn

from harness.models.shared.residual import Shortcut, residual_network
from harness.models.shared.scaled_model import ScaledModel


@dataclass(frozen=True)
class ResNetCifar(ScaledModel):
    """Builds ResNet-20, 32, 44, 56, 110, ... for small images.

    A convolution, 3 stages of n basic blocks, and a classifier: depth = 6 n + 2. Stages have 16, 32
    and 64 channels, times `width_factor`, rounded up. The second and third halve the sides of the
    image. All convolutions are 3x3. Inputs (channels, height, width) have any size.

    Prunable weights, parameters and multiply-accumulates for (3, 32, 32) and 10 classes:

    | depth | shortcut=padding | shortcut=projection |
    | --- | --- | --- |
    | 20 | 268,336, 269,722, 40,551,040 | 270,896, 272,474, 40,813,184 |
    | 32 | 461,872, 464,154, 68,862,592 | 464,432, 466,906, 69,124,736 |
    | 44 | 655,408, 658,586, 97,174,144 | 657,968, 661,338, 97,436,288 |
    | 56 | 848,944, 853,018, 125,485,696 | 851,504, 855,770, 125,747,840 |
    | 110 | 1,719,856, 1,727,962, 252,887,680 | 1,722,416, 1,730,714, 253,149,824 |

    ResNet-20 at a quarter of the width, with padding: 16,972, 17,326 and 2,617,504.

    Source: He et al. 2016, Deep Residual Learning (arXiv:1512.03385), section 4.2; their table 6
    has 0.27, 0.46, 0.66, 0.85 and 1.7 million parameters. Their CIFAR networks have option A,
    shortcuts without weights (padding), whose zero channels come last as in fb.resnet.torch.
    OpenLTH and distiller have option B (projection). Convolutions are drawn as He et al. 2015; the
    classifier has torch's initial weights. torchvision has none of these networks.

    Raises:
        ValueError: depth is not 6 n + 2, width_factor not in (0, 16], or shortcut no such kind.
    """

    depth: Annotated[int, "a whole number in [8, 1202]; 6 n + 2, e.g. 20, 32, 44, 56, 110"] = 20
    shortcut: Shortcut = "padding"

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.depth - 2) % 6:
            raise ValueError(f"depth must be 6 n + 2, as 20, 32, 44, 56 or 110, got {self.depth}")

    @property
    def name_in_literature(self) -> str:
        return f"resnet_{self.depth}"

    def network(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        channels = [self.channels(published) for published in (16, 32, 64)]
        return residual_network(shape[0], channels, (self.depth - 2) // 6, classes, self.shortcut)
