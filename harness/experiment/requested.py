"""What a run's schedule asks of its network: kept shares of what can be removed, and goals."""

from typing import NamedTuple

from torch import nn

from harness.allocation.base import ModelInfo, Unreachable
from harness.experiment.config import ExperimentConfig
from harness.pruning.budget import Goal
from harness.pruning.prunable import make_mask_store
from harness.pruning.pruning_order import Event, check_parts, units_in
from harness.structure.base import Units


class PruneEvent(NamedTuple):
    """A change of masks inside a training, before its step `number`.

    level: counts the prunings; None where all weights return.
    """

    number: int
    share: float  # kept, after it
    level: int | None


class Targets:
    """
    shares: of level 1, 2, ...; turns: where in the one training they are come to, if it is one.

    Raises:
        ValueError: the model cannot reach what is asked for, or not in this training.
    """

    def __init__(
        self,
        experiment: ExperimentConfig,
        network: nn.Module,
        units: Units,
        model_info: ModelInfo,
        steps: int,
    ):
        """steps: of the one training, when masks shrink inside it."""
        self.experiment, self.model_info = experiment, model_info
        self.network, self.units = network, units
        unit = experiment.schedule.unit
        # Asked for as a speed-up, density and compression count multiply-accumulates too.
        budget = "macs" if unit == "speedup" else None
        self.accounts = {
            name: experiment.pruner.account(name, network, units, model_info, budget)
            for name in dict.fromkeys((unit, "density", "compression"))
        }
        self.account = self.accounts[unit]
        self.turns = self._turns(steps) if experiment.when == "steps" else []
        self.shares = [turn.share for turn in self.turns if turn.level]
        if experiment.when != "steps":
            self.shares = experiment.schedule.shares(self.account.to_kept_fraction)
        if experiment.unmasks_between_levels and len(self.shares) < 2:
            raise ValueError(
                "dynamics=soft lets units recover until the last level, and there is one only; "
                "use schedule=constant schedule.levels=5, or lower steps.every"
            )
        self._check(self.goal(min(self.shares)))

    def goal(self, share: float) -> Goal:
        return Goal(round(share * self.account.removable), self.account.counts)

    def asked(self, share: float) -> dict[str, float | str]:
        """By the names of a record."""
        # 16.000000000000004 in a table would be noise of the way there and back.
        found = {
            f"target_{unit}": round(self.accounts[unit].from_kept_fraction(share), 9)
            for unit in ("density", "compression")
        }
        counts = self.accounts["compression"].counts
        return {**found, "target_counts": counts}

    def on_the_way(self, level: int) -> bool:
        """Whether a later level ends what this one is a part of."""
        together = self.experiment.when == "steps" or self.experiment.unmasks_between_levels
        return together and 0 < level < len(self.shares)

    def _turns(self, steps: int) -> list[PruneEvent]:
        """Without events that would change nothing."""
        schedule, numbers = self.experiment.schedule, self.experiment.steps.events(steps)
        shares = schedule.during(self.account.to_kept_fraction, len(numbers) - 1)
        turns: list[PruneEvent] = []
        before, level = 1.0, 0
        for number, share in zip(numbers, shares, strict=True):
            if share > before:
                turns.append(PruneEvent(number, share, None))
            elif share < before or (self.experiment.unmasks_between_levels and share < 1):
                level += 1
                turns.append(PruneEvent(number, share, level))
            before = share
        return turns if level else [PruneEvent(numbers[-1], shares[-1], 1)]

    def _left(self, goal: Goal) -> int:
        """How many units stay of all parts of the network."""
        pruner, model_info = self.experiment.pruner, self.model_info
        network, units = self.network, self.units
        if self.experiment.pruning_order is None:
            return pruner.check(goal, network, units, model_info)
        parts = self.experiment.pruning_order.parts(network)
        check_parts(parts, units)
        held = pruner.alive(
            network, make_mask_store(network, units), units, model_info, goal.counts
        )
        event = Event.by_parts(parts, held, goal.keep, goal.counts, 1)
        inside = {step.part: units_in(step.part, units) for step in event.steps}
        found = (
            pruner.check(s.goal, network, inside[s.part], model_info, s.part) for s in event.steps
        )
        return sum(found)

    def _check(self, goal: Goal) -> None:
        account = self.account
        try:
            left = self._left(goal)
        except Unreachable as error:
            if account.unit == "density":
                raise
            limit = account.limit(error.density)
            raise ValueError(f"{error}, a {account.unit} of {limit}") from error
        if left == 0 and account.removable == account.total:
            rule = "at least" if account.unit == "density" else "at most"
            way_out = f"ask for {rule} {account.limit(1 / account.total)}"
            raise ValueError(
                f"the {account.unit} that schedule asks for cannot be reached: it leaves nothing "
                f"of {account.total} {account.counts}; "
                + ("set allocation.min_units=1, or keep more" if goal.keep else way_out)
            )
