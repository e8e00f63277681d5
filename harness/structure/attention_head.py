from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from harness.groups.group import Group
from harness.structure.shared.grouped import Grouped, Layers
from harness.vocabulary.tensors import PRUNABLE

TIED = "heads x head_dim = width, so that a head goes with its part of the width alone"


@dataclass(frozen=True)
class AttentionHead(Grouped):
    """Prunes heads h of attention: softmax(q_h k_h^T / sqrt(d)) v_h is left out of all sums.

    Of layers with weights (heads x d, in) a unit owns the d rows of its query, key and value, in
    one fused layer or three, with their biases; of the layer that reads the heads, (out, heads x
    d), its d columns. Query heads that share a key and value head are one unit with it. Any product
    of activations that is taken head by head counts, written out or fused, with softmax or not.

    Left whole, and logged with the reason: heads of code that needs heads x d = width, such as
    nn.MultiheadAttention, which go with their part of the width alone (structure=group), and heads
    whose units the forward pass mixes. Attention of one head has none. All other layers stay dense.

    Source: Michel et al. 2019, Are Sixteen Heads Really Better than One? (arXiv:1905.10650). Their
    score is the gradient of a gate per head, |sum z dL/dz|; here any saliency of weights is pooled.
    """

    kinds: ClassVar[tuple[type[nn.Module], ...]] = PRUNABLE
    noun: ClassVar[str] = "head"
    key: ClassVar[str] = "attention_head"

    def is_concerned(self, group: Group, weights: tuple[str, ...], layers: Layers) -> bool:
        return group.attention in ("head", "tied")

    def why_whole(
        self, model: nn.Module, group: Group, weights: tuple[str, ...], layers: Layers
    ) -> str:
        if group.attention == "tied" and not group.pinned:
            return TIED
        return super().why_whole(model, group, weights, layers)

    def missing(self, layers: Layers) -> str:
        return "the model computes no attention of several heads"
