from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from harness.mask_updates.drop_grow import STEPS, DropGrow, entries_at, naming_layer
from harness.vocabulary.checks import check_fields
from harness.vocabulary.tensors import Counts, Tensors


@dataclass(frozen=True)
class Snfs(DropGrow):
    """Of the weights not kept those of highest |mean gradient| return, where gradients are high.

    Every layer drops the same share of its live weights. What was dropped in total is shared
    between layers in proportion to the mean |mean gradient| of the weights that were live, never
    more than a layer has room for; so layers change their density, and the total is constant.

    The mean gradient is an exponential running mean m = momentum m + (1 - momentum) g of dense
    gradients, from 0 over the last `history` steps before an update, its own step included; from
    the last update on if that is later. It is not corrected for starting at 0: a constant factor
    changes neither ranks nor proportions. At 0.9 what is older than 50 steps would weigh below
    0.6 %, and all other steps stay sparse.

    Source: Dettmers & Zettlemoyer 2019, Sparse Networks from Scratch (arXiv:1907.04840). They take
    the optimizer's own momentum over all steps (with Adam divided by the root of its second
    moment), update after the last step of an epoch, and set the momentum of pruned weights to the
    mean of that of live ones. Their counts are rounded layer by layer, so their total wavers.

    Raises:
        ValueError: momentum is not in [0, 1), history not a whole number of at least 1, or a field
            of all such mask_updates is out of range.
    """

    momentum: float = 0.9
    history: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fields(self, "a number in [0, 1); write e.g. 0.9", "momentum")
        check_fields(self, STEPS, "history", way_out="; write e.g. 100")

    def needs_dense_gradients(self, step: int, steps: int) -> bool:
        ahead = (
            -step % self.update_interval if step else self.update_interval
        )  # to the next multiple of `update_interval`
        return ahead < self.history and self.updates(step + ahead, steps)

    def accumulate(self, statistics: Tensors, gradients: Tensors) -> Tensors:
        if not statistics:
            statistics = {n: torch.zeros_like(g, dtype=_wide(g)) for n, g in gradients.items()}
        fresh = [gradients[name].to(mean.dtype) for name, mean in statistics.items()]
        torch._foreach_lerp_(list(statistics.values()), fresh, 1 - self.momentum)
        return statistics

    def growth_scores(
        self, name: str, weight: Tensor, statistics: Tensors, step: int, seed: int
    ) -> Tensor:
        return statistics[name].abs()

    def growth_counts(
        self, dropped: Counts, live: Tensors, masks: Tensors, statistics: Tensors
    ) -> Counts:
        """
        Raises:
            ValueError: the mean gradient of a layer is not finite.
        """
        sizes = {
            name: _mean(name, entries_at(indices, statistics[name]))
            for name, indices in live.items()
        }
        room = {n: masks[n].numel() - len(indices) + dropped[n] for n, indices in live.items()}
        return split_total(sum(dropped.values()), sizes, room)


def split_total(total: int, sizes: dict[str, Fraction], room: Counts) -> Counts:
    """`total` in proportion to sizes, by largest remainder, never beyond room[name].

    What a full layer cannot take goes to the others in proportion; where all of these are of size
    0, in proportion to their room. Of equal remainders the first layer wins. `total` is at most
    all room.

    >>> shared(8, {"a": Fraction(2), "b": Fraction(1), "c": Fraction(1)}, {"a": 9, "b": 1, "c": 9})
    {'a': 5, 'b': 1, 'c': 2}
    """
    if not total:
        return dict.fromkeys(sizes, 0)
    weights = sizes if any(sizes.values()) else {n: Fraction(room[n]) for n in sizes}
    whole = sum(weights.values())
    parts = {name: total * weight / whole for name, weight in weights.items()}
    full = {name: room[name] for name, part in parts.items() if part > room[name]}
    if full:
        others = {name: size for name, size in sizes.items() if name not in full}
        rest = split_total(total - sum(full.values()), others, room)
        return {name: (full | rest)[name] for name in sizes}
    counts = {name: int(part) for name, part in parts.items()}
    by_remainder = sorted(parts, key=lambda name: counts[name] - parts[name])
    for name in by_remainder[: total - sum(counts.values())]:
        counts[name] += 1
    return counts


def _mean(name: str, means: Tensor) -> Fraction:
    """Mean |mean gradient|, exactly as its sum was rounded; 0 of none."""
    with naming_layer(name):
        return Fraction(float(means.abs().sum(dtype=torch.float64))) / max(len(means), 1)


def _wide(gradient: Tensor) -> torch.dtype:
    return torch.promote_types(gradient.dtype, torch.float32)
