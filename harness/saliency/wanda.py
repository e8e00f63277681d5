from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from harness.saliency.base import CalibrationData, Saliency
from harness.saliency.shared.curvature import by_group, to_score_dtype
from harness.saliency.shared.layer_inputs import layer_statistics, mean_over_inputs
from harness.vocabulary.checks import check_declared
from harness.vocabulary.tensors import Counts, Tensors
from harness.vocabulary.topk import check_keep, topk_mask


@dataclass(frozen=True)
class Wanda(Saliency):
    """|w_ij| x ||X_j||, ||X_j||^2 the mean over samples of input j's squares, of all positions.

    Source: Sun et al. 2023, A Simple and Effective Pruning Approach for Large Language Models
    (arXiv:2306.11695); ||X_j|| is divided by the square root of the number of samples, as in the
    authors' code, which changes no ranking. Of a convolution, X_j is an entry of its unfolded
    patches. Weights do not move.

    per_output: as in the paper, the weights of one output (a row) compete with each other only:
        each row keeps the same number of its own best, but for one more in some, where the
        tensor's count does not divide, and for rows with fewer alive. The authors' code cuts
        int(columns x sparsity) of each row, which misses the requested total. False: all weights of
        the tensor compete. Either way the allocation says how many each tensor keeps. Structures
        of more than single weights pool the scores.

    Raises:
        ValueError: per_output is not a bool.
    """

    per_output: bool = True

    layer_local: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_declared(self)

    def statistics(self, data: CalibrationData) -> Tensors:
        """Returns ||X_j||^2 by weight: (groups, columns).

        Raises:
            ValueError: as `mean_over_inputs`.
        """
        return mean_over_inputs(data, lambda inputs: inputs.square().sum(dim=1))

    def score(self, weights: Tensors, statistics: Tensors) -> Tensors:
        """Returns |w_ij| x ||X_j|| by weight.

        Raises:
            ValueError: the inputs of a weight's layer are unknown.
        """
        return {
            n: _times_norms(weight, layer_statistics(n, statistics))
            for n, weight in weights.items()
        }

    def solve(
        self, weights: Tensors, keep: Counts, statistics: Tensors, alive: Tensors | None = None
    ) -> tuple[Tensors, Tensors]:
        """Returns masks that keep exactly keep[name] weights; no weight moves.

        Raises:
            ValueError: a tensor has fewer alive than it shall keep.
        """
        masks = {}
        for name, scores in self.score(weights, statistics).items():
            live = weights[name] != 0 if alive is None else alive[name]
            check_keep(keep[name], int(live.count_nonzero()))
            ranked = torch.where(live, scores, -torch.inf)
            masks[name] = (best_of_rows if self.per_output else topk_mask)(ranked, keep[name])
        return masks, {}


def _times_norms(weight: Tensor, squares: Tensor) -> Tensor:
    rows = by_group(weight.abs().double(), squares)
    return to_score_dtype((rows * squares.sqrt()[:, None]).reshape(weight.shape), weight)


def best_of_rows(scores: Tensor, keep: int) -> Tensor:
    """Returns True at exactly `keep` scores: in each row equally many of its highest, within one.

    A score of -inf is never taken; rows with fewer others take all of them, and the rest is
    divided over the others. A remainder goes to the rows whose next score is highest. Of equal
    scores the first wins.

    >>> best_of_rows(torch.tensor([[1.0, 2.0, 3.0], [9.0, 8.0, 7.0]]), keep=3).tolist()
    [[False, False, True], [True, True, False]]
    """
    rows = scores.flatten(1)
    room = rows.isfinite().sum(dim=1)
    per_row = _equal_count(room.tolist(), keep)
    # position[i, j]: how many of row i come before its weight j.
    position = rows.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    mask = position < room.clamp(max=per_row)[:, None]
    next_scores = torch.where(position == per_row, rows, -torch.inf)
    mask |= topk_mask(next_scores, keep - int(mask.count_nonzero()))
    return mask.view(scores.shape)


def _equal_count(room: list[int], keep: int) -> int:
    """Returns the largest number that all rows can keep, as far as they have so many."""
    low, high = 0, max(room) + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if sum(min(middle, r) for r in room) <= keep else (low, middle)
    return low
