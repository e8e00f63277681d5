from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from harness.groups.units import Units
from harness.structure.base import Pattern
from harness.vocabulary.tensors import prunable_layers


@dataclass(frozen=True)
class KernelRow(Pattern):
    """Prunes rows of the kernels of a convolution, for each pair (output, input) of channels.

    No other parameter is removed with them; linear layers stay dense. Source: Mao et al. 2017,
    Exploring the Regularity of Sparse Structure in Convolutional Neural Networks
    (arXiv:1705.08922), 1-D granularity.
    """

    granularity: ClassVar[str] = "unit"
    noun: ClassVar[str] = "kernel row"
    kinds: ClassVar[tuple[type[nn.Module], ...]] = (nn.Conv2d,)

    def units(self, model: nn.Module, sample: Tensor) -> Units:
        layers = prunable_layers(model)
        names = [name for name, at in layers.items() if isinstance(at, self.kinds)]
        if not names:
            raise ValueError("structure=kernel_row has nothing to prune: the model has no Conv2d")
        return self.units_in({name: model.get_parameter(name) for name in names})

    def pool(self, scores: Tensor) -> Tensor:
        return scores.mean(dim=3)

    def expand(self, units: Tensor, shape: tuple[int, ...]) -> Tensor:
        return units[..., None].expand(shape).contiguous()
