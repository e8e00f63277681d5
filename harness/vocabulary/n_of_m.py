"""Keeps n of each m consecutive inputs, which sparse matrix products need."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.vocabulary.topk import check_keep, topk_mask

# Up to so many scores in a group, comparing all pairs is faster than sorting.
PAIRWISE = 16
# Groups that are compared at once, so that they stay in a processor's cache.
CHUNK = 2**14


@dataclass(frozen=True)
class NOfM:
    """Defines groups of m weights: the same output, consecutive inputs.

    Of a convolution (out, in / groups, kh, kw) the inputs of a group are consecutive channels at
    one kernel position: groups are cut from the order (out, kh, kw, in), as sparse tensor cores
    read it.

    n: how many of each group stay.
    """

    n: int
    m: int

    @property
    def density(self) -> float:
        return self.n / self.m

    def is_density(self, value: float) -> bool:
        """Returns True for n / m up to rounding, and for 1, at which nothing is pruned.

        >>> [NOfM(1, 3).is_density(value) for value in (1 / 3, 0.333, 1.0)]
        [True, False, True]
        """
        return value == 1 or math.isclose(value, self.density, rel_tol=1e-9)

    def columns(self, shape: tuple[int, ...]) -> Tensor:
        """Returns the columns of weight.flatten(1) in the order in which groups are cut.

        >>> NOfM(2, 4).columns((8, 4, 1, 2)).tolist()
        [0, 2, 4, 6, 1, 3, 5, 7]
        """
        return torch.arange(math.prod(shape[1:])).view(shape[1], -1).T.flatten()

    def select(self, scores: Tensor, keep: int) -> Tensor:
        """Returns True at the best scores of each group, in the shape of a weight.

        keep: a count of all weights. Each group keeps keep / groups. If that is not whole, as in a
        round on the way to n, all keep the whole number below, and those with the highest next
        score one more. Of equal scores the lower index wins. A score of -inf is never taken, so
        groups with fewer others keep fewer.

        >>> NOfM(2, 4).select(torch.tensor([[1.0, 3.0, 1.0, 1.0]]), keep=2).tolist()
        [[True, True, False, False]]

        Raises:
            ValueError: keep is not in [0, number of scores], or a score is NaN.
        """
        positions = math.prod(scores.shape[2:])
        groups = scores.reshape(-1, self.m, positions)
        return best_of_groups(groups, keep).view(scores.shape)


def best_of_groups(scores: Tensor, keep: int) -> Tensor:
    """Returns True at the best of each group, as `NOfM.select`.

    scores: (blocks, m, positions). A group is along the second dimension.

    >>> best_of_groups(torch.tensor([[[1.0], [2.0]], [[3.0], [0.0]]]), keep=3).flatten(1).tolist()
    [[True, True], [True, False]]

    Raises:
        ValueError: keep is not in [0, number of scores], or a score is NaN.
    """
    check_keep(keep, scores.numel())
    lowest, highest = (float(bound) for bound in scores.aminmax()) if keep else (0.0, 0.0)
    if math.isnan(highest):
        raise ValueError(f"{int(scores.isnan().sum())} of {scores.numel()} scores are NaN")
    each, more = divmod(keep, max(1, scores[:, 0].numel()))
    before = _better_ones(scores)
    mask = before < each
    if more:
        next_scores = torch.where(before == each, scores, -torch.inf).amax(dim=1)
        mask |= (before == each) & topk_mask(next_scores, more).unsqueeze(1)
    return mask if lowest > -math.inf else mask & (scores > -torch.inf)


def _better_ones(scores: Tensor) -> Tensor:
    """Returns how many of its group come before each score, equal ones by index."""
    _, m, positions = scores.shape
    if m > PAIRWISE:
        order = scores.argsort(dim=1, descending=True, stable=True)
        places = torch.arange(m, device=scores.device)[:, None].expand(scores.shape)
        return torch.empty_like(order).scatter_(1, order, places)
    before = torch.empty(scores.shape, dtype=torch.int8, device=scores.device)
    size = max(1, CHUNK // max(1, positions))
    for part, of_part in zip(scores.split(size), before.split(size), strict=True):
        of_part.copy_(_counted_pairs(part.transpose(0, 1).contiguous()).transpose(0, 1))
    return before


def _counted_pairs(columns: Tensor) -> Tensor:
    """Returns the counts for scores (m, blocks, positions), by comparing each pair once."""
    m = len(columns)
    counts = torch.arange(m - 1, -1, -1, dtype=torch.int8, device=columns.device)
    before = counts[:, None, None].repeat(1, *columns.shape[1:])
    for first in range(m):
        for second in range(first + 1, m):
            wins = (columns[first] >= columns[second]).view(torch.int8)
            before[second] += wins
            before[first] -= wins
    return before
