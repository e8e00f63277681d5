from dataclasses import dataclass

from harness.allocation.base import Allocation, Layers
from harness.vocabulary.apportion import apportion
from harness.vocabulary.tensors import Counts
from harness.vocabulary.topk import topk_counts


@dataclass(frozen=True)
class Isomorphic(Allocation):
    """Groups of equal topology compete; each class of such groups keeps the same fraction d.

    A class of n units keeps d n, rounded by largest remainder. Within a class units are ranked by
    score, as in `global_ranking`. Two groups are of one class if their units lie in equally many
    rows and columns of equal kinds of modules, whatever the sizes: the inner widths of all residual
    blocks, or the feed-forward blocks of a transformer, but not its heads. Of single weights, tiles
    and kernels those in layers of one kind are a class.

    Source: Fang et al. 2024, Isomorphic Pruning for Vision Models (arXiv:2407.04616). They compare
    graphs of the groups in the order of a traversal; here the order does not count.
    """

    def distribute(self, layers: Layers, keep: int) -> Counts:
        classes: dict[tuple[object, ...], Layers] = {}
        for name, layer in layers.items():
            classes.setdefault(layer.topology, {})[name] = layer
        by_first = {next(iter(members)): members for members in classes.values()}
        sizes = {n: sum(layer.units for layer in of.values()) for n, of in by_first.items()}
        alive = {n: sum(layer.alive for layer in of.values()) for n, of in by_first.items()}
        keeps, counts = apportion(keep, sizes, alive), Counts()
        for first, members in by_first.items():
            counts |= topk_counts({n: layer.scores for n, layer in members.items()}, keeps[first])
        return {name: counts[name] for name in layers}
