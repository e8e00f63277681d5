from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from harness.structure.shared.rows import Rows


@dataclass(frozen=True)
class Neuron(Rows):
    """Prunes neurons: rows of a linear layer's weight (out, in). Convolutions stay dense."""

    kinds: ClassVar[tuple[type[nn.Module], ...]] = (nn.Linear,)
    noun: ClassVar[str] = "neuron"
