"""Scores -> masks of n:m, tiles and kernels over 25 M weights, beside the same work again."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from benchmarks.figure import Figure, Side, in_turns, ratio, spread
from harness.structure.base import Structure
from harness.structure.kernel import Kernel
from harness.structure.n_m import NM
from harness.structure.tile import Tile

REPEATS, AT_MOST_MS = 9, 1000.0
SIDE, QUICK_SIDE = 5000, 400  # rows and columns
HALF: dict[str, Structure] = {
    "2:4": NM(2, 4), "4:8": NM(4, 8), "tiles 1x8": Tile(1, 8), "tiles 4x4": Tile(4, 4),
    "tiles 8x8": Tile(8, 8),
}  # fmt: skip
OF_CONVOLUTIONS: dict[str, Structure] = {
    "2:4": NM(2, 4), "4:8": NM(4, 8), "kernels 5x5": Kernel(),
}  # fmt: skip


def figures(repeats: int | None, quick: bool) -> Iterator[Figure]:
    """Returns for each structure the time to half of the weights, and the noise of that time.

    2:4 stands beside torch.topk and scatter_, which keep the same scores.

    Raises:
        RuntimeError: the two masks differ.
    """
    side, stream = QUICK_SIDE if quick else SIDE, torch.Generator().manual_seed(0)
    matrix = torch.rand(side, side, generator=stream)
    convolution = matrix.view(side // 5, side // 5, 5, 5)
    check_same(matrix, half_of(NM(2, 4), matrix), topk_of_groups(matrix))
    for scores, kind, structures in (
        (matrix, "linear", HALF),
        (convolution, "convolution", OF_CONVOLUTIONS),
    ):
        for name, structure in structures.items():
            work = partial(half_of, structure, scores)
            sides = dict.fromkeys((name, "again"), Side(nothing, work))
            if kind == "linear" and name == "2:4":
                sides["topk"] = Side(nothing, partial(topk_of_groups, matrix))
            seconds = in_turns(sides, repeats or REPEATS)
            label = f"patterns: {name}, {kind}"
            yield spread(label, "ms", [1000 * s for s in seconds[name]], at_most=AT_MOST_MS)
            yield ratio(f"{label} / itself", seconds, name, "again")
            if "topk" in sides:
                yield ratio(f"{label} / torch.topk", seconds, name, "topk")


def nothing() -> None:
    """Prepares nothing."""


def half_of(structure: Structure, scores: Tensor, prepared: None = None) -> Tensor:
    pooled = structure.pool(scores)
    kept = structure.select(pooled, pooled.numel() // 2)
    return structure.expand(kept, tuple(scores.shape))


def topk_of_groups(scores: Tensor, prepared: None = None) -> Tensor:
    groups = scores.view(-1, 4)
    best = groups.topk(2, dim=1, sorted=False).indices
    return torch.zeros_like(groups, dtype=torch.bool).scatter_(1, best, True).view(scores.shape)


def check_same(scores: Tensor, *masks: Tensor) -> None:
    """Compares what stays of each group. Of equal scores torch.topk may take either."""
    ours, theirs = ((scores * mask).view(-1, 4).sum(dim=1) for mask in masks)
    if not torch.equal(ours, theirs):
        raise RuntimeError(f"{int((ours != theirs).sum())} groups differ from those of torch.topk")
