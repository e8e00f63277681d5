from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from harness.structure.shared.rows import Rows


@dataclass(frozen=True)
class Row(Rows):
    """Prunes filters of convolutions and neurons of linear layers, all output units but the last.

    The budget and a global ranking then cover the whole model; units of layers differ in cost.
    """

    kinds: ClassVar[tuple[type[nn.Module], ...]] = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
    noun: ClassVar[str] = "row"
