from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from harness.groups import group as groups
from harness.structure.shared.grouped import Grouped, Layers
from harness.vocabulary.tensors import PRUNABLE


@dataclass(frozen=True)
class Group(Grouped):
    """Prunes the units of every group, whatever layers compute it.

    A unit is one of a hidden layer, of a residual stream, a convolution group, a group of a norm,
    or an attention head: filters, neurons, outputs of transposed convolutions, and sums of several
    kinds. Its rows r in the weights W (out, in, ...) of these layers, W[r], decide by their scores.
    The budget and a global ranking cover the whole model; units of groups differ in cost.

    Left whole, and logged with the reason: outputs of the model, units under a LayerNorm, a
    softmax, a mean or a maximum, groups of embeddings alone, and what else no unit can leave.

    Source: Fang et al. 2023, DepGraph: Towards Any Structural Pruning (arXiv:2301.12900). Theirs
    follows the gradient graph, and scores what reads a unit too, as pool_over=members does.
    """

    kinds: ClassVar[tuple[type[nn.Module], ...]] = PRUNABLE
    noun: ClassVar[str] = "unit"
    key: ClassVar[str] = "group"

    def is_concerned(self, group: groups.Group, weights: tuple[str, ...], layers: Layers) -> bool:
        return bool(weights)

    def missing(self, layers: Layers) -> str:
        return "no layer that the model calls is convolutional or linear"
