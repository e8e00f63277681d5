"""Computes one pruning: statistics -> scores -> units -> counts -> masks."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from harness.allocation.base import Allocation, ModelInfo
from harness.metrics.macs import describe_uncounted
from harness.pruning import budget as budgets
from harness.pruning.controls import Control, apply_control
from harness.pruning.density import alive_units, layers_of
from harness.pruning.masks import MaskStore
from harness.pruning.part_protocols import check_fit, check_n_of_m, check_rows, check_solved
from harness.pruning.reader import Calibration, Reader, local
from harness.saliency.base import Saliency
from harness.structure.base import Structure
from harness.vocabulary.checks import check_declared
from harness.vocabulary.defaults import with_defaults
from harness.vocabulary.finite import check_scores, name_non_finite_weights, warn_zero_scores
from harness.vocabulary.tensors import Counts, Tensors, Units

NOTHING = ModelInfo()


@dataclass(frozen=True)
class Proposal:
    """Holds what one rank computed, before the ranks agree."""

    masks: Tensors
    # Agreed masks -> new values of the remaining weights; values of pruned weights are ignored.
    updated_weights: Callable[[Tensors], Tensors]


@dataclass(frozen=True)
class Pruner:
    """Computes masks from a saliency, a structure and an allocation.

    seed: the seed of a control's random streams.

    Raises:
        ValueError: the parts do not fit each other, or the control is unknown.
    """

    saliency: Saliency
    structure: Structure
    allocation: Allocation
    control: Control = "none"
    seed: int = 0

    def __post_init__(self) -> None:
        check_declared(self)
        own = {"saliency": Saliency, "structure": Structure, "allocation": Allocation}
        for key, base in own.items():
            object.__setattr__(self, key, with_defaults(base, getattr(self, key)))
        check_fit(self.saliency, self.structure, self.allocation)

    @property
    def budget(self) -> str:
        return self.allocation.budget

    def size_model(
        self,
        unit: str,
        model: nn.Module,
        units: Units,
        model_info: ModelInfo = NOTHING,
        budget: str | None = None,
    ) -> budgets.SizeModel:
        """Returns the size model of this model in the given unit.

        budget: replaces the allocation's budget.

        Raises:
            ValueError: sizes count multiply-accumulates, and those of a weight are unknown.
        """
        layers = layers_of(self.structure, self._ones(model, units), model, units, model_info)
        counts = budgets.count_unit(unit, budget or self.budget, self.allocation.equal_densities)
        removable = budgets.size_of(
            layers, {name: layer.units for name, layer in layers.items()}, counts
        )
        if counts == "macs" and model_info.uncounted:
            raise ValueError(
                f"{unit} cannot be counted in multiply-accumulates: "
                f"{describe_uncounted(model_info.uncounted)}; ask for a density or compression, "
                "with budget=params"
            )
        total = (
            removable
            if unit == "density"
            else budgets.total_of(model, counts, model_info.total_macs)
        )
        return budgets.SizeModel(unit, total, removable, counts)

    def alive_sizes(
        self, model: nn.Module, store: MaskStore, units: Units, model_info: ModelInfo, counts: str
    ) -> Counts:
        """Returns the size of the alive units, per weight."""
        layers = layers_of(
            self.structure, self._ones(model, units), model, units, model_info, store.masks
        )
        return {name: layer.alive * budgets.cost(layer, counts) for name, layer in layers.items()}

    def check(
        self,
        requested: budgets.RequestedSize,
        model: nn.Module,
        units: Units,
        model_info: ModelInfo = NOTHING,
        part: str = "",
    ) -> int:
        """Checks a requested size before any training, and returns how many units would stay.

        The result is `requested.keep` if the allocation needs sensitivity curves.

        part: the submodule in which the saliency scores these weights; "" is the whole model.

        Raises:
            Unreachable: floors forbid the requested size; names the smallest reachable density.
            ValueError: the saliency cannot score this model, or the size cannot be reached
                otherwise.
        """
        check_rows(self.saliency, self.structure, model, units)
        self.saliency.check(model.get_submodule(part), local(units, part))
        layers = layers_of(self.structure, self._ones(model, units), model, units, model_info)
        budgets.least_units(self.allocation, layers, requested)
        if self.allocation.needs_curves:
            return requested.keep
        counts = budgets.counts_for(self.allocation, layers, requested)
        check_n_of_m(self.structure.n_of_m, layers, counts)
        return sum(counts.values())

    def propose(
        self,
        model: nn.Module,
        store: MaskStore,
        units: Units,
        requested: budgets.RequestedSize,
        data: Calibration,
        model_info: ModelInfo = NOTHING,
    ) -> Proposal:
        """Returns the next masks: of the alive units those that reach the requested size.

        The size is exactly `requested.keep` if every unit costs the same, and the nearest reachable
        size otherwise. Reads the model and changes nothing.
        """
        weights = {name: model.get_parameter(name).detach() for name in units}
        read = Reader(self.saliency, model, data.compare)
        statistics, scores = self._statistics_and_scores(read, model, units, data)
        layers = layers_of(
            self.structure, self._pool(scores), model, units, model_info, store.masks
        )
        counted = budgets.all_alive(layers) if self.structure.n_of_m else layers
        counts = budgets.counts_for(self.allocation, counted, requested)
        if solve := self._solve:
            alive = {name: store.masks[name] for name in units}
            kept, solved = read(*solve, weights, counts, statistics, alive)
            check_solved(kept, counts, self.structure.n_of_m)
        else:
            select = self.structure.select
            kept = {name: select(layer.scores, counts[name]) for name, layer in layers.items()}
            solved = {}
        masks = self.masks_of(kept, units, weights)
        return Proposal(
            masks, lambda agreed: solved or self._compensate(read, weights, agreed, statistics)
        )

    def apply_control(
        self, masks: Tensors, model: nn.Module, store: MaskStore, units: Units
    ) -> Tensors:
        """Returns the control's masks in place of the method's, with as many units of each weight.

        masks: the method's masks after all rounds, which began with those in `store`.
        """
        weights = {name: model.get_parameter(name).detach() for name in units}
        both = (masks, store.masks)
        kept, alive = ({n: alive_units(self.structure, of[n]) for n in units} for of in both)
        magnitudes = {name: self.structure.pool(weights[name].abs()) for name in units}
        sizes = magnitudes, self.seed, self.structure
        return self.masks_of(apply_control(self.control, kept, alive, *sizes), units, weights)

    def unit_scores(
        self, model: nn.Module, store: MaskStore, units: Units, data: Calibration
    ) -> Tensors:
        """Returns one score per unit, as `propose` ranks them; pruned units have -inf."""
        scores = self._pool(self.scores(model, units, data))
        layers = layers_of(self.structure, scores, model, units, NOTHING, store.masks)
        return {name: layer.scores for name, layer in layers.items()}

    def scores(self, model: nn.Module, units: Units, data: Calibration) -> Tensors:
        """Returns the saliency's scores, one per weight or per unit; all are finite."""
        return self._statistics_and_scores(
            Reader(self.saliency, model, data.compare), model, units, data
        )[1]

    def _statistics_and_scores(
        self, read: Reader, model: nn.Module, units: Units, data: Calibration
    ) -> tuple[Tensors, Tensors]:
        """Returns the saliency's statistics and scores."""
        check_rows(self.saliency, self.structure, model, units)
        calibration = data.on(model, units)
        names = dict(zip(calibration.weight_names, units, strict=True))
        statistics = read("statistics", calibration)
        statistics = {names.get(name, name): value for name, value in statistics.items()}
        weights = {name: model.get_parameter(name).detach() for name in units}
        scores = read("score", weights, statistics)
        with name_non_finite_weights(model):
            scores = check_scores(self.saliency, scores, list(units))
        warn_zero_scores(self.saliency, scores, weights)
        return statistics, scores

    def _compensate(
        self, read: Reader, weights: Tensors, masks: Tensors, statistics: Tensors
    ) -> Tensors:
        if self.saliency.compensate is None:
            return {}
        updated: Tensors = read("compensate", weights, masks, statistics)
        return updated

    @property
    def _solve(self) -> tuple[Any, ...] | None:
        """Returns the name of the saliency's own solver and its first arguments, or None."""
        n_of_m = self.structure.n_of_m
        if self.structure.granularity != "weight":
            return None
        if n_of_m:
            return ("solve_n_of_m", n_of_m) if self.saliency.solve_n_of_m else None
        return ("solve",) if self.saliency.solve else None

    def _pool(self, scores: Tensors) -> Tensors:
        """Returns one score per unit."""
        if self.saliency.granularity == "unit":
            return scores
        return {name: self.structure.pool(score) for name, score in scores.items()}

    def _ones(self, model: nn.Module, units: Units) -> Tensors:
        """Returns equal scores, one per unit."""
        weights = {name: model.get_parameter(name).detach() for name in units}
        return {name: self.structure.pool(torch.ones_like(w)) for name, w in weights.items()}

    def masks_of(self, kept: Tensors, units: Units, weights: Tensors) -> Tensors:
        """Expands masks of units to masks of their weights and of the companions of their units."""
        masks = {}
        for weight, mask in kept.items():
            masks[weight] = self.structure.expand(mask, tuple(weights[weight].shape))
            masks |= dict.fromkeys(units[weight], mask)
        return masks
