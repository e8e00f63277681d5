from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import torch
from torch import Tensor, nn

from harness.saliency.base import CalibrationData
from harness.saliency.shared import curvature
from harness.saliency.shared.curvature import by_group, damped
from harness.saliency.shared.layer_inputs import (
    layer_statistics,
    layers_with_inputs,
    mean_over_inputs,
)
from harness.vocabulary.n_of_m import NOfM, best_of_groups
from harness.vocabulary.tensors import Companions, Counts, Tensors
from harness.vocabulary.topk import check_keep, topk_mask


@dataclass(frozen=True)
class SparseGpt(curvature.SecondOrder):
    """w^2 / U_ii^2, U the upper Cholesky factor of H^-1, H = 2/n X X^T of the layer's inputs.

    `solve` goes through a layer's columns from left to right, in blocks. In each it keeps the
    weights that score highest as they are by then, all rows together; then, column by column, it
    removes the others and moves what is right of them to make up for it, -w U_i,i: / U_ii.

    Source: Frantar & Alistarh 2023, SparseGPT (arXiv:2301.00774), as their code. n counts
    samples. Inputs that are always 0 get H_ii = 1 and score 0; damping comes after that. We
    differ: each tensor keeps exactly its number, each block in proportion to its weights alive
    (one-shot: to its columns), where their cut removes one more of every block, and more at ties;
    pruned weights stay pruned at later levels; weights of inputs that are always 0 are removed
    first, but keep their values if the number kept needs them, where theirs become 0; and all
    layers see the inputs of the model as it was, where their driver feeds each layer with the
    pruned one before it. In a grouped convolution each group has its own H, and a block is those
    columns of all groups. Computed in float64.

    With a structure that keeps n of m, the n best of each group of m columns are chosen when the
    columns before them are done, as in the authors' code. Columns of a convolution then go in the
    order (kh, kw, in). `block` is how many columns are updated at once.

    `score` is the same quantity before any weight moves, for allocations that rank the weights
    of all layers, and for structures of more than single weights, which pool it and do not solve.

    block: columns whose weights compete with each other.
    damping: fraction of the mean diagonal of H that is added to its diagonal.
    update_weights: True moves weights; False: the same masks rule, on weights that do not move.
    memory_limit_gb: what this may take beside the model, in GB (10^9 bytes).

    Raises:
        ValueError: a field is out of range.
    """

    layer_local: ClassVar[bool] = True

    def statistics(self, data: CalibrationData) -> Tensors:
        """Returns H by weight, without damping: (groups, 1, columns, columns), float64.

        Raises:
            ValueError: it takes more than memory_limit_gb; or as `mean_over_inputs`.
        """
        self.check(data.module, data.selected_units)
        return mean_over_inputs(data, curvature.input_products)

    def check(self, model: nn.Module, units: Companions) -> None:
        """Logs the memory that it takes for all layers, before any training.

        Raises:
            ValueError: it is more than memory_limit_gb.
        """
        shapes = {
            n: curvature.matrix_shape(layer)
            for n, layer in layers_with_inputs(model, units).items()
        }
        work = curvature.COPIES * max((prod(shape) for shape in shapes.values()), default=0)
        remedy = "use saliency=obs, whose matrices are blocks"
        curvature.check_memory("saliency sparsegpt", shapes, work, self.memory_limit_gb, remedy)

    def score(self, weights: Tensors, statistics: Tensors) -> Tensors:
        """Returns w^2 / U_ii^2 by weight, before any weight moves.

        Raises:
            ValueError: a layer's inputs are unknown, or its H is singular without damping.
        """
        scores = {}
        for name, weight in weights.items():
            hessian = layer_statistics(name, statistics)
            importance = _importance(hessian, self._root(name, hessian))
            squares = by_group(weight.double().square(), hessian)
            scores[name] = curvature.to_score_dtype(
                (squares * importance).reshape(weight.shape), weight
            )
        return scores

    def solve(
        self, weights: Tensors, keep: Counts, statistics: Tensors, alive: Tensors | None = None
    ) -> tuple[Tensors, Tensors]:
        """Returns masks that keep exactly keep[name], and the moved weights.

        Raises:
            ValueError: a tensor has fewer alive than it shall keep; or as `score`.
        """
        return self._solve_all(weights, keep, statistics, alive)

    def solve_n_of_m(
        self,
        groups: NOfM,
        weights: Tensors,
        keep: Counts,
        statistics: Tensors,
        alive: Tensors | None = None,
    ) -> tuple[Tensors, Tensors]:
        """Returns masks that keep equally many of each group, and the moved weights."""
        return self._solve_all(weights, keep, statistics, alive, groups)

    def _solve_all(
        self,
        weights: Tensors,
        keep: Counts,
        statistics: Tensors,
        alive: Tensors | None,
        groups: NOfM | None = None,
    ) -> tuple[Tensors, Tensors]:
        masks, moved = {}, {}
        for name, weight in weights.items():
            live = weight != 0 if alive is None else alive[name]
            check_keep(keep[name], live.numel() if groups else int(live.count_nonzero()))
            hessian = layer_statistics(name, statistics)
            order = groups.columns(tuple(weight.shape)).to(weight.device) if groups else None
            if order is not None:
                hessian = hessian[..., order, :][..., order]
            living = _ordered(by_group(live, hessian), order)
            rows = _ordered(by_group(weight.double(), hessian), order)
            rows = torch.where(living, rows, 0.0)
            mask = self._solved(
                name, rows, _Choice(living, keep[name], self.block, groups), hessian
            )
            back = None if order is None else order.argsort()
            masks[name] = _ordered(mask, back).reshape(weight.shape)
            values = _ordered(torch.where(mask, rows, 0.0), back)
            moved[name] = values.reshape(weight.shape).to(weight.dtype)
        return masks, moved if self.update_weights else {}

    def _solved(self, name: str, rows: Tensor, choose: "_Choice", hessian: Tensor) -> Tensor:
        """Returns the mask of these rows, and moves the rows in place: (groups, rows, columns)."""
        root = self._root(name, hessian)
        importance = _importance(hessian, root)
        upper = _inverted(root) if self.update_weights else None
        mask = torch.zeros_like(rows, dtype=torch.bool)
        for block, spans in choose.blocks():
            errors = []
            for span, count in spans:
                scores = rows[..., span].square() * importance[..., span]
                mask[..., span] = choose.best(scores, span, count)
                if upper is not None:
                    errors.append(_remove(rows, ~mask[..., span], upper, span, block.stop))
            if upper is not None:
                after = upper[:, block, block.stop :]
                rows[..., block.stop :] -= torch.cat(errors, dim=-1) @ after
        return mask

    def _root(self, name: str, hessian: Tensor) -> Tensor:
        """Returns R = U^-1, upper triangular, H = R R^T: (groups, columns, columns)."""
        matrices = damped(hessian, hessian.shape[-1], self.damping)[:, 0]
        return curvature.factor(matrices.flip(-1, -2), name).flip(-1, -2)


def _importance(hessian: Tensor, root: Tensor) -> Tensor:
    """Returns 1 / U_ii^2 by group and column: (groups, 1, columns).

    It is 0 where the input is always 0.
    """
    seen = hessian[:, 0].diagonal(dim1=-2, dim2=-1) > 0
    return (root.diagonal(dim1=-2, dim2=-1).square() * seen).unsqueeze(1)


def _inverted(root: Tensor) -> Tensor:
    identity = torch.eye(root.shape[-1]).to(root)
    upper: Tensor = torch.linalg.solve_triangular(root, identity, upper=True)
    return upper


@dataclass(frozen=True)
class _Choice:
    """Chooses which weights stay, as a sweep from left to right reaches their columns.

    alive: in the order of the sweep, (groups, rows, columns). keep: how many of all stay. block:
    columns whose weights compete, or, with n of m, that are updated at once.
    """

    alive: Tensor
    keep: int
    block: int
    n_of_m: NOfM | None

    def blocks(self) -> Iterator[tuple[slice, list[tuple[slice, int]]]]:
        """Yields blocks of columns, with the spans in which weights compete and what they keep."""
        columns, width = self.alive.shape[-1], self.n_of_m.m if self.n_of_m else self.block
        starts = range(0, columns, width)
        spans = [slice(start, min(start + width, columns)) for start in starts]
        # Groups keep equally many, alive or not; blocks in proportion to what is alive.
        alive = [1 if self.n_of_m else int(self.alive[..., s].count_nonzero()) for s in spans]
        counted = list(zip(spans, _block_counts(self.keep, alive), strict=True))
        per_block = max(1, self.block // width)
        for first in range(0, len(counted), per_block):
            within = counted[first : first + per_block]
            yield slice(within[0][0].start, within[-1][0].stop), within

    def best(self, scores: Tensor, span: slice, keep: int) -> Tensor:
        ranked = torch.where(self.alive[..., span], scores, -torch.inf)
        if self.n_of_m is None:
            return topk_mask(ranked, keep)
        return best_of_groups(ranked.flatten(0, 1).unsqueeze(-1), keep).view(ranked.shape)


def _ordered(columns: Tensor, order: Tensor | None) -> Tensor:
    return columns if order is None else columns[..., order]


def _block_counts(keep: int, alive: list[int]) -> list[int]:
    """Divides `keep` in proportion to the live weights of each block.

    The sum is exact, and no block keeps more than it has.
    """
    whole, before, counts = max(1, sum(alive)), 0, []
    for count in alive:
        counts.append(keep * (before + count) // whole - keep * before // whole)
        before += count
    return counts


def _remove(rows: Tensor, removed: Tensor, upper: Tensor, span: slice, stop: int) -> Tensor:
    """Removes these weights of the columns in span, and moves the columns right of them to `stop`.

    Returns what moves the columns from `stop` on.

    rows: (groups, rows, columns), changed in place. removed: of the span.
    """
    errors = torch.zeros_like(removed, dtype=rows.dtype)
    for offset, column in enumerate(range(span.start, span.stop)):
        scaled = rows[..., column] / upper[:, None, column, column]
        errors[..., offset] = torch.where(removed[..., offset], scaled, 0.0)
        within = upper[:, None, column, column:stop]
        rows[..., column:stop] -= errors[..., offset, None] * within
    return errors
