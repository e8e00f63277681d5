"""Neurons and filters alike: a unit is one index of the weight's first dimension."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from harness.structure.base import Units
from harness.structure.graph import Graph, graph_of
from harness.tensors import prunable_layers

POOLS = ("mean", "sum", "l2")


@dataclass(frozen=True)
class Rows:
    """Output units of one kind of layer.

    Pooling of element scores s over a unit: "mean" sum(s) / n, "sum" sum(s), "l2" sqrt(sum(s^2)).
    A removed unit takes its bias, and the scale and shift of the norm that it alone feeds.
    The weights of the next layer that read a removed unit are left alone and still counted.

    Raises:
        ValueError: pool is unknown.
    """

    pool_by: str = "mean"

    granularity: ClassVar[str] = "unit"
    kinds: ClassVar[tuple[type[nn.Module], ...]]
    noun: ClassVar[str]

    def __post_init__(self) -> None:
        if self.pool_by not in POOLS:
            raise ValueError(f"pool_by must be one of {', '.join(POOLS)}, got {self.pool_by!r}")

    def units(self, model: nn.Module, sample: Tensor) -> Units:
        layers = prunable_layers(model)
        graph = graph_of(model, sample)
        mine = [name for name, layer in layers.items() if isinstance(layer, self.kinds)]
        inner = [name for name in mine if name not in graph.outputs]
        if not inner:
            kinds = sorted({type(layer).__name__ for layer in layers.values()})
            raise ValueError(
                f"structure={self.noun} has nothing to prune: the model's layers are "
                f"{', '.join(kinds)}, and outputs are never removed; use structure=element"
            )
        return {name: _with_bias(layers[name], name, graph) for name in inner}

    def pool(self, scores: Tensor) -> Tensor:
        flat = scores.flatten(start_dim=1)
        if self.pool_by == "l2":
            return flat.square().sum(dim=1).sqrt()
        return flat.sum(dim=1) if self.pool_by == "sum" else flat.mean(dim=1)

    def expand(self, units: Tensor, shape: tuple[int, ...]) -> Tensor:
        return units.view(-1, *[1] * (len(shape) - 1)).expand(shape).contiguous()


def _with_bias(layer: nn.Module, name: str, graph: Graph) -> tuple[str, ...]:
    bias = (f"{name.removesuffix('weight')}bias",) if layer.bias is not None else ()
    # Once each: a bias that is added by an operation of its own looks like a norm's shift.
    return tuple(dict.fromkeys(bias + graph.norms.get(name, ())))
