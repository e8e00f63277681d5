import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor, nn

from harness.groups.blocks import Block, residual_blocks
from harness.groups.group import Factor
from harness.groups.pooling import Pooling, pooled
from harness.groups.tracing.dispatch import follow
from harness.groups.units import RemovableUnits, Units
from harness.structure.base import Structure
from harness.vocabulary.checks import check_declared
from harness.vocabulary.given.inputs import Inputs
from harness.vocabulary.tensors import PRUNABLE, Companions, Tensors, prunable_layers

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Depth(Structure):
    """Prunes residual blocks y = x + f(x), or y = relu(x + f(x)) of an x >= 0: y = x is left.

    A block is an innermost module that is called with one tensor and returns it, bit by bit, when
    all of its parameters are 0; that is tried before any training. So blocks that change the number
    of channels or the size of a picture stay. A unit is all parameters of a block, with its norms.
    Its score is pooled over the weights of its convolutions and linear layers, s = mean |w| with
    magnitude. A block costs its own parameters and multiply-accumulates, and its place is taken by
    nn.Identity where `compact` cuts it out.

    Each block is a layer of its own for an allocation, which must rank blocks against each other:
    allocation=global_ranking. At least one block stays.

    Source: Chen & Zhao 2018, Shallowing Deep Networks: Layer-Wise Pruning Based on Feature
    Representations (DOI 10.1109/TPAMI.2018.2874634), who score a layer by a classifier on its
    outputs; here any saliency of weights is pooled. Xu et al. 2020, Layer Pruning via Fusible
    Residual Convolutional Block (arXiv:2011.14356), learn which go.

    Raises:
        ValueError: pool_by is unknown.
    """

    pool_by: Pooling = "mean"

    granularity: ClassVar[str] = "unit"
    noun: ClassVar[str] = "block"
    kinds: ClassVar[tuple[type[nn.Module], ...]] = PRUNABLE
    removes: ClassVar[bool] = True
    single_units: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_declared(self)

    def units(self, model: nn.Module, sample: Inputs) -> Units:
        layers = prunable_layers(model)
        shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
        table, units = follow(model, sample), Units()
        total = sum(torch.Size(product.sizes).numel() for product in table.products)
        products = [
            Factor(number, product.module, product.sizes, 0, product.sizes[0], total)
            for number, product in enumerate(table.products)
        ]
        for block in residual_blocks(model, sample):
            weights = tuple(name for name in block.parameters if name in layers)
            if block.pinned:
                LOG.info("structure=depth leaves %s whole: %s", block.name, block.pinned)
            elif weights:
                own = {name: shapes[name] for name in block.parameters}
                inside = tuple(f for f in products if f"{f.module}.".startswith(f"{block.name}."))
                units[weights[0]] = BlockUnits(block, weights, own, inside, self.pool_by)
        if not units:
            raise ValueError(
                "structure=depth has nothing to prune: no module returns its input where its "
                "parameters are 0, as residual blocks do; use structure=filter"
            )
        return units


@dataclass(frozen=True, eq=False)
class BlockUnits(RemovableUnits):
    """Holds one unit: a residual block.

    Args:
        block: the block.
        weights: of its convolutions and linear layers.
        shapes: of all of its parameters, by name.
        products: of two activations, that it computes.
        pool_by: how the scores of all elements of `weights` are pooled.
    """

    block: Block
    weights: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]
    products: tuple[Factor, ...]
    pool_by: Pooling
    has_rows: bool = False
    count: int = 1

    @property
    def factors(self) -> tuple[Factor, ...]:
        return self.products

    @property
    def scored(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.weights

    @cached_property
    def size(self) -> int:  # type: ignore[override]
        return sum(torch.Size(shape).numel() for shape in self.shapes.values())

    @property
    def masked(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(self.shapes)

    @property
    def companions(self) -> Companions:
        return {name: () for name in self.weights}

    @property
    def cuts(self) -> Mapping[tuple[str, int], float]:
        """Returns all indices of the first dimension of each tensor and product: none is left."""
        taken = {(name, 0): float(next(iter(shape), 1)) for name, shape in self.shapes.items()}
        return taken | {(f.name, 0): f.per_unit for f in self.factors}

    def pool(self, scores: Tensors) -> Tensor:
        every = torch.cat([scores[name].flatten() for name in self.weights])
        return pooled(every[None], (1,), self.pool_by)

    def masks(self, kept: Tensor) -> Tensors:
        return {name: kept.new_ones(shape) & kept[0] for name, shape in self.shapes.items()}

    def topology(self, model: nn.Module) -> tuple[object, ...]:
        return (type(model.get_submodule(self.block.name)).__name__,)

    def alive(self, kept: Tensors) -> Tensor:
        own = [kept[name] for name in self.shapes if name in kept]
        flags = [(values.detach() != 0).any() for values in own]
        return torch.stack(flags).any()[None] if flags else torch.ones(1, dtype=torch.bool)
