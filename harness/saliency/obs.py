from dataclasses import dataclass
from functools import partial
from math import prod
from typing import ClassVar

import torch
from torch import Tensor, nn

from harness.saliency.base import CalibrationData
from harness.saliency.shared import curvature
from harness.saliency.shared.layer_inputs import (
    layer_statistics,
    layers_with_inputs,
    mean_over_inputs,
)
from harness.vocabulary.tensors import Companions, Tensors


@dataclass(frozen=True)
class Obs(curvature.SecondOrder):
    """w_q^2 / (2 [H^-1]_qq), H = 2/n X X^T of the layer's inputs, the weights alive only.

    What removing weight q adds to the layer's squared output error per sample, summed over
    positions, when the other weights of its row and block make up for it (without damping, and
    within the block, exactly). n counts samples, as in the authors' code.

    Source: Hassibi & Stork 1993, Optimal Brain Surgeon; per row of a layer as in Frantar et al.
    2022, Optimal Brain Compression (arXiv:2208.11580). We differ: H is cut into diagonal blocks
    of columns; all weights of an event are chosen by these scores at once, where the authors
    remove one after the other; and the kept ones then move to the joint optimum of all removals,
    w_K + H_KK^-1 H_KR w_R (K kept, R removed). Their code adds 1 to the diagonal of a singular H;
    we always add damping. Inputs that are always 0 have score 0. In a grouped convolution each
    group has its own H.

    block: columns of a diagonal block; the memory grows with block x columns.
    damping: fraction of the mean diagonal of H that is added to its diagonal.
    update_weights: True moves the kept weights.
    memory_limit_gb: what this may take beside the model, in GB (10^9 bytes).

    Raises:
        ValueError: a field is out of range.
    """

    layer_local: ClassVar[bool] = True

    def statistics(self, data: CalibrationData) -> Tensors:
        """Returns H by weight in diagonal blocks, undamped: (groups, blocks, b, b), float64.

        Raises:
            ValueError: it takes more than memory_limit_gb; or as `mean_over_inputs`.
        """
        self.check(data.module, data.selected_units)
        measure = partial(curvature.input_products, block=self.block)
        return mean_over_inputs(data, measure)

    def check(self, model: nn.Module, units: Companions) -> None:
        """Logs the memory that it takes for all layers, before any training.

        Raises:
            ValueError: it is more than memory_limit_gb.
        """
        layers = layers_with_inputs(model, units)
        shapes = {n: curvature.matrix_shape(layer, self.block) for n, layer in layers.items()}
        work = max(
            (_work_entries(layer, shapes[name]) for name, layer in layers.items()), default=0
        )
        remedy = f"choose a block below {self.block}"
        curvature.check_memory("saliency obs", shapes, work, self.memory_limit_gb, remedy)

    def score(self, weights: Tensors, statistics: Tensors) -> Tensors:
        """Returns w_q^2 / (2 [H^-1]_qq) by weight.

        Raises:
            ValueError: a layer's inputs are unknown, or its H is singular without damping.
        """
        return {n: self._score(n, w, layer_statistics(n, statistics)) for n, w in weights.items()}

    def compensate(self, weights: Tensors, masks: Tensors, statistics: Tensors) -> Tensors:
        """Returns the kept weights at the joint optimum of all removals.

        Raises:
            ValueError: a layer's inputs are unknown, or its H is singular without damping.
        """
        removed = curvature.newly_pruned(weights, masks) if self.update_weights else {}
        return {
            name: self._compensated(
                name, weights[name], masks[name], layer_statistics(name, statistics)
            )
            for name in removed
        }

    def _score(self, name: str, weight: Tensor, hessian: Tensor) -> Tensor:
        rows, matrices, columns = self._rows(weight, hessian)
        live = rows != 0
        if bool((live == live[:, :, :1]).all()):
            live = live[:, :, :1]  # one inverse serves all rows

        def diagonal(live: Tensor) -> Tensor:
            inverse = curvature.inverse(
                curvature.restrict_to_live(matrices.unsqueeze(2), live), name
            )
            return inverse.diagonal(dim1=-2, dim2=-1)

        diagonals = curvature.in_chunks(diagonal, 2, matrices.numel(), live)
        seen = hessian.diagonal(dim1=-2, dim2=-1).unsqueeze(2) > 0
        scores = curvature.unblocked(rows.square() * seen / (2 * diagonals), columns)
        return curvature.to_score_dtype(scores.reshape(weight.shape), weight)

    def _compensated(self, name: str, weight: Tensor, mask: Tensor, hessian: Tensor) -> Tensor:
        rows, matrices, columns = self._rows(weight, hessian)
        kept = curvature.blocked(curvature.by_group(mask, hessian), matrices.shape[-1])

        def optimum(rows: Tensor, kept: Tensor) -> Tensor:
            pull = torch.where(kept, 0.0, rows) @ matrices
            lower = curvature.factor(curvature.restrict_to_live(matrices.unsqueeze(2), kept), name)
            moves = torch.cholesky_solve(pull.unsqueeze(-1), lower).squeeze(-1)
            return torch.where(kept, rows + moves, 0.0)

        moved = curvature.in_chunks(optimum, 2, matrices.numel(), rows, kept)
        return curvature.unblocked(moved, columns).reshape(weight.shape).to(weight.dtype)

    def _rows(self, weight: Tensor, hessian: Tensor) -> tuple[Tensor, Tensor, int]:
        columns = weight.shape[1:].numel()
        rows = curvature.blocked(curvature.by_group(weight.double(), hessian), hessian.shape[-1])
        return rows, curvature.damped(hessian, columns, self.damping), columns


def _work_entries(layer: nn.Module, shape: tuple[int, ...]) -> int:
    """Returns how many numbers are held while rows of this layer are scored or moved."""
    rows = layer.get_parameter("weight").shape[0] // shape[0]
    return curvature.COPIES * prod(shape) * min(rows, curvature.chunk_length(prod(shape)))
