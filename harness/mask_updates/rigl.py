from dataclasses import dataclass

from torch import Tensor

from harness.mask_updates.drop_grow import DropGrow
from harness.vocabulary.tensors import Tensors


@dataclass(frozen=True)
class Rigl(DropGrow):
    """score = |gradient|: of the weights not kept the highest grow, as many as the layer dropped.

    The gradient is the dense one of the step whose place the update takes.

    Source: Evci et al. 2020, Rigging the Lottery (arXiv:1911.11134), Algorithm 1, with its
    defaults.
    """

    def needs_dense_gradients(self, step: int, steps: int) -> bool:
        return self.updates(step, steps)

    def accumulate(self, statistics: Tensors, gradients: Tensors) -> Tensors:
        return gradients

    def growth_scores(
        self, name: str, weight: Tensor, statistics: Tensors, step: int, seed: int
    ) -> Tensor:
        return statistics[name].abs()
