"""Computes the requested sizes of all levels: kept fractions of what can be removed."""

from typing import NamedTuple

from torch import nn

from harness.allocation.base import ModelInfo, Unreachable
from harness.experiment.config import ExperimentConfig
from harness.groups.units import Units
from harness.pruning.budget import RequestedSize
from harness.pruning.prunable import make_mask_store
from harness.pruning.pruning_order import PruningProgress, check_parts, units_in
from harness.pruning.sizes import LEFT


class PruneEvent(NamedTuple):
    """Describes a change of masks inside a training, before its step `step`.

    Args:
        step: the optimizer step, counted from 0.
        kept_fraction: the kept fraction after the event.
        level: counts the prunings; None if the event unmasks all weights.
    """

    step: int
    kept_fraction: float
    level: int | None


class RequestedLevels:
    """Holds the kept fraction of level 1, 2, ..., and the prune events if one training has several.

    Raises:
        ValueError: the model cannot reach the requested size, or not in this training.
    """

    def __init__(
        self,
        experiment: ExperimentConfig,
        model: nn.Module,
        units: Units,
        model_info: ModelInfo,
        steps: int,
    ):
        """Computes and checks all levels.

        steps: the number of steps of the one training in which masks shrink.
        """
        self.experiment, self.model = experiment, model
        self.units, self.model_info = units, model_info
        unit, during = experiment.schedule.unit, experiment.prune_at == "during_training"
        # If a speed-up is requested, density and compression count multiply-accumulates too; of a
        # latency, compression counts nanoseconds.
        budget = {"speedup": "macs", "latency": "latency"}.get(unit)
        self.size_models = {
            name: experiment.pruner.size_model(name, model, units, model_info, budget)
            for name in dict.fromkeys((unit, "density", "compression"))
        }
        self.size_model = self.size_models[unit]
        self.prune_events = self._prune_events(steps) if during else []
        self.kept_fractions = [event.kept_fraction for event in self.prune_events if event.level]
        if not during:
            convert = self.size_model.to_kept_fraction
            self.kept_fractions = experiment.schedule.kept_fractions(convert)
        self._check_n_of_m()
        if experiment.unmasks_between_levels and len(self.kept_fractions) < 2:
            raise ValueError(
                "mask_updates=soft lets units recover until the last level, but there is one level "
                "only; use schedule=constant schedule.levels=5, or lower gradual.interval"
            )
        self._check(self.requested_size(min(self.kept_fractions)))

    def requested_size(self, kept_fraction: float) -> RequestedSize:
        return RequestedSize(
            round(kept_fraction * self.size_model.removable), self.size_model.counts
        )

    def end_of_parts(self, kept_fraction: float) -> tuple[float, str]:
        """Returns the size that the parts of a pruning order keep together, and what it counts.

        What is left of a network is no sum over its parts. The parts then share the units of equal
        fractions that leave the requested size, by the parameters that compute them.
        """
        size_model = self.size_model
        if size_model.counts.endswith(LEFT):
            kept_fraction = size_model.converted(kept_fraction, self.size_models["density"])
            size_model = self.size_models["density"]
        return kept_fraction * size_model.removable, size_model.counts

    def record_fields(self, kept_fraction: float) -> dict[str, float | str]:
        """Returns the requested sizes by their names in a record."""
        # Rounded, because 16.000000000000004 in a table would be noise of two conversions.
        sizes = {}
        for unit in ("density", "compression"):
            other = self.size_models[unit]
            fraction = self.size_model.converted(kept_fraction, other)
            sizes[f"requested_{unit}"] = round(other.from_kept_fraction(fraction), 9)
        counts = self.size_models["compression"].counts.removesuffix(LEFT)
        return {**sizes, "requested_counts": counts}

    def is_intermediate(self, level: int) -> bool:
        """True for intermediate levels, whose accuracy is not a result of the run."""
        together = (
            self.experiment.prune_at == "during_training" or self.experiment.unmasks_between_levels
        )
        return together and 0 < level < len(self.kept_fractions)

    def _prune_events(self, steps: int) -> list[PruneEvent]:
        """Returns the events of the training, without those that would change nothing."""
        schedule, step_numbers = self.experiment.schedule, self.experiment.gradual.events(steps)
        convert = self.size_model.to_kept_fraction
        kept_fractions = schedule.event_fractions(convert, len(step_numbers) - 1)
        prune_events: list[PruneEvent] = []
        previous, level = 1.0, 0
        for step, kept_fraction in zip(step_numbers, kept_fractions, strict=True):
            if kept_fraction > previous:
                prune_events.append(PruneEvent(step, kept_fraction, None))
            elif kept_fraction < previous or (
                self.experiment.unmasks_between_levels and kept_fraction < 1
            ):
                level += 1
                prune_events.append(PruneEvent(step, kept_fraction, level))
            previous = kept_fraction
        return prune_events if level else [PruneEvent(step_numbers[-1], kept_fractions[-1], 1)]

    def _check_n_of_m(self) -> None:
        """Checks that each level has the density that the structure fixes.

        Raises:
            ValueError: a level has another one; names the keys of schedule and structure.
        """
        n_of_m, schedule = self.experiment.pruner.structure.n_of_m, self.experiment.schedule
        for level, density in enumerate(self.kept_fractions, 1):
            if n_of_m and not (n_of_m.is_density(density) and density < 1):
                final = getattr(schedule, "final", None)
                key = "schedule" if final is None else f"schedule.final={final}"
                raise ValueError(
                    f"{key} asks for a density of {density:.6g} at level {level}, but structure.n="
                    f"{n_of_m.n} of structure.m={n_of_m.m} keep {n_of_m.density:.6g} in each layer "
                    "at every level; use schedule=n_m schedule.final=null"
                )

    def _units_left(self, requested: RequestedSize) -> int:
        """Returns how many units stay, in all parts of the model."""
        pruner, model = self.experiment.pruner, self.model
        units, model_info = self.units, self.model_info
        if self.experiment.pruning_order is None:
            return pruner.check(requested, model, units, model_info)
        parts = self.experiment.pruning_order.parts(model)
        check_parts(parts, units)
        end, counts = self.end_of_parts(min(self.kept_fractions))
        store = make_mask_store(model, units)
        sizes = pruner.alive_sizes(model, store, units, model_info, counts)
        steps = PruningProgress.by_parts(parts, sizes, end, counts, 1).steps
        inside = {step.part: units_in(step.part, units) for step in steps}
        return sum(
            pruner.check(step.requested, model, inside[step.part], model_info, step.part)
            for step in steps
        )

    def _check(self, requested: RequestedSize) -> None:
        size_model = self.size_model
        try:
            units = self._units_left(requested)
        except Unreachable as error:
            if size_model.unit == "density":
                raise
            limit = size_model.limit(error.density)
            raise ValueError(f"{error}, a {size_model.unit} of {limit}") from error
        if units == 0 and size_model.removable == size_model.total:
            rule = "at least" if size_model.unit == "density" else "at most"
            remedy = f"ask for {rule} {size_model.limit(1 / size_model.total)}"
            raise ValueError(
                f"schedule: the requested {size_model.unit} cannot be reached, it leaves nothing "
                f"of {size_model.total} {size_model.counts}; "
                + ("set allocation.min_units=1, or keep more" if requested.keep else remedy)
            )
