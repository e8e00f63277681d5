"""The exact top-k of scores that no rank holds whole: ranks exchange counts, never scores."""

from itertools import accumulate

import torch
from torch import Tensor

from harness.distributed.ranks import Ranks
from harness.selection import Array, array, check_keep, count, positions, widest
from harness.tensors import Counts, Tensors

Contest = tuple[list[str], int]  # tensors that compete, and how many scores they keep together


def top_sharded(scores: Tensors, keep: int, ranks: Ranks) -> Tensors:
    """Bool masks of this rank's shards: True at exactly `keep` highest scores of all ranks.

    scores: this rank's slice of every tensor along its first dimension, slices in order of rank
    (`DTensor.to_local()` under `Shard(0)`); it may be empty, its scores are left unchanged.

    The masks are those that `harness.selection.top` cuts from the whole tensors one after the
    other: of equal scores the first tensor's win, then the first flat index in the whole tensor.

    The threshold is found bit by bit, by counting how many scores reach a value: per event 32
    sums of one integer over ranks (64 for float64), and three more. With T tensors on R ranks
    these are 16 + 16 T + 256 + 16 T R bytes, whatever the size of the tensors (8 KB for T = 54,
    R = 8). Memory: three times the local scores, for a while.

    Raises, on all ranks:
        ValueError: keep is not in [0, number of scores], or a score on any rank is NaN.
        RanksDisagree: keep, names, their order, dtypes or the other dimensions are not equal.
    """
    return _cut(scores, [(list(scores), keep)], ranks)


def top_each_sharded(scores: Tensors, keep: Counts, ranks: Ranks) -> Tensors:
    """The same for every tensor on its own: exactly keep[name] scores of each.

    A round sums an integer per tensor: 16 + 16 T + 256 T + 16 T R bytes per event.
    """
    return _cut(scores, [([name], keep[name]) for name in scores], ranks)


def _cut(scores: Tensors, contests: list[Contest], ranks: Ranks) -> Tensors:
    _check(scores, contests, ranks)
    if not scores:
        return {}
    dtype = widest(scores.values())
    keys = {name: _keys(score, dtype) for name, score in scores.items()}
    thresholds = _thresholds(keys, contests, ranks)
    masks = {name: flat > thresholds[name] for name, flat in keys.items()}
    ties = {name: positions(flat == thresholds[name]) for name, flat in keys.items()}
    mine = [[count(masks[name]), len(ties[name])] for name in scores]
    for name, taken in _ties_to_take(mine, contests, ranks).items():
        masks[name][ties[name][:taken]] = True
    return {name: torch.as_tensor(mask).view(scores[name].shape) for name, mask in masks.items()}


def _check(scores: Tensors, contests: list[Contest], ranks: Ranks) -> None:
    # Whatever is wrong on one rank alone would leave the others waiting in the next sum.
    layout = {name: score.detach()[:0] for name, score in scores.items()}
    layout["number to keep"] = torch.tensor([keep for _, keep in contests])
    layout["order of the tensors"] = torch.tensor(list(" ".join(scores).encode()))
    ranks.check_equal(layout, "sharded scores (their names, dtypes, dimensions)")
    mine = [[score.numel(), int(score.isnan().sum())] for score in scores.values()]
    there = dict(zip(scores, _sums(mine, ranks), strict=True))
    for name, (size, nan) in there.items():
        if nan:
            raise ValueError(f"{name}: {nan} of {size} scores are NaN, over all ranks")
    for names, keep in contests:
        check_keep(keep, sum(there[name][0] for name in names))


def _keys(scores: Tensor, dtype: torch.dtype) -> Array:
    """Integers in the order of the scores, equal where these are equal."""
    # -0 + 0 is 0: they are equal scores, but not equal bits.
    flat = scores.detach().flatten().to(dtype) + 0.0
    integer = torch.int64 if dtype == torch.float64 else torch.int32
    bits = flat.view(integer)
    # Negative numbers ascend with falling magnitude, and the sign bit stays where it is.
    return array(torch.where(bits < 0, bits ^ torch.iinfo(integer).max, bits))


def _thresholds(keys: dict[str, Array], contests: list[Contest], ranks: Ranks) -> Counts:
    """Per tensor the largest key that at least `keep` keys of its contest reach."""
    flats = [[keys[name] for name in names] for names, _ in contests]
    bits = 8 * flats[0][0].itemsize
    found = [-(2 ** (bits - 1))] * len(contests)
    for bit in reversed(range(bits)):
        tried = [low + 2**bit for low in found]
        mine = [
            [sum(count(flat >= key) for flat in those)]
            for those, key in zip(flats, tried, strict=True)
        ]
        found = [
            key if reached >= keep else low
            for low, key, (reached,), (_, keep) in zip(
                found, tried, _sums(mine, ranks), contests, strict=True
            )
        ]
    return {name: low for low, (names, _) in zip(found, contests, strict=True) for name in names}


def _ties_to_take(mine: list[list[int]], contests: list[Contest], ranks: Ranks) -> Counts:
    """How many of this rank's scores at the threshold stay, per tensor.

    mine: per tensor, in the order of the contests, how many are above the threshold and at it.
    """
    every = torch.zeros(ranks.count, len(mine), 2, dtype=torch.int64, device=ranks.device)
    every[ranks.rank] = torch.tensor(mine, device=ranks.device)
    columns = iter(ranks.sum(every).transpose(0, 1).tolist())  # per tensor, then per rank
    taken = {}
    for names, keep in contests:
        found = [next(columns) for _ in names]
        left = keep - sum(above for column in found for above, _ in column)
        # The first tensor chooses first, and in it the first rank, whose indices are the lowest.
        for name, column in zip(names, found, strict=True):
            turns = accumulate((ties for _, ties in column), initial=0)
            before, ties = list(turns)[ranks.rank], column[ranks.rank][1]
            taken[name] = min(ties, max(0, left - before))
            left -= sum(ties for _, ties in column)
    return taken


def _sums(counts: list[list[int]], ranks: Ranks) -> list[list[int]]:
    everywhere = ranks.sum(torch.tensor(counts, dtype=torch.int64, device=ranks.device))
    return [list(row) for row in everywhere.tolist()]
