"""Implements what RigL, SET and SNFS share: small weights are dropped, and as many others grow."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Annotated

import torch
from torch import Tensor

from harness.mask_updates.base import MaskUpdater
from harness.vocabulary.checks import check_declared
from harness.vocabulary.tensors import Counts, Tensors
from harness.vocabulary.topk import array, positions, topk_mask

STEPS = "a whole number of at least 1 (optimizer steps); write e.g. 100"


@dataclass(frozen=True)
class DropGrow(MaskUpdater, ABC):
    """drop(t) = drop_fraction / 2 (1 + cos(pi t / (stop_fraction T))), at step t of T.

    An update drops this fraction of the live weights, those with the smallest |w|, and as many
    weights with the highest growth scores grow. From step stop_fraction T on, drop(t) is 0. Each
    layer drops int(drop(t) x live) weights, so the masks of a small layer may not change.

    An update takes the place of an optimizer step: Evci et al. 2020 (arXiv:1911.11134), Algorithm
    1. As in their code, weights just dropped compete for growth and, if they grow again, keep their
    value and optimizer state. All other grown weights start at 0 and without momentum, because
    pruned weights are held at 0 with their optimizer state. Their code adds noise (sigma = 1e-5) to
    |w| against ties; here the first flat index wins. Masks hold exactly as many weights after an
    update as before. A grown weight without a gradient stays 0; the recorded density is read from
    the weights, and is lower by such weights.

    Args:
        drop_fraction: fraction of each layer's live weights that is dropped at first, in (0, 1).
        update_interval: steps from one update to the next; the first is at step `update_interval`.
        stop_fraction: fraction of the training after which masks stay fixed, in (0, 1].

    Raises:
        ValueError: a field is out of range.
    """

    drop_fraction: Annotated[float, "a number in (0, 1); write e.g. 0.3"] = 0.3
    update_interval: Annotated[int, STEPS] = 100
    stop_fraction: Annotated[float, "a number in (0, 1]; write e.g. 0.75"] = 0.75

    def __post_init__(self) -> None:
        check_declared(self)

    def check(self, steps: int) -> None:
        if self.update_interval > steps:
            raise ValueError(
                f"mask_updates.update_interval={self.update_interval} is longer than a training of "
                f"{steps} steps, whose masks would never change; lower "
                "mask_updates.update_interval or train longer"
            )
        if self.update_interval >= stop_step(self.stop_fraction, steps):
            raise ValueError(
                f"mask_updates.update_interval={self.update_interval}: no update falls before step "
                f"{stop_step(self.stop_fraction, steps)}, from which masks hold "
                f"(mask_updates.stop_fraction={self.stop_fraction} of {steps} steps); lower "
                "mask_updates.update_interval or raise mask_updates.stop_fraction"
            )

    def updates(self, step: int, steps: int) -> bool:
        return (
            step > 0
            and step % self.update_interval == 0
            and step < stop_step(self.stop_fraction, steps)
        )

    def fraction(self, step: int, steps: int) -> float:
        """Returns the fraction of a layer's live weights that is dropped at this step.

        >>> class Still(DropGrow):
        ...     def growth_scores(self, name, weight, statistics, step, seed):
        ...         return weight
        >>> still = Still(drop_fraction=0.4, stop_fraction=0.5)
        >>> [round(still.fraction(t, 8), 3) for t in range(6)]
        [0.4, 0.341, 0.2, 0.059, 0.0, 0.0]
        """
        if step >= stop_step(self.stop_fraction, steps):
            return 0.0
        return (
            self.drop_fraction / 2 * (1 + math.cos(math.pi * step / (self.stop_fraction * steps)))
        )

    def update_masks(
        self,
        weights: Tensors,
        masks: Tensors,
        statistics: Tensors,
        step: int,
        steps: int,
        seed: int,
    ) -> Tensors:
        """Returns all masks after the update.

        Raises:
            ValueError: a weight or its statistics are NaN.
        """
        fraction = self.fraction(step, steps)
        live = {name: torch.as_tensor(positions(array(masks[name].flatten()))) for name in weights}
        dropped = {name: int(fraction * len(indices)) for name, indices in live.items()}
        updated = dict(masks)
        for name, count in self.growth_counts(dropped, live, masks, statistics).items():
            with naming_layer(name):
                sizes = entries_at(live[name], weights[name]).abs()
                kept = live[name][topk_mask(sizes, len(sizes) - dropped[name])]
                scores = self.growth_scores(name, weights[name], statistics, step, seed).flatten()
                # Writing the kept entries only is several times as fast as torch.where.
                mask = topk_mask(scores.index_fill_(0, kept, -math.inf), count).index_fill_(
                    0, kept, True
                )
                updated[name] = mask.view(masks[name].shape)
        return updated

    def growth_counts(
        self, dropped: Counts, live: Tensors, masks: Tensors, statistics: Tensors
    ) -> Counts:
        """Returns how many weights grow in each layer, as many in total as were dropped.

        live: flat indices of the live weights, ascending.
        """
        return dropped

    @abstractmethod
    def growth_scores(
        self, name: str, weight: Tensor, statistics: Tensors, step: int, seed: int
    ) -> Tensor:
        """Returns one score per weight of this layer; the highest of those not kept grow.

        The result is a new tensor, which the caller may overwrite.
        """


@lru_cache
def stop_step(until: float, steps: int) -> int:
    """Returns the first step from which masks stay fixed."""
    # A Fraction of the decimal as written: 0.07 * 100 is above 7 in floating point.
    return math.ceil(Fraction(str(until)) * steps)


def entries_at(indices: Tensor, tensor: Tensor) -> Tensor:
    """Returns the entries at these flat indices."""
    return tensor.flatten()[indices]


@contextmanager
def naming_layer(name: str) -> Iterator[None]:
    """Adds the layer's name to an error about numbers that are not finite."""
    try:
        yield
    except (OverflowError, ValueError) as error:
        raise ValueError(
            f"{name}: {error}, so its mask cannot be updated; did the training diverge? lower its "
            "learning rate"
        ) from error
