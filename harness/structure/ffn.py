from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from harness.groups.group import Group
from harness.structure.shared.grouped import Grouped, Layers


@dataclass(frozen=True)
class Ffn(Grouped):
    """Prunes the inner width of feed-forward blocks: y = W2 f(W1 x), or W2 (f(W1 x) * W3 x).

    Of W1 and W3, (inner, in), or both in one layer (2 inner, in), a unit owns its row in each, with
    its bias; of W2, (out, inner), its column. A block is a group that linear layers alone compute
    and one linear layer alone reads. So hidden layers of an MLP are such blocks too.

    Left whole are residual streams, which several layers read, attention's heads and widths, and
    convolutions; logged with the reason are blocks with a LayerNorm inside.

    Source: Michel et al. 2019 (arXiv:1905.10650) prune heads; inner widths by whole units are those
    of Xia et al. 2022, Structured Pruning Learns Compact and Accurate Models (arXiv:2204.00408),
    who learn a mask of them with those of heads and layers.
    """

    kinds: ClassVar[tuple[type[nn.Module], ...]] = (nn.Linear,)
    noun: ClassVar[str] = "inner unit"
    key: ClassVar[str] = "ffn"

    def is_concerned(self, group: Group, weights: tuple[str, ...], layers: Layers) -> bool:
        made = [member for member in group.members if member.role == "output"]
        readers = {member.name for member in group.members if member.role == "input"}
        return (
            len(weights) in (1, 2)
            and len(readers) == 1
            and all(isinstance(layers.get(name), nn.Linear) for name in (*weights, *readers))
            and all(member.dim == 0 for member in made)  # no table, whose width is a later one
            and not group.attention
        )

    def missing(self, layers: Layers) -> str:
        return "no units of one or two linear layers are read by a single linear layer"
