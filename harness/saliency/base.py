"""Defines what a saliency is: it scores how much each weight, or unit, is worth keeping."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from harness.vocabulary.n_of_m import NOfM
from harness.vocabulary.tensors import (
    Batch,
    Companions,
    Counts,
    Loss,
    Mean,
    Tensors,
    local_mean,
    prunable_layers,
)

# Weights, masks, statistics -> new values of weights.
Compensate = Callable[[Tensors, Tensors, Tensors], Tensors]
# Weights, units to keep, statistics, masks in force -> masks, new values of weights.
Solve = Callable[[Tensors, Counts, Tensors, Tensors | None], tuple[Tensors, Tensors]]
# The same, within the groups that come first.
SolveNOfM = Callable[[NOfM, Tensors, Counts, Tensors, Tensors | None], tuple[Tensors, Tensors]]


UnitSums = Callable[[Tensors], Tensors]


def row_sums(values: Tensors) -> Tensors:
    """Returns the sums over the first dimension's rows, by name.

    >>> import torch
    >>> row_sums({"w": torch.tensor([[1.0, 2.0], [3.0, 4.0]])})["w"].tolist()
    [3.0, 7.0]
    """
    return {name: value.reshape(len(value), -1).sum(1) for name, value in values.items()}


@dataclass(frozen=True)
class CalibrationData:
    """Holds what a saliency may measure: weights of a module, and samples to call it with.

    module: the model, or a part of it, such as a block.
    batches: (inputs of the module, labels), this rank's.
    loss: of the module's outputs and the labels, SUMMED over the samples. None where there is
        none: the outputs of a part are not what labels are for.
    mean: (sums, samples) -> (sum over ranks) / (samples over ranks). All ranks call it equally
        often, with the same keys and shapes, also one without a batch. It comes before any abs,
        square or other non-linearity that the method applies to the averaged quantity.
    units: the weights that the structure prunes, by their names in the module, each with the bias
        and the norm's scale and shift that go with its units; None: units are unknown.
    names: the weights to score; () are those of `units`, or all prunable ones.
    unit_sums: values in the shapes of the weights to score -> their sums over each unit, by the
        first name of each set of units; by default sums over rows.
    """

    module: nn.Module
    batches: Iterable[Batch] = ()
    loss: Loss | None = None
    mean: Mean = local_mean
    units: Companions | None = None
    names: Sequence[str] = ()
    unit_sums: UnitSums = row_sums

    @property
    def weight_names(self) -> tuple[str, ...]:
        """Returns the names of the weights to score."""
        return tuple(self.names or self.units or prunable_layers(self.module))

    @property
    def selected_units(self) -> Companions:
        """Returns the weights to score, each with the parameters that go with its units."""
        return {name: (self.units or {}).get(name, ()) for name in self.weight_names}

    @property
    def required_loss(self) -> Loss:
        """Returns the loss.

        Raises:
            ValueError: there is no loss.
        """
        if self.loss is None:
            raise ValueError(
                f"there is no loss for {type(self.module).__name__}, only inputs, as for a part of "
                "a model; use a saliency that measures layers by their inputs (wanda, sparsegpt, "
                "obs) or by their weights, or prune the model as a whole"
            )
        return self.loss


class Saliency(ABC):
    """Scores how much each weight is worth keeping: the higher the score, the longer it stays.

    A part needs not inherit from this: what it lacks of the attributes below has the value here.

    granularity: "weight": one score per weight, pooled by the structure; "unit": one per unit.
    any_parameter: it scores single entries of parameters of any kind, biases and norms too; if not,
        weights of layers alone, and `structure.pool_over=members` is refused.
    adds_units: with granularity "unit": its scores are those of whole units of groups, made by
        `data.unit_sums`, and the structure pools nothing.
    layer_local: it measures an error or a statistic of each layer by itself, in a scale of the
        layer's own. Its default allocation is uniform, here and by a line
        `override /allocation@_global_.allocation: uniform` in its conf file.
    needs_loss: it takes gradients of the loss, so it scores whole models, not parts of them.
    rounds: prunings, each with new scores, in which its authors reach a level.
    signed: scores may be negative; allocations that need scores that measure size refuse it.
    update_weights: weights that stay may move.
    reads_samples: its statistics depend on calibration samples; if not, it gets one sample, whose
        shape it may read, and a run needs no more.
    batch_norm: what a BatchNorm divides by meanwhile: "eval", its running statistics, or "train".
    compensate(weights, masks, statistics), or None: new values of the weights that move to make up
        for the pruned ones, after the masks are agreed; {} if none does. weights: as they were
        scored, pruned ones of earlier events 0. masks: True stays. Pruned weights of the result may
        hold anything: they are zeroed. Decided on rank 0 and sent.
    solve(weights, keep, statistics, alive), or None: (masks, new weights) in one step; for single
        weights, exactly keep[name] of each, of those alive. alive: masks in force; None: the
        weights that are not 0. The second is {} if none moves.
    solve_n_of_m(groups, weights, keep, statistics, alive), or None: the same for a structure that
        keeps n of m, in which each group keeps keep[name] / groups, as `NOfM.select`. None: weights
        are selected by `score` within each group.
    """

    granularity: ClassVar[str] = "weight"
    any_parameter: ClassVar[bool] = False
    adds_units: ClassVar[bool] = False
    layer_local: ClassVar[bool] = False
    needs_loss: ClassVar[bool] = False
    rounds: ClassVar[int] = 1
    compensate: Callable[[Tensors, Tensors, Tensors], Tensors] | None = None
    solve: Callable[[Tensors, Counts, Tensors, Tensors | None], tuple[Tensors, Tensors]] | None = (
        None
    )
    solve_n_of_m: SolveNOfM | None = None

    @property
    def signed(self) -> bool:
        return False

    @property
    def update_weights(self) -> bool:
        return False

    @property
    def reads_samples(self) -> bool:
        return type(self).statistics is not Saliency.statistics

    @property
    def batch_norm(self) -> str:
        return "eval"

    def check(self, model: nn.Module, units: Companions) -> None:  # noqa: B027
        """Checks the saliency against the model, before any training.

        Raises:
            ValueError: it cannot score these weights of the model.
        """

    def statistics(self, data: CalibrationData) -> Tensors:
        """Returns what the scores need from data, averaged over ranks by `data.mean`, or {}.

        How the samples are cut into batches changes nothing: squares are taken per sample.
        The module comes back bit for bit as it was: weights, gradients, mode, statistics.
        """
        return {}

    @abstractmethod
    def score(self, weights: Tensors, statistics: Tensors) -> Tensors:
        """Returns one score per weight, in its shape, or one per unit: (weight.shape[0],).

        A unit may have several scores, (weight.shape[0], k), which the structure pools.

        With adds_units the scores have the names and shapes of `data.unit_sums`.

        Reads its arguments only. A weight that is exactly 0 counts as pruned.
        """


def default_allocation(saliency: Saliency) -> str:
    """Returns the conf name of the allocation that a saliency has unless another is chosen."""
    return "uniform" if saliency.layer_local else "global_ranking"
