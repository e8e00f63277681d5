from dataclasses import dataclass

import torch
from torch import Tensor

from harness.mask_updates.drop_grow import DropGrow
from harness.vocabulary.seeds import derive
from harness.vocabulary.tensors import Tensors


@dataclass(frozen=True)
class Set(DropGrow):
    """score = uniform random: random weights grow, as many as the layer dropped.

    Scores are drawn on the CPU from (seed, step, parameter name), so that they are the same on
    every rank and device. No gradient is used.

    Source: Mocanu et al. 2018, Scalable training of artificial neural networks with adaptive sparse
    connectivity (arXiv:1707.04780). They exchange zeta = 0.3 of the weights at the end of every
    epoch, without decay and beside the optimizer's steps. They drop that fraction of the smallest
    positive and of the largest negative weights apart, and give new weights random values. Here
    only the choice of grown weights differs from RigL, as in the comparison of Evci et al. 2020
    (arXiv:1911.11134), whose code updates SET after the optimizer's step.
    """

    def growth_scores(
        self, name: str, weight: Tensor, statistics: Tensors, step: int, seed: int
    ) -> Tensor:
        stream = torch.Generator().manual_seed(derive(seed, "grow", step, name))
        return torch.rand(weight.shape, generator=stream).to(weight.device)
