from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

from torch import nn

from harness.models.shared.plain_stage import plain_stage
from harness.models.shared.scaled_model import ScaledModel


@dataclass(frozen=True)
class ConvN(ScaledModel):
    """Builds Conv-2, Conv-4 or Conv-6: small VGGs without BatchNorm, with three linear layers.

    Pairs of 3x3 convolutions of 64, 128 and 256 channels, padded, each pair with a 2x2 max-pooling
    behind it; then linear layers of 256, 256 and the classes. ReLU between all layers. Channels and
    linear layers are multiplied by `width_factor`, rounded up. Inputs (channels, height, width) of
    at least 2 x 2, 4 x 4 or 8 x 8 pixels.

    Prunable weights, parameters and multiply-accumulates for (3, 32, 32) and 10 classes:

    | network | weights | parameters | multiply-accumulates |
    | --- | --- | --- | --- |
    | Conv-2 | 4,300,992 | 4,301,642 | 43,780,608 |
    | Conv-4 | 2,425,024 | 2,425,930 | 98,306,560 |
    | Conv-6 | 2,261,184 | 2,262,602 | 153,881,088 |

    Source: Frankle & Carbin 2019, The Lottery Ticket Hypothesis (arXiv:1803.03635), figure 2,
    which lists these layers. Weights are drawn as there: normal, with the variance of Glorot &
    Bengio 2010; biases are 0.

    Raises:
        ValueError: convolutions is not 2, 4 or 6, or width_factor not in (0, 16].
    """

    convolutions: Literal[2, 4, 6] = 2

    @property
    def name_in_literature(self) -> str:
        return f"conv_{self.convolutions}"

    @property
    def smallest(self) -> int:
        return int(2 ** (self.convolutions // 2))

    def network(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        layers = OrderedDict[str, nn.Module]()
        before, pairs = shape[0], self.convolutions // 2
        for pair, published in enumerate((64, 128, 256)[:pairs], start=1):
            width = self.channels(published)
            layers |= plain_stage(before, width, (2 * pair - 1, 2 * pair))
            before = width
            layers[f"pool{pair}"] = nn.MaxPool2d(2)
        layers["flatten"] = nn.Flatten()
        before *= (shape[1] // 2**pairs) * (shape[2] // 2**pairs)
        for number in (1, 2):
            width = self.channels(256)
            layers[f"fc{number}"] = nn.Linear(before, width)
            layers[f"relu_fc{number}"] = nn.ReLU()
            before = width
        return nn.Sequential(layers | {"fc3": nn.Linear(before, classes)})

    def initialise(self, model: nn.Module) -> None:
        """Draws weights from N(0, 2 / (inputs + outputs)), and sets biases to 0."""
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.xavier_normal_(layer.weight)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)
