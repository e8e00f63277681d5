from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated

import torch
from torch import Tensor

from harness.mask_updates.drop_grow import STEPS, DropGrow, entries_at, naming_layer
from harness.vocabulary.tensors import Counts, Tensors


@dataclass(frozen=True)
class Snfs(DropGrow):
    """score = |m|, m = momentum m + (1 - momentum) gradient: the weights of highest |m| grow.

    Every layer drops the same fraction of its live weights. The total that was dropped is shared
    between layers in proportion to the mean |m| of their live weights. No layer gets more than it
    has room for. Layers thus change their density, and the total is constant.

    m starts at 0 and runs over the dense gradients of the last `history` steps before an update,
    the step of the update included. If the last update is later, m starts there. m is not corrected
    for starting at 0: a constant factor changes neither ranks nor proportions. At momentum 0.9
    steps older than 50 would weigh below 0.6 %, and all other steps stay sparse.

    Source: Dettmers & Zettlemoyer 2019, Sparse Networks from Scratch (arXiv:1907.04840). They take
    the optimizer's own momentum over all steps (with Adam divided by the root of its second
    moment), update after the last step of an epoch, and set the momentum of pruned weights to the
    mean of that of live ones. They round counts layer by layer, so that their total varies.

    Raises:
        ValueError: momentum is not in [0, 1), history not a whole number of at least 1, or a field
            of DropGrow is out of range.
    """

    momentum: Annotated[float, "a number in [0, 1); write e.g. 0.9"] = 0.9
    history: Annotated[int, STEPS] = 50

    def needs_dense_gradients(self, step: int, steps: int) -> bool:
        # Steps to the next multiple of update_interval.
        ahead = -step % self.update_interval if step else self.update_interval
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
        """Returns how many weights grow in each layer, in proportion to its mean |mean gradient|.

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
    """Splits `total` in proportion to sizes, by largest remainder, never beyond room[name].

    The surplus of a full layer goes to the other layers in proportion. If all of these have size 0,
    it goes to them in proportion to their room. Of equal remainders the first layer wins. `total`
    is at most the sum of all room.

    >>> sizes = {"a": Fraction(2), "b": Fraction(1), "c": Fraction(1)}
    >>> split_total(8, sizes, {"a": 9, "b": 1, "c": 9})
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
    """Returns the mean |mean gradient|, exactly as its sum was rounded; 0 for no entries."""
    with naming_layer(name):
        return Fraction(float(means.abs().sum(dtype=torch.float64))) / max(len(means), 1)


def _wide(gradient: Tensor) -> torch.dtype:
    return torch.promote_types(gradient.dtype, torch.float32)
