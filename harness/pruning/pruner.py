"""Computes one pruning: statistics -> scores -> units -> counts -> masks."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from harness.allocation.base import Allocation, ModelInfo, all_alive
from harness.groups.units import (
    RemovableUnits,
    Units,
    equal_scores,
    masks_of,
    pooled_scores,
    scored_parameters,
)
from harness.pruning import budget as budgets
from harness.pruning import part_protocols, sizes
from harness.pruning.controls import Control, apply_control
from harness.pruning.density import layers_of
from harness.pruning.masks import MaskStore
from harness.pruning.reader import Calibration, Reader, local
from harness.saliency.base import Saliency
from harness.structure.base import Structure
from harness.vocabulary.apportion import apportion
from harness.vocabulary.checks import check_declared
from harness.vocabulary.defaults import with_defaults
from harness.vocabulary.finite import check_scores, name_non_finite_weights, warn_zero_scores
from harness.vocabulary.tensors import Counts, Tensors

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
        part_protocols.check_fit(self.saliency, self.structure, self.allocation)

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
            ValueError: sizes count multiply-accumulates, and those of a weight are unknown; or
                nanoseconds, and no table says them.
        """
        layers = layers_of(equal_scores(units, model), model, units, model_info)
        removes = all(isinstance(each, RemovableUnits) for each in units.values())
        equal = self.allocation.equal_densities
        counts = sizes.count_unit(unit, budget or self.budget, equal, removes)
        part_protocols.check_countable(unit, counts, model_info, removes)
        size = sizes.size_function(counts, layers, model, units, model_info)

        def size_at(fraction: float) -> int:
            return size({name: round(fraction * layer.units) for name, layer in layers.items()})

        removable, whole = size_at(1.0), sizes.total_of(model, counts, model_info)
        total = removable if unit == "density" else whole
        return budgets.SizeModel(unit, total, removable, counts, size_at if removes else None)

    def alive_sizes(
        self, model: nn.Module, store: MaskStore, units: Units, model_info: ModelInfo, counts: str
    ) -> Counts:
        """Returns the size of the alive units, per set of units.

        Of what is left of a network it is the sum that is exact; sets share it by their own sizes.
        """
        layers = layers_of(equal_scores(units, model), model, units, model_info, store.masks)
        alive = {name: layer.alive for name, layer in layers.items()}
        own = counts.removesuffix(sizes.LEFT)
        # Nanoseconds are of a network, and no unit has its own.
        each = "parameters" if own == sizes.NANOSECONDS else own
        own_sizes = {n: alive[n] * sizes.cost(layer, each) for n, layer in layers.items()}
        if own == counts:
            return own_sizes
        total = sizes.size_function(counts, layers, model, units, model_info)(alive)
        return apportion(total, own_sizes, dict.fromkeys(own_sizes, total))

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
        part_protocols.check_scored(self.saliency, units)
        part_protocols.check_costs(self.allocation, units, model_info)
        self.saliency.check(model.get_submodule(part), local(units, part))
        layers = layers_of(equal_scores(units, model), model, units, model_info)
        size = sizes.size_function(requested.counts, layers, model, units, model_info)
        budgets.check_floors(self.allocation, layers, requested, size)
        if self.allocation.needs_curves:
            return requested.keep
        counts = budgets.counts_for(self.allocation, layers, requested, size)
        less = requested.keep < size({name: layer.units for name, layer in layers.items()})
        part_protocols.check_counts(self.structure, layers, counts, less and not part)
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
        weights = scored_parameters(units, model)
        read = Reader(self.saliency, model, data.compare)
        statistics, scores = self._statistics_and_scores(read, model, units, data)
        layers = layers_of(self._pooled(units, scores), model, units, model_info, store.masks)
        counted = all_alive(layers) if self.structure.n_of_m else layers
        size = sizes.size_function(requested.counts, counted, model, units, model_info)
        counts = budgets.counts_for(self.allocation, counted, requested, size)
        if solve := self._solve:
            alive = {name: store.masks[name] for name in units}
            kept, solved = read(*solve, weights, counts, statistics, alive)
            part_protocols.check_solved(kept, counts, self.structure.n_of_m)
        else:
            select = self.structure.select
            kept = {name: select(layer.scores, counts[name]) for name, layer in layers.items()}
            solved = {}
        masks = masks_of(units, kept, store.masks)
        return Proposal(
            masks, lambda agreed: solved or self._compensate(read, weights, agreed, statistics)
        )

    def apply_control(
        self, masks: Tensors, model: nn.Module, store: MaskStore, units: Units
    ) -> Tensors:
        """Returns the control's masks in place of the method's, with as many units of each weight.

        masks: the method's masks after all rounds, which began with those in `store`.
        """
        both = (masks, store.masks)
        kept, alive = ({name: each.alive(of) for name, each in units.items()} for of in both)
        weights = scored_parameters(units, model)
        magnitudes = pooled_scores(units, {name: weight.abs() for name, weight in weights.items()})
        rest = magnitudes, self.seed, self.structure
        return masks_of(units, apply_control(self.control, kept, alive, *rest), store.masks)

    def unit_scores(
        self, model: nn.Module, store: MaskStore, units: Units, data: Calibration
    ) -> Tensors:
        """Returns one score per unit, as `propose` ranks them; pruned units have -inf."""
        scores = self._pooled(units, self.scores(model, units, data))
        layers = layers_of(scores, model, units, NOTHING, store.masks)
        return {name: layer.scores for name, layer in layers.items()}

    def scores(self, model: nn.Module, units: Units, data: Calibration) -> Tensors:
        """Returns the saliency's scores, one per weight or per unit; all are finite."""
        read = Reader(self.saliency, model, data.compare)
        return self._statistics_and_scores(read, model, units, data)[1]

    def _statistics_and_scores(
        self, read: Reader, model: nn.Module, units: Units, data: Calibration
    ) -> tuple[Tensors, Tensors]:
        part_protocols.check_scored(self.saliency, units)
        calibration = data.on(model, units)
        weights = scored_parameters(units, model)
        names = dict(zip(calibration.weight_names, weights, strict=True))
        statistics = read("statistics", calibration)
        if not self.saliency.adds_units:
            statistics = {names.get(name, name): value for name, value in statistics.items()}
        scores = read("score", weights, statistics)
        with name_non_finite_weights(model):
            scored = units if self.saliency.adds_units else weights
            scores = check_scores(self.saliency, scores, list(scored))
        warn_zero_scores(self.saliency, scores, weights)
        return statistics, scores

    def _pooled(self, units: Units, scores: Tensors) -> Tensors:
        return scores if self.saliency.adds_units else pooled_scores(units, scores)

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
