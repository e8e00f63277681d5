from collections.abc import Iterable, Mapping
from typing import Protocol

from torch import nn

from harness.vocabulary.tensors import Batch, Counts, Loss, Mean, Tensors

Grouping = Mapping[str, tuple[str, ...]]  # prunable weight -> parameters that go with its units


class Saliency(Protocol):
    """How much each weight is worth keeping: the higher its score, the longer it stays.

    One whose scores may be negative says so by an attribute `signed`; allocations that need
    scores that measure size refuse it. One that measures an error or a statistic of each layer
    by itself, in a scale of the layer's own, says so by an attribute `layer_local`: its default
    allocation is uniform, here and by a line `override /allocation@_global_.allocation: uniform`
    in its conf file. A method `check(model, units)`, if it has one, is asked
    before any training and raises ValueError for a network that it cannot score.
    """

    @property
    def granularity(self) -> str:
        """ "weight": one score per weight, pooled by the structure; "unit": one per unit."""
        ...

    def evidence(
        self, model: nn.Module, batches: Iterable[Batch], loss: Loss, mean: Mean
    ) -> Tensors:
        """What the scores need from data; this rank's batches, averaged over ranks by `mean`.

        `mean(sums, samples)` is (sum over ranks) / (samples over ranks): it comes before any
        abs, square or other non-linearity that the method applies to the averaged quantity.
        All ranks call it equally often, with the same keys and shapes, also one without a batch.
        How the samples are cut into batches changes nothing: squares are taken per sample.
        The model comes back bit for bit as it was: weights, gradients, mode, statistics.
        """
        ...

    def score(self, weights: Tensors, evidence: Tensors) -> Tensors:
        """One score per weight, in the weight's shape; reads its arguments only.

        A weight that is exactly 0 counts as pruned.
        """
        ...


def default_allocation(saliency: object) -> str:
    """Returns the conf name of the allocation that a saliency has unless another is chosen."""
    return "uniform" if getattr(saliency, "layer_local", False) else "global_ranking"


class UnitSaliency(Protocol):
    """A saliency of whole units (granularity "unit"), such as filters: nothing is pooled."""

    @property
    def granularity(self) -> str: ...

    def evidence(
        self,
        model: nn.Module,
        batches: Iterable[Batch],
        loss: Loss,
        mean: Mean,
        units: Grouping | None = None,
    ) -> Tensors:
        """As of Saliency. units: the weights that the structure prunes, each with the bias and
        the norm's scale and shift that go with its units; None: all weights, nothing with them.
        """
        ...

    def score(self, weights: Tensors, evidence: Tensors) -> Tensors:
        """One score per unit: (weight.shape[0],)."""
        ...


class Compensating(Protocol):
    """A saliency that moves the remaining weights to make up for the pruned ones."""

    def compensate(self, weights: Tensors, masks: Tensors, evidence: Tensors) -> Tensors:
        """New values of the weights that move, after the masks are agreed; {} if none does.

        weights: as they were scored, pruned ones of earlier events 0. masks: True stays. Pruned
        weights of the result may hold anything: they are zeroed. Decided on rank 0 and sent.
        """
        ...


class Solving(Protocol):
    """A saliency that finds masks and weights together, for single weights."""

    def solve(
        self, weights: Tensors, keep: Counts, evidence: Tensors, alive: Tensors | None = None
    ) -> tuple[Tensors, Tensors]:
        """(masks, new weights), exactly keep[name] of each weight, of those alive.

        alive: masks in force; None: the weights that are not 0. The second is {} if none moves.
        """
        ...
